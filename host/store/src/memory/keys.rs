//! The idempotency keys of one shard: what each message id stands for, for 24 hours.

use std::{
    collections::{HashMap, VecDeque},
    time::SystemTime,
};

use agent_host_core::identity::Scope;
use agent_plugin_protocol::{MessageId, RunId, Seq, ThreadId};

use crate::keys::is_expired;

#[derive(Debug, Default)]
pub(super) struct Keys {
    known: HashMap<(Scope, MessageId), Entry>,
    /// Keys by age, oldest first, so that forgetting costs nothing per message.
    by_age: VecDeque<(SystemTime, (Scope, MessageId))>,
}

#[derive(Debug)]
struct Entry {
    body_hash: [u8; 32],
    accepted: Accepted,
    since: SystemTime,
}

/// What a message became.
#[derive(Debug, Clone)]
pub(super) struct Accepted {
    pub(super) thread: ThreadId,
    pub(super) run: RunId,
    pub(super) seq: Seq,
}

/// What is known of a message id.
#[derive(Debug)]
pub(super) enum Known {
    Not,
    Same(Accepted),
    Other,
}

impl Keys {
    pub(super) fn look_up(
        &self,
        scope: &Scope,
        id: &MessageId,
        body_hash: &[u8; 32],
        now: SystemTime,
    ) -> Known {
        match self.known.get(&(scope.clone(), id.clone())) {
            Some(entry) if is_expired(entry.since, now) => Known::Not,
            Some(entry) if entry.body_hash == *body_hash => Known::Same(entry.accepted.clone()),
            Some(_) => Known::Other,
            None => Known::Not,
        }
    }

    pub(super) fn remember(
        &mut self,
        scope: Scope,
        id: MessageId,
        body_hash: [u8; 32],
        accepted: Accepted,
        now: SystemTime,
    ) {
        self.forget_expired(now);
        let key = (scope, id);
        self.by_age.push_back((now, key.clone()));
        self.known.insert(key, Entry { body_hash, accepted, since: now });
    }

    /// Forgets what was accepted in a thread.
    pub(super) fn forget_thread(&mut self, thread: &ThreadId) {
        self.known.retain(|_, entry| entry.accepted.thread != *thread);
    }

    fn forget_expired(&mut self, now: SystemTime) {
        while let Some((since, key)) = self.by_age.pop_front_if(|(since, _)| is_expired(*since, now)) {
            // The id may have been used again since; then its newer entry stays.
            if self.known.get(&key).is_some_and(|entry| entry.since == since) {
                self.known.remove(&key);
            }
        }
    }
}
