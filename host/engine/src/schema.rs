//! JSON schemas of what the engine writes into the log itself.

use schemars::{Schema, SchemaGenerator};

/// The payload of `user_message`.
pub fn user_message(generator: &mut SchemaGenerator) -> Schema {
    generator.subschema_for::<crate::thread::UserMessage<'_>>()
}
