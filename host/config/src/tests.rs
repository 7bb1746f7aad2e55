//! The crate's tests, through its door: files and variables in, a configuration or errors out.

mod fuzz;
mod layers;
mod shipped;
mod shown;
mod wrong;

use std::fs;

use tempfile::TempDir;

use crate::{ConfigErrors, Loaded, Sources, load};

/// A key that is long enough.
const SECRET: &str = "an-hs256-secret-of-forty-bytes-for-tests";

/// A configuration folder and what else a load is given.
struct Given {
    dir: TempDir,
    sources: Sources,
}

impl Given {
    /// A folder with these files, and a signing key in the environment.
    fn files(files: &[(&str, &str)]) -> Self {
        let dir = TempDir::new().unwrap();
        for (name, text) in files {
            let path = dir.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        let sources = Sources { dir: Some(dir.path().to_owned()), ..Sources::default() };
        Self { dir, sources }.env("AGENT_HOST__AUTH__HS256_SECRET", SECRET)
    }

    fn env(mut self, name: &str, value: &str) -> Self {
        self.sources.env.push((name.to_owned(), value.to_owned()));
        self
    }

    fn without_env(mut self) -> Self {
        self.sources.env.clear();
        self
    }

    fn profile(mut self, name: &str) -> Self {
        self.sources.profile = Some(name.to_owned());
        self
    }

    fn set(mut self, key: &str, value: &str) -> Self {
        self.sources.overrides.push((key.to_owned(), value.to_owned()));
        self
    }

    fn load(&self) -> Result<Loaded, ConfigErrors> {
        load(self.sources.clone())
    }

    fn loaded(&self) -> Loaded {
        self.load().unwrap_or_else(|errors| panic!("{errors}"))
    }

    /// Where the value came from, with the folder left out.
    fn origin(&self, key: &str) -> String {
        let loaded = self.loaded();
        self.short(&loaded.origins.get(key).unwrap_or_else(|| panic!("no origin of {key}")).to_string())
    }

    /// The text with the folder left out.
    fn short(&self, text: &str) -> String {
        text.replace(&format!("{}/", self.dir.path().display()), "")
    }
}
