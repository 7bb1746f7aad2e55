//! The logs of one shard, each owned by one scope.

use std::{collections::HashMap, time::SystemTime};

use agent_host_core::{
    identity::Scope,
    ports::store::{LogEntry, NewEvent, ThreadHead},
};
use agent_plugin_protocol::{Seq, ThreadId};
use bytes::Bytes;

use crate::fault;

#[derive(Debug, Default)]
pub(super) struct Threads {
    logs: HashMap<ThreadId, Log>,
}

impl Threads {
    /// Makes a thread; one that `scope` owns already is as good. `None` if it is somebody else's.
    pub(super) fn create(&mut self, thread: &ThreadId, scope: &Scope, now: SystemTime) -> Option<&mut Log> {
        let log = self.logs.entry(thread.clone()).or_insert_with(|| Log::new(scope.clone(), now));
        (log.owner == *scope).then_some(log)
    }

    /// The thread, if `scope` owns it: a foreign one is absent (law 7).
    pub(super) fn owned_mut(&mut self, thread: &ThreadId, scope: &Scope) -> Option<&mut Log> {
        self.logs.get_mut(thread).filter(|log| log.owner == *scope || fault::is_open_to_all())
    }

    /// The thread, whoever owns it: for the run that was accepted in it.
    pub(super) fn any_mut(&mut self, thread: &ThreadId) -> Option<&mut Log> {
        self.logs.get_mut(thread)
    }
}

#[derive(Debug)]
pub(super) struct Log {
    owner: Scope,
    created: SystemTime,
    /// `seq` is the index plus one, so it is dense by construction.
    events: Vec<NewEvent>,
    /// By plugin.
    pub(super) states: HashMap<String, Bytes>,
}

impl Log {
    fn new(owner: Scope, created: SystemTime) -> Self {
        Self { owner, created, events: Vec::new(), states: HashMap::new() }
    }

    pub(super) fn append(&mut self, event: NewEvent) -> Seq {
        self.events.push(event);
        self.last()
    }

    pub(super) fn append_all(&mut self, events: Vec<NewEvent>) -> Seq {
        let first = self.last().next();
        self.events.extend(events);
        first
    }

    pub(super) fn head(&self) -> ThreadHead {
        ThreadHead { last: self.last(), created: self.created }
    }

    pub(super) fn read(&self, thread: &ThreadId, after: Seq, limit: usize) -> Vec<LogEntry> {
        let start = usize::try_from(after.0).unwrap_or(usize::MAX).min(self.events.len());
        let entries = self.events[start..].iter().take(limit).zip(start as u64 + 1..);
        entries
            .map(|(event, seq)| LogEntry { seq: Seq(seq), thread: thread.clone(), event: event.clone() })
            .collect()
    }

    fn last(&self) -> Seq {
        Seq(self.events.len() as u64)
    }
}
