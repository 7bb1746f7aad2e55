//! Events that are in the journal and not in the tables yet, for whoever reads beside the writer.
//!
//! A reader looks here first and into the tables then: what was moved there meanwhile it finds twice, and what it does not
//! find here was in the tables before it looked.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::SystemTime,
};

use agent_host_core::ports::store::{EVENT_COST, LogEntry, NewEvent};
use agent_plugin_protocol::{EventKind, RunId, Seq, ThreadId};

use super::tables;

/// Events that were appended together, and where they begin.
#[derive(Debug, Clone)]
pub(super) struct Piece {
    pub(super) first: Seq,
    pub(super) events: Arc<Vec<NewEvent>>,
}

impl Piece {
    pub(super) fn last(&self) -> Seq {
        Seq(self.first.0 + self.events.len() as u64 - 1)
    }

    pub(super) fn entries(&self) -> impl Iterator<Item = (Seq, &NewEvent)> {
        (self.first.0..).map(Seq).zip(self.events.iter())
    }
}

/// By thread, each in order. Written by the writer after a commit; locked for a few map operations.
#[derive(Debug, Default)]
pub(super) struct Recent {
    threads: Mutex<HashMap<ThreadId, Vec<Piece>>>,
}

impl Recent {
    /// Adds what was committed.
    pub(super) fn publish(&self, fresh: impl IntoIterator<Item = (ThreadId, Piece)>) {
        let mut threads = self.lock();
        for (thread, piece) in fresh {
            threads.entry(thread).or_default().push(piece);
        }
    }

    /// The tables have all of it.
    pub(super) fn clear(&self) {
        // Dropped after the lock is given back.
        let moved = std::mem::take(&mut *self.lock());
        drop(moved);
    }

    /// What there is now.
    pub(super) fn snapshot(&self) -> Self {
        Self { threads: Mutex::new(self.lock().clone()) }
    }

    /// What there is of a thread.
    pub(super) fn of(&self, thread: &ThreadId) -> Tail {
        Tail(self.lock().get(thread).cloned().unwrap_or_default())
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<ThreadId, Vec<Piece>>> {
        // A panic inside leaves whole pieces.
        self.threads.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The end of a thread's log, which the tables may have by now.
#[derive(Debug)]
pub(super) struct Tail(Vec<Piece>);

impl Tail {
    /// Without what the tables have, up to their last event.
    pub(super) fn behind(mut self, last: Seq) -> Self {
        self.0.retain(|piece| piece.first > last);
        self
    }

    pub(super) fn last(&self) -> Option<Seq> {
        self.0.last().map(Piece::last)
    }

    /// When a message was last accepted or completed.
    pub(super) fn used(&self) -> Option<SystemTime> {
        self.events().filter(|event| tables::lasts(event)).map(|event| event.time).max()
    }

    /// What it takes of a quota.
    pub(super) fn bytes(&self) -> u64 {
        self.events().map(|event| EVENT_COST + event.payload.len() as u64).sum()
    }

    /// Whether a run is open at its end, where those in `open` were at its begin.
    pub(super) fn is_open(&self, mut open: Vec<RunId>) -> bool {
        for event in self.events() {
            match event.kind {
                EventKind::UserMessage => open.push(event.run.clone()),
                EventKind::AgentCompleted => open.retain(|run| *run != event.run),
                EventKind::AgentStarted
                | EventKind::AgentThinking
                | EventKind::ToolExecuting
                | EventKind::ToolCompleted
                | EventKind::AgentMessageDelta
                | EventKind::AgentDelegated
                | EventKind::AgentReturned
                | EventKind::RunDegraded => {}
            }
        }
        !open.is_empty()
    }

    /// Adds to the events that the tables have after a position what they do not have, up to the limit.
    pub(super) fn continue_page(
        &self,
        thread: &ThreadId,
        after: Seq,
        limit: usize,
        page: &mut Vec<LogEntry>,
    ) {
        let after = page.last().map_or(after, |entry| entry.seq);
        let missing = self.0.iter().flat_map(Piece::entries).filter(|(seq, _)| *seq > after);
        let room = limit.saturating_sub(page.len());
        page.extend(missing.take(room).map(|(seq, event)| LogEntry {
            seq,
            thread: thread.clone(),
            event: event.clone(),
        }));
    }

    fn events(&self) -> impl Iterator<Item = &NewEvent> {
        self.0.iter().flat_map(|piece| piece.events.iter())
    }
}
