//! The last event of a run: how it ended, in the words of `agent_completed`.

use std::time::Duration;

use agent_plugin_protocol::{
    Code,
    call::{Question, Usage},
    event::{EventError, Responder, RunStatus},
};
use bytes::Bytes;
use serde::Serialize;
#[cfg(feature = "schema")]
use serde_json::Value;
use serde_json::value::RawValue;

use super::{
    Moved, RunHead, Speaker,
    payload::{bounded_value, bytes, error_of, millis},
    text::{self, Answer},
};
use crate::outcome::{Clock, Exit, ExitReport, Outcome};

#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[derive(Serialize)]
pub(super) struct Completed<'a> {
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
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[derive(Serialize)]
struct Interrupt {
    /// Named after its run: unique, and as hard to guess.
    interrupt_id: String,
    prompt: String,
    #[cfg_attr(feature = "schema", schemars(with = "Option<Value>"))]
    schema: Option<Box<RawValue>>,
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
        | Outcome::Deserted
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
        Outcome::Cancelled | Outcome::Deserted => RunStatus::Cancelled,
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
    match (outcome, &speaker.moved) {
        (Outcome::Ok(_), _) if !speaker.responder.built_in => None,
        (Outcome::Ok(_), Some(Moved { code, reason, retryable })) => {
            Some(EventError { code: code.to_string(), message: reason.clone(), retryable: *retryable })
        }
        (Outcome::Ok(_), None) => Some(error_of(Code::AgentFallback)),
        (failed, _) => failure_of(failed),
    }
}

/// What is said of a failed outcome, in an event or to a supervisor; `None` if it is none.
pub fn failure_of(outcome: &Outcome) -> Option<EventError> {
    match outcome {
        Outcome::Ok(_) | Outcome::Cancelled => None,
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
        | Outcome::Deserted
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
