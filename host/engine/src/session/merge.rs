//! What a session hands out of the threads that it follows: the replay from the log and what is told live, merged so
//! that each event comes once, in order, and none is missing. Decides only: whoever owns it reads and waits.

use std::collections::VecDeque;

use agent_host_core::{failpoint, failpoint::Action, ports::store::LogEntry};
use agent_plugin_protocol::{Seq, ThreadId};

use super::{
    Outgoing,
    positions::{Positions, Take},
};

/// The threads that a session follows, and what of their logs was read ahead. Bounded by the page that was read last.
#[derive(Debug, Default)]
pub(super) struct Merge {
    positions: Positions,
    replay: VecDeque<LogEntry>,
}

impl Merge {
    /// Judges what a thread's task pushed, and keeps the positions. Answers whether the client is to have it now.
    pub(super) fn admit(&mut self, frame: &Outgoing) -> bool {
        match frame {
            Outgoing::Accepted(accepted) => {
                let before = Seq(accepted.seq.0.saturating_sub(1));
                self.positions.ensure(&accepted.thread, before, accepted.duplicate);
            }
            Outgoing::Subscribed(subscribed) => {
                let before = Seq(subscribed.from.0.saturating_sub(1));
                // For a broken twin: a host that promises a replay and goes on with what is new.
                let replays = failpoint!("engine.resume.replay") != Some(Action::Off);
                let before = if replays { before } else { subscribed.to };
                self.replay.retain(|entry| entry.thread != subscribed.thread);
                self.positions.follow(subscribed.thread.clone(), before, subscribed.to, false);
            }
            Outgoing::Event(delivery) => {
                let (thread, seq) = (&delivery.entry.thread, delivery.entry.seq);
                return self.positions.take(thread, seq) == Take::HandOut;
            }
            Outgoing::Status { .. } | Outgoing::Problem(_) | Outgoing::GoingAway { .. } => {}
        }
        true
    }

    /// The next event of what was read.
    pub(super) fn replayed(&mut self) -> Option<LogEntry> {
        while let Some(entry) = self.replay.pop_front() {
            if self.positions.take(&entry.thread, entry.seq) == Take::HandOut {
                return Some(entry);
            }
        }
        None
    }

    /// A thread whose log is to be read now, and from where. One read at a time: its page comes to [`read`](Self::read)
    /// before the next is asked for, and after what was replayed is handed out.
    pub(super) fn begin_read(&mut self) -> Option<(ThreadId, Seq)> {
        self.positions.begin_read()
    }

    /// A page of the log after `after`; `full`: there may be more. `None`: the thread is not this user's.
    pub(super) fn read(&mut self, thread: &ThreadId, after: Seq, page: Option<Vec<LogEntry>>, full: bool) {
        let Some(entries) = page else { return self.positions.forget(thread) };
        if full {
            self.positions.has_more(thread);
        } else if entries.is_empty() {
            // Without this a hole that the log cannot fill would be asked for again and again.
            self.positions.ends(thread, after);
        }
        self.replay.extend(entries);
    }

    /// Follows a thread no more.
    pub(super) fn forget(&mut self, thread: &ThreadId) {
        self.positions.forget(thread);
        self.replay.retain(|entry| entry.thread != *thread);
    }

    /// How many threads it follows.
    pub(super) fn threads(&self) -> usize {
        self.positions.len()
    }

    /// The last position handed out for each of the threads that were heard of last, at most `most`.
    pub(super) fn positions(&self, most: usize) -> Vec<(ThreadId, Seq)> {
        self.positions.latest(most)
    }
}

#[cfg(test)]
mod fuzz;
