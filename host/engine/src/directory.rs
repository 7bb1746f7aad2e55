//! Finds the task of a thread, and the thread of a run. Lookup only: whatever is found is owned by its task.

mod over;

use std::sync::{
    Arc, Mutex, PoisonError,
    atomic::{AtomicU32, Ordering},
};

use agent_host_core::identity::Scope;
use agent_plugin_protocol::{Code, RunId, ThreadId};
use dashmap::{DashMap, mapref::entry::Entry};
use tokio::sync::{Notify, mpsc};

use self::over::Over;
use crate::thread::Command;

/// Commands that may wait for a thread's task. When full, the sender waits: it is a session, and only its own.
const COMMANDS: usize = 64;

/// A thread, with its owner: another user's thread of the same name is another key (law 7).
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct ThreadKey {
    /// Whose.
    pub(crate) scope: Scope,
    /// Which.
    pub(crate) thread: ThreadId,
}

/// The threads in use, the runs that are not over, and how many each user has.
#[derive(Default)]
pub(crate) struct Directory {
    threads: DashMap<ThreadKey, mpsc::Sender<Command>>,
    runs: DashMap<(Scope, RunId), ThreadId>,
    /// Held for one look or one entry.
    over: Mutex<Over>,
    busy: DashMap<Scope, u32>,
    active: AtomicU32,
    ended: Notify,
}

impl Directory {
    /// The way to a thread's task. `spawn` starts one where none is.
    pub(crate) fn thread(
        &self,
        key: &ThreadKey,
        spawn: impl FnOnce(mpsc::Receiver<Command>),
    ) -> mpsc::Sender<Command> {
        if let Some(known) = self.threads.get(key)
            && !known.is_closed()
        {
            return known.clone();
        }
        match self.threads.entry(key.clone()) {
            Entry::Occupied(known) if !known.get().is_closed() => known.get().clone(),
            // Closed: the task ended by a panic. A new one reads the log and goes on.
            Entry::Occupied(mut stale) => {
                let (sender, commands) = mpsc::channel(COMMANDS);
                stale.insert(sender.clone());
                spawn(commands);
                sender
            }
            Entry::Vacant(free) => {
                let (sender, commands) = mpsc::channel(COMMANDS);
                free.insert(sender.clone());
                spawn(commands);
                sender
            }
        }
    }

    /// Takes an idle thread out, unless a command is on its way: whoever holds a sender besides this directory may be
    /// about to use it. Under the entry's lock nobody can get another one, so that no command is ever lost.
    pub(crate) fn retire(&self, key: &ThreadKey, commands: &mpsc::Receiver<Command>) -> bool {
        self.threads.remove_if(key, |_, sender| sender.strong_count() == 1 && commands.is_empty()).is_some()
    }

    /// The way to a thread's task, if there is one.
    pub(crate) fn existing(&self, key: &ThreadKey) -> Option<mpsc::Sender<Command>> {
        self.threads.get(key).map(|entry| entry.value().clone())
    }

    /// Every thread in use.
    pub(crate) fn threads(&self) -> Vec<mpsc::Sender<Command>> {
        self.threads.iter().map(|entry| entry.value().clone()).collect()
    }

    /// The thread of a run that is not over, if it is of this scope.
    pub(crate) fn thread_of(&self, scope: &Scope, run: &RunId) -> Option<ThreadId> {
        self.runs.get(&(scope.clone(), run.clone())).map(|found| found.value().clone())
    }

    /// Why there is no such run to be stopped: it is over, as far as this host remembers, or the user has none.
    pub(crate) fn why_no_run(&self, scope: &Scope, run: &RunId) -> Code {
        let over = self.over.lock().unwrap_or_else(PoisonError::into_inner);
        if over.has(scope, run) { Code::RunNotCancellable } else { Code::RunNotFound }
    }

    /// Notes a run that was accepted; it is forgotten when the ticket is dropped.
    pub(crate) fn enter(self: &Arc<Self>, key: &ThreadKey, run: &RunId) -> RunTicket {
        self.runs.insert((key.scope.clone(), run.clone()), key.thread.clone());
        self.active.fetch_add(1, Ordering::Relaxed);
        RunTicket { directory: Arc::clone(self), run: (key.scope.clone(), run.clone()) }
    }

    /// Waits until no run is left.
    pub(crate) async fn idle(&self) {
        loop {
            let changed = self.ended.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            if self.active_runs() == 0 {
                return;
            }
            changed.await;
        }
    }

    /// Runs that are not over.
    pub(crate) fn active_runs(&self) -> u32 {
        self.active.load(Ordering::Relaxed)
    }

    /// How many threads of that user are at work.
    pub(crate) fn busy(&self, scope: &Scope) -> u32 {
        self.busy.get(scope).map_or(0, |busy| *busy)
    }

    /// The right to have one more thread at work, of at most `most` (0: no limit).
    pub(crate) fn admit(self: &Arc<Self>, scope: &Scope, most: u32) -> Option<BusyPermit> {
        let mut busy = self.busy.entry(scope.clone()).or_insert(0);
        if most > 0 && *busy >= most {
            return None;
        }
        *busy += 1;
        Some(BusyPermit { directory: Arc::clone(self), scope: scope.clone() })
    }
}

/// A run in the directory, until it is dropped.
pub(crate) struct RunTicket {
    directory: Arc<Directory>,
    run: (Scope, RunId),
}

impl Drop for RunTicket {
    fn drop(&mut self) {
        // First: whoever asks meanwhile finds it in either.
        let (scope, run) = &self.run;
        // Nothing of the host's look at itself is kept.
        if !scope.is_self_check() {
            self.directory.over.lock().unwrap_or_else(PoisonError::into_inner).add(scope, run);
        }
        self.directory.runs.remove(&self.run);
        self.directory.active.fetch_sub(1, Ordering::Relaxed);
        self.directory.ended.notify_waiters();
    }
}

/// One of a user's runs at once; given back when dropped, on whatever path.
pub(crate) struct BusyPermit {
    directory: Arc<Directory>,
    scope: Scope,
}

impl Drop for BusyPermit {
    fn drop(&mut self) {
        if let Some(mut busy) = self.directory.busy.get_mut(&self.scope) {
            *busy = busy.saturating_sub(1);
        }
        self.directory.busy.remove_if(&self.scope, |_, busy| *busy == 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key() -> ThreadKey {
        ThreadKey {
            scope: Scope { tenant: "t".into(), user: "u".into() },
            thread: ThreadId::new("th").unwrap(),
        }
    }

    #[test]
    fn a_thread_is_not_retired_while_a_command_may_come() {
        let directory = Directory::default();
        let mut kept = None;
        let sender = directory.thread(&key(), |commands| kept = Some(commands));
        let commands = kept.unwrap();
        assert!(!directory.retire(&key(), &commands), "someone holds a sender");
        sender.try_send(Command::Interrupt).unwrap();
        drop(sender);
        assert!(!directory.retire(&key(), &commands), "a command waits");
    }

    #[test]
    fn an_idle_thread_is_retired_and_found_anew() {
        let directory = Directory::default();
        let mut kept = None;
        drop(directory.thread(&key(), |commands| kept = Some(commands)));
        assert!(directory.retire(&key(), &kept.unwrap()));
        let mut spawned = false;
        drop(directory.thread(&key(), |_| spawned = true));
        assert!(spawned);
    }

    #[test]
    fn a_task_that_died_is_replaced() {
        let directory = Directory::default();
        drop(directory.thread(&key(), drop));
        let mut spawned = None;
        let sender = directory.thread(&key(), |commands| spawned = Some(commands));
        assert!(spawned.is_some() && !sender.is_closed());
    }

    #[test]
    fn a_run_is_found_by_its_owner_only_and_until_it_ends() {
        let directory = Arc::new(Directory::default());
        let run = RunId::new("r").unwrap();
        let ticket = directory.enter(&key(), &run);
        let other = Scope { tenant: "t".into(), user: "other".into() };
        assert!(directory.thread_of(&key().scope, &run).is_some());
        assert!(directory.thread_of(&other, &run).is_none());
        assert_eq!(directory.why_no_run(&other, &run), Code::RunNotFound);
        drop(ticket);
        assert!(directory.thread_of(&key().scope, &run).is_none());
        assert_eq!(directory.why_no_run(&key().scope, &run), Code::RunNotCancellable);
        assert_eq!(directory.why_no_run(&other, &run), Code::RunNotFound, "another's is none");
        assert_eq!(directory.active_runs(), 0);
    }

    #[test]
    fn runs_at_once_are_counted_per_user_and_given_back() {
        let directory = Arc::new(Directory::default());
        let first = directory.admit(&key().scope, 1);
        assert!(first.is_some() && directory.admit(&key().scope, 1).is_none());
        assert!(directory.admit(&Scope { tenant: "t".into(), user: "v".into() }, 1).is_some());
        drop(first);
        assert!(directory.admit(&key().scope, 1).is_some());
    }
}
