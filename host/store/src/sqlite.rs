//! The log on disk: SQLite in WAL mode, one thread that writes, a few connections that read.
//!
//! Starting it never fails and never waits: the file is opened and checked by the writer's thread, and what is asked
//! meanwhile waits for that. A file that cannot be opened is tried again whenever somebody asks.

mod archive;
mod body;
mod condition;
mod failure;
mod journal;
mod open;
mod position;
mod queries;
mod readers;
mod recent;
mod schema;
mod tables;
mod writer;

use std::{sync::Arc, time::Duration};

use agent_host_core::{
    identity::Scope,
    ports::{
        BoxFuture,
        store::{
            Appended, Begun, Deletion, LogEntry, NewEvent, NewMessage, NewQuestion, Question, Store,
            StoreError, ThreadHead, ThreadSummary, Unfinished, Usage,
        },
    },
};
use agent_plugin_protocol::{Code, Epoch, RunId, Seq, ThreadId};
use bytes::Bytes;
use tokio::sync::{mpsc, oneshot};

pub use self::{
    archive::{Archive, OwnedThread, restore},
    open::Place,
};
use self::{
    condition::Shared,
    readers::Readers,
    writer::{Job, Reply, Writer},
};
use crate::fault;

/// Requests that may wait for the writer. When full, whoever asks waits: a thread's task, and only its own person.
const QUEUE: usize = 4096;

/// Threads, logs and idempotency keys in a file.
#[derive(Debug)]
pub struct SqliteStore {
    shared: Arc<Shared>,
    jobs: mpsc::Sender<Job>,
    readers: Readers,
}

impl SqliteStore {
    /// Starts the writer, which opens the log or makes it. After `patience` a commit is taken as one that may not end:
    /// what comes is refused at once, and the level falls.
    pub fn start(place: Place, patience: Duration) -> Self {
        let shared = Arc::new(Shared::new(patience));
        let (jobs, asked) = mpsc::channel(QUEUE);
        let readers = Readers::new(place.clone());
        let writes = Arc::clone(&shared);
        let spawned = std::thread::Builder::new()
            .name("log-writer".to_owned())
            .spawn(move || Writer::run(place, writes, asked));
        if let Err(error) = spawned {
            let error = StoreError::unavailable(format!("the log's thread does not start: {error}"));
            shared.became(condition::Condition::Failed(error));
        }
        Self { shared, jobs, readers }
    }

    /// Asks the writer, and waits for its answer for as long as it takes.
    async fn ask<T>(&self, job: impl FnOnce(Reply<T>) -> Job) -> Result<T, StoreError> {
        let (reply, answer) = oneshot::channel();
        let gone = || StoreError::unavailable("the log's writer has ended");
        self.jobs.send(job(reply)).await.map_err(|_| gone())?;
        answer.await.map_err(|_| gone())?
    }

    async fn read_log<T: Send + 'static>(
        &self,
        doing: &'static str,
        read: impl FnOnce(&rusqlite::Connection) -> Result<T, readers::Failure> + Send + 'static,
    ) -> Result<T, StoreError> {
        fault::read().await?;
        if let Err(error) = self.shared.opened().await {
            self.readers.clear();
            return Err(error);
        }
        self.readers.read(doing, read).await
    }
}

impl Store for SqliteStore {
    fn begin(&self, message: NewMessage) -> BoxFuture<'_, Result<Begun, StoreError>> {
        Box::pin(async move {
            if fault::forgets() {
                return Ok(Begun::New { seq: Seq::START.next() });
            }
            fault::begin().await?;
            if self.shared.is_stalled() {
                return Err(self.shared.stalled());
            }
            // A message that nobody waits for any more is not accepted, unless its commit was under way already: then
            // it is a repeat when it comes again, and its run is found open.
            let begun = self.ask(|reply| Job::Begin(Box::new(message), reply));
            let answered = tokio::time::timeout(self.shared.patience(), begun).await;
            answered.unwrap_or_else(|_| Err(self.shared.stalled()))
        })
    }

    /// Waits for as long as the disk takes: to give up would leave it open whether the events are in the log.
    fn append(
        &self,
        thread: &ThreadId,
        events: Vec<NewEvent>,
        asked: Vec<NewQuestion>,
    ) -> BoxFuture<'_, Result<Appended, StoreError>> {
        let thread = thread.clone();
        Box::pin(async move {
            fault::append().await?;
            self.ask(|reply| Job::Append { thread, events, asked, reply }).await
        })
    }

    fn question(&self, scope: &Scope, run: &RunId) -> BoxFuture<'_, Result<Option<Question>, StoreError>> {
        let (scope, run) = (scope.clone(), run.clone());
        Box::pin(self.read_log("looking for a question", move |db| queries::question(db, &scope, &run)))
    }

    fn thread(
        &self,
        scope: &Scope,
        thread: &ThreadId,
    ) -> BoxFuture<'_, Result<Option<ThreadHead>, StoreError>> {
        let (scope, thread, shared) = (scope.clone(), thread.clone(), Arc::clone(&self.shared));
        Box::pin(self.read_log("reading a thread", move |db| {
            let tail = shared.recent().of(&thread);
            queries::thread(db, &scope, &thread)?.map(|found| queries::head(db, &found, &tail)).transpose()
        }))
    }

    fn read(
        &self,
        scope: &Scope,
        thread: &ThreadId,
        after: Seq,
        limit: usize,
    ) -> BoxFuture<'_, Result<Option<Vec<LogEntry>>, StoreError>> {
        let (scope, thread, shared) = (scope.clone(), thread.clone(), Arc::clone(&self.shared));
        Box::pin(self.read_log("reading events", move |db| {
            let tail = shared.recent().of(&thread);
            let found = queries::thread(db, &scope, &thread)?;
            let page = |found| queries::events(db, &found, &thread, after, limit, &tail);
            found.map(page).transpose()
        }))
    }

    fn state(&self, thread: &ThreadId, plugin: &str) -> BoxFuture<'_, Result<Option<Bytes>, StoreError>> {
        let (thread, plugin) = (thread.clone(), plugin.to_owned());
        Box::pin(async move {
            let name = thread.clone();
            let found = self
                .read_log("reading a plugin's state", move |db| queries::state(db, &thread, &plugin))
                .await?;
            found
                .ok_or_else(|| StoreError { code: Code::ThreadNotFound, reason: format!("no thread {name}") })
        })
    }

    fn set_state(
        &self,
        thread: &ThreadId,
        plugin: &str,
        state: Bytes,
    ) -> BoxFuture<'_, Result<(), StoreError>> {
        let (thread, plugin) = (thread.clone(), plugin.to_owned());
        Box::pin(async move {
            fault::append().await?;
            self.ask(|reply| Job::SetState(thread, plugin, state, reply)).await
        })
    }

    fn unfinished(&self) -> BoxFuture<'_, Result<Vec<Unfinished>, StoreError>> {
        Box::pin(async move {
            // Asked when the host starts and when the store is back: the tables are brought up to date for it.
            self.ask(Job::Settle).await?;
            self.read_log("looking for open runs", queries::unfinished).await
        })
    }

    fn threads(
        &self,
        scope: &Scope,
        before: Option<&ThreadId>,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<ThreadSummary>, StoreError>> {
        let (scope, before, shared) = (scope.clone(), before.cloned(), Arc::clone(&self.shared));
        Box::pin(self.read_log("listing threads", move |db| {
            queries::threads(db, &scope, before.as_ref(), limit, &shared.recent().snapshot())
        }))
    }

    fn usage(&self, scope: &Scope) -> BoxFuture<'_, Result<Usage, StoreError>> {
        let scope = scope.clone();
        Box::pin(self.ask(|reply| Job::Usage(scope, reply)))
    }

    fn delete(&self, which: Deletion) -> BoxFuture<'_, Result<usize, StoreError>> {
        Box::pin(async move {
            fault::append().await?;
            self.ask(|reply| Job::Delete(which, reply)).await
        })
    }

    fn check(&self) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(async move {
            fault::append().await?;
            if self.shared.is_stalled() {
                return Err(self.shared.stalled());
            }
            self.ask(Job::Check).await
        })
    }

    fn epoch(&self) -> Epoch {
        self.shared.epoch()
    }

    fn damage(&self) -> Option<Code> {
        self.shared.damage()
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            self.readers.clear();
            // Whatever it says, the host ends; what was committed is in the file.
            let _ = self.ask(Job::Close).await;
        })
    }
}

#[cfg(test)]
mod tests;
