//! Reads a section key by key: each call yields a value, notes its origin and makes the key known.

use std::{
    cell::{Cell, RefCell},
    ops::RangeInclusive,
    path::PathBuf,
};

use agent_plugin_protocol::Code;
use serde_json::Value as Json;

use crate::{
    error::{ConfigError, did_you_mean},
    node::{Entry, Kind, Table},
    origin::{Origin, Origins},
    print::Values,
    value::{Bounded, Style, Value, Wrong},
};

/// A key that the configuration knows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Key {
    /// Dotted; a plugin's id is written `<id>`, and `*` stands for any further name.
    pub path: String,
    /// What it holds, for people: `a duration such as "5s"`.
    pub expects: String,
    /// How a variable's text becomes such a value.
    pub(crate) style: Style,
    /// What it holds, as a JSON schema.
    pub(crate) schema: Json,
}

/// A value inside a table of the operator's own keys.
pub(crate) struct Leaf {
    /// Below that table, dotted.
    pub(crate) key: String,
    pub(crate) origin: Origin,
    pub(crate) value: Json,
}

/// What the readers of all sections share.
pub(crate) struct Context<'a> {
    /// The configuration folder: relative paths are relative to it.
    pub(crate) dir: Option<PathBuf>,
    /// The folder of the host's binary.
    pub(crate) beside: Option<PathBuf>,
    pub(crate) env: &'a [(String, String)],
    /// Whether something written could not be read, so that what is missing may stand there.
    pub(crate) incomplete: bool,
    pub(crate) errors: RefCell<Vec<ConfigError>>,
    pub(crate) origins: RefCell<Origins>,
    /// What holds, as it would be written; `null` where nothing does.
    pub(crate) values: RefCell<Values>,
    pub(crate) keys: RefCell<Vec<Key>>,
}

impl<'a> Context<'a> {
    pub(crate) fn new(env: &'a [(String, String)]) -> Self {
        Self {
            dir: None,
            beside: None,
            env,
            incomplete: false,
            errors: RefCell::default(),
            origins: RefCell::default(),
            values: RefCell::default(),
            keys: RefCell::default(),
        }
    }

    pub(crate) fn error(&self, error: ConfigError) {
        let depends_on_the_whole = matches!(error.code, Code::ConfigMissing | Code::ConfigReference);
        if !(self.incomplete && depends_on_the_whole) {
            self.errors.borrow_mut().push(error);
        }
    }

    pub(crate) fn variable(&self, name: &str) -> Option<&str> {
        self.env.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// A path as the operator means it: relative to the configuration folder.
    pub(crate) fn relative(&self, path: PathBuf) -> PathBuf {
        match &self.dir {
            Some(dir) => dir.join(path),
            None => path,
        }
    }
}

/// Reads one table.
pub(crate) struct Reader<'a> {
    pub(crate) cx: &'a Context<'a>,
    table: Option<&'a Table>,
    /// Where the table begins; `Default` if it is not there.
    origin: Origin,
    path: String,
    known: RefCell<Vec<&'static str>>,
    finished: Cell<bool>,
}

impl<'a> Reader<'a> {
    /// Reads the document itself.
    pub(crate) fn root(cx: &'a Context<'a>, table: &'a Table) -> Self {
        Self::new(cx, Some(table), Origin::Default, String::new())
    }

    pub(crate) fn new(cx: &'a Context<'a>, table: Option<&'a Table>, origin: Origin, path: String) -> Self {
        Self { cx, table, origin, path, known: RefCell::default(), finished: Cell::new(false) }
    }

    /// Reads the table at `key`; an absent one reads as empty.
    pub(crate) fn section(&self, key: &'static str) -> Self {
        self.known.borrow_mut().push(key);
        let path = self.path_of(key);
        match self.entry(key) {
            Some(Entry { key: at, node }) => match &node.kind {
                Kind::Table(table) => Self::new(self.cx, Some(table), at.clone(), path),
                Kind::Text(_)
                | Kind::Integer(_)
                | Kind::Huge(_)
                | Kind::Float(_)
                | Kind::Bool(_)
                | Kind::Datetime(_)
                | Kind::List(_) => {
                    self.wrong(&path, &node.origin, Wrong::kind("a table", node));
                    Self::new(self.cx, None, node.origin.clone(), path)
                }
            },
            None => Self::new(self.cx, None, Origin::Default, path),
        }
    }

    /// The entries of a table whose keys are the operator's own names.
    pub(crate) fn entries(&self) -> impl Iterator<Item = (&'a String, &'a Entry)> + use<'a> {
        self.finished.set(true);
        self.table.into_iter().flat_map(|table| table.0.iter())
    }

    /// The value at `key`, if it is written and right.
    pub(crate) fn value<T: Value>(&self, key: &'static str) -> Option<T> {
        self.value_in(key, "", T::schema())
    }

    /// The same; `range` follows the reason where the value is out of its type's range already.
    fn value_in<T: Value>(&self, key: &'static str, range: &str, schema: Json) -> Option<T> {
        self.known.borrow_mut().push(key);
        let path = self.path_of(key);
        self.declare(Key { path: path.clone(), expects: T::expects(), style: T::STYLE, schema });
        let Some(entry) = self.entry(key) else {
            self.hold(key, Origin::Default, Json::Null);
            return None;
        };
        let origin = entry.node.origin.clone();
        self.hold(key, origin, Json::Null);
        match T::parse(&entry.node, self.cx) {
            Ok(value) => {
                self.show(key, &value);
                Some(value)
            }
            Err(mut wrong) => {
                if wrong.code == Code::ConfigRange {
                    wrong.reason.push_str(range);
                }
                self.wrong(&path, &entry.node.origin, wrong);
                None
            }
        }
    }

    /// The value at `key`, or the built-in default.
    pub(crate) fn or<T: Value>(&self, key: &'static str, default: T) -> T {
        self.value(key).unwrap_or_else(|| {
            self.show(key, &default);
            default
        })
    }

    /// The value at `key`, which must lie in the range, or the built-in default.
    pub(crate) fn within<T: Bounded>(&self, key: &'static str, default: T, range: RangeInclusive<T>) -> T {
        let shown = format!("; it may be {} to {}", range.start().show(), range.end().show());
        let schema = bounded(T::schema(), range.start(), range.end());
        let Some(value) = self.value_in::<T>(key, &shown, schema) else {
            self.show(key, &default);
            return default;
        };
        if range.contains(&value) {
            return value;
        }
        self.error(Code::ConfigRange, key, format!("is {}{shown}", value.show()), None);
        default
    }

    /// The same, where 0 means that there is no limit.
    pub(crate) fn limit<T: Bounded>(
        &self,
        key: &'static str,
        default: T,
        range: RangeInclusive<T>,
    ) -> Option<T> {
        let shown =
            format!("; it may be {} to {}, or 0 for no limit", range.start().show(), range.end().show());
        match self.value_in::<T>(key, &shown, bounded(T::schema(), &T::ZERO, range.end())) {
            None => {
                self.show(key, &default);
                Some(default)
            }
            Some(value) if value == T::ZERO => None,
            Some(value) if range.contains(&value) => Some(value),
            Some(value) => {
                self.error(Code::ConfigRange, key, format!("is {}{shown}", value.show()), None);
                Some(default)
            }
        }
    }

    /// Whether the key is written.
    pub(crate) fn has(&self, key: &str) -> bool {
        self.entry(key).is_some()
    }

    /// Reports an error about the value at `key`, or about the table if the key is not written.
    pub(crate) fn error(&self, code: Code, key: &str, reason: impl Into<String>, hint: Option<String>) {
        let origin = self.entry(key).map_or_else(|| self.origin.clone(), |entry| entry.node.origin.clone());
        self.error_at(code, key, origin, reason, hint);
    }

    /// Reports an error about `key` at another place.
    pub(crate) fn error_at(
        &self,
        code: Code,
        key: &str,
        origin: Origin,
        reason: impl Into<String>,
        hint: Option<String>,
    ) {
        let key = self.path_of(key);
        let reason = format!("`{key}` {}", reason.into());
        self.cx.error(ConfigError { code, key, origin, reason, hint });
    }

    /// Makes a key known that is not read by name.
    pub(crate) fn declare(&self, key: Key) {
        self.cx.keys.borrow_mut().push(key);
    }

    /// Notes what holds at `key`, where it is not what is written: a default, a path made whole.
    pub(crate) fn show<T: Value>(&self, key: &str, value: &T) {
        self.cx.values.borrow_mut().insert(self.path_of(key), value.written());
    }

    /// Notes what holds at `key` and where it came from, for what is not read by name.
    pub(crate) fn hold(&self, key: &str, origin: Origin, value: Json) {
        let path = self.path_of(key);
        self.cx.origins.borrow_mut().insert(path.clone(), origin);
        self.cx.values.borrow_mut().insert(path, value);
    }

    pub(crate) fn path_of(&self, key: &str) -> String {
        if self.path.is_empty() { key.to_owned() } else { format!("{}.{key}", self.path) }
    }

    /// Notes the values of a table one by one, in place of the table.
    pub(crate) fn spread(&self, key: &str, leaves: Vec<Leaf>) {
        if !leaves.is_empty() {
            self.cx.values.borrow_mut().remove(&self.path_of(key));
        }
        for leaf in leaves {
            self.hold(&format!("{key}.{}", leaf.key), leaf.origin, leaf.value);
        }
    }

    fn entry(&self, key: &str) -> Option<&'a Entry> {
        self.table.and_then(|table| table.get(key))
    }

    fn wrong(&self, path: &str, origin: &Origin, wrong: Wrong) {
        self.cx.error(ConfigError {
            code: wrong.code,
            key: path.to_owned(),
            origin: wrong.origin.unwrap_or_else(|| origin.clone()),
            reason: format!("`{path}` {}", wrong.reason),
            hint: wrong.hint,
        });
    }

    fn report_unknown(&self) {
        let known = self.known.borrow();
        for (key, entry) in self.table.into_iter().flat_map(|table| &table.0) {
            if known.contains(&key.as_str()) {
                continue;
            }
            let place =
                if self.path.is_empty() { "at the top".to_owned() } else { format!("in `{}`", self.path) };
            let hint = did_you_mean(key, known.iter().copied())
                .or_else(|| crate::section::elsewhere(key))
                .unwrap_or_else(|| format!("known here: {}", known.join(", ")));
            self.cx.error(ConfigError {
                code: Code::ConfigUnknownKey,
                key: self.path_of(key),
                origin: entry.key.clone(),
                reason: format!("there is no key `{key}` {place}"),
                hint: Some(hint),
            });
        }
    }
}

/// The schema of a whole number with its range. Durations and sizes are text, whose order a schema cannot tell.
fn bounded<T: Bounded>(mut schema: Json, least: &T, most: &T) -> Json {
    if schema["type"] == "integer" {
        schema["minimum"] = least.written();
        schema["maximum"] = most.written();
    }
    schema
}

/// Whatever of the table was not asked for is unknown.
impl Drop for Reader<'_> {
    fn drop(&mut self) {
        if !self.finished.get() {
            self.report_unknown();
        }
    }
}
