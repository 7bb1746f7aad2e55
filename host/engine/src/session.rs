//! One authenticated client connection, without its transport: what comes in, what goes out.

mod changes;
mod connection;
mod load;
mod merge;
mod page;
mod positions;
mod turns;

use std::{
    sync::{Arc, OnceLock},
    time::Duration,
};

use agent_host_core::ports::store::LogEntry;
use agent_plugin_protocol::{Code, Epoch, MessageId, PluginId, RunId, Seq, ThreadId};
use bytes::Bytes;

pub(crate) use self::turns::Turns;
pub use self::{connection::Session, load::Load};
use crate::view::Status;

/// What a client asks, decoded and judged as far as that needs no state.
#[derive(Debug, Clone)]
pub enum Incoming {
    /// A message.
    Message(Message),
    /// Replay after a position, then live.
    Subscribe {
        /// Which thread.
        thread: ThreadId,
        /// The last event that the client has.
        after: Seq,
        /// The epoch in which it got it; `None`: the client does not know.
        epoch: Option<Epoch>,
    },
    /// No more of that thread.
    Unsubscribe {
        /// Which.
        thread: ThreadId,
    },
    /// Stop a run.
    Cancel {
        /// Which.
        run: RunId,
    },
    /// The answer to a question that ended a run.
    Answer {
        /// The idempotency key of the answer.
        id: MessageId,
        /// The run that asked.
        run: RunId,
        /// Which question.
        interrupt: String,
        /// The answer.
        response: serde_json::Value,
    },
    /// The client has everything up to here.
    Ack {
        /// Of which thread.
        thread: ThreadId,
        /// Up to where.
        seq: Seq,
    },
}

/// A person's message.
#[derive(Debug, Clone)]
pub struct Message {
    /// The idempotency key.
    pub id: MessageId,
    /// The conversation; `None`: a new one.
    pub thread: Option<ThreadId>,
    /// Set where this host gave out the ids before there was a message: the thread is made with it if there is none
    /// yet, and this is its run. Never what a client made up.
    pub given: Option<RunId>,
    /// The agent asked for; `None`: the host chooses.
    pub agent: Option<PluginId>,
    /// Its text: not empty.
    pub content: String,
    /// What the client attached.
    pub metadata: serde_json::Map<String, serde_json::Value>,
}

/// What a client is told.
#[derive(Debug, Clone)]
pub enum Outgoing {
    /// A message is durable.
    Accepted(Accepted),
    /// An event of a subscribed thread.
    Event(Arc<Delivery>),
    /// The replay that follows, or that there is none.
    Subscribed(Subscribed),
    /// The service's level or what is missing changed.
    Status {
        /// As it is now.
        status: Arc<Status>,
        /// Names of what changed.
        changed: Vec<String>,
    },
    /// Something the client asked was refused. The connection stays.
    Problem(Problem),
    /// The host is going away: connect again after about this long.
    GoingAway {
        /// Jittered for each connection.
        reconnect_after: Duration,
        /// How long until runs that are not over end as interrupted, and the connection is closed.
        deadline: Duration,
    },
}

/// A message was made durable (or was already).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Accepted {
    /// The client's id.
    pub id: MessageId,
    /// Its thread.
    pub thread: ThreadId,
    /// Its run.
    pub run: RunId,
    /// The life of the log.
    pub epoch: Epoch,
    /// `seq` of the `user_message`.
    pub seq: Seq,
    /// Whether it was accepted before.
    pub duplicate: bool,
    /// The run that asked, where this is an answer.
    pub resumes: Option<RunId>,
}

/// Answer to a subscription.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subscribed {
    /// Which thread.
    pub thread: ThreadId,
    /// The life of the log.
    pub epoch: Epoch,
    /// First replayed position; `to + 1` if nothing is replayed.
    pub from: Seq,
    /// Last position of the log at this moment.
    pub to: Seq,
    /// Whether the replay joins what the client has without a hole.
    pub recovered: bool,
    /// Why not: `epoch`, `too_old`, `limit`.
    pub reason: Option<&'static str>,
}

/// A refusal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The stable code.
    pub code: Code,
    /// What happened, to what; for people.
    pub message: String,
    /// The message it is about.
    pub id: Option<MessageId>,
    /// When to try again.
    pub retry_after: Option<Duration>,
}

impl Problem {
    /// A problem in the code's own words.
    pub fn new(code: Code) -> Self {
        Self { code, message: code.meaning().to_owned(), id: None, retry_after: None }
    }
}

/// An event on its way to any number of subscribers. Each wire format is encoded at most once.
#[derive(Debug)]
pub struct Delivery {
    /// The event.
    pub entry: LogEntry,
    native: OnceLock<Bytes>,
}

impl Delivery {
    /// Wraps an event of the log.
    pub fn new(entry: LogEntry) -> Self {
        Self { entry, native: OnceLock::new() }
    }

    /// The native frame, made by `encode` for whoever needs it first.
    pub fn native(&self, encode: impl FnOnce(&LogEntry) -> Bytes) -> Bytes {
        self.native.get_or_init(|| encode(&self.entry)).clone()
    }
}

impl Outgoing {
    /// What it weighs in an outbox, in bytes: the payload, and about what its envelope takes.
    pub(crate) fn cost(&self) -> usize {
        const ENVELOPE: usize = 256;
        match self {
            Self::Event(delivery) => ENVELOPE + delivery.entry.event.payload.len(),
            Self::Accepted(_)
            | Self::Subscribed(_)
            | Self::Status { .. }
            | Self::Problem(_)
            | Self::GoingAway { .. } => ENVELOPE,
        }
    }
}

impl Problem {
    /// The same, about a message.
    #[must_use]
    pub fn about(self, id: &MessageId) -> Self {
        Self { id: Some(id.clone()), ..self }
    }

    /// The same, with a time to try again.
    #[must_use]
    pub fn retry_after(self, after: Duration) -> Self {
        Self { retry_after: Some(after), ..self }
    }
}
