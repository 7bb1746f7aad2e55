//! A secret: given inline, by a variable or by a file; shown nowhere.

use std::{fmt, fs, path::PathBuf};

use agent_plugin_protocol::Code;
use secrecy::{ExposeSecret, SecretString};
use serde_json::{Value as Json, json};

use crate::{
    error::did_you_mean,
    node::{Kind, Node, Table},
    reader::Context,
    value::{Style, Value, Wrong, text},
};

/// The least length of a key for HS256, in bytes: as long as its digest (RFC 7518, section 3.2).
pub const HS256_SECRET_BYTES: usize = 32;

/// A secret. Its `Debug` says where it came from, never what it is.
#[derive(Clone)]
pub struct Secret {
    value: SecretString,
    source: Source,
}

/// Where a secret's text is.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Source {
    Inline,
    Variable(String),
    File(PathBuf),
}

impl Source {
    /// The reference as it would be written, or that there is a text.
    fn written(&self) -> Json {
        match self {
            Self::Inline => REDACTED.into(),
            Self::Variable(name) => json!({ "env": name }),
            Self::File(path) => json!({ "file": path.display().to_string() }),
        }
    }
}

/// Stands for a secret's text.
const REDACTED: &str = "<redacted>";

impl Secret {
    /// A secret that was made, not written.
    pub fn new(value: impl Into<String>) -> Self {
        Self { value: value.into().into(), source: Source::Inline }
    }

    /// The secret itself: only for what needs it.
    pub fn expose(&self) -> &str {
        self.value.expose_secret()
    }
}

impl PartialEq for Secret {
    fn eq(&self, other: &Self) -> bool {
        self.expose() == other.expose()
    }
}

impl Eq for Secret {}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.source {
            Source::Inline => f.write_str("Secret(redacted)"),
            Source::Variable(name) => write!(f, "Secret(redacted, from variable {name})"),
            Source::File(path) => write!(f, "Secret(redacted, from {})", path.display()),
        }
    }
}

impl Value for Secret {
    const STYLE: Style = Style::Secret;

    fn expects() -> String {
        r#"a secret: { env = "NAME" }, { file = "path" } or the text itself"#.to_owned()
    }

    fn schema() -> Json {
        let reference = |key: &str| {
            let text = json!({ "type": "string" });
            json!({ "type": "object", "properties": { key: text }, "required": [key], "additionalProperties": false })
        };
        json!({ "anyOf": [reference("env"), reference("file"), { "type": "string" }] })
    }

    fn written(&self) -> Json {
        self.source.written()
    }

    fn parse(node: &Node, cx: &Context<'_>) -> Result<Self, Wrong> {
        let reference = SecretReference::parse(node, cx)?;
        let missing =
            Wrong::new(Code::ConfigMissing, reference.missing_reason()).hint(Some(reference.remedy()));
        reference.secret.ok_or(missing)
    }
}

/// A written secret whose text may be missing.
pub(crate) struct SecretReference {
    pub(crate) secret: Option<Secret>,
    source: Source,
}

impl SecretReference {
    fn inline(text: &str) -> Self {
        let secret = Secret { value: text.into(), source: Source::Inline };
        Self { secret: Some(secret), source: Source::Inline }
    }

    /// An unset variable and an empty one are both missing.
    fn variable(name: &str, cx: &Context<'_>) -> Self {
        let source = Source::Variable(name.to_owned());
        let value = cx.variable(name).filter(|value| !value.is_empty());
        Self { secret: value.map(|value| Secret { value: value.into(), source: source.clone() }), source }
    }

    /// The file's text without the line break at its end.
    fn file(path: &str, cx: &Context<'_>) -> Self {
        let path = cx.relative(path.into());
        let source = Source::File(path.clone());
        let text = fs::read_to_string(&path).ok();
        let value =
            text.as_deref().map(|text| text.trim_end_matches(['\r', '\n'])).filter(|text| !text.is_empty());
        Self { secret: value.map(|value| Secret { value: value.into(), source: source.clone() }), source }
    }

    fn missing_reason(&self) -> String {
        match &self.source {
            Source::Inline => "is empty".to_owned(),
            Source::Variable(name) => format!("takes its value from the variable {name}, which is not set"),
            Source::File(path) => {
                format!("takes its value from {}, which cannot be read or is empty", path.display())
            }
        }
    }

    fn remedy(&self) -> String {
        match &self.source {
            Source::Inline => "write the secret".to_owned(),
            Source::Variable(name) => format!("set {name} in the host's environment"),
            Source::File(path) => {
                format!("put the secret into {}, readable by the host's user", path.display())
            }
        }
    }
}

impl Value for SecretReference {
    const STYLE: Style = Style::Secret;

    fn expects() -> String {
        Secret::expects()
    }

    fn schema() -> Json {
        Secret::schema()
    }

    fn written(&self) -> Json {
        self.source.written()
    }

    fn parse(node: &Node, cx: &Context<'_>) -> Result<Self, Wrong> {
        match &node.kind {
            Kind::Text(text) => Ok(Self::inline(text)),
            Kind::Table(table) => from_table(node, table, cx),
            Kind::Integer(_)
            | Kind::Huge(_)
            | Kind::Float(_)
            | Kind::Bool(_)
            | Kind::Datetime(_)
            | Kind::List(_) => Err(Wrong::kind(&Self::expects(), node)),
        }
    }
}

fn from_table(node: &Node, table: &Table, cx: &Context<'_>) -> Result<SecretReference, Wrong> {
    if let Some((key, entry)) = table.0.iter().find(|(key, _)| !matches!(key.as_str(), "env" | "file")) {
        return Err(Wrong::new(Code::ConfigUnknownKey, format!("is a secret; a secret has no key `{key}`"))
            .hint(Some(did_you_mean(key, ["env", "file"]).unwrap_or_else(SecretReference::expects)))
            .at(&entry.key));
    }
    match (table.get("env"), table.get("file")) {
        (Some(name), None) => {
            text(&name.node, "a variable's name").map(|name| SecretReference::variable(name, cx))
        }
        (None, Some(path)) => text(&path.node, "a path").map(|path| SecretReference::file(path, cx)),
        (Some(_), Some(_)) | (None, None) => {
            let reason = format!("should be {}", SecretReference::expects());
            Err(Wrong::new(Code::ConfigType, reason).at(&node.origin))
        }
    }
}
