//! How a written value becomes a typed one: numbers, durations (`"5s"`), sizes (`"512MiB"`), words, lists.

use std::{collections::BTreeMap, fmt, net::SocketAddr, time::Duration};

use agent_host_core::duration;
use agent_plugin_protocol::{Code, PluginId, PluginKind};
use serde_json::{Value as Json, json};

use crate::{
    error::did_you_mean,
    node::{Entry, Kind, Node},
    origin::Origin,
    reader::Context,
};

/// A type that a configuration value may have.
pub(crate) trait Value: Sized {
    /// How a variable's text becomes such a value.
    const STYLE: Style;

    /// What to write, for people: `a duration such as "5s"`.
    fn expects() -> String;

    /// What to write, as a JSON schema.
    fn schema() -> Json;

    fn parse(node: &Node, cx: &Context<'_>) -> Result<Self, Wrong>;

    /// As it would be written. Never a secret's text.
    fn written(&self) -> Json;
}

/// A value that has an order, for ranges.
pub(crate) trait Bounded: Value + PartialOrd {
    const ZERO: Self;

    /// As it would be written, for people.
    fn show(&self) -> String;
}

/// How the text of a variable becomes a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Style {
    /// As it is.
    Text,
    /// A number or truth value if it looks like one, else as it is.
    Scalar,
    /// A TOML list, or words separated by commas.
    List,
    /// A TOML table (`{ file = "…" }`), or the secret itself.
    Secret,
    /// A TOML list of secrets, or one secret.
    Secrets,
    /// Any TOML value, else as it is.
    Free,
}

/// Why a written value is not what it should be.
pub(crate) struct Wrong {
    pub(crate) code: Code,
    /// `expected …, found …`, to follow the key's name. Never a secret's value.
    pub(crate) reason: String,
    pub(crate) hint: Option<String>,
    /// The place, where it is not the whole value's.
    pub(crate) origin: Option<Origin>,
}

impl Wrong {
    pub(crate) fn kind(expected: &str, node: &Node) -> Self {
        Self::new(Code::ConfigType, format!("should be {expected}, not {}", node.found()))
    }

    pub(crate) fn new(code: Code, reason: impl Into<String>) -> Self {
        Self { code, reason: reason.into(), hint: None, origin: None }
    }

    pub(crate) fn hint(mut self, hint: Option<String>) -> Self {
        self.hint = hint;
        self
    }

    pub(crate) fn at(mut self, origin: &Origin) -> Self {
        self.origin.get_or_insert_with(|| origin.clone());
        self
    }
}

impl Value for String {
    const STYLE: Style = Style::Text;

    fn expects() -> String {
        "text".to_owned()
    }

    fn schema() -> Json {
        json!({ "type": "string" })
    }

    fn parse(node: &Node, _: &Context<'_>) -> Result<Self, Wrong> {
        text(node, "text").map(str::to_owned)
    }

    fn written(&self) -> Json {
        self.as_str().into()
    }
}

impl Value for bool {
    const STYLE: Style = Style::Scalar;

    fn expects() -> String {
        "true or false".to_owned()
    }

    fn schema() -> Json {
        json!({ "type": "boolean" })
    }

    fn written(&self) -> Json {
        (*self).into()
    }

    fn parse(node: &Node, _: &Context<'_>) -> Result<Self, Wrong> {
        let Kind::Bool(truth) = node.kind else { return Err(Wrong::kind("true or false", node)) };
        Ok(truth)
    }
}

macro_rules! whole_numbers {
    ($($number:ty)*) => {$(
        impl Value for $number {
            const STYLE: Style = Style::Scalar;

            fn expects() -> String {
                "a whole number".to_owned()
            }

            fn schema() -> Json {
                json!({ "type": "integer", "minimum": 0 })
            }

            fn written(&self) -> Json {
                (*self).into()
            }

            fn parse(node: &Node, _: &Context<'_>) -> Result<Self, Wrong> {
                let Kind::Integer(number) = node.kind else {
                    return Err(Wrong::kind("a whole number", node));
                };
                Self::try_from(number).map_err(|_| Wrong::new(Code::ConfigRange, format!("is {number}")))
            }
        }

        impl Bounded for $number {
            const ZERO: Self = 0;

            fn show(&self) -> String {
                self.to_string()
            }
        }
    )*};
}
whole_numbers!(u8 u16 u32 u64);

impl Value for Duration {
    const STYLE: Style = Style::Scalar;

    fn expects() -> String {
        r#"a duration such as "250ms", "5s" or "10m""#.to_owned()
    }

    fn schema() -> Json {
        json!({ "type": "string", "pattern": DURATION_PATTERN })
    }

    fn written(&self) -> Json {
        self.show().into()
    }

    fn parse(node: &Node, _: &Context<'_>) -> Result<Self, Wrong> {
        let written = text(node, &Self::expects())
            .map_err(|wrong| wrong.hint(Some("write the unit: ms, s, m, h or d, as in \"5s\"".to_owned())))?;
        parse_duration(written).ok_or_else(|| {
            let reason = format!("should be {}, not {written:?}", Self::expects());
            Wrong::new(Code::ConfigType, reason)
                .hint(Some("a whole number and one of the units ms, s, m, h, d".to_owned()))
        })
    }
}

/// Reads a duration as the configuration writes them: `250ms`, `5s`, `10m`, `1h`, `1d`.
pub fn parse_duration(text: &str) -> Option<Duration> {
    duration::parse(text)
}

impl Bounded for Duration {
    const ZERO: Self = Self::ZERO;

    fn show(&self) -> String {
        show_quantity(u64::try_from(self.as_millis()).unwrap_or(u64::MAX), &duration::UNITS, "s")
    }
}

/// A number of bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ByteSize(
    /// Bytes.
    pub u64,
);

impl ByteSize {
    pub(crate) const fn kib(number: u64) -> Self {
        Self(number << 10)
    }

    pub(crate) const fn mib(number: u64) -> Self {
        Self(number << 20)
    }

    pub(crate) const fn gib(number: u64) -> Self {
        Self(number << 30)
    }
}

impl fmt::Display for ByteSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&show_quantity(self.0, &SIZES, "B"))
    }
}

impl Value for ByteSize {
    const STYLE: Style = Style::Scalar;

    fn expects() -> String {
        r#"a size such as "64KiB" or "512MiB", or a number of bytes"#.to_owned()
    }

    fn schema() -> Json {
        json!({ "anyOf": [{ "type": "string", "pattern": SIZE_PATTERN }, { "type": "integer", "minimum": 0 }] })
    }

    fn written(&self) -> Json {
        self.show().into()
    }

    fn parse(node: &Node, _: &Context<'_>) -> Result<Self, Wrong> {
        if let Kind::Integer(bytes) = node.kind {
            let negative = |_| Wrong::new(Code::ConfigRange, format!("is {bytes}"));
            return u64::try_from(bytes).map(Self).map_err(negative);
        }
        let written = text(node, &Self::expects())?;
        quantity(written, &SIZES).map(Self).ok_or_else(|| {
            let reason = format!("should be {}, not {written:?}", Self::expects());
            Wrong::new(Code::ConfigType, reason)
                .hint(Some("a whole number and one of the units B, KiB, MiB, GiB, kB, MB, GB".to_owned()))
        })
    }
}

impl Bounded for ByteSize {
    const ZERO: Self = Self(0);

    fn show(&self) -> String {
        self.to_string()
    }
}

impl Value for SocketAddr {
    const STYLE: Style = Style::Text;

    fn expects() -> String {
        r#"an address and port such as "127.0.0.1:8080""#.to_owned()
    }

    fn schema() -> Json {
        json!({ "type": "string" })
    }

    fn written(&self) -> Json {
        self.to_string().into()
    }

    fn parse(node: &Node, _: &Context<'_>) -> Result<Self, Wrong> {
        let written = text(node, &Self::expects())?;
        written.parse().map_err(|_| {
            Wrong::new(Code::ConfigType, format!("should be {}, not {written:?}", Self::expects()))
                .hint(Some("`0.0.0.0:PORT` is every IPv4 address, `[::]:PORT` every address".to_owned()))
        })
    }
}

impl Value for PluginId {
    const STYLE: Style = Style::Text;

    fn expects() -> String {
        "a plugin's id".to_owned()
    }

    fn schema() -> Json {
        json!({ "type": "string", "pattern": ID_PATTERN })
    }

    fn written(&self) -> Json {
        self.as_str().into()
    }

    fn parse(node: &Node, _: &Context<'_>) -> Result<Self, Wrong> {
        let written = text(node, "a plugin's id")?;
        Self::new(written).map_err(|invalid| Wrong::new(Code::ConfigRange, format!("is wrong: {invalid}")))
    }
}

impl<T: Value> Value for Vec<T> {
    const STYLE: Style = match T::STYLE {
        Style::Secret | Style::Secrets => Style::Secrets,
        Style::Text | Style::Scalar | Style::List | Style::Free => Style::List,
    };

    fn expects() -> String {
        format!("a list; each entry is {}", T::expects())
    }

    fn schema() -> Json {
        json!({ "type": "array", "items": T::schema() })
    }

    fn written(&self) -> Json {
        self.iter().map(T::written).collect()
    }

    fn parse(node: &Node, cx: &Context<'_>) -> Result<Self, Wrong> {
        let Kind::List(items) = &node.kind else {
            let hint =
                format!("put it in brackets: [{}]", if node.found() == "text" { "\"…\"" } else { "…" });
            return Err(Wrong::kind("a list", node).hint(Some(hint)));
        };
        let entry = |item| T::parse(item, cx).map_err(|wrong| wrong.at(&item.origin));
        items.iter().map(entry).collect()
    }
}

/// Values by names that the operator chooses.
impl<T: Value> Value for BTreeMap<String, T> {
    const STYLE: Style = Style::Free;

    fn expects() -> String {
        format!("a table; each entry is {}", T::expects())
    }

    fn schema() -> Json {
        json!({ "type": "object", "additionalProperties": T::schema() })
    }

    fn written(&self) -> Json {
        self.iter().map(|(name, value)| (name.clone(), value.written())).collect()
    }

    fn parse(node: &Node, cx: &Context<'_>) -> Result<Self, Wrong> {
        let Kind::Table(table) = &node.kind else {
            return Err(Wrong::kind(&Self::expects(), node).hint(Some("write { NAME = … }".to_owned())));
        };
        let entry = |(name, entry): (&String, &Entry)| match T::parse(&entry.node, cx) {
            Ok(value) => Ok((name.clone(), value)),
            Err(wrong) => Err(Wrong {
                reason: format!("has {name:?}, which {}", wrong.reason),
                ..wrong.at(&entry.node.origin)
            }),
        };
        table.0.iter().map(entry).collect()
    }
}

/// A value with its place, for checks against the rest of the configuration.
pub(crate) struct Located<T> {
    pub(crate) value: T,
    pub(crate) origin: Origin,
}

impl<T: Value> Value for Located<T> {
    const STYLE: Style = T::STYLE;

    fn expects() -> String {
        T::expects()
    }

    fn schema() -> Json {
        T::schema()
    }

    fn written(&self) -> Json {
        self.value.written()
    }

    fn parse(node: &Node, cx: &Context<'_>) -> Result<Self, Wrong> {
        Ok(Self { value: T::parse(node, cx)?, origin: node.origin.clone() })
    }
}

/// A type whose values are a few words.
pub(crate) trait Word: Sized + Copy + PartialEq + 'static {
    const WORDS: &'static [(&'static str, Self)];
}

impl<T: Word> Value for T {
    const STYLE: Style = Style::Text;

    fn expects() -> String {
        let words: Vec<String> = T::WORDS.iter().map(|(word, _)| format!("\"{word}\"")).collect();
        format!("one of {}", words.join(", "))
    }

    fn schema() -> Json {
        let words: Vec<&str> = T::WORDS.iter().map(|(word, _)| *word).collect();
        json!({ "enum": words })
    }

    fn written(&self) -> Json {
        T::WORDS.iter().find(|(_, value)| value == self).map_or(Json::Null, |(word, _)| (*word).into())
    }

    fn parse(node: &Node, _: &Context<'_>) -> Result<Self, Wrong> {
        let written = text(node, &Self::expects())?;
        let known = T::WORDS.iter().find(|(word, _)| *word == written);
        known.map(|(_, value)| *value).ok_or_else(|| {
            Wrong::new(Code::ConfigRange, format!("is {written:?}; it may be {}", Self::expects()))
                .hint(did_you_mean(written, T::WORDS.iter().map(|(word, _)| *word)))
        })
    }
}

impl Word for PluginKind {
    const WORDS: &'static [(&'static str, Self)] =
        &[("agent", Self::Agent), ("supervisor", Self::Supervisor)];
}

/// The text of a node.
pub(crate) fn text<'a>(node: &'a Node, expected: &str) -> Result<&'a str, Wrong> {
    let Kind::Text(text) = &node.kind else { return Err(Wrong::kind(expected, node)) };
    Ok(text)
}

/// `12ms` → 12 times the unit; `None` without a unit or beyond `u64`.
fn quantity(written: &str, units: &[(&str, u64)]) -> Option<u64> {
    let split = written.find(|c: char| !c.is_ascii_digit())?;
    let (number, unit) = written.split_at(split);
    let (_, factor) = units.iter().find(|(name, _)| *name == unit.trim_start())?;
    number.parse::<u64>().ok()?.checked_mul(*factor)
}

/// In the largest unit that leaves no rest.
fn show_quantity(amount: u64, units: &[(&str, u64)], zero: &str) -> String {
    if amount == 0 {
        return format!("0{zero}");
    }
    let whole = units.iter().find(|(_, factor)| amount.is_multiple_of(*factor));
    whole.map_or_else(|| amount.to_string(), |(unit, factor)| format!("{}{unit}", amount / factor))
}

/// A duration, as a regular expression.
pub(crate) const DURATION_PATTERN: &str = "^[0-9]+\\s*(ms|s|m|h|d)$";

/// A size with its unit, as a regular expression.
pub(crate) const SIZE_PATTERN: &str = "^[0-9]+\\s*(GiB|MiB|KiB|GB|MB|kB|B)$";

/// A plugin's id, as a regular expression.
pub(crate) const ID_PATTERN: &str = "^[a-z][a-z0-9-]*$";

/// Largest first; those of 1024 are preferred when shown.
const SIZES: [(&str, u64); 7] = [
    ("GiB", 1 << 30),
    ("MiB", 1 << 20),
    ("KiB", 1 << 10),
    ("GB", 1_000_000_000),
    ("MB", 1_000_000),
    ("kB", 1000),
    ("B", 1),
];
