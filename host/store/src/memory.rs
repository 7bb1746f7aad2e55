//! A store without a disk: the final semantics, none of the durability.
//!
//! For tests and for `durability = "ephemeral"`. It forgets nothing while the host runs, since dropping an
//! accepted event would be a loss: memory grows with the threads, and a restart begins a new epoch.

mod keys;
mod threads;

use std::{
    hash::{BuildHasher, Hash, RandomState},
    sync::{Mutex, MutexGuard, PoisonError},
};

use agent_host_core::{
    identity::Scope,
    ports::{
        BoxFuture,
        store::{Appended, Begun, LogEntry, NewEvent, NewMessage, Store, StoreError, ThreadHead},
    },
};
use agent_plugin_protocol::{Code, Epoch, EventKind, Seq, ThreadId};
use bytes::Bytes;

use self::{
    keys::{Accepted, Keys, Known},
    threads::{Log, Threads},
};
use crate::fault;

/// Locks are per shard and held for a few map operations, never across an await.
const SHARDS: usize = 16;

/// Threads, logs and idempotency keys in memory.
#[derive(Debug)]
pub struct MemoryStore {
    epoch: Epoch,
    hasher: RandomState,
    /// By (scope, message id). Locked before a shard of `threads`, never after.
    keys: [Mutex<Keys>; SHARDS],
    /// By thread id.
    threads: [Mutex<Threads>; SHARDS],
}

impl Default for MemoryStore {
    fn default() -> Self {
        Self::new()
    }
}

impl MemoryStore {
    /// An empty store of a new epoch.
    pub fn new() -> Self {
        Self {
            epoch: Epoch::random(),
            hasher: RandomState::new(),
            keys: Default::default(),
            threads: Default::default(),
        }
    }

    fn begin_now(&self, message: NewMessage) -> Begun {
        let mut keys = self.lock(&self.keys, &(&message.scope, &message.id));
        match keys.look_up(&message.scope, &message.id, &message.body_hash, message.time) {
            Known::Same(accepted) => {
                return Begun::Duplicate { thread: accepted.thread, run: accepted.run, seq: accepted.seq };
            }
            Known::Other => return Begun::Conflict,
            Known::Not if message.repeat_only => return Begun::NotKnown,
            Known::Not => {}
        }
        let mut threads = self.lock(&self.threads, &message.thread);
        let log = if message.new_thread {
            threads.create(&message.thread, &message.scope, message.time)
        } else {
            threads.owned_mut(&message.thread, &message.scope)
        };
        let Some(log) = log else { return Begun::NoThread };
        let seq = log.append(NewEvent {
            run: message.run.clone(),
            kind: EventKind::UserMessage,
            agent: "user".into(),
            time: message.time,
            payload: message.payload,
        });
        drop(threads);
        let accepted = Accepted { thread: message.thread, run: message.run, seq };
        keys.remember(message.scope, message.id, message.body_hash, accepted, message.time);
        Begun::New { seq }
    }

    fn with_log<T>(&self, thread: &ThreadId, then: impl FnOnce(&mut Log) -> T) -> Result<T, StoreError> {
        let mut threads = self.lock(&self.threads, thread);
        let log = threads.any_mut(thread).ok_or_else(|| StoreError {
            code: Code::ThreadNotFound,
            reason: format!("no thread {thread}"),
        })?;
        Ok(then(log))
    }

    fn lock<'a, T>(&self, shards: &'a [Mutex<T>; SHARDS], key: &impl Hash) -> MutexGuard<'a, T> {
        // Truncating is the point: any bits of the hash choose a shard.
        let shard = self.hasher.hash_one(key) as usize % SHARDS;
        // A panic inside leaves whole values: each change below is one push or one insert.
        shards[shard].lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Store for MemoryStore {
    fn begin(&self, message: NewMessage) -> BoxFuture<'_, Result<Begun, StoreError>> {
        Box::pin(async move {
            if fault::forgets() {
                return Ok(Begun::New { seq: Seq::START.next() });
            }
            fault::begin().await?;
            Ok(self.begin_now(message))
        })
    }

    fn append(
        &self,
        thread: &ThreadId,
        events: Vec<NewEvent>,
    ) -> BoxFuture<'_, Result<Appended, StoreError>> {
        let thread = thread.clone();
        Box::pin(async move {
            fault::append().await?;
            self.with_log(&thread, |log| Appended { first: log.append_all(events) })
        })
    }

    fn thread(
        &self,
        scope: &Scope,
        thread: &ThreadId,
    ) -> BoxFuture<'_, Result<Option<ThreadHead>, StoreError>> {
        let (scope, thread) = (scope.clone(), thread.clone());
        Box::pin(async move {
            fault::read().await?;
            Ok(self.lock(&self.threads, &thread).owned_mut(&thread, &scope).map(|log| log.head()))
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
            fault::read().await?;
            let mut threads = self.lock(&self.threads, &thread);
            Ok(threads.owned_mut(&thread, &scope).map(|log| log.read(&thread, after, limit)))
        })
    }

    fn state(&self, thread: &ThreadId, plugin: &str) -> BoxFuture<'_, Result<Option<Bytes>, StoreError>> {
        let (thread, plugin) = (thread.clone(), plugin.to_owned());
        Box::pin(async move {
            fault::read().await?;
            self.with_log(&thread, |log| log.states.get(plugin.as_str()).cloned())
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
            self.with_log(&thread, |log| {
                log.states.insert(plugin, state);
            })
        })
    }

    fn epoch(&self) -> Epoch {
        self.epoch.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_memory_store_conforms() {
        crate::conformance::run(MemoryStore::new).await;
    }

    #[test]
    fn each_store_is_an_epoch_of_its_own() {
        assert_ne!(MemoryStore::new().epoch(), MemoryStore::new().epoch());
    }
}
