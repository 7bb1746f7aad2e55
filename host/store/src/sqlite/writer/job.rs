//! What the writer is asked, and its answers, which wait for the commit.

use agent_host_core::{
    identity::Scope,
    ports::store::{Appended, Begun, Deletion, NewEvent, NewMessage, NewQuestion, StoreError, Usage},
};
use agent_plugin_protocol::{Code, ThreadId};
use bytes::Bytes;
use rusqlite::Connection;
use tokio::sync::oneshot;

use super::{
    super::tables::{self, Tables},
    transaction::probe,
};

/// Where an answer goes. Closed, nobody waits for it any more: see [`Job::done`].
pub(in super::super) type Reply<T> = oneshot::Sender<Result<T, StoreError>>;

/// What the writer is asked to do.
pub(in super::super) enum Job {
    Begin(Box<NewMessage>, Reply<Begun>),
    Append {
        thread: ThreadId,
        events: Vec<NewEvent>,
        asked: Vec<NewQuestion>,
        reply: Reply<Appended>,
    },
    SetState(ThreadId, String, Bytes, Reply<()>),
    Delete(Deletion, Reply<usize>),
    Usage(Scope, Reply<Usage>),
    /// Bring the tables up to date.
    Settle(Reply<()>),
    Check(Reply<()>),
    Close(Reply<()>),
}

/// An answer that waits for the commit.
pub(super) enum Answer {
    Begun(Reply<Begun>, Result<Begun, StoreError>),
    Appended(Reply<Appended>, Result<Appended, StoreError>),
    Done(Reply<()>, Result<(), StoreError>),
    Deleted(Reply<usize>, Result<usize, StoreError>),
    Counted(Reply<Usage>, Result<Usage, StoreError>),
}

impl Job {
    /// Whether its effect must survive the end of the machine.
    pub(super) fn waits_for_the_disk(&self) -> bool {
        match self {
            Self::Begin(..) | Self::Delete(..) | Self::Check(_) | Self::Close(_) => true,
            Self::Append { events, .. } => events.iter().any(tables::lasts),
            Self::SetState(..) | Self::Usage(..) | Self::Settle(_) => false,
        }
    }

    pub(super) fn done(self, tables: &mut Tables, db: &Connection) -> Answer {
        match self {
            // Whoever gave up has told the client so: a message that was refused is not accepted afterwards.
            Self::Begin(_, reply) if reply.is_closed() => {
                Answer::Begun(reply, Err(StoreError::unavailable("given up")))
            }
            Self::Begin(message, reply) => Answer::Begun(reply, tables.begin(db, &message)),
            Self::Append { thread, events, asked, reply } => {
                Answer::Appended(reply, tables.append(db, &thread, events, &asked))
            }
            Self::SetState(thread, plugin, state, reply) => {
                Answer::Done(reply, tables.set_state(db, &thread, &plugin, &state))
            }
            Self::Delete(which, reply) => Answer::Deleted(reply, tables.delete(db, &which)),
            Self::Usage(scope, reply) => Answer::Counted(reply, tables.usage(db, &scope)),
            Self::Check(reply) => Answer::Done(reply, probe(db)),
            Self::Settle(reply) => Answer::Done(reply, tables.settle(db)),
            Self::Close(reply) => Answer::Done(reply, Ok(())),
        }
    }

    pub(super) fn refused(self, error: &StoreError) -> Answer {
        let error = error.clone();
        match self {
            Self::Begin(_, reply) => Answer::Begun(reply, Err(error)),
            Self::Append { reply, .. } => Answer::Appended(reply, Err(error)),
            Self::Delete(_, reply) => Answer::Deleted(reply, Err(error)),
            Self::Usage(_, reply) => Answer::Counted(reply, Err(error)),
            Self::SetState(_, _, _, reply)
            | Self::Check(reply)
            | Self::Settle(reply)
            | Self::Close(reply) => Answer::Done(reply, Err(error)),
        }
    }
}

impl Answer {
    /// What the disk says, where the request failed by it.
    pub(super) fn failure(&self) -> Option<StoreError> {
        let error = match self {
            Self::Begun(reply, _) if reply.is_closed() => None,
            Self::Begun(_, result) => result.as_ref().err(),
            Self::Appended(_, result) => result.as_ref().err(),
            Self::Done(_, result) => result.as_ref().err(),
            Self::Deleted(_, result) => result.as_ref().err(),
            Self::Counted(_, result) => result.as_ref().err(),
        };
        error.filter(|error| !matches!(error.code, Code::ThreadNotFound | Code::QuotaStorage)).cloned()
    }

    /// Sends it; whatever it is, it is not so if the group failed. Who waits no more is not told.
    pub(super) fn send(self, committed: &Result<(), StoreError>) {
        fn or<T>(result: Result<T, StoreError>, committed: &Result<(), StoreError>) -> Result<T, StoreError> {
            committed.clone().and(result)
        }
        match self {
            Self::Begun(reply, result) => drop(reply.send(or(result, committed))),
            Self::Appended(reply, result) => drop(reply.send(or(result, committed))),
            Self::Done(reply, result) => drop(reply.send(or(result, committed))),
            Self::Deleted(reply, result) => drop(reply.send(or(result, committed))),
            Self::Counted(reply, result) => drop(reply.send(or(result, committed))),
        }
    }
}
