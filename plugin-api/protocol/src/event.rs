//! The numbered entries of a thread's log, with the payload of each.
//!
//! The host writes most of them itself. A plugin may emit two kinds, [`Thinking`] and [`MessageDelta`]; their
//! payload bytes go from the plugin to the socket unchanged, so what is accepted from a plugin is narrow:
//! see [`Emitted::decode`].

use std::{borrow::Cow, fmt};

use serde::{Deserialize, Serialize};

macro_rules! event_kinds {
    ($($variant:ident = $name:literal, $doc:literal;)*) => {
        /// The type of an event, as on the wire.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
        pub enum EventKind {
            $(#[doc = $doc] #[serde(rename = $name)] $variant,)*
        }

        impl EventKind {
            /// All kinds, in the order in which a run may have them.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// The word on the wire.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }

            /// What happened, in a sentence.
            pub const fn meaning(self) -> &'static str {
                match self { $(Self::$variant => $doc,)* }
            }
        }
    };
}

event_kinds! {
    UserMessage = "user_message", "The person's own message: first of its run.";
    AgentStarted = "agent_started", "A responder took the message.";
    AgentThinking = "agent_thinking", "What the agent is doing, for people.";
    ToolExecuting = "tool_executing", "A tool call began; written by the host.";
    ToolCompleted = "tool_completed", "A tool call ended; written by the host.";
    AgentMessageDelta = "agent_message_delta", "A piece of the streamed answer.";
    AgentDelegated = "agent_delegated", "A supervisor handed work to an agent.";
    AgentReturned = "agent_returned", "Delegated work came back.";
    RunDegraded = "run_degraded", "The run moved to another instance or to the fallback.";
    AgentCompleted = "agent_completed", "The run is over: last of its run, exactly once.";
}

impl fmt::Display for EventKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Kind numbers on the plugin border (`emit`): never reused, new ones appended.
pub mod emit_kind {
    /// [`super::Thinking`]
    pub const THINKING: u32 = 1;
    /// [`super::MessageDelta`]
    pub const MESSAGE_DELTA: u32 = 2;
}

/// Payload of `agent_thinking`.
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Thinking<'a> {
    /// What the agent is doing.
    #[serde(borrow)]
    pub text: Cow<'a, str>,
    /// Which step it is, from 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub step: Option<u32>,
    /// How far it is: 0.0 to 1.0.
    #[cfg_attr(feature = "schema", schemars(range(min = 0.0, max = 1.0)))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub progress: Option<f64>,
}

/// Payload of `agent_message_delta`.
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MessageDelta<'a> {
    /// The message that grows; the host gave it with the call.
    #[serde(borrow)]
    pub message_id: Cow<'a, str>,
    /// The text to append.
    #[serde(borrow)]
    pub text: Cow<'a, str>,
}

/// A payload that a plugin emitted and the host accepts.
#[derive(Debug, Clone, PartialEq)]
pub enum Emitted<'a> {
    /// `agent_thinking`
    Thinking(Thinking<'a>),
    /// `agent_message_delta`
    Delta(MessageDelta<'a>),
}

/// Why an emitted payload is not passed on. Each is a bounded metric label.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum EmitFault {
    /// A kind number this host does not know.
    #[error("unknown_kind")]
    UnknownKind,
    /// Above [`MAX_EVENT_BYTES`].
    #[error("too_large")]
    TooLarge,
    /// Not the JSON that the kind asks for, or JSON that would break a client.
    #[error("malformed")]
    Malformed,
    /// A number outside its range.
    #[error("out_of_range")]
    OutOfRange,
}

/// Largest payload of one emitted event.
pub const MAX_EVENT_BYTES: usize = 256 * 1024;

impl<'a> Emitted<'a> {
    /// Decodes what a plugin emitted, borrowing from it.
    ///
    /// What passes can be spliced into an envelope as it is: one line, valid UTF-8, no lone surrogate, no
    /// duplicate or unknown field, bounded numbers. (A raw-value check would let all of these through.)
    ///
    /// # Errors
    /// [`EmitFault`], to be counted; the bytes go nowhere.
    pub fn decode(kind: u32, payload: &'a [u8]) -> Result<Self, EmitFault> {
        if payload.len() > MAX_EVENT_BYTES {
            return Err(EmitFault::TooLarge);
        }
        // Raw control characters are legal JSON between tokens, but a newline there breaks SSE framing.
        if payload.iter().any(|b| *b < 0x20) {
            return Err(EmitFault::Malformed);
        }
        match kind {
            emit_kind::THINKING => {
                let thinking: Thinking<'a> =
                    serde_json::from_slice(payload).map_err(|_| EmitFault::Malformed)?;
                match thinking.progress {
                    Some(p) if !(0.0..=1.0).contains(&p) => Err(EmitFault::OutOfRange),
                    _ => Ok(Self::Thinking(thinking)),
                }
            }
            emit_kind::MESSAGE_DELTA => {
                serde_json::from_slice(payload).map(Self::Delta).map_err(|_| EmitFault::Malformed)
            }
            _ => Err(EmitFault::UnknownKind),
        }
    }

    /// The event that this becomes.
    pub fn kind(&self) -> EventKind {
        match self {
            Self::Thinking(_) => EventKind::AgentThinking,
            Self::Delta(_) => EventKind::AgentMessageDelta,
        }
    }
}

/// How a run ended: `agent_completed.status`.
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RunStatus {
    /// The agent answered.
    Ok,
    /// The fallback answered, or completed what an agent began.
    Degraded,
    /// No answer; `error` says why.
    Failed,
    /// Someone asked to stop it.
    Cancelled,
    /// The host stopped it (drain, crash of the host).
    Interrupted,
    /// The agent asks the person something; the answer begins a new run.
    InputRequired,
}

impl RunStatus {
    /// The word on the wire, and the metric label.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Degraded => "degraded",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
            Self::Interrupted => "interrupted",
            Self::InputRequired => "input_required",
        }
    }
}

/// How a tool call ended: `tool_completed.status`.
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ToolStatus {
    /// `result` holds its answer.
    Ok,
    /// `error` says why not.
    Failed,
}

/// Who answers: in `agent_started` and `agent_completed`.
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Responder {
    /// The plugin's id, or `fallback`.
    pub plugin: String,
    /// Its version.
    pub version: String,
    /// Its generation; 0 for the built-in.
    pub generation: u32,
    /// True for the fallback that is linked into the host.
    pub built_in: bool,
}

/// An error inside an event: stable code, text for people.
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EventError {
    /// A code of the table, or of the plugin's own words.
    pub code: String,
    /// What happened, for people.
    pub message: String,
    /// Whether the same message may succeed later.
    pub retryable: bool,
}
