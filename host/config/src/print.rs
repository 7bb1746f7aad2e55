//! Shows a configuration: each value as it would be written, and where it came from.

use std::{collections::BTreeMap, fmt::Write as _};

use serde_json::Value as Json;

use crate::{load::Loaded, origin::Origin};

/// What holds, by dotted key, as it would be written.
pub type Values = BTreeMap<String, Json>;

/// One key of a configuration that holds.
#[derive(Debug, Clone, Copy)]
pub struct Setting<'a> {
    /// Dotted.
    pub key: &'a str,
    /// As it would be written; `null` if nothing holds.
    pub value: &'a Json,
    /// Where it came from.
    pub origin: &'a Origin,
}

impl Loaded {
    /// Every key, by name.
    pub fn settings(&self) -> impl Iterator<Item = Setting<'_>> {
        self.values.iter().map(|(key, value)| Setting {
            key,
            value,
            origin: self.origins.get(key).unwrap_or(&Origin::Default),
        })
    }
}

impl Setting<'_> {
    /// Whether somebody set it.
    pub fn is_set(&self) -> bool {
        !matches!(self.origin, Origin::Default)
    }
}

/// A value on one line of TOML. `null`, which TOML lacks, is shown as a comment would name it.
pub fn toml_of(value: &Json) -> String {
    match value {
        Json::Null => "(none)".to_owned(),
        Json::Bool(_) | Json::Number(_) => value.to_string(),
        Json::String(text) => quoted(text),
        Json::Array(items) => {
            format!("[{}]", items.iter().map(toml_of).collect::<Vec<_>>().join(", "))
        }
        Json::Object(table) if table.is_empty() => "{}".to_owned(),
        Json::Object(table) => {
            let entries: Vec<String> =
                table.iter().map(|(key, value)| format!("{} = {}", key_of(key), toml_of(value))).collect();
            format!("{{ {} }}", entries.join(", "))
        }
    }
}

fn key_of(key: &str) -> String {
    let bare = !key.is_empty() && key.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_');
    if bare { key.to_owned() } else { quoted(key) }
}

/// A basic string. Whatever a terminal could act on is escaped, bidirectional marks too.
fn quoted(text: &str) -> String {
    let mut out = String::from('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\t' => out.push_str("\\t"),
            c if c.is_control()
                || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}') =>
            {
                write!(out, "\\u{:04X}", u32::from(c)).expect("a String takes all");
            }
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_shown_is_toml_and_means_the_same() {
        for value in [
            json!(true),
            json!(-7),
            json!(1.5),
            json!("a \"quote\", a \\ and a\nline\u{1b}[31m\u{202e}"),
            json!([1, "two", []]),
            json!({ "env": "NAME" }),
            json!({}),
            json!({ "a b": { "c": "" } }),
        ] {
            let line = toml_of(&value);
            assert!(!line.contains(['\n', '\u{1b}', '\u{202e}']), "{line:?}");
            let read: toml::Table = format!("v = {line}").parse().unwrap();
            assert_eq!(serde_json::to_value(&read["v"]).unwrap(), value);
        }
    }
}
