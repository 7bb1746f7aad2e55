//! Values that name something: a word of a few, a plugin, an address.

use std::net::SocketAddr;

use agent_plugin_protocol::{Code, PluginId, PluginKind};
use serde_json::{Value as Json, json};

use super::{Style, Value, Wrong, text};
use crate::{error::did_you_mean, node::Node, reader::Context};

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

/// A plugin's id, as a regular expression.
pub(crate) const ID_PATTERN: &str = "^[a-z][a-z0-9-]*$";
