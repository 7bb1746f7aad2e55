//! What stands before a store: all that is asked of it goes through one place, so that a decorator says only what it does.

use std::sync::Arc;

use agent_plugin_protocol::{Code, Epoch, RunId, Seq, ThreadId};
use bytes::Bytes;

use super::{
    Appended, Begun, Deletion, LogEntry, NewEvent, NewMessage, NewQuestion, Question, Store, StoreError,
    ThreadHead, ThreadSummary, Unfinished, Usage,
};
use crate::{identity::Scope, ports::BoxFuture};

/// Whether what is asked of a store takes room in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Room {
    /// It writes, or asks whether a write would work.
    Taken,
    /// It reads, or makes room.
    NotTaken,
}

/// Stands before a store, and is one.
///
/// `asking` makes the question's future out of the store; the store is called when that is polled. A decorator asks before,
/// after, around it, or not at all. What it answers is what its caller gets.
pub trait Around: Send + Sync + 'static {
    /// Asks the store behind something.
    fn ask<'a, T, F, A>(&'a self, room: Room, asking: F) -> BoxFuture<'a, Result<T, StoreError>>
    where
        T: Send + 'a,
        F: FnOnce(Arc<dyn Store>) -> A + Send + 'a,
        A: Future<Output = Result<T, StoreError>> + Send + 'a;

    /// As [`Store::epoch`].
    fn epoch_behind(&self) -> Epoch;

    /// As [`Store::damage`].
    fn damage_behind(&self) -> Option<Code>;

    /// As [`Store::close`].
    fn close_behind(&self) -> BoxFuture<'_, ()>;
}

impl<D: Around> Store for D {
    fn begin(&self, message: NewMessage) -> BoxFuture<'_, Result<Begun, StoreError>> {
        self.ask(Room::Taken, |store| async move { store.begin(message).await })
    }

    fn append(
        &self,
        thread: &ThreadId,
        events: Vec<NewEvent>,
        asked: Vec<NewQuestion>,
    ) -> BoxFuture<'_, Result<Appended, StoreError>> {
        let thread = thread.clone();
        self.ask(Room::Taken, |store| async move { store.append(&thread, events, asked).await })
    }

    fn question(&self, scope: &Scope, run: &RunId) -> BoxFuture<'_, Result<Option<Question>, StoreError>> {
        let (scope, run) = (scope.clone(), run.clone());
        self.ask(Room::NotTaken, |store| async move { store.question(&scope, &run).await })
    }

    fn thread(
        &self,
        scope: &Scope,
        thread: &ThreadId,
    ) -> BoxFuture<'_, Result<Option<ThreadHead>, StoreError>> {
        let (scope, thread) = (scope.clone(), thread.clone());
        self.ask(Room::NotTaken, |store| async move { store.thread(&scope, &thread).await })
    }

    fn read(
        &self,
        scope: &Scope,
        thread: &ThreadId,
        after: Seq,
        limit: usize,
    ) -> BoxFuture<'_, Result<Option<Vec<LogEntry>>, StoreError>> {
        let (scope, thread) = (scope.clone(), thread.clone());
        self.ask(Room::NotTaken, move |store| async move { store.read(&scope, &thread, after, limit).await })
    }

    fn state(&self, thread: &ThreadId, plugin: &str) -> BoxFuture<'_, Result<Option<Bytes>, StoreError>> {
        let (thread, plugin) = (thread.clone(), plugin.to_owned());
        self.ask(Room::NotTaken, |store| async move { store.state(&thread, &plugin).await })
    }

    fn set_state(
        &self,
        thread: &ThreadId,
        plugin: &str,
        state: Bytes,
    ) -> BoxFuture<'_, Result<(), StoreError>> {
        let (thread, plugin) = (thread.clone(), plugin.to_owned());
        self.ask(Room::Taken, |store| async move { store.set_state(&thread, &plugin, state).await })
    }

    fn unfinished(&self) -> BoxFuture<'_, Result<Vec<Unfinished>, StoreError>> {
        self.ask(Room::NotTaken, |store| async move { store.unfinished().await })
    }

    fn threads(
        &self,
        scope: &Scope,
        before: Option<&ThreadId>,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<ThreadSummary>, StoreError>> {
        let (scope, before) = (scope.clone(), before.cloned());
        let asking =
            move |store: Arc<dyn Store>| async move { store.threads(&scope, before.as_ref(), limit).await };
        self.ask(Room::NotTaken, asking)
    }

    fn usage(&self, scope: &Scope) -> BoxFuture<'_, Result<Usage, StoreError>> {
        let scope = scope.clone();
        self.ask(Room::NotTaken, |store| async move { store.usage(&scope).await })
    }

    fn delete(&self, which: Deletion) -> BoxFuture<'_, Result<usize, StoreError>> {
        self.ask(Room::NotTaken, |store| async move { store.delete(which).await })
    }

    fn check(&self) -> BoxFuture<'_, Result<(), StoreError>> {
        self.ask(Room::Taken, |store| async move { store.check().await })
    }

    fn epoch(&self) -> Epoch {
        self.epoch_behind()
    }

    fn damage(&self) -> Option<Code> {
        self.damage_behind()
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        self.close_behind()
    }
}
