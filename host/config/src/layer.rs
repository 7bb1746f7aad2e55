//! Reads the files of a configuration folder, in their order.

use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
};

use agent_plugin_protocol::Code;
use toml::de::DeTable;

use crate::{
    error::{ConfigError, did_you_mean},
    merge,
    node::{self, From, Table},
    origin::{Origin, SourceFile},
};

/// The files' layers, merged so far, and what was wrong with them.
#[derive(Default)]
pub(crate) struct Files {
    pub(crate) merged: Table,
    pub(crate) errors: Vec<ConfigError>,
    /// Every file that was read, in order.
    pub(crate) read: Vec<PathBuf>,
    /// Whether a file could not be read whole, so that its keys are not known.
    pub(crate) incomplete: bool,
    replaced: BTreeMap<PathBuf, String>,
}

impl Files {
    /// Reads `host.toml`, `plugins.d/*.toml` and the profile's file of a folder.
    ///
    /// `replaced`: texts that stand for files.
    pub(crate) fn read(
        dir: &Path,
        profile: Option<(&str, Origin)>,
        replaced: &BTreeMap<PathBuf, String>,
    ) -> Self {
        let mut files = Self { replaced: replaced.clone(), ..Self::default() };
        files.add_main(dir);
        files.add_plugins(dir);
        if let Some((name, origin)) = profile {
            files.add_profile(dir, name, origin);
        }
        files
    }

    fn add_main(&mut self, dir: &Path) {
        let path = dir.join(MAIN);
        if path.exists() {
            self.add(path);
        } else {
            let hint = "point --config at the folder that holds host.toml".to_owned();
            self.missing(Origin::Path(path), format!("there is no {MAIN} in {}", dir.display()), Some(hint));
        }
    }

    fn add_plugins(&mut self, dir: &Path) {
        let mut plugins: Vec<(String, Origin)> = Vec::new();
        for path in toml_files(&dir.join(PLUGINS)) {
            let Some(layer) = self.parse(path) else { continue };
            self.check_duplicates(&layer, &mut plugins);
            self.lay(layer);
        }
    }

    /// Two files of `plugins.d` that define the same plugin: which one holds would be a guess.
    fn check_duplicates(&mut self, layer: &Table, defined: &mut Vec<(String, Origin)>) {
        for (id, entry) in layer.table("plugins").into_iter().flat_map(|plugins| &plugins.0) {
            match defined.iter().find(|(known, _)| known == id) {
                Some((_, first)) => self.errors.push(ConfigError {
                    code: Code::ConfigDuplicate,
                    key: format!("plugins.{id}"),
                    origin: entry.key.clone(),
                    reason: format!("plugin `{id}` is defined twice; first at {first}"),
                    hint: Some("keep one of the two, or give one another id".to_owned()),
                }),
                None => defined.push((id.clone(), entry.key.clone())),
            }
        }
    }

    fn add_profile(&mut self, dir: &Path, name: &str, origin: Origin) {
        let path = dir.join(format!("{name}.toml"));
        let plain =
            !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_');
        if plain && name != "host" && path.exists() {
            self.add(path);
            return;
        }
        let known: Vec<String> = toml_files(dir)
            .iter()
            .filter_map(|file| file.file_stem()?.to_str().map(str::to_owned))
            .filter(|stem| stem != "host")
            .collect();
        let hint = did_you_mean(name, known.iter().map(String::as_str))
            .or_else(|| (!known.is_empty()).then(|| format!("profiles here: {}", known.join(", "))));
        let reason = format!("there is no profile {name:?}: no {} ({origin})", path.display());
        self.missing(Origin::Path(path), reason, hint);
    }

    fn add(&mut self, path: PathBuf) {
        if let Some(layer) = self.parse(path) {
            self.lay(layer);
        }
    }

    fn lay(&mut self, layer: Table) {
        merge::check_layer(&layer, &mut self.errors);
        merge::merge(&mut self.merged, layer);
    }

    /// The file's tree, or `None` if it cannot be trusted to say what was meant.
    fn parse(&mut self, path: PathBuf) -> Option<Table> {
        let replaced = self.replaced.get(&path).map(|text| text.clone().into_bytes());
        let bytes = match replaced.map_or_else(|| read(&path), Ok) {
            Ok(bytes) => bytes,
            Err(error) => {
                let reason = format!("{} cannot be read: {error}", path.display());
                self.missing(Origin::Path(path), reason, None);
                return None;
            }
        };
        self.read.push(path.clone());
        let (text, valid) = match String::from_utf8(bytes) {
            Ok(text) => (text, None),
            Err(error) => {
                let valid = error.utf8_error().valid_up_to();
                (String::from_utf8_lossy(error.as_bytes()).into_owned(), Some(valid))
            }
        };
        let file = Arc::new(SourceFile { path, text });
        if let Some(position) = valid {
            self.incomplete = true;
            self.syntax(
                &file,
                position..position,
                "the file is not UTF-8 here".to_owned(),
                Code::ConfigSyntax,
            );
            return None;
        }
        let (parsed, errors) = DeTable::parse_recoverable(&file.text);
        let mut trusted = true;
        for error in &errors {
            let span = error.span().unwrap_or(file.text.len()..file.text.len());
            if error.message() == DUPLICATE {
                let word = file.text.get(span.clone()).unwrap_or_default().to_owned();
                self.syntax(
                    &file,
                    span,
                    format!("`{word}` is defined twice in this file"),
                    Code::ConfigDuplicate,
                );
            } else if trusted {
                // The first only: what follows in a damaged file is mostly its echo.
                trusted = false;
                self.syntax(&file, span, first_line(error.message()), Code::ConfigSyntax);
            }
        }
        self.incomplete |= !trusted;
        trusted.then(|| node::table(parsed.get_ref(), &From::File(&file)))
    }

    fn syntax(&mut self, file: &Arc<SourceFile>, span: std::ops::Range<usize>, reason: String, code: Code) {
        let origin = Origin::file(file, span);
        self.errors.push(ConfigError { code, key: String::new(), origin, reason, hint: None });
    }

    fn missing(&mut self, origin: Origin, reason: String, hint: Option<String>) {
        self.incomplete = true;
        self.errors.push(ConfigError { code: Code::ConfigMissing, key: String::new(), origin, reason, hint });
    }
}

/// A regular file of a size that a person may have written: a pipe would never end, nor would a device.
fn read(path: &Path) -> io::Result<Vec<u8>> {
    let metadata = fs::metadata(path)?;
    // Of a folder the system has its own words.
    if !metadata.is_file() && !metadata.is_dir() {
        return Err(io::Error::other("it is not a regular file"));
    }
    if metadata.len() > LARGEST {
        return Err(io::Error::other("it is above 16 MiB"));
    }
    fs::read(path)
}

fn first_line(message: &str) -> String {
    message.lines().next().unwrap_or("this is not TOML").to_owned()
}

/// The `*.toml` of a folder, sorted by name. Hidden files are an editor's or a mount's; a missing folder is empty.
fn toml_files(dir: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    let mut paths: Vec<PathBuf> = entries
        .map(|entry| entry.path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "toml"))
        .filter(|path| !path.file_name().is_some_and(|name| name.to_string_lossy().starts_with('.')))
        .collect();
    paths.sort();
    paths
}

const MAIN: &str = "host.toml";
const PLUGINS: &str = "plugins.d";
/// Bytes of one file: a thousand plugins take a hundredth of it.
const LARGEST: u64 = 16 * 1024 * 1024;
/// What the `toml` crate says of a key or table that is there twice.
const DUPLICATE: &str = "duplicate key";
