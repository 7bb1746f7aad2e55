//! A store without a disk: the final semantics, none of the durability.
//!
//! For tests and for `durability = "memory"`. It forgets nothing while the host runs, since dropping an
//! accepted event would be a loss: memory grows with the threads, and a restart begins a new epoch.

mod keys;
mod threads;

use std::{
    hash::{BuildHasher, Hash, RandomState},
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

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
use agent_plugin_protocol::{Code, Epoch, EventKind, RunId, Seq, ThreadId};
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
    /// How many threads were made: each has its place in the order.
    made: AtomicU64,
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
            made: AtomicU64::new(0),
            threads: Default::default(),
        }
    }

    fn begin_now(&self, message: NewMessage) -> Begun {
        let mut keys = self.lock(&self.keys, &(&message.scope, &message.id));
        match keys.look_up(&message.scope, &message.id, &message.body_hash, message.time) {
            Known::Same(accepted) => {
                let Accepted { thread, run, seq } = accepted;
                let open =
                    self.lock(&self.threads, &thread).any_mut(&thread).is_some_and(|log| log.is_open(&run));
                return Begun::Duplicate { thread, run, seq, open };
            }
            Known::Other => return Begun::Conflict,
            Known::Not if message.repeat_only => return Begun::NotKnown,
            Known::Not => {}
        }
        if let Some(refused) = self.over_quota(&message) {
            return refused;
        }
        let mut threads = self.lock(&self.threads, &message.thread);
        let log = if message.new_thread && message.answers.is_none() {
            let place = self.made.fetch_add(1, Ordering::Relaxed);
            threads.create(&message.thread, &message.scope, message.time, place)
        } else {
            threads.owned_mut(&message.thread, &message.scope)
        };
        let Some(log) = log else { return Begun::NoThread };
        if let Some(answer) = &message.answers {
            match log.questions.get_mut(&answer.run) {
                Some(question) if question.takes(answer) => question.answered_by = Some(message.id.clone()),
                Some(_) | None => return Begun::NoQuestion,
            }
        }
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

    /// Looks at every thread: this store is for tests, and quotas are off where speed is measured.
    fn over_quota(&self, message: &NewMessage) -> Option<Begun> {
        let quota = message.quota;
        if quota.threads == 0 && quota.bytes == 0 {
            return None;
        }
        let used = self.usage_now(&message.scope);
        if message.new_thread && quota.threads > 0 && used.threads >= quota.threads {
            return Some(Begun::TooManyThreads);
        }
        (quota.bytes > 0 && used.bytes >= quota.bytes).then_some(Begun::TooMuchStored)
    }

    fn usage_now(&self, scope: &Scope) -> Usage {
        self.all(|_, log| (log.owner == *scope).then(|| log.usage())).into_iter().fold(
            Usage::default(),
            |sum, one| Usage { threads: sum.threads + one.threads, bytes: sum.bytes + one.bytes },
        )
    }

    /// What `each` makes of every thread, in no order.
    fn all<T>(&self, mut each: impl FnMut(&ThreadId, &Log) -> Option<T>) -> Vec<T> {
        let mut found = Vec::new();
        for shard in &self.threads {
            let threads = shard.lock().unwrap_or_else(PoisonError::into_inner);
            found.extend(threads.iter().filter_map(|(thread, log)| each(thread, log)));
        }
        found
    }

    fn delete_now(&self, which: &Deletion) -> usize {
        let doomed = match which {
            Deletion::Thread(scope, thread) => {
                self.all(|id, log| (id == thread && log.owner == *scope).then(|| id.clone()))
            }
            Deletion::User(scope) => self.all(|id, log| (log.owner == *scope).then(|| id.clone())),
            Deletion::Tenant(tenant) => self.all(|id, log| (log.owner.tenant == *tenant).then(|| id.clone())),
            Deletion::Unused { of, since, limit } => {
                let unused =
                    |log: &Log| log.used < *since && log.open.is_empty() && of.has(&log.owner.tenant);
                let mut old = self.all(|id, log| unused(log).then(|| (log.used, id.clone())));
                old.sort();
                old.into_iter().take(*limit).map(|(_, id)| id).collect()
            }
        };
        let mut deleted = 0;
        for thread in doomed {
            for shard in &self.keys {
                shard.lock().unwrap_or_else(PoisonError::into_inner).forget_thread(&thread);
            }
            deleted += self.lock(&self.threads, &thread).remove(|id, _| *id == thread).len();
        }
        deleted
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
        asked: Vec<NewQuestion>,
    ) -> BoxFuture<'_, Result<Appended, StoreError>> {
        let thread = thread.clone();
        Box::pin(async move {
            fault::append().await?;
            self.with_log(&thread, |log| {
                log.keep_questions(&thread, asked);
                Appended { first: log.append_all(events) }
            })
        })
    }

    /// Looks at every thread, as a quota does.
    fn question(&self, scope: &Scope, run: &RunId) -> BoxFuture<'_, Result<Option<Question>, StoreError>> {
        let (scope, run) = (scope.clone(), run.clone());
        Box::pin(async move {
            fault::read().await?;
            let found = self.all(|_, log| log.questions.get(&run).filter(|_| log.owner == scope).cloned());
            Ok(found.into_iter().next())
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

    fn unfinished(&self) -> BoxFuture<'_, Result<Vec<Unfinished>, StoreError>> {
        Box::pin(async move {
            fault::read().await?;
            let open = self.all(|thread, log| Some(log.unfinished(thread).collect::<Vec<_>>()));
            let mut open: Vec<Unfinished> = open.into_iter().flatten().collect();
            open.sort_by(|a, b| (&a.thread, a.seq).cmp(&(&b.thread, b.seq)));
            Ok(open)
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
            fault::read().await?;
            let mut mine =
                self.all(|thread, log| (log.owner == scope).then(|| (log.place, log.summary(thread))));
            mine.sort_by_key(|(place, _)| std::cmp::Reverse(*place));
            let edge = mine.iter().find(|(_, one)| Some(&one.thread) == before.as_ref()).map(|(at, _)| *at);
            let older = mine.into_iter().filter(|(place, _)| edge.is_none_or(|edge| *place < edge));
            Ok(older.map(|(_, one)| one).take(limit).collect())
        })
    }

    fn usage(&self, scope: &Scope) -> BoxFuture<'_, Result<Usage, StoreError>> {
        let scope = scope.clone();
        Box::pin(async move {
            fault::read().await?;
            Ok(self.usage_now(&scope))
        })
    }

    fn delete(&self, which: Deletion) -> BoxFuture<'_, Result<usize, StoreError>> {
        Box::pin(async move {
            fault::append().await?;
            Ok(self.delete_now(&which))
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
