//! What was written, before it is judged: a tree of values, each with its origin.

use std::{collections::BTreeMap, sync::Arc};

use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

use crate::origin::{Origin, SourceFile};

/// A value as it was written.
#[derive(Clone)]
pub(crate) struct Node {
    pub(crate) origin: Origin,
    pub(crate) kind: Kind,
}

/// The kinds of value that TOML has.
#[derive(Clone)]
pub(crate) enum Kind {
    Text(String),
    Integer(i64),
    /// A whole number beyond 64 bits, as it was written.
    Huge(String),
    Float(f64),
    Bool(bool),
    Datetime(String),
    List(Vec<Node>),
    Table(Table),
}

/// A table as it was written.
#[derive(Clone, Default)]
pub(crate) struct Table(pub(crate) BTreeMap<String, Entry>);

/// A key with its value; the key has an origin of its own, for errors about the key.
#[derive(Clone)]
pub(crate) struct Entry {
    pub(crate) key: Origin,
    pub(crate) node: Node,
}

impl Node {
    /// What kind of value it is, for "expected …, found …".
    pub(crate) fn found(&self) -> &'static str {
        match self.kind {
            Kind::Text(_) => "text",
            Kind::Integer(_) => "an integer",
            Kind::Huge(_) => "a number beyond 64 bits",
            Kind::Float(_) => "a fraction",
            Kind::Bool(_) => "true or false",
            Kind::Datetime(_) => "a date",
            Kind::List(_) => "a list",
            Kind::Table(_) => "a table",
        }
    }

    /// The value as JSON, for what a plugin is handed. A float that JSON lacks (`inf`, `nan`) becomes `null`.
    pub(crate) fn to_json(&self) -> serde_json::Value {
        match &self.kind {
            Kind::Text(text) | Kind::Datetime(text) => text.as_str().into(),
            Kind::Integer(number) => (*number).into(),
            // As other readers of JSON take it.
            Kind::Huge(digits) => digits.parse::<f64>().unwrap_or(f64::INFINITY).into(),
            Kind::Float(number) => (*number).into(),
            Kind::Bool(truth) => (*truth).into(),
            Kind::List(items) => items.iter().map(Self::to_json).collect(),
            Kind::Table(table) => {
                table.0.iter().map(|(key, entry)| (key.clone(), entry.node.to_json())).collect()
            }
        }
    }
}

impl Table {
    pub(crate) fn get(&self, key: &str) -> Option<&Entry> {
        self.0.get(key)
    }

    /// The table below `key`, if there is one.
    pub(crate) fn table(&self, key: &str) -> Option<&Self> {
        match &self.get(key)?.node.kind {
            Kind::Table(table) => Some(table),
            Kind::Text(_)
            | Kind::Integer(_)
            | Kind::Huge(_)
            | Kind::Float(_)
            | Kind::Bool(_)
            | Kind::Datetime(_)
            | Kind::List(_) => None,
        }
    }

    /// Puts a value at a path, making the tables on the way.
    pub(crate) fn insert(&mut self, path: &[String], node: Node) {
        let Some((key, rest)) = path.split_first() else { return };
        if rest.is_empty() {
            self.0.insert(key.clone(), Entry { key: node.origin.clone(), node });
            return;
        }
        let origin = node.origin.clone();
        let entry = self.0.entry(key.clone()).or_insert_with(|| Entry {
            key: origin.clone(),
            node: Node { origin, kind: Kind::Table(Self::default()) },
        });
        if let Kind::Table(below) = &mut entry.node.kind {
            below.insert(rest, node);
        }
    }
}

/// Where the parts of a parsed text come from.
pub(crate) enum From<'a> {
    /// A file: each part has its own place.
    File(&'a Arc<SourceFile>),
    /// A variable or flag: one origin for all.
    Origin(&'a Origin),
}

impl From<'_> {
    fn origin(&self, span: std::ops::Range<usize>) -> Origin {
        match self {
            Self::File(file) => Origin::file(file, span),
            Self::Origin(origin) => (*origin).clone(),
        }
    }
}

/// The tree of a parsed document.
pub(crate) fn table(parsed: &DeTable<'_>, from: &From<'_>) -> Table {
    Table(
        parsed
            .iter()
            .map(|(key, value)| {
                let entry = Entry { key: from.origin(key.span()), node: node(value, from) };
                (key.get_ref().to_string(), entry)
            })
            .collect(),
    )
}

/// The tree of a parsed value.
pub(crate) fn node(parsed: &Spanned<DeValue<'_>>, from: &From<'_>) -> Node {
    let kind = match parsed.get_ref() {
        DeValue::String(text) => Kind::Text(text.to_string()),
        DeValue::Integer(number) => i64::from_str_radix(number.as_str(), number.radix())
            .map_or_else(|_| Kind::Huge(number.as_str().to_owned()), Kind::Integer),
        DeValue::Float(number) => Kind::Float(number.as_str().parse().unwrap_or(f64::NAN)),
        DeValue::Boolean(truth) => Kind::Bool(*truth),
        DeValue::Datetime(date) => Kind::Datetime(date.to_string()),
        DeValue::Array(items) => Kind::List(items.iter().map(|item| node(item, from)).collect()),
        DeValue::Table(below) => Kind::Table(table(below, from)),
    };
    Node { origin: from.origin(parsed.span()), kind }
}
