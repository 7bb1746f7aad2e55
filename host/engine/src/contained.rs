//! A store whose panics are its answers: whatever goes wrong in it, the message is refused and the run goes on.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
};

use agent_host_core::{
    failpoint,
    failpoint::Action,
    identity::Scope,
    ports::{
        BoxFuture,
        store::{
            Appended, Begun, Deletion, LogEntry, NewEvent, NewMessage, Store, StoreError, ThreadHead,
            ThreadSummary, Unfinished, Usage,
        },
    },
};
use agent_host_telemetry::happening::PanicCaught;
use agent_plugin_protocol::{Code, Epoch, Seq, ThreadId};
use bytes::Bytes;
use futures_util::FutureExt as _;

use crate::task::panic_message;

/// The store behind a fence.
pub(crate) struct Contained(pub(crate) Arc<dyn Store>);

impl Contained {
    /// Asks the store; a panic in the asking or in the answering is `store.unavailable`.
    fn ask<'a, T: Send + 'a>(
        &'a self,
        asked: impl FnOnce(&'a dyn Store) -> BoxFuture<'a, Result<T, StoreError>>,
    ) -> BoxFuture<'a, Result<T, StoreError>> {
        // Off for a broken twin: a host whose tasks die of their store.
        if failpoint!("engine.contained_store") == Some(Action::Off) {
            return asked(&*self.0);
        }
        // Unwind safe: what a panic left behind in the store is the store's, which is asked again from the start.
        match catch_unwind(AssertUnwindSafe(|| asked(&*self.0))) {
            Ok(answer) => Box::pin(async move {
                AssertUnwindSafe(answer)
                    .catch_unwind()
                    .await
                    .unwrap_or_else(|panic| Err(told(panic.as_ref())))
            }),
            Err(panic) => Box::pin(std::future::ready(Err(told(panic.as_ref())))),
        }
    }
}

fn told(panic: &(dyn std::any::Any + Send)) -> StoreError {
    PanicCaught { place: "store", message: panic_message(panic) }.emit();
    StoreError::unavailable("the store panicked")
}

impl Store for Contained {
    fn begin(&self, message: NewMessage) -> BoxFuture<'_, Result<Begun, StoreError>> {
        self.ask(|store| store.begin(message))
    }

    fn append(
        &self,
        thread: &ThreadId,
        events: Vec<NewEvent>,
    ) -> BoxFuture<'_, Result<Appended, StoreError>> {
        self.ask(|store| store.append(thread, events))
    }

    fn thread(
        &self,
        scope: &Scope,
        thread: &ThreadId,
    ) -> BoxFuture<'_, Result<Option<ThreadHead>, StoreError>> {
        self.ask(|store| store.thread(scope, thread))
    }

    fn read(
        &self,
        scope: &Scope,
        thread: &ThreadId,
        after: Seq,
        limit: usize,
    ) -> BoxFuture<'_, Result<Option<Vec<LogEntry>>, StoreError>> {
        self.ask(|store| store.read(scope, thread, after, limit))
    }

    fn state(&self, thread: &ThreadId, plugin: &str) -> BoxFuture<'_, Result<Option<Bytes>, StoreError>> {
        self.ask(|store| store.state(thread, plugin))
    }

    fn set_state(
        &self,
        thread: &ThreadId,
        plugin: &str,
        state: Bytes,
    ) -> BoxFuture<'_, Result<(), StoreError>> {
        self.ask(|store| store.set_state(thread, plugin, state))
    }

    fn unfinished(&self) -> BoxFuture<'_, Result<Vec<Unfinished>, StoreError>> {
        self.ask(|store| store.unfinished())
    }

    fn threads(
        &self,
        scope: &Scope,
        before: Option<&ThreadId>,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<ThreadSummary>, StoreError>> {
        self.ask(|store| store.threads(scope, before, limit))
    }

    fn usage(&self, scope: &Scope) -> BoxFuture<'_, Result<Usage, StoreError>> {
        self.ask(|store| store.usage(scope))
    }

    fn delete(&self, which: Deletion) -> BoxFuture<'_, Result<usize, StoreError>> {
        self.ask(|store| store.delete(which))
    }

    fn check(&self) -> BoxFuture<'_, Result<(), StoreError>> {
        self.ask(|store| store.check())
    }

    fn epoch(&self) -> Epoch {
        self.0.epoch()
    }

    fn damage(&self) -> Option<Code> {
        self.0.damage()
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        self.0.close()
    }
}
