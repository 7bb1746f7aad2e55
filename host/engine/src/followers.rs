//! Who follows which thread. Kept beside the threads' tasks: a thread that is followed and not used is an entry here and
//! in its follower, a few hundred bytes, and no task.
//!
//! A thread's task alone lets somebody begin to follow it, between two appends, so that nothing is told twice or not at
//! all; a session ends what it follows by itself, whether the threads have a task or not.

use std::{
    collections::HashSet,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use agent_host_core::{failpoint, failpoint::Action, identity::Scope};
use agent_host_telemetry::series;
use agent_plugin_protocol::ThreadId;
use dashmap::DashMap;

use crate::{directory::ThreadKey, outbox, session::Outgoing};

/// A session, as the threads see it. Clones are the same one.
#[derive(Clone)]
pub(crate) struct Subscriber(Arc<Own>);

struct Own {
    outbox: outbox::Sender,
    /// Never held over a wait; taken before the maps' locks, never after.
    follows: Mutex<Follows>,
}

/// What one session follows.
#[derive(Default)]
struct Follows {
    threads: HashSet<ThreadId>,
    /// It is gone: whatever is still on its way to let it follow comes too late.
    ended: Option<Ended>,
}

/// How a session ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ended {
    /// Its client is gone, by no act of the host.
    Lost,
    /// The host let it go.
    Closed,
}

impl Subscriber {
    pub(crate) fn new(outbox: outbox::Sender) -> Self {
        Self(Arc::new(Own { outbox, follows: Mutex::default() }))
    }

    /// Tells it something. One that is gone or lagged hears it no more, and ends what it follows by itself.
    pub(crate) fn tell(&self, what: Outgoing) {
        let _ = self.0.outbox.push(what);
    }

    /// Whether its client is gone, by no act of the host.
    pub(crate) fn is_lost(&self) -> bool {
        self.follows().ended == Some(Ended::Lost)
    }

    fn follows(&self) -> MutexGuard<'_, Follows> {
        // A panic while it was locked left a set behind: its poison says nothing here.
        self.0.follows.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The user follows as many threads as allowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TooMany;

/// Who follows which thread, and how many each user does.
#[derive(Default)]
pub(crate) struct Followers {
    threads: DashMap<ThreadKey, Vec<Subscriber>>,
    users: DashMap<Scope, u32>,
}

impl Followers {
    /// Lets a session hear of a thread from now on, if its user then follows at most `most` (0: no limit), counted once
    /// for each connection.
    ///
    /// # Errors
    /// [`TooMany`]: it does not follow it.
    pub(crate) fn follow(&self, key: &ThreadKey, who: &Subscriber, most: u32) -> Result<(), TooMany> {
        let mut mine = who.follows();
        if mine.ended.is_some() || mine.threads.contains(&key.thread) {
            return Ok(());
        }
        self.count(&key.scope, most)?;
        mine.threads.insert(key.thread.clone());
        self.threads.entry(key.clone()).or_insert_with(|| Vec::with_capacity(1)).push(who.clone());
        Ok(())
    }

    /// Whether [`follow`](Self::follow) would let it.
    pub(crate) fn has_room(&self, key: &ThreadKey, who: &Subscriber, most: u32) -> bool {
        let most = enforced(most);
        let follows = self.users.get(&key.scope).map_or(0, |follows| *follows);
        most == 0 || follows < most || who.follows().threads.contains(&key.thread)
    }

    /// The session hears of the thread no more.
    pub(crate) fn unfollow(&self, key: &ThreadKey, who: &Subscriber) {
        let mut mine = who.follows();
        if mine.threads.remove(&key.thread) {
            self.take_out(key, who);
            self.discount(&key.scope, 1);
        }
    }

    /// The session is gone: it hears of nothing any more. Answers the threads that nobody follows now.
    pub(crate) fn leave(&self, scope: &Scope, who: &Subscriber, how: Ended) -> Vec<ThreadKey> {
        let threads = {
            let mut mine = who.follows();
            mine.ended.get_or_insert(how);
            std::mem::take(&mut mine.threads)
        };
        let count = u32::try_from(threads.len()).unwrap_or(u32::MAX);
        let keys = threads.into_iter().map(|thread| ThreadKey { scope: scope.clone(), thread });
        let left = keys.filter(|key| self.take_out(key, who)).collect();
        self.discount(scope, count);
        // The maps keep the room of the most that there ever was: one user's thousands would stay for good.
        if self.threads.capacity() > ROOM + 4 * self.threads.len() {
            self.threads.shrink_to_fit();
        }
        left
    }

    /// Tells whoever follows the thread what `each` says; it must not wait.
    pub(crate) fn tell(&self, key: &ThreadKey, each: impl Fn(&Subscriber)) {
        if let Some(followers) = self.threads.get(key) {
            followers.iter().for_each(each);
        }
    }

    /// Whether anybody follows it.
    pub(crate) fn any(&self, key: &ThreadKey) -> bool {
        self.threads.contains_key(key)
    }

    /// Whether it was the last one.
    fn take_out(&self, key: &ThreadKey, who: &Subscriber) -> bool {
        if let Some(mut followers) = self.threads.get_mut(key) {
            followers.retain(|one| !Arc::ptr_eq(&one.0, &who.0));
        }
        self.threads.remove_if(key, |_, followers| followers.is_empty()).is_some()
    }

    fn count(&self, scope: &Scope, most: u32) -> Result<(), TooMany> {
        let most = enforced(most);
        let mut follows = self.users.entry(scope.clone()).or_insert(0);
        if most > 0 && *follows >= most {
            return Err(TooMany);
        }
        *follows += 1;
        if !scope.is_self_check() {
            series::followed(1.0);
        }
        Ok(())
    }

    fn discount(&self, scope: &Scope, by: u32) {
        if by == 0 {
            return;
        }
        if let Some(mut follows) = self.users.get_mut(scope) {
            *follows = follows.saturating_sub(by);
        }
        self.users.remove_if(scope, |_, follows| *follows == 0);
        if !scope.is_self_check() {
            series::followed(-f64::from(by));
        }
    }
}

/// Entries that the map of threads may keep room for whatever it holds.
const ROOM: usize = 4096;

fn enforced(most: u32) -> u32 {
    // For a broken twin: a host that lets one user follow whatever there is.
    if failpoint!("engine.subscriptions") == Some(Action::Off) { 0 } else { most }
}

#[cfg(test)]
mod tests;
