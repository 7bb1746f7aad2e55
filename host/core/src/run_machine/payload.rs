//! The payloads that the host writes itself: one line of JSON each, everything in them bounded.

use std::time::Duration;

use agent_plugin_protocol::{
    Code, PluginId, RunId, ToolCallId,
    call::DelegateResult,
    event::{EventError, MAX_EVENT_BYTES, Responder, ToolStatus},
};
use bytes::Bytes;
use serde::Serialize;
use serde_json::{
    Value, json,
    value::{RawValue, to_raw_value},
};

use super::text;
use crate::level::ServiceLevel;

/// The responder of a run that nobody took.
pub(super) fn host_responder() -> Responder {
    let version = env!("CARGO_PKG_VERSION").to_owned();
    Responder { plugin: "host".to_owned(), version, generation: 0, built_in: true }
}

#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[derive(Serialize)]
pub(super) struct Started<'a> {
    message: String,
    level: ServiceLevel,
    responder: &'a Responder,
}

pub(super) fn started(message: &str, level: ServiceLevel, responder: &Responder) -> Bytes {
    bytes(&Started { message: text::reason(message), level, responder })
}

#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[derive(Serialize)]
pub(super) struct Degraded<'a> {
    from: String,
    to: &'a str,
    code: Code,
    reason: String,
}

pub(super) fn degraded(from: &str, to: &str, code: Code, reason: &str) -> Bytes {
    bytes(&Degraded { from: text::name(from), to, code, reason: text::reason(reason) })
}

#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[derive(Serialize)]
pub(super) struct ToolExecuting<'a> {
    tool_call_id: &'a ToolCallId,
    tool: &'a str,
    #[cfg_attr(feature = "schema", schemars(with = "Value"))]
    arguments: Box<RawValue>,
}

pub(super) fn tool_executing(id: &ToolCallId, tool: &str, arguments: &Value) -> Bytes {
    bytes(&ToolExecuting { tool_call_id: id, tool, arguments: bounded_value(arguments) })
}

#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[derive(Serialize)]
pub(super) struct ToolCompleted<'a> {
    tool_call_id: &'a ToolCallId,
    tool: &'a str,
    status: ToolStatus,
    #[cfg_attr(feature = "schema", schemars(with = "Option<Value>"))]
    #[serde(skip_serializing_if = "Option::is_none")]
    result: Option<Box<RawValue>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<EventError>,
    duration_ms: u64,
}

pub(super) fn tool_completed(
    id: &ToolCallId,
    tool: &str,
    result: Result<&Value, EventError>,
    duration: Duration,
) -> Bytes {
    let (status, result, error) = match result {
        Ok(value) => (ToolStatus::Ok, Some(bounded_value(value)), None),
        Err(error) => (ToolStatus::Failed, None, Some(error)),
    };
    bytes(&ToolCompleted { tool_call_id: id, tool, status, result, error, duration_ms: millis(duration) })
}

#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[derive(Serialize)]
pub(super) struct Delegated<'a> {
    agent: &'a PluginId,
    sub_run_id: &'a RunId,
}

pub(super) fn delegated(agent: &PluginId, sub_run_id: &RunId) -> Bytes {
    bytes(&Delegated { agent, sub_run_id })
}

#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[derive(Serialize)]
pub(super) struct Returned<'a> {
    agent: &'a PluginId,
    sub_run_id: &'a RunId,
    status: ToolStatus,
    #[serde(skip_serializing_if = "Option::is_none")]
    text: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<EventError>,
}

pub(super) fn returned(agent: &PluginId, sub_run_id: &RunId, result: &DelegateResult) -> Bytes {
    let (status, text, error) = match result {
        DelegateResult::Ok { text } => (ToolStatus::Ok, Some(text::bounded(text)), None),
        DelegateResult::Failed { code, message } => {
            let retryable = Code::parse(code).is_some_and(Code::retryable);
            let error = EventError { code: code.clone(), message: message.clone(), retryable };
            (ToolStatus::Failed, None, Some(safe_error(&error)))
        }
    };
    bytes(&Returned { agent, sub_run_id, status, text, error })
}

/// The error that a code says by itself.
pub(super) fn error_of(code: Code) -> EventError {
    EventError { code: code.to_string(), message: code.meaning().to_owned(), retryable: code.retryable() }
}

/// The error of a tool or delegation that was open when its agent answered, or when the person stopped the run.
pub(super) fn not_waited_for() -> EventError {
    EventError {
        code: Code::ToolFailed.to_string(),
        message: "the run ended before this did".to_owned(),
        retryable: true,
    }
}

/// An error whose texts may be a plugin's or a tool's.
pub(super) fn safe_error(error: &EventError) -> EventError {
    EventError {
        code: text::name(&error.code),
        message: text::reason(&error.message),
        retryable: error.retryable,
    }
}

/// A value as it is written into an event; one that would make it too large is replaced by a note that says so.
pub(super) fn bounded_value(value: &Value) -> Box<RawValue> {
    let written = |value: &Value| to_raw_value(value).expect("a value of JSON serialises");
    let whole = written(value);
    let length = whole.get().len();
    if length <= MAX_EVENT_BYTES { whole } else { written(&json!({"omitted": "too large", "bytes": length})) }
}

pub(super) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

pub(super) fn bytes(payload: &impl Serialize) -> Bytes {
    // Structs of texts, numbers and `Value`s with text keys: serialising them to memory has no way to fail.
    serde_json::to_vec(payload).expect("plain data serialises").into()
}
