//! The identities of the product, each its own type so that none is taken for another.

use std::{fmt, str::FromStr, sync::Arc};

use serde::{Deserialize, Serialize, de};

/// Why a text is not an id of the kind asked for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{kind} {text:?} is not valid: {rule}")]
pub struct InvalidId {
    kind: &'static str,
    text: String,
    rule: &'static str,
}

impl InvalidId {
    fn new(kind: &'static str, text: &str, rule: &'static str) -> Self {
        // Bounded: the text may be a client's.
        Self { kind, text: text.chars().take(64).collect(), rule }
    }
}

macro_rules! text_id {
    ($(#[$doc:meta])* $name:ident, $kind:literal, $rule:literal, $most:literal $pattern:expr, $valid:expr) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
        #[serde(transparent)]
        pub struct $name(Arc<str>);

        impl $name {
            /// Parses an id.
            ///
            /// # Errors
            #[doc = concat!("[`InvalidId`] unless ", $rule, ".")]
            pub fn new(text: &str) -> Result<Self, InvalidId> {
                let valid: fn(&str) -> bool = $valid;
                if valid(text) { Ok(Self(text.into())) } else { Err(InvalidId::new($kind, text, $rule)) }
            }

            /// The id as it is written.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = InvalidId;
            fn from_str(text: &str) -> Result<Self, InvalidId> {
                Self::new(text)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}({})", stringify!($name), self.0)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: de::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
                // By a visitor: the text is looked at where it lies, and copied once.
                struct Text;

                impl de::Visitor<'_> for Text {
                    type Value = $name;

                    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                        f.write_str("a string")
                    }

                    fn visit_str<E: de::Error>(self, text: &str) -> Result<$name, E> {
                        $name::new(text).map_err(E::custom)
                    }
                }

                from.deserialize_str(Text)
            }
        }

        #[cfg(feature = "schema")]
        impl schemars::JsonSchema for $name {
            fn schema_name() -> std::borrow::Cow<'static, str> {
                stringify!($name).into()
            }

            fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
                schemars::json_schema!({
                    "type": "string", "minLength": 1, "maxLength": $most, "pattern": $pattern,
                    "description": concat!("Valid if ", $rule, "."),
                })
            }
        }
    };
}

/// The pattern of [`printable`], for schemas.
#[cfg(feature = "schema")]
const PRINTABLE: &str = "^[^\\u0000-\\u001f\\u007f-\\u009f]+$";

fn printable(text: &str, most: usize) -> bool {
    !text.is_empty() && text.len() <= most && !text.chars().any(char::is_control)
}

text_id!(
    /// Names a plugin in configuration, frames, logs and metrics.
    PluginId, "plugin id", "it is 1 to 64 characters of [a-z0-9-] that begin with a letter", 64 "^[a-z][a-z0-9-]*$",
    |t| t.len() <= 64
        && t.starts_with(|c: char| c.is_ascii_lowercase())
        && t.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
);
text_id!(
    /// Names a durable conversation.
    ThreadId, "thread id", "it is 1 to 128 printable characters", 128 PRINTABLE, |t| printable(t, 128)
);
text_id!(
    /// Names one message handled to completion.
    RunId, "run id", "it is 1 to 128 printable characters", 128 PRINTABLE, |t| printable(t, 128)
);
text_id!(
    /// The client's own name for its message: the idempotency key, scoped to (tenant, user).
    MessageId, "message id", "it is 1 to 128 printable characters", 128 PRINTABLE, |t| printable(t, 128)
);
text_id!(
    /// Joins `tool_executing` to its `tool_completed`.
    ToolCallId, "tool call id", "it is 1 to 128 printable characters", 128 PRINTABLE, |t| printable(t, 128)
);
text_id!(
    /// One life of the log. A new one means that positions taken before may no longer hold.
    Epoch, "epoch", "it is 1 to 64 printable characters", 64 PRINTABLE, |t| printable(t, 64)
);

impl ThreadId {
    /// A new, unguessable thread id that sorts by time (UUIDv7).
    pub fn random() -> Self {
        Self(written(uuid::Uuid::now_v7()))
    }
}

impl RunId {
    /// A new, unguessable run id that sorts by time (UUIDv7).
    pub fn random() -> Self {
        Self(written(uuid::Uuid::now_v7()))
    }
}

impl MessageId {
    /// A host-made id, for a message that came without one.
    pub fn random() -> Self {
        Self(written(uuid::Uuid::now_v7()))
    }
}

impl ToolCallId {
    /// A new tool call id.
    pub fn random() -> Self {
        Self(written(uuid::Uuid::now_v7()))
    }
}

impl Epoch {
    /// A new epoch, different from every earlier one.
    pub fn random() -> Self {
        Self(written(uuid::Uuid::new_v4()))
    }
}

fn written(id: uuid::Uuid) -> Arc<str> {
    let mut digits = [0; uuid::fmt::Simple::LENGTH];
    Arc::from(&*id.simple().encode_lower(&mut digits))
}

/// The position of an event in its thread: dense, from 1.
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Seq(pub u64);

impl Seq {
    /// Before the first event: `after_seq: 0` reads from the start.
    pub const START: Self = Self(0);

    /// The position that follows.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

impl fmt::Display for Seq {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Which loading of a plugin: 1 for the first, never reused while the host lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Generation(pub u32);

impl fmt::Display for Generation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// One call into a plugin: random, so that a plugin cannot guess another's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct CallId(pub u64);

impl fmt::Display for CallId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plugin_ids_follow_their_rule() {
        for good in ["a", "echo", "my-agent-2"] {
            assert_eq!(PluginId::new(good).unwrap().as_str(), good);
        }
        for bad in ["", "Echo", "2fast", "-x", "a_b", "a b", "é", &"a".repeat(65)] {
            assert!(PluginId::new(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_client_s_id_is_bounded_and_printable() {
        assert!(MessageId::new("m-1").is_ok());
        for bad in ["", "a\nb", &"x".repeat(129)] {
            assert!(MessageId::new(bad).is_err());
        }
    }

    #[test]
    fn random_ids_differ() {
        assert_ne!(ThreadId::random(), ThreadId::random());
        assert_ne!(RunId::random(), RunId::random());
    }
}
