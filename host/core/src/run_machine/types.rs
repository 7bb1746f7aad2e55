//! What goes into a run's machine and what comes out.

use std::{sync::Arc, time::Duration};

use agent_plugin_protocol::{
    Code, EventKind, PluginId, RunId, ThreadId, ToolCallId,
    call::DelegateResult,
    event::{EmitFault, EventError, Responder},
};
use bytes::Bytes;
use serde_json::Value;

use crate::{level::ServiceLevel, outcome::Outcome};

/// What a run is, before anybody took it.
#[derive(Debug, Clone)]
pub struct RunHead {
    /// The run.
    pub run: RunId,
    /// Its thread.
    pub thread: ThreadId,
    /// The id that every delta of the answer carries; the agent gets it with the call.
    pub message_id: String,
    /// The service's level when the run began: for the `agent_started` of a run that nobody took.
    pub level: ServiceLevel,
}

/// What happened to a run.
#[derive(Debug, Clone)]
pub enum RunInput {
    /// A responder took the message.
    Started {
        /// Who.
        responder: Responder,
        /// The level it is served at; see `routing::level_of_run`.
        level: ServiceLevel,
        /// For people: `assistant is on it`.
        message: String,
    },
    /// The plugin emitted something, not yet judged. What passes goes out as the same bytes.
    Emitted {
        /// The delegated work that it belongs to; `None`: it is the responder's.
        within: Option<RunId>,
        /// The kind's number.
        kind: u32,
        /// The payload.
        payload: Bytes,
    },
    /// The host began a tool call for the plugin.
    ToolStarted {
        /// As in `Emitted`.
        within: Option<RunId>,
        /// Host-made.
        tool_call_id: ToolCallId,
        /// The tool's name; may be whatever the plugin wrote.
        tool: String,
        /// The arguments.
        arguments: Value,
    },
    /// The tool call ended.
    ToolFinished {
        /// Which.
        tool_call_id: ToolCallId,
        /// Its result, or why there is none.
        result: Result<Value, EventError>,
        /// How long it took.
        duration: Duration,
    },
    /// The run moves to another responder, whose name the later events carry.
    Degraded {
        /// Who had it; used only if nobody had started.
        from: String,
        /// Who has it now.
        to: Responder,
        /// Why.
        code: Code,
        /// Why, for people.
        reason: String,
        /// Whether the same message may succeed later; an author's own word goes before the code's.
        retryable: bool,
    },
    /// A supervisor handed work to an agent, whose name the work's events carry from now on.
    Delegated {
        /// The work in which it is handed on; `None`: by the responder.
        within: Option<RunId>,
        /// Whom.
        agent: PluginId,
        /// The work's own run. The deltas of its answer carry it as their `message_id`.
        sub_run: RunId,
    },
    /// Delegated work came back. What is open within it is closed first.
    Returned {
        /// The work's own run.
        sub_run: RunId,
        /// What came.
        result: DelegateResult,
    },
    /// The responder's last word, or its failure. Ends the run.
    Finished(Outcome),
    /// Someone asked to stop it. Ends the run.
    Cancelled,
    /// The host stops it. Ends the run.
    Interrupted,
}

/// An event of the run, for the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewRunEvent {
    /// Its type.
    pub kind: EventKind,
    /// Who speaks: a plugin's id, `fallback`, or `host` for a run that nobody took.
    pub agent: Arc<str>,
    /// Its payload: one line of valid JSON.
    pub payload: Bytes,
}

/// What an input gave.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RunOutput {
    /// Events to append, in order; one append.
    pub events: Vec<NewRunEvent>,
    /// Why (a part of) the input was not passed on: to be counted.
    pub fault: Option<RunFault>,
}

/// Why an input, or a part of it, was not passed on. Each is a bounded metric label.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RunFault {
    /// The payload is not what its kind asks for.
    Emit(EmitFault),
    /// A delta for another message than that of the run, or of the work that it belongs to.
    WrongMessage,
    /// Nobody had taken the run.
    BeforeStart,
    /// A second `Started`: a move is `Degraded`.
    StartedTwice,
    /// The id of a tool call or a delegation was used before.
    DuplicateId,
    /// No such open tool call or delegated work: never begun, or closed already.
    UnknownId,
    /// The run is over.
    AfterCompletion,
}

impl RunFault {
    /// The metric label.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Emit(EmitFault::UnknownKind) => "unknown_kind",
            Self::Emit(EmitFault::TooLarge) => "too_large",
            Self::Emit(EmitFault::Malformed) => "malformed",
            Self::Emit(EmitFault::OutOfRange) => "out_of_range",
            Self::WrongMessage => "wrong_message",
            Self::BeforeStart => "before_start",
            Self::StartedTwice => "started_twice",
            Self::DuplicateId => "duplicate_id",
            Self::UnknownId => "unknown_id",
            Self::AfterCompletion => "after_completion",
        }
    }
}
