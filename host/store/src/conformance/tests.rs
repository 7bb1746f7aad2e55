//! The suite can say no: stores that break one promise each do not pass it.

use std::panic::{AssertUnwindSafe, catch_unwind};

use agent_host_core::ports::{
    BoxFuture,
    store::{Appended, StoreError, ThreadHead},
};
use agent_plugin_protocol::Epoch;

use super::*;
use crate::MemoryStore;

/// The promise that a store breaks.
#[derive(Debug, Clone, Copy)]
enum Lie {
    None,
    ForgetsKeys,
    IgnoresBodies,
    NeverExpiresKeys,
    MixesUsers,
    LosesTheLastEvent,
    AppendsTwice,
    IgnoresTheLimit,
    ForgetsState,
    WritesTheStartAgain,
}

struct Liar {
    store: MemoryStore,
    lie: Lie,
}

impl Liar {
    fn scope(&self, scope: &Scope) -> Scope {
        match self.lie {
            Lie::MixesUsers => Scope { tenant: "t".into(), user: "everybody".into() },
            _ => scope.clone(),
        }
    }
}

impl Store for Liar {
    fn begin(&self, mut message: NewMessage) -> BoxFuture<'_, Result<Begun, StoreError>> {
        message.scope = self.scope(&message.scope);
        match self.lie {
            Lie::ForgetsKeys => message.id = MessageId::random(),
            Lie::IgnoresBodies => message.body_hash = [0; 32],
            Lie::NeverExpiresKeys => message.time = SystemTime::UNIX_EPOCH,
            _ => {}
        }
        self.store.begin(message)
    }

    fn append(
        &self,
        thread: &ThreadId,
        mut events: Vec<NewEvent>,
    ) -> BoxFuture<'_, Result<Appended, StoreError>> {
        match self.lie {
            Lie::LosesTheLastEvent => drop(events.pop()),
            Lie::AppendsTwice => events.extend(events.clone()),
            _ => {}
        }
        self.store.append(thread, events)
    }

    fn thread(
        &self,
        scope: &Scope,
        thread: &ThreadId,
    ) -> BoxFuture<'_, Result<Option<ThreadHead>, StoreError>> {
        self.store.thread(&self.scope(scope), thread)
    }

    fn read(
        &self,
        scope: &Scope,
        thread: &ThreadId,
        after: Seq,
        limit: usize,
    ) -> BoxFuture<'_, Result<Option<Vec<LogEntry>>, StoreError>> {
        let (after, limit) = match self.lie {
            Lie::IgnoresTheLimit => (after, usize::MAX),
            Lie::WritesTheStartAgain => (Seq(after.0.saturating_sub(1)), limit),
            _ => (after, limit),
        };
        self.store.read(&self.scope(scope), thread, after, limit)
    }

    fn state(&self, thread: &ThreadId, plugin: &str) -> BoxFuture<'_, Result<Option<Bytes>, StoreError>> {
        self.store.state(thread, if matches!(self.lie, Lie::ForgetsState) { "" } else { plugin })
    }

    fn set_state(
        &self,
        thread: &ThreadId,
        plugin: &str,
        state: Bytes,
    ) -> BoxFuture<'_, Result<(), StoreError>> {
        self.store.set_state(thread, plugin, state)
    }

    fn epoch(&self) -> Epoch {
        self.store.epoch()
    }
}

fn passes(lie: Lie) -> bool {
    let suite = || {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(run(|| Liar { store: MemoryStore::new(), lie }));
    };
    catch_unwind(AssertUnwindSafe(suite)).is_ok()
}

#[test]
fn every_broken_promise_is_noticed() {
    assert!(passes(Lie::None));
    let lies = [
        Lie::ForgetsKeys,
        Lie::IgnoresBodies,
        Lie::NeverExpiresKeys,
        Lie::MixesUsers,
        Lie::LosesTheLastEvent,
        Lie::AppendsTwice,
        Lie::IgnoresTheLimit,
        Lie::ForgetsState,
        Lie::WritesTheStartAgain,
    ];
    for lie in lies {
        assert!(!passes(lie), "{lie:?} was not noticed");
    }
}
