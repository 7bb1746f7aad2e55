//! Describes the host that a scenario needs: its plugins, settings, variables and faults.

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    path::{Path, PathBuf},
    sync::Arc,
};

use super::{artifacts, host::Host, tokens};

/// A host to be started; see [`Setup::start`].
#[derive(Debug, Clone)]
pub(crate) struct Setup {
    settings: BTreeMap<String, String>,
    appended: String,
    files: Vec<(String, Arc<[u8]>)>,
    modes: Vec<(String, u32)>,
    pub(super) plugins: Vec<Plugin>,
    pub(super) env: Vec<(String, String)>,
    pub(super) failpoints: Option<String>,
    pub(super) stderr: Stderr,
    pub(super) user: Option<u32>,
    pub(super) open_files: Option<u32>,
}

/// What a host's stderr is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stderr {
    /// A pipe that is read.
    Read,
    /// A pipe whose reader is gone.
    Closed,
    /// A pipe whose reader does not read.
    Unread,
}

impl Setup {
    /// A host without plugins, on free ports, with a known key and short clocks.
    pub(crate) fn new() -> Self {
        let setup = Self {
            settings: BTreeMap::new(),
            appended: String::new(),
            files: Vec::new(),
            modes: Vec::new(),
            plugins: Vec::new(),
            env: Vec::new(),
            failpoints: None,
            stderr: Stderr::Read,
            user: None,
            open_files: None,
        };
        setup
            .set("version", "1")
            .set("gateway.listen", "\"127.0.0.1:0\"")
            .set("admin.listen", "\"127.0.0.1:0\"")
            .set("auth.hs256_secrets", &format!("[\"{}\"]", tokens::SECRET))
            .set("auth.audience", "\"agent-host\"")
            .set("drain.grace", "\"4s\"")
            .set("service.settle", "\"50ms\"")
            // A machine that stalls has a disk that does.
            .set("store.patience", "\"20s\"")
            // Scenarios count what happens, and inject faults by number.
            .set("self_check.interval", "\"0s\"")
    }

    /// A host with the echo plugin.
    pub(crate) fn echo() -> Self {
        Self::new().plugin(Plugin::echo())
    }

    /// Gives operators a key: there are admin tokens then.
    pub(crate) fn operated(self) -> Self {
        self.set("admin.hs256_secrets", &format!("[\"{}\"]", tokens::ADMIN_SECRET))
    }

    /// Sets a key, dotted, to a TOML value.
    pub(crate) fn set(mut self, key: &str, value: &str) -> Self {
        self.settings.insert(key.to_owned(), value.to_owned());
        self
    }

    /// Appends to `host.toml` what is no well-formed setting.
    pub(crate) fn append(mut self, text: &str) -> Self {
        self.appended.push_str(text);
        self
    }

    /// Adds a plugin, in order.
    pub(crate) fn plugin(mut self, plugin: Plugin) -> Self {
        self.plugins.push(plugin);
        self
    }

    /// Writes a file into the configuration folder, where a plugin whose path is `plugins/NAME` (or `NAME` alone) is
    /// found. Its folders are made.
    pub(crate) fn file(mut self, path: &str, bytes: impl Into<Arc<[u8]>>) -> Self {
        self.files.push((path.to_owned(), bytes.into()));
        self
    }

    /// Sets the mode of a file or folder that was written.
    pub(crate) fn mode(mut self, path: &str, mode: u32) -> Self {
        self.modes.push((path.to_owned(), mode));
        self
    }

    /// Sets an environment variable of the host.
    pub(crate) fn env(mut self, name: &str, value: &str) -> Self {
        self.env.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Uses the binary with fault injection, with these faults from the start: `name=action;name=action`. More can
    /// be set while it runs: [`Host::inject`].
    pub(crate) fn failpoints(mut self, faults: &str) -> Self {
        self.failpoints = Some(faults.to_owned());
        self
    }

    /// Its stderr is a pipe that nobody reads any more.
    pub(crate) fn unheard(mut self) -> Self {
        self.stderr = Stderr::Closed;
        self
    }

    /// Its stderr is a pipe that nobody reads until [`Host::read_on`]; see [`Host::clog`].
    pub(crate) fn unread(mut self) -> Self {
        self.stderr = Stderr::Unread;
        self
    }

    /// It runs as this user, where the tests are run by root; else as who runs them.
    pub(crate) fn user(mut self, user: u32) -> Self {
        self.user = Some(user).filter(|_| rustix::process::geteuid().is_root());
        self
    }

    /// It may have so many descriptors.
    pub(crate) fn open_files(mut self, most: u32) -> Self {
        self.open_files = Some(most);
        self
    }

    /// Starts it, and answers once it listens.
    pub(crate) fn start(&self) -> Host {
        Host::start(self)
    }

    /// Writes the configuration in place of an earlier one.
    pub(super) fn rewrite(&self, dir: &Path) {
        std::fs::remove_dir_all(dir.join("plugins.d")).unwrap();
        self.write(dir);
    }

    /// Writes the configuration folder.
    pub(crate) fn write(&self, dir: &Path) {
        let mut host = String::new();
        for (key, value) in &self.settings {
            writeln!(host, "{key} = {value}").expect("a String takes all");
        }
        host.push_str(&self.appended);
        std::fs::write(dir.join("host.toml"), host).unwrap();
        std::fs::create_dir_all(dir.join("plugins.d")).unwrap();
        for (path, bytes) in &self.files {
            let path = dir.join(path);
            std::fs::create_dir_all(path.parent().expect("it lies in the folder")).unwrap();
            std::fs::write(path, bytes).unwrap();
        }
        for (path, mode) in &self.modes {
            super::elf::mode(&dir.join(path), *mode);
        }
        for (place, plugin) in self.plugins.iter().enumerate() {
            // The files' order is the plugins' order.
            let file = dir.join("plugins.d").join(format!("{place:02}-{}.toml", plugin.id));
            std::fs::write(file, plugin.toml()).unwrap();
        }
    }
}

/// The clocks of a start that never ends.
pub(crate) const SOON: &str = "{ init = \"6s\" }";

/// One `[plugins.<id>]` table.
#[derive(Debug, Clone)]
pub(crate) struct Plugin {
    pub(crate) id: String,
    path: PathBuf,
    keys: BTreeMap<String, String>,
    config: BTreeMap<String, String>,
}

impl Plugin {
    /// The library at `path`, as an enabled agent called `id`.
    /// To begin it has all the time that a busy machine may need.
    pub(crate) fn at(id: &str, path: impl Into<PathBuf>) -> Self {
        let plugin =
            Self { id: id.to_owned(), path: path.into(), keys: BTreeMap::new(), config: BTreeMap::new() };
        plugin.key("enabled", "true").key("kind", "\"agent\"").key("timeouts", "{ init = \"30s\" }")
    }

    /// The example.
    pub(crate) fn echo() -> Self {
        Self::at("echo", artifacts::echo())
    }

    /// The fixture, called `id`: it echoes, but a message `!segv` (and many another word) is done as told. Its clocks are
    /// so long that what is sound outlives a machine that stands for a while.
    pub(crate) fn misbehaving(id: &str) -> Self {
        Self::misbehaving_at(id, artifacts::misbehaving())
    }

    /// The same from a copy of its library.
    pub(crate) fn misbehaving_at(id: &str, path: impl Into<PathBuf>) -> Self {
        Self::at(id, path).key(
            "timeouts",
            "{ init = \"30s\", tool = \"8s\", idle = \"15s\", run = \"40s\", grace = \"1s\" }",
        )
    }

    /// The fixture which does `deed` in its create. What would not end is ended soon.
    pub(crate) fn bad_create(id: &str, deed: &str) -> Self {
        let plugin = Self::misbehaving(id).config("create", &format!("\"{deed}\""));
        if ["hang", "sleep", "loop"].contains(&deed) { plugin.key("timeouts", SOON) } else { plugin }
    }

    /// Its clocks are short: a call that never ends is ended soon. So may one be that is sound, on a machine that stands.
    pub(crate) fn hasty(self) -> Self {
        self.key(
            "timeouts",
            "{ init = \"30s\", tool = \"1s\", idle = \"1s\", run = \"4s\", grace = \"200ms\" }",
        )
    }

    /// Sets a key of the table to a TOML value.
    pub(crate) fn key(mut self, key: &str, value: &str) -> Self {
        self.keys.insert(key.to_owned(), value.to_owned());
        self
    }

    /// Sets a key of its own configuration to a TOML value.
    pub(crate) fn config(mut self, key: &str, value: &str) -> Self {
        self.config.insert(key.to_owned(), value.to_owned());
        self
    }

    fn toml(&self) -> String {
        let path = toml::Value::from(self.path.to_str().expect("test paths are UTF-8"));
        let mut text = format!("[plugins.{}]\npath = {path}\n", self.id);
        for (key, value) in &self.keys {
            writeln!(text, "{key} = {value}").expect("a String takes all");
        }
        writeln!(text, "[plugins.{}.config]", self.id).expect("a String takes all");
        for (key, value) in &self.config {
            writeln!(text, "{key} = {value}").expect("a String takes all");
        }
        text
    }
}
