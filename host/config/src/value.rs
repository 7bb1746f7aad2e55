//! How a written value becomes a typed one, whatever its type: `quantity` has those with units, `name` those that name
//! something, `compound` those made of others.

mod compound;
mod name;
pub(crate) mod quantity;

use agent_plugin_protocol::Code;
use serde_json::{Value as Json, json};

pub use self::quantity::{ByteSize, parse_duration};
pub(crate) use self::{
    compound::Located,
    name::{ID_PATTERN, Word},
};
use crate::{
    node::{Kind, Node},
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

    /// A whole number out of range; who knows the range says it.
    pub(crate) fn number(number: impl std::fmt::Display) -> Self {
        Self::new(Code::ConfigRange, format!("is {number}"))
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
                if let Kind::Huge(digits) = &node.kind {
                    return Err(Wrong::number(digits));
                }
                let Kind::Integer(number) = node.kind else {
                    return Err(Wrong::kind("a whole number", node));
                };
                Self::try_from(number).map_err(|_| Wrong::number(number))
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

/// The text of a node.
pub(crate) fn text<'a>(node: &'a Node, expected: &str) -> Result<&'a str, Wrong> {
    let Kind::Text(text) = &node.kind else { return Err(Wrong::kind(expected, node)) };
    Ok(text)
}
