//! Reads a section key by key: each call yields a value, notes its origin and makes the key known.

use std::{
    cell::{Cell, RefCell},
    ops::RangeInclusive,
    path::PathBuf,
};

use agent_plugin_protocol::Code;

use crate::{
    error::{ConfigError, did_you_mean},
    node::{Entry, Kind, Table},
    origin::{Origin, Origins},
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
        self.value_in(key, "")
    }

    /// The same; `range` follows the reason where the value is out of its type's range already.
    fn value_in<T: Value>(&self, key: &'static str, range: &str) -> Option<T> {
        self.known.borrow_mut().push(key);
        let path = self.path_of(key);
        self.declare(path.clone(), T::expects(), T::STYLE);
        let Some(entry) = self.entry(key) else {
            self.cx.origins.borrow_mut().insert(path, Origin::Default);
            return None;
        };
        self.cx.origins.borrow_mut().insert(path.clone(), entry.node.origin.clone());
        match T::parse(&entry.node, self.cx) {
            Ok(value) => Some(value),
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
        self.value(key).unwrap_or(default)
    }

    /// The value at `key`, which must lie in the range, or the built-in default.
    pub(crate) fn within<T: Bounded>(&self, key: &'static str, default: T, range: RangeInclusive<T>) -> T {
        let shown = format!("; it may be {} to {}", range.start().show(), range.end().show());
        let Some(value) = self.value_in::<T>(key, &shown) else { return default };
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
        match self.value_in::<T>(key, &shown) {
            None => Some(default),
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
    pub(crate) fn declare(&self, path: String, expects: String, style: Style) {
        self.cx.keys.borrow_mut().push(Key { path, expects, style });
    }

    pub(crate) fn path_of(&self, key: &str) -> String {
        if self.path.is_empty() { key.to_owned() } else { format!("{}.{key}", self.path) }
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

/// Whatever of the table was not asked for is unknown.
impl Drop for Reader<'_> {
    fn drop(&mut self) {
        if !self.finished.get() {
            self.report_unknown();
        }
    }
}
