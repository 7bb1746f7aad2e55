//! The logs of one shard, each owned by one scope.

use std::{collections::HashMap, time::SystemTime};

use agent_host_core::{
    identity::Scope,
    ports::store::{
        EVENT_COST, LogEntry, NewEvent, NewQuestion, Question, ThreadHead, ThreadSummary, Unfinished, Usage,
    },
};
use agent_plugin_protocol::{EventKind, RunId, Seq, ThreadId};
use bytes::Bytes;

use crate::fault;

#[derive(Debug, Default)]
pub(super) struct Threads {
    logs: HashMap<ThreadId, Log>,
}

impl Threads {
    /// Makes a thread; one that `scope` owns already is as good. `None` if it is somebody else's.
    pub(super) fn create(
        &mut self,
        thread: &ThreadId,
        scope: &Scope,
        now: SystemTime,
        place: u64,
    ) -> Option<&mut Log> {
        let log = self.logs.entry(thread.clone()).or_insert_with(|| Log::new(scope.clone(), now, place));
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

    /// Takes out what `goes` says of.
    pub(super) fn remove(&mut self, goes: impl Fn(&ThreadId, &Log) -> bool) -> Vec<(ThreadId, Log)> {
        self.logs.extract_if(|thread, log| goes(thread, log)).collect()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&ThreadId, &Log)> {
        self.logs.iter()
    }
}

#[derive(Debug)]
pub(super) struct Log {
    pub(super) owner: Scope,
    /// In the order in which threads were made.
    pub(super) place: u64,
    created: SystemTime,
    pub(super) used: SystemTime,
    bytes: u64,
    /// Runs without their end.
    pub(super) open: Vec<(RunId, Seq)>,
    /// `seq` is the index plus one, so it is dense by construction.
    events: Vec<NewEvent>,
    /// By plugin.
    pub(super) states: HashMap<String, Bytes>,
    /// By the run that ended with it.
    pub(super) questions: HashMap<RunId, Question>,
}

impl Log {
    fn new(owner: Scope, created: SystemTime, place: u64) -> Self {
        Self {
            owner,
            place,
            created,
            used: created,
            bytes: 0,
            open: Vec::new(),
            events: Vec::new(),
            states: HashMap::new(),
            questions: HashMap::new(),
        }
    }

    pub(super) fn append(&mut self, event: NewEvent) -> Seq {
        let seq = self.last().next();
        match event.kind {
            EventKind::UserMessage => {
                self.open.push((event.run.clone(), seq));
                self.used = self.used.max(event.time);
            }
            EventKind::AgentCompleted => {
                self.open.retain(|(run, _)| *run != event.run);
                self.used = self.used.max(event.time);
            }
            EventKind::AgentStarted
            | EventKind::AgentThinking
            | EventKind::ToolExecuting
            | EventKind::ToolCompleted
            | EventKind::AgentMessageDelta
            | EventKind::AgentDelegated
            | EventKind::AgentReturned
            | EventKind::RunDegraded => {}
        }
        self.bytes += EVENT_COST + event.payload.len() as u64;
        self.events.push(event);
        seq
    }

    pub(super) fn append_all(&mut self, events: Vec<NewEvent>) -> Seq {
        let first = self.last().next();
        for event in events {
            self.append(event);
        }
        first
    }

    pub(super) fn keep_questions(&mut self, thread: &ThreadId, asked: Vec<NewQuestion>) {
        for NewQuestion { run, interrupt, agent } in asked {
            let question = Question { thread: thread.clone(), interrupt, agent, answered_by: None };
            self.questions.insert(run, question);
        }
    }

    pub(super) fn is_open(&self, run: &RunId) -> bool {
        self.open.iter().any(|(open, _)| open == run)
    }

    pub(super) fn unfinished<'a>(&'a self, thread: &'a ThreadId) -> impl Iterator<Item = Unfinished> + 'a {
        self.open.iter().map(|(run, seq)| Unfinished {
            scope: self.owner.clone(),
            thread: thread.clone(),
            run: run.clone(),
            seq: *seq,
        })
    }

    pub(super) fn summary(&self, thread: &ThreadId) -> ThreadSummary {
        ThreadSummary { thread: thread.clone(), created: self.created, used: self.used, last: self.last() }
    }

    /// Its part of its user's usage.
    pub(super) fn usage(&self) -> Usage {
        Usage { threads: 1, bytes: self.bytes }
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
