//! The payloads that the host writes itself: one line of JSON each, everything in them bounded.

use std::time::Duration;

use agent_plugin_protocol::{
    Code, PluginId, RunId, ToolCallId,
    call::{DelegateResult, Question, Usage},
    event::{EventError, MAX_EVENT_BYTES, Responder, RunStatus, ToolStatus},
};
use bytes::Bytes;
use serde::Serialize;
use serde_json::{Value, json};

use super::{
    RunHead, Speaker,
    text::{self, Answer},
};
use crate::{
    level::ServiceLevel,
    outcome::{Clock, Exit, ExitReport, Outcome},
};

/// The responder of a run that nobody took.
pub(super) fn host_responder() -> Responder {
    let version = env!("CARGO_PKG_VERSION").to_owned();
    Responder { plugin: "host".to_owned(), version, generation: 0, built_in: true }
}

#[derive(Serialize)]
struct Started<'a> {
    message: String,
    level: ServiceLevel,
    responder: &'a Responder,
}

pub(super) fn started(message: &str, level: ServiceLevel, responder: &Responder) -> Bytes {
    bytes(&Started { message: text::reason(message), level, responder })
}

#[derive(Serialize)]
struct Degraded<'a> {
    from: String,
    to: &'a str,
    code: Code,
    reason: String,
}

pub(super) fn degraded(from: &str, to: &str, code: Code, reason: &str) -> Bytes {
    bytes(&Degraded { from: text::name(from), to, code, reason: text::reason(reason) })
}

#[derive(Serialize)]
struct ToolExecuting<'a> {
    tool_call_id: &'a ToolCallId,
    tool: &'a str,
    arguments: Value,
}

pub(super) fn tool_executing(id: &ToolCallId, tool: &str, arguments: &Value) -> Bytes {
    bytes(&ToolExecuting { tool_call_id: id, tool, arguments: bounded_value(arguments) })
}

#[derive(Serialize)]
struct ToolCompleted<'a> {
    tool_call_id: &'a ToolCallId,
    tool: &'a str,
    status: ToolStatus,
    #[serde(skip_serializing_if = "Option::is_none")]
    result: Option<Value>,
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

#[derive(Serialize)]
struct Delegated<'a> {
    agent: &'a PluginId,
    sub_run_id: &'a RunId,
}

pub(super) fn delegated(agent: &PluginId, sub_run_id: &RunId) -> Bytes {
    bytes(&Delegated { agent, sub_run_id })
}

#[derive(Serialize)]
struct Returned<'a> {
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

#[derive(Serialize)]
struct Completed<'a> {
    status: RunStatus,
    text: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<EventError>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    interrupts: Vec<Interrupt>,
    #[serde(skip_serializing_if = "Option::is_none")]
    usage: Option<Usage>,
    duration_ms: u64,
    responder: &'a Responder,
}

/// A question that ended the run.
#[derive(Serialize)]
struct Interrupt {
    /// Named after its run: unique, and as hard to guess.
    interrupt_id: String,
    prompt: String,
    schema: Option<Value>,
}

pub(super) fn completed(
    head: &RunHead,
    speaker: &Speaker,
    outcome: &Outcome,
    answer: Answer,
    duration: Duration,
) -> Bytes {
    let mut completed = Completed {
        status: status(outcome, speaker),
        text: String::new(),
        error: error(outcome, speaker),
        interrupts: Vec::new(),
        usage: None,
        duration_ms: millis(duration),
        responder: &speaker.responder,
    };
    match outcome {
        Outcome::Ok(reply) => {
            completed.text = reply.text.as_deref().map_or_else(|| answer.finish(), text::bounded);
            completed.usage = reply.usage;
            completed.interrupts.extend(reply.ask.as_ref().map(|question| interrupt(head, question)));
        }
        // What was streamed so far stays the answer's text: nothing that the person saw is taken back.
        Outcome::PluginError { .. }
        | Outcome::Panicked { .. }
        | Outcome::TimedOut(_)
        | Outcome::Lost(_)
        | Outcome::Refused(_)
        | Outcome::Cancelled
        | Outcome::Interrupted
        | Outcome::Violation(_) => completed.text = answer.finish(),
    }
    bytes(&completed)
}

fn interrupt(head: &RunHead, question: &Question) -> Interrupt {
    Interrupt {
        interrupt_id: format!("{}.1", head.run),
        prompt: text::bounded(&question.prompt),
        schema: question.schema.as_ref().map(bounded_value),
    }
}

fn status(outcome: &Outcome, speaker: &Speaker) -> RunStatus {
    match outcome {
        Outcome::Ok(reply) if reply.ask.is_some() => RunStatus::InputRequired,
        Outcome::Ok(_) if speaker.responder.built_in => RunStatus::Degraded,
        Outcome::Ok(_) => RunStatus::Ok,
        Outcome::Cancelled => RunStatus::Cancelled,
        Outcome::Interrupted => RunStatus::Interrupted,
        Outcome::PluginError { .. }
        | Outcome::Panicked { .. }
        | Outcome::TimedOut(_)
        | Outcome::Lost(_)
        | Outcome::Refused(_)
        | Outcome::Violation(_) => RunStatus::Failed,
    }
}

/// A degraded run says why as a failed one does: the move's code, or `agent.fallback`.
fn error(outcome: &Outcome, speaker: &Speaker) -> Option<EventError> {
    match outcome {
        Outcome::Ok(_) if !speaker.responder.built_in => None,
        Outcome::Ok(_) => Some(match &speaker.moved {
            Some((code, reason)) => {
                EventError { code: code.to_string(), message: reason.clone(), retryable: code.retryable() }
            }
            None => error_of(Code::AgentFallback),
        }),
        Outcome::Cancelled => None,
        Outcome::PluginError { code, message, retryable } => Some(EventError {
            code: Code::PluginError.to_string(),
            message: text::reason(&format!("{message} [{}]", text::name(code))),
            retryable: *retryable,
        }),
        Outcome::Panicked { message } => Some(detailed(Code::PluginPanicked, message)),
        Outcome::Lost(report) => Some(detailed(report.exit.code(), &ending(report))),
        Outcome::Violation(what) => Some(detailed(Code::PluginProtocolViolation, what)),
        Outcome::TimedOut(Clock::Tool | Clock::Idle | Clock::Run)
        | Outcome::Refused(_)
        | Outcome::Interrupted => outcome.code().map(error_of),
    }
}

/// How the process ended, without its last words: those are the operator's.
fn ending(report: &ExitReport) -> String {
    match &report.exit {
        Exit::Signal(signal) => format!("signal {signal}"),
        Exit::Status(status) => format!("status {status}"),
        Exit::Protocol(what) => what.clone(),
        Exit::Hung | Exit::Stopped | Exit::Memory | Exit::Flood => String::new(),
    }
}

fn detailed(code: Code, detail: &str) -> EventError {
    let mut error = error_of(code);
    if !detail.is_empty() {
        error.message = text::reason(&format!("{}: {detail}", code.meaning()));
    }
    error
}

/// The error that a code says by itself.
pub(super) fn error_of(code: Code) -> EventError {
    EventError { code: code.to_string(), message: code.meaning().to_owned(), retryable: code.retryable() }
}

/// An error whose texts may be a plugin's or a tool's.
pub(super) fn safe_error(error: &EventError) -> EventError {
    EventError {
        code: text::name(&error.code),
        message: text::reason(&error.message),
        retryable: error.retryable,
    }
}

/// A value that would make too large an event is replaced by a note that says so.
fn bounded_value(value: &Value) -> Value {
    let length = value.to_string().len();
    if length <= MAX_EVENT_BYTES { value.clone() } else { json!({"omitted": "too large", "bytes": length}) }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

fn bytes(payload: &impl Serialize) -> Bytes {
    // Structs of texts, numbers and `Value`s with text keys: serialising them to memory has no way to fail.
    serde_json::to_vec(payload).expect("plain data serialises").into()
}
