//! The calls across the plugin border: what the host asks, what a plugin asks back, and how a call ends.
//!
//! Methods are texts, so that a new one needs no ABI bump: an unknown method answers
//! [`InvokeStatus::Unimplemented`] one way and [`Answer::Error`] with `unimplemented` the other.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{
    id::{MessageId, PluginId, RunId, ThreadId},
    secret::{self, Secret},
};

/// Methods that the host invokes on a plugin.
pub mod method {
    /// An agent handles a message: [`super::HandleParams`] → [`super::Completion`].
    pub const HANDLE: &str = "handle";
    /// A supervisor chooses: [`super::RouteParams`] → [`super::Completion`] whose value is [`super::RouteChoice`].
    pub const ROUTE: &str = "route";
    /// A self-test round trip: `{}` → [`super::Completion::Ok`].
    pub const PROBE: &str = "probe";
}

/// Methods that a plugin requests of its host, within a live call.
pub mod request {
    /// [`super::ToolCallParams`] → the tool's result. The host writes the two tool events.
    pub const TOOLS_CALL: &str = "tools.call";
    /// `{}` → [`super::ToolInfo`] list: what this plugin was granted.
    pub const TOOLS_LIST: &str = "tools.list";
    /// [`super::HistoryParams`] → list of [`super::HistoryEntry`].
    pub const THREAD_HISTORY: &str = "thread.history";
    /// `{}` → the JSON last stored, or null.
    pub const THREAD_STATE_GET: &str = "thread.state.get";
    /// The JSON to store for this thread and plugin → null.
    pub const THREAD_STATE_SET: &str = "thread.state.set";
    /// [`super::DelegateParams`] → [`super::DelegateResult`]; supervisors only.
    pub const DELEGATE: &str = "delegate";
    /// A model request → its answer.
    pub const LLM_COMPLETE: &str = "llm.complete";
    /// [`crate::net::Connect`] → [`crate::net::Opened`]: a connection to a peer that the operator allows.
    pub const NET_CONNECT: &str = "net.connect";
    /// [`crate::net::OfStream`] → [`crate::net::Read`].
    pub const NET_READ: &str = "net.read";
    /// [`crate::net::Write`] → null.
    pub const NET_WRITE: &str = "net.write";
    /// [`crate::net::OfStream`] → null: nothing more is written.
    pub const NET_FINISH: &str = "net.finish";
    /// [`crate::net::OfStream`] → null.
    pub const NET_CLOSE: &str = "net.close";
}

/// What a plugin gets at `create`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct CreateParams {
    /// The slot's name in the configuration.
    pub plugin: PluginId,
    /// Which loading this is.
    pub generation: u32,
    /// `[plugins.x.config]`, already checked against the plugin's schema where it has one.
    pub config: serde_json::Value,
    /// Its own secrets, by name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty", serialize_with = "secret::hand_over")]
    pub secrets: BTreeMap<String, Secret>,
    /// Its own folder; also its TMPDIR. Absent where none could be made.
    pub data_dir: Option<String>,
    /// Threads of its runtime: 1 to 16. Two, so that one blocked author thread does not stop the other runs.
    pub threads: u8,
    /// Log level wanted, in `tracing`'s words (`info`, …).
    pub log_level: String,
}

/// Why a plugin could not be created.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CreateError {
    /// What kind of failure.
    pub kind: CreateErrorKind,
    /// For people.
    pub message: String,
}

/// See [`CreateError`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CreateErrorKind {
    /// The author's code returned an error: `plugin.init_error`.
    Error,
    /// The author's code panicked: `plugin.init_panicked`.
    Panicked,
    /// The configuration does not fit its type: `plugin.config_invalid`.
    Config,
}

/// Answer to `create`: the instance lives, and this is what it can do.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Created {
    /// JSON schema of its configuration, where the author gave one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub config_schema: Option<serde_json::Value>,
}

/// What an agent is asked to handle.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct HandleParams {
    /// The run it belongs to.
    pub run_id: RunId,
    /// The conversation.
    pub thread_id: ThreadId,
    /// Tells deltas of one answer together.
    pub message_id: String,
    /// The person's message.
    pub message: IncomingMessage,
    /// True when an earlier try of this message failed.
    #[serde(default)]
    pub retry: bool,
    /// The person's answer, where this run resumes one that asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub answer: Option<InputAnswer>,
    /// The healthy agents, for a supervisor that handles the message itself.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub roster: Vec<RosterEntry>,
}

/// A person's message.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct IncomingMessage {
    /// The client's id for it.
    pub id: MessageId,
    /// Its text.
    pub content: String,
    /// What the client attached: an object.
    #[serde(default)]
    pub metadata: serde_json::Map<String, serde_json::Value>,
}

/// A person's answer to a question that ended an earlier run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct InputAnswer {
    /// The run that asked.
    pub run_id: RunId,
    /// Which question.
    pub interrupt_id: String,
    /// The answer.
    pub response: serde_json::Value,
}

/// How the author's code ended a call. How it ended otherwise (crash, hang) the host sees for itself.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "status", rename_all = "snake_case")]
pub enum Completion {
    /// Done. `value` depends on the method: [`Reply`] for `handle`, [`RouteChoice`] for `route`.
    Ok {
        /// The answer.
        value: serde_json::Value,
    },
    /// The author's code returned an error.
    Error {
        /// The author's own code: `[a-z0-9_.]`, 64 characters at most.
        code: String,
        /// For people.
        message: String,
        /// Whether the same message may succeed later.
        retryable: bool,
    },
    /// The author's code panicked; caught inside the plugin.
    Panicked {
        /// The panic's message.
        message: String,
    },
    /// The author's code noticed the cancellation and stopped.
    Cancelled,
}

/// An agent's answer.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Reply {
    /// The whole answer; where absent, the deltas joined.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    /// The question to the person: the run ends as `input_required`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ask: Option<Question>,
    /// What the models used cost.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub usage: Option<Usage>,
}

/// A question to the person.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Question {
    /// What is asked, for people.
    pub prompt: String,
    /// What the answer must look like, as a JSON schema.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schema: Option<serde_json::Value>,
}

/// Model usage of a run.
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Usage {
    /// Tokens read.
    pub input_tokens: u64,
    /// Tokens written.
    pub output_tokens: u64,
}

/// What a supervisor is asked to route.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct RouteParams {
    /// As [`HandleParams`].
    pub run_id: RunId,
    /// As [`HandleParams`].
    pub thread_id: ThreadId,
    /// The person's message.
    pub message: IncomingMessage,
    /// The healthy agents.
    pub roster: Vec<RosterEntry>,
}

/// One agent a supervisor may choose.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RosterEntry {
    /// Its name.
    pub name: PluginId,
    /// What it says of itself.
    pub description: String,
}

/// A supervisor's choice.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RouteChoice {
    /// That agent answers.
    To(PluginId),
    /// The supervisor answers itself (`handle`), delegating as it likes.
    Handle,
}

/// A tool call a plugin asks for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ToolCallParams {
    /// The tool's name.
    pub name: String,
    /// Its arguments: an object.
    pub arguments: serde_json::Value,
}

/// A tool that a plugin may call.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ToolInfo {
    /// Its name.
    pub name: String,
    /// What it does.
    pub description: String,
    /// JSON schema of its arguments.
    pub input_schema: serde_json::Value,
}

/// How far back to read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct HistoryParams {
    /// At most so many turns, newest kept.
    pub limit: u32,
}

/// One earlier turn of the conversation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HistoryEntry {
    /// `user` or `agent`.
    pub role: String,
    /// Which agent, for `agent`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent: Option<String>,
    /// What was said.
    pub text: String,
}

/// Work a supervisor hands to an agent.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DelegateParams {
    /// Who shall do it.
    pub agent: PluginId,
    /// What is asked.
    pub input: String,
}

/// What came back of delegated work. A failure is a value: the supervisor decides.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "status", rename_all = "snake_case")]
pub enum DelegateResult {
    /// The agent's answer.
    Ok {
        /// Its text.
        text: String,
    },
    /// It did not answer.
    Failed {
        /// Stable code.
        code: String,
        /// For people.
        message: String,
    },
}

/// The host's answer to a plugin's request.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "status", rename_all = "snake_case")]
pub enum Answer {
    /// Done.
    Ok {
        /// Depends on the method.
        value: serde_json::Value,
    },
    /// Refused or failed.
    Error {
        /// Stable code.
        code: String,
        /// For people.
        message: String,
        /// Whether it may succeed later.
        retryable: bool,
    },
}

/// What `invoke` answers at once, before the work begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum InvokeStatus {
    /// A completion will follow.
    Accepted,
    /// The plugin does not know the method.
    Unimplemented,
    /// The instance is draining, or its queue is full.
    Refused,
}

impl InvokeStatus {
    /// The number on the plugin border.
    pub const fn to_raw(self) -> u32 {
        match self {
            Self::Accepted => 0,
            Self::Unimplemented => 1,
            Self::Refused => 2,
        }
    }

    /// Reads the number; `None` for one that no plugin should answer.
    pub const fn from_raw(raw: u32) -> Option<Self> {
        match raw {
            0 => Some(Self::Accepted),
            1 => Some(Self::Unimplemented),
            2 => Some(Self::Refused),
            _ => None,
        }
    }
}

/// A log line of the plugin's, forwarded by the SDK.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LogLine {
    /// `error`, `warn`, `info`, `debug`, `trace`.
    pub level: String,
    /// The author's target (module path).
    pub target: String,
    /// The message.
    pub message: String,
    /// Its fields.
    #[serde(default, skip_serializing_if = "serde_json::Map::is_empty")]
    pub fields: serde_json::Map<String, serde_json::Value>,
    /// The run it was logged in, where there was one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run_id: Option<RunId>,
}

/// Events that a call may have outstanding (emitted and not yet consumed by the host). `emit` waits beyond it;
/// a plugin that goes past it all the same is ended with `plugin.flood`.
pub const CREDIT_WINDOW: u32 = 128;

/// How often the SDK's own runtime tells that it lives; three missed mean a hang.
pub const HEARTBEAT: std::time::Duration = std::time::Duration::from_secs(1);
