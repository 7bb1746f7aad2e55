//! JSON schemas of the payloads that the run machine writes.

use agent_plugin_protocol::EventKind;
use schemars::{Schema, SchemaGenerator};

use super::{
    completion::Completed,
    payload::{Degraded, Delegated, Returned, Started, ToolCompleted, ToolExecuting},
};

/// The payload's schema. `None` for what is not written here: the person's message, and what plugins emit.
pub fn payload(kind: EventKind, generator: &mut SchemaGenerator) -> Option<Schema> {
    let schema = match kind {
        EventKind::UserMessage | EventKind::AgentThinking | EventKind::AgentMessageDelta => return None,
        EventKind::AgentStarted => generator.subschema_for::<Started<'_>>(),
        EventKind::ToolExecuting => generator.subschema_for::<ToolExecuting<'_>>(),
        EventKind::ToolCompleted => generator.subschema_for::<ToolCompleted<'_>>(),
        EventKind::AgentDelegated => generator.subschema_for::<Delegated<'_>>(),
        EventKind::AgentReturned => generator.subschema_for::<Returned<'_>>(),
        EventKind::RunDegraded => generator.subschema_for::<Degraded<'_>>(),
        EventKind::AgentCompleted => generator.subschema_for::<Completed<'_>>(),
    };
    Some(schema)
}
