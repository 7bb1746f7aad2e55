//! Threads, their logs and the idempotency keys. The store is the only writer of `seq`.

mod around;

use std::{sync::Arc, time::SystemTime};

use agent_plugin_protocol::{Code, Epoch, EventKind, MessageId, PluginId, RunId, Seq, ThreadId};
use bytes::Bytes;
use serde::Serialize;

use super::BoxFuture;
use crate::identity::Scope;

pub use around::{Around, Room};

/// A durable log of threads.
///
/// All methods answer after the effect is as durable as the store can make it. Cancel safe: a dropped call may
/// still take effect, as a whole.
pub trait Store: Send + Sync + 'static {
    /// Accepts a message: idempotency check, thread check (or a new thread), the mark on the question that it answers
    /// and the append of `user_message`, as one step.
    fn begin(&self, message: NewMessage) -> BoxFuture<'_, Result<Begun, StoreError>>;

    /// Appends events to a thread's log; their `seq` follow each other without gap. With them it keeps the questions
    /// that their runs ended with. All or nothing.
    fn append(
        &self,
        thread: &ThreadId,
        events: Vec<NewEvent>,
        asked: Vec<NewQuestion>,
    ) -> BoxFuture<'_, Result<Appended, StoreError>>;

    /// The question that a run of this scope ended with. A foreign one is absent (law 7).
    fn question(&self, scope: &Scope, run: &RunId) -> BoxFuture<'_, Result<Option<Question>, StoreError>>;

    /// The head of a thread, if `scope` owns it. A foreign thread is absent (law 7).
    fn thread(
        &self,
        scope: &Scope,
        thread: &ThreadId,
    ) -> BoxFuture<'_, Result<Option<ThreadHead>, StoreError>>;

    /// Events after `after`, oldest first, at most `limit`; `None` if `scope` does not own the thread.
    fn read(
        &self,
        scope: &Scope,
        thread: &ThreadId,
        after: Seq,
        limit: usize,
    ) -> BoxFuture<'_, Result<Option<Vec<LogEntry>>, StoreError>>;

    /// The JSON that a plugin keeps for a thread.
    fn state(&self, thread: &ThreadId, plugin: &str) -> BoxFuture<'_, Result<Option<Bytes>, StoreError>>;

    /// Stores the JSON that a plugin keeps for a thread.
    fn set_state(
        &self,
        thread: &ThreadId,
        plugin: &str,
        state: Bytes,
    ) -> BoxFuture<'_, Result<(), StoreError>>;

    /// The runs that were accepted and have no `agent_completed`, oldest first: after a restart the host completes
    /// each. A run that is going on is among them.
    fn unfinished(&self) -> BoxFuture<'_, Result<Vec<Unfinished>, StoreError>>;

    /// A user's threads, newest first, at most `limit`, older than `before` if that is given (and known).
    fn threads(
        &self,
        scope: &Scope,
        before: Option<&ThreadId>,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<ThreadSummary>, StoreError>>;

    /// What a user's threads take, as it is counted against the quota.
    fn usage(&self, scope: &Scope) -> BoxFuture<'_, Result<Usage, StoreError>>;

    /// Deletes threads with their events, questions, plugins' state and idempotency keys; answers how many it deleted.
    /// Each thread goes as a whole.
    fn delete(&self, which: Deletion) -> BoxFuture<'_, Result<usize, StoreError>>;

    /// Whether an append would work now: asked at the start, and again and again after one failed. A store that
    /// cannot tell says yes; the next append then shows.
    fn check(&self) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(std::future::ready(Ok(())))
    }

    /// The life of the log.
    fn epoch(&self) -> Epoch;

    /// What of the store is amiss although it appends: `store.corrupt`, if a damaged log was set aside.
    fn damage(&self) -> Option<Code> {
        None
    }

    /// Writes down that the store ends in order. What is asked of it afterwards fails.
    fn close(&self) -> BoxFuture<'_, ()> {
        Box::pin(std::future::ready(()))
    }
}

/// A message to accept.
#[derive(Debug, Clone)]
pub struct NewMessage {
    /// Whose.
    pub scope: Scope,
    /// The idempotency key, scoped by `scope`.
    pub id: MessageId,
    /// Digest of the body, thread included: the same id with another digest is a conflict.
    pub body_hash: [u8; 32],
    /// The thread to use; if `new_thread`, the one to make.
    pub thread: ThreadId,
    /// Whether the thread is to be made.
    pub new_thread: bool,
    /// The run that the message gets if it is new.
    pub run: RunId,
    /// The `user_message` payload.
    pub payload: Bytes,
    /// Now.
    pub time: SystemTime,
    /// Accept it only if it was accepted before: there is no room for a new one.
    pub repeat_only: bool,
    /// What its user may have stored; a repeat needs no room.
    pub quota: Quota,
    /// The question that it answers: only the first message that does is accepted.
    pub answers: Option<Answered>,
}

/// Which question a message answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answered {
    /// The run that ended with it.
    pub run: RunId,
    /// Its name.
    pub interrupt: String,
}

/// A question that ends a run, to be kept with the run's last event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewQuestion {
    /// The run.
    pub run: RunId,
    /// Its name.
    pub interrupt: String,
    /// Who asks, and gets the answer.
    pub agent: PluginId,
}

/// A question to the person, as it is kept for as long as its thread.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Question {
    /// Where it was asked.
    pub thread: ThreadId,
    /// Its name.
    pub interrupt: String,
    /// Who asked, and gets the answer.
    pub agent: PluginId,
    /// The message that answered it.
    pub answered_by: Option<MessageId>,
}

impl Question {
    /// Whether a message that says so may still answer it.
    pub fn takes(&self, answer: &Answered) -> bool {
        self.answered_by.is_none() && self.interrupt == answer.interrupt
    }
}

/// What one user may have stored; 0 is no limit. Asked only when a message is accepted: a run that is under way is
/// written to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Quota {
    /// Threads.
    pub threads: u64,
    /// Bytes, as [`Usage`] counts them.
    pub bytes: u64,
}

/// What a user has stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Usage {
    /// Threads.
    pub threads: u64,
    /// Payloads of their events, and [`EVENT_COST`] for each event.
    pub bytes: u64,
}

/// What an event takes beside its payload, about: so that a million empty events are not free.
pub const EVENT_COST: u64 = 64;

/// What became of a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Begun {
    /// Accepted.
    New {
        /// `seq` of the `user_message`.
        seq: Seq,
    },
    /// Accepted earlier, with the same body.
    Duplicate {
        /// Its thread.
        thread: ThreadId,
        /// Its run.
        run: RunId,
        /// `seq` of its `user_message`.
        seq: Seq,
        /// Whether its run is not completed: it is going on, or was cut off.
        open: bool,
    },
    /// The id was used with another body: `idempotency.conflict`.
    Conflict,
    /// No such thread in this scope: `thread.not_found`.
    NoThread,
    /// It answers a question that is not there, or was answered: `interrupt.not_found`. Nothing happened.
    NoQuestion,
    /// Only a repeat was wanted, and this is none. Nothing happened.
    NotKnown,
    /// The user has as many threads as the quota allows: `quota.threads`. Nothing happened.
    TooManyThreads,
    /// The user has stored as much as the quota allows: `quota.storage`. Nothing happened.
    TooMuchStored,
}

/// An event to append.
#[derive(Debug, Clone)]
pub struct NewEvent {
    /// Its run.
    pub run: RunId,
    /// Its type.
    pub kind: EventKind,
    /// Who speaks: a plugin's id, `fallback`, `user` or `host`.
    pub agent: Arc<str>,
    /// Now.
    pub time: SystemTime,
    /// Its payload: one line of valid JSON.
    pub payload: Bytes,
}

/// An event in the log.
#[derive(Debug, Clone)]
pub struct LogEntry {
    /// Its position.
    pub seq: Seq,
    /// Its thread.
    pub thread: ThreadId,
    /// The rest.
    pub event: NewEvent,
}

/// Where appended events landed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Appended {
    /// `seq` of the first; the others follow.
    pub first: Seq,
}

/// A thread's end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ThreadHead {
    /// `seq` of the last event.
    pub last: Seq,
    /// When the thread began.
    pub created: SystemTime,
}

/// A run without its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unfinished {
    /// Whose.
    pub scope: Scope,
    /// Its thread.
    pub thread: ThreadId,
    /// The run.
    pub run: RunId,
    /// `seq` of its `user_message`.
    pub seq: Seq,
}

/// A thread in a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ThreadSummary {
    /// Which.
    pub thread: ThreadId,
    /// When it began.
    pub created: SystemTime,
    /// When a message was last accepted or completed in it.
    pub used: SystemTime,
    /// `seq` of its last event.
    pub last: Seq,
}

/// Which threads to delete.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Deletion {
    /// One, if the scope owns it.
    Thread(Scope, ThreadId),
    /// All of one user.
    User(Scope),
    /// All of one tenant.
    Tenant(Arc<str>),
    /// Those not used since a time, without an open run; at most so many, the longest unused first.
    Unused {
        /// Whose.
        of: Tenants,
        /// Since when.
        since: SystemTime,
        /// How many.
        limit: usize,
    },
}

/// Which tenants.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Tenants {
    /// One.
    Only(Arc<str>),
    /// All but these.
    Except(Arc<[Arc<str>]>),
}

impl Tenants {
    /// Whether that tenant is meant.
    pub fn has(&self, tenant: &str) -> bool {
        match self {
            Self::Only(one) => **one == *tenant,
            Self::Except(others) => !others.iter().any(|other| **other == *tenant),
        }
    }
}

impl StoreError {
    /// `store.unavailable`.
    pub fn unavailable(reason: impl Into<String>) -> Self {
        Self { code: Code::StoreUnavailable, reason: reason.into() }
    }
}

/// How long what the store keeps is kept, as its operator says.
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Durability {
    /// It outlives the machine.
    #[default]
    Durable,
    /// It goes with the machine.
    Ephemeral,
    /// It goes with the host.
    Memory,
}

impl Durability {
    /// Whether there is nothing to say of it.
    pub fn is_durable(&self) -> bool {
        *self == Self::Durable
    }
}

/// Why the store did not do it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct StoreError {
    /// `store.unavailable`, `store.full`, ….
    pub code: Code,
    /// For the log.
    pub reason: String,
}
