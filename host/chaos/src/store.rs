//! A store that fails, has no room, or takes its time.

use std::sync::Arc;

use agent_host_core::{
    chaos::Kind,
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

use crate::board::Board;

/// Stands before the log.
pub struct FaultyStore {
    board: Arc<Board>,
    store: Arc<dyn Store>,
}

impl FaultyStore {
    /// Stands before that one.
    pub fn new(board: Arc<Board>, store: Arc<dyn Store>) -> Self {
        Self { board, store }
    }

    /// Before anything that is asked. Nothing has reached the log where it fails.
    async fn reached(&self) -> Result<(), StoreError> {
        self.board.pause(Kind::StoreSlow, |_| true).await;
        match self.board.hit(Kind::StoreFail, |_| true) {
            Some(_) => Err(StoreError::unavailable("an injected fault (store-fail)")),
            None => Ok(()),
        }
    }

    /// Before what takes room.
    async fn has_room(&self) -> Result<(), StoreError> {
        self.reached().await?;
        match self.board.hit(Kind::StoreFull, |_| true) {
            Some(_) => {
                let reason = "an injected fault (store-full)".to_owned();
                Err(StoreError { code: Code::StoreFull, reason })
            }
            None => Ok(()),
        }
    }
}

impl Store for FaultyStore {
    fn begin(&self, message: NewMessage) -> BoxFuture<'_, Result<Begun, StoreError>> {
        Box::pin(async move {
            self.has_room().await?;
            self.store.begin(message).await
        })
    }

    fn append(
        &self,
        thread: &ThreadId,
        events: Vec<NewEvent>,
        asked: Vec<NewQuestion>,
    ) -> BoxFuture<'_, Result<Appended, StoreError>> {
        let thread = thread.clone();
        Box::pin(async move {
            self.has_room().await?;
            self.store.append(&thread, events, asked).await
        })
    }

    fn question(&self, scope: &Scope, run: &RunId) -> BoxFuture<'_, Result<Option<Question>, StoreError>> {
        let (scope, run) = (scope.clone(), run.clone());
        Box::pin(async move {
            self.reached().await?;
            self.store.question(&scope, &run).await
        })
    }

    fn thread(
        &self,
        scope: &Scope,
        thread: &ThreadId,
    ) -> BoxFuture<'_, Result<Option<ThreadHead>, StoreError>> {
        let (scope, thread) = (scope.clone(), thread.clone());
        Box::pin(async move {
            self.reached().await?;
            self.store.thread(&scope, &thread).await
        })
    }

    fn read(
        &self,
        scope: &Scope,
        thread: &ThreadId,
        after: Seq,
        limit: usize,
    ) -> BoxFuture<'_, Result<Option<Vec<LogEntry>>, StoreError>> {
        let (scope, thread) = (scope.clone(), thread.clone());
        Box::pin(async move {
            self.reached().await?;
            self.store.read(&scope, &thread, after, limit).await
        })
    }

    fn state(&self, thread: &ThreadId, plugin: &str) -> BoxFuture<'_, Result<Option<Bytes>, StoreError>> {
        let (thread, plugin) = (thread.clone(), plugin.to_owned());
        Box::pin(async move {
            self.reached().await?;
            self.store.state(&thread, &plugin).await
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
            self.has_room().await?;
            self.store.set_state(&thread, &plugin, state).await
        })
    }

    fn unfinished(&self) -> BoxFuture<'_, Result<Vec<Unfinished>, StoreError>> {
        Box::pin(async move {
            self.reached().await?;
            self.store.unfinished().await
        })
    }

    fn threads(
        &self,
        scope: &Scope,
        before: Option<&ThreadId>,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<ThreadSummary>, StoreError>> {
        let (scope, before) = (scope.clone(), before.cloned());
        Box::pin(async move {
            self.reached().await?;
            self.store.threads(&scope, before.as_ref(), limit).await
        })
    }

    fn usage(&self, scope: &Scope) -> BoxFuture<'_, Result<Usage, StoreError>> {
        let scope = scope.clone();
        Box::pin(async move {
            self.reached().await?;
            self.store.usage(&scope).await
        })
    }

    fn delete(&self, which: Deletion) -> BoxFuture<'_, Result<usize, StoreError>> {
        Box::pin(async move {
            self.reached().await?;
            self.store.delete(which).await
        })
    }

    fn check(&self) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(async move {
            self.has_room().await?;
            self.store.check().await
        })
    }

    fn epoch(&self) -> Epoch {
        self.store.epoch()
    }

    fn damage(&self) -> Option<Code> {
        self.store.damage()
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        self.store.close()
    }
}
