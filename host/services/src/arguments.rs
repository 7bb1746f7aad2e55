//! Reads a tool's arguments: an object with known fields only, each of its type.

use agent_host_core::{ports::tools::ToolError, sanitise};
use agent_plugin_protocol::Code;
use serde_json::{Map, Value};

/// The arguments of one call.
#[derive(Debug)]
pub(crate) struct Arguments<'a> {
    fields: Option<&'a Map<String, Value>>,
}

impl<'a> Arguments<'a> {
    /// An object with no fields but `known`; null counts as an empty one, as some models send it so.
    pub(crate) fn read(value: &'a Value, known: &[&str]) -> Result<Self, ToolError> {
        let fields = match value {
            Value::Null => None,
            Value::Object(fields) => Some(fields),
            Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => {
                return Err(invalid("the arguments are not an object"));
            }
        };
        let unknown =
            fields.into_iter().flatten().map(|(name, _)| name).find(|n| !known.contains(&n.as_str()));
        match unknown {
            None => Ok(Self { fields }),
            Some(name) => Err(invalid(&format!("unknown argument `{}`", sanitise::line(name, 64)))),
        }
    }

    /// A text that must be there.
    pub(crate) fn text(&self, name: &str) -> Result<&'a str, ToolError> {
        match self.field(name) {
            Some(Value::String(text)) => Ok(text),
            Some(_) => Err(invalid(&format!("`{name}` is not a text"))),
            None => Err(invalid(&format!("`{name}` is missing"))),
        }
    }

    /// A whole number within a range, if it is there.
    pub(crate) fn whole(&self, name: &str, least: i64, most: i64) -> Result<Option<i64>, ToolError> {
        match self.field(name) {
            None | Some(Value::Null) => Ok(None),
            Some(value) => match value.as_i64() {
                Some(number) if (least..=most).contains(&number) => Ok(Some(number)),
                _ => Err(invalid(&format!("`{name}` is not a whole number from {least} to {most}"))),
            },
        }
    }

    fn field(&self, name: &str) -> Option<&'a Value> {
        self.fields.and_then(|fields| fields.get(name))
    }
}

/// `tool.invalid_arguments`
pub(crate) fn invalid(message: &str) -> ToolError {
    ToolError { code: Code::ToolInvalidArguments, message: message.to_owned() }
}
