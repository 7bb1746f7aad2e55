//! The thread's end of the log: appends, fans out what was appended, and keeps what the store would not take.

use std::{sync::Arc, time::Duration};

use agent_host_core::ports::store::{LogEntry, NewEvent, NewQuestion};
use agent_host_telemetry::series;
use agent_plugin_protocol::{Code, Seq};
use tokio::time::Instant;

use crate::{
    directory::ThreadKey,
    session::{Delivery, Outgoing, Problem},
    shared::Shared,
};

/// Between two tries to append what the store did not take.
pub(crate) const RETRY: Duration = Duration::from_millis(500);

pub(super) struct Log {
    shared: Arc<Shared>,
    key: ThreadKey,
    /// Events of this thread that the store did not take yet, in order. Bounded by what a run may have unread: no
    /// further output is taken from its plugin until they are written.
    unwritten: Vec<NewEvent>,
    /// What their runs ended with.
    unasked: Vec<NewQuestion>,
    retry_at: Option<Instant>,
}

impl Log {
    pub(super) fn new(shared: Arc<Shared>, key: ThreadKey) -> Self {
        Self { shared, key, unwritten: Vec::new(), unasked: Vec::new(), retry_at: None }
    }

    /// When to try again what was not written; `None` while all is.
    pub(super) fn retry_at(&self) -> Option<Instant> {
        self.retry_at
    }

    /// Appends events, and the question that they end with if they do.
    pub(super) async fn append_asking(&mut self, events: Vec<NewEvent>, asked: Option<NewQuestion>) {
        self.unasked.extend(asked);
        self.append(events).await;
    }

    /// Appends in one step and tells the subscribers. What the store does not take is kept and tried again: a run's
    /// end must reach the log (law 3).
    pub(super) async fn append(&mut self, events: Vec<NewEvent>) {
        if events.is_empty() {
            return;
        }
        self.unwritten.extend(events);
        if self.retry_at.is_none() {
            self.write().await;
        }
    }

    /// Tries again.
    pub(super) async fn retry(&mut self) {
        self.write().await;
    }

    async fn write(&mut self) {
        let events = std::mem::take(&mut self.unwritten);
        let asked = std::mem::take(&mut self.unasked);
        let appended = self.shared.parts.store.append(&self.key.thread, events.clone(), asked.clone()).await;
        if !matches!(&appended, Err(gone) if gone.code == Code::ThreadNotFound) {
            self.shared.store_result("append", &appended);
        }
        match appended {
            // The thread was deleted under the run: there is no log to write to, and nobody to tell.
            Err(gone) if gone.code == Code::ThreadNotFound => self.retry_at = None,
            Ok(appended) => {
                self.retry_at = None;
                self.deliver(appended.first, events);
            }
            Err(error) => {
                if self.retry_at.is_none() {
                    self.tell_all(&Problem::new(error.code).retry_after(RETRY));
                }
                (self.unwritten, self.unasked) = (events, asked);
                self.retry_at = Some(Instant::now() + RETRY);
            }
        }
    }

    /// Tells the followers of events that are in the log, from `first` on.
    pub(super) fn deliver(&self, first: Seq, events: Vec<NewEvent>) {
        if !self.key.scope.is_self_check() {
            events.iter().for_each(|event| series::run_event(event.kind, &event.agent));
        }
        let thread = &self.key.thread;
        let deliveries: Vec<_> = (first.0..)
            .zip(events)
            .map(|(seq, event)| LogEntry { seq: Seq(seq), thread: thread.clone(), event })
            .map(|entry| Arc::new(Delivery::new(entry)))
            .collect();
        self.shared.followers.tell(&self.key, |one| {
            deliveries.iter().for_each(|delivery| one.tell(Outgoing::Event(Arc::clone(delivery))));
        });
    }

    pub(super) fn tell_all(&self, problem: &Problem) {
        self.shared.followers.tell(&self.key, |one| one.tell(Outgoing::Problem(problem.clone())));
    }

    /// Why a message cannot be accepted now, if so: the store still owes this thread an append.
    pub(super) fn refuses(&self) -> Option<Problem> {
        self.retry_at.map(|_| Problem::new(Code::StoreUnavailable).retry_after(RETRY))
    }
}
