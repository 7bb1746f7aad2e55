//! Which threads a session follows, and how far it has got in each: what makes its events dense and in order.
//!
//! A live event that joins the position is handed out; an old one is skipped; one beyond it shows a hole, which is
//! read from the log. So the replay after a subscription and the mending of any hole are one thing, and the order in
//! which the tasks push does not matter.

use std::collections::{HashMap, VecDeque};

use agent_plugin_protocol::{Seq, ThreadId};

/// The threads that a session follows.
#[derive(Debug, Default)]
pub(super) struct Positions {
    threads: HashMap<ThreadId, Position>,
    /// Those whose log may have to be read, in turn. Of thousands that are followed there are few: nothing that is done
    /// for each frame looks at all.
    due: VecDeque<ThreadId>,
    /// Counts what was handed out.
    moves: u64,
}

#[derive(Debug, Clone, Copy)]
struct Position {
    /// The last event handed out.
    at: Seq,
    /// The last event known to be in the log.
    known: Seq,
    /// The log has not been read to its end yet.
    unread: bool,
    /// It waits among those that are due.
    is_due: bool,
    /// When its last event was handed out, by the count of all.
    moved: u64,
    /// What was known when the read that is under way began; `None`: since then it was followed anew.
    asked: Option<Seq>,
}

/// What is to be done with an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Take {
    /// It is the next one.
    HandOut,
    /// Had it already, or does not follow its thread.
    Skip,
    /// Others come before it: it comes again, from the log.
    Hole,
}

impl Positions {
    /// Follows a thread from after `at`; `unread`: the log may have more already.
    pub(super) fn follow(&mut self, thread: ThreadId, at: Seq, known: Seq, unread: bool) {
        let position = Position { at, known, unread, is_due: false, moved: self.moves, asked: None };
        self.threads.insert(thread.clone(), position);
        self.consider(&thread);
    }

    /// Puts the thread among those whose log is read, if it is to be.
    fn consider(&mut self, thread: &ThreadId) {
        if let Some(position) = self.threads.get_mut(thread)
            && position.wants_reading()
            && !position.is_due
        {
            position.is_due = true;
            self.due.push_back(thread.clone());
        }
    }

    /// Follows a thread, or goes on where it is. Who follows may have missed something too, if what was on its way when
    /// it left came after it had left: so `unread` holds for it as well.
    pub(super) fn ensure(&mut self, thread: &ThreadId, at: Seq, unread: bool) {
        match self.threads.get_mut(thread) {
            Some(position) => {
                position.unread |= unread;
                self.consider(thread);
            }
            None => self.follow(thread.clone(), at, at, unread),
        }
    }

    /// How many threads it follows.
    pub(super) fn len(&self) -> usize {
        self.threads.len()
    }

    pub(super) fn forget(&mut self, thread: &ThreadId) {
        self.threads.remove(thread);
    }

    /// Judges an event, and moves on if it is to be handed out.
    pub(super) fn take(&mut self, thread: &ThreadId, seq: Seq) -> Take {
        let Some(position) = self.threads.get_mut(thread) else { return Take::Skip };
        if seq <= position.at {
            Take::Skip
        } else if seq == position.at.next() {
            position.at = seq;
            self.moves += 1;
            position.moved = self.moves;
            Take::HandOut
        } else {
            position.known = position.known.max(seq);
            self.consider(thread);
            Take::Hole
        }
    }

    /// A thread whose log must be read, and from where. It counts as read to its end from now on.
    pub(super) fn begin_read(&mut self) -> Option<(ThreadId, Seq)> {
        loop {
            let thread = self.due.pop_front()?;
            // None: it was forgotten while it waited.
            let Some(position) = self.threads.get_mut(&thread) else { continue };
            if position.wants_reading() {
                position.unread = false;
                position.asked = Some(position.known);
                let at = position.at;
                // One page may not be all: it has its turn again, until it is seen to want no more.
                self.due.push_back(thread.clone());
                return Some((thread, at));
            }
            position.is_due = false;
        }
    }

    /// The page was full: there may be more.
    pub(super) fn has_more(&mut self, thread: &ThreadId) {
        if let Some(position) = self.threads.get_mut(thread) {
            position.unread = true;
            self.consider(thread);
        }
    }

    /// The log ended at `end` when it was read, whatever was said before that. What became known since then holds: the
    /// read may have been over before it.
    pub(super) fn ends(&mut self, thread: &ThreadId, end: Seq) {
        if let Some(position) = self.threads.get_mut(thread)
            && position.asked == Some(position.known)
        {
            position.known = position.known.min(end.max(position.at));
        }
    }

    /// Where it is in the threads that were heard of last, at most `most` of them.
    pub(super) fn latest(&self, most: usize) -> Vec<(ThreadId, Seq)> {
        let mut all: Vec<_> = self.threads.iter().collect();
        if all.len() > most {
            all.select_nth_unstable_by_key(most, |(_, position)| std::cmp::Reverse(position.moved));
            all.truncate(most);
        }
        all.into_iter().map(|(thread, position)| (thread.clone(), position.at)).collect()
    }
}

impl Position {
    fn wants_reading(&self) -> bool {
        self.unread || self.known > self.at
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn thread() -> ThreadId {
        ThreadId::new("t").unwrap()
    }

    #[test]
    fn events_are_handed_out_once_and_in_order() {
        let mut positions = Positions::default();
        positions.follow(thread(), Seq(0), Seq(0), false);
        assert_eq!(positions.take(&thread(), Seq(1)), Take::HandOut);
        assert_eq!(positions.take(&thread(), Seq(1)), Take::Skip);
        assert_eq!(positions.take(&thread(), Seq(3)), Take::Hole);
        assert_eq!(positions.begin_read(), Some((thread(), Seq(1))));
        assert_eq!(positions.take(&thread(), Seq(2)), Take::HandOut);
        assert_eq!(positions.take(&thread(), Seq(3)), Take::HandOut);
        assert_eq!(positions.begin_read(), None);
    }

    #[test]
    fn a_thread_that_is_not_followed_is_silent() {
        let mut positions = Positions::default();
        assert_eq!(positions.take(&thread(), Seq(1)), Take::Skip);
    }

    #[test]
    fn what_became_known_since_the_log_was_read_is_not_forgotten() {
        let mut positions = Positions::default();
        positions.follow(thread(), Seq(4), Seq(4), true);
        assert_eq!(positions.begin_read(), Some((thread(), Seq(4))));
        // Subscribed again: there is an event more than that read has seen.
        positions.follow(thread(), Seq(4), Seq(5), false);
        positions.ends(&thread(), Seq(4));
        assert_eq!(positions.begin_read(), Some((thread(), Seq(4))));
        // That one has seen it all.
        positions.ends(&thread(), Seq(4));
        assert_eq!(positions.begin_read(), None);
    }

    #[test]
    fn threads_that_are_read_take_turns_and_those_forgotten_are_passed_over() {
        let mut positions = Positions::default();
        let name = |name: &str| ThreadId::new(name).unwrap();
        for each in ["a", "b", "c"] {
            positions.follow(name(each), Seq(0), Seq(9), false);
        }
        positions.forget(&name("b"));
        let turns: Vec<_> = (0..4).map(|_| positions.begin_read().unwrap().0).collect();
        assert_eq!(turns, ["a", "c", "a", "c"].map(name));
    }

    #[test]
    fn of_many_threads_those_that_moved_last_are_told() {
        let mut positions = Positions::default();
        let name = |n: u64| ThreadId::new(&format!("t{n}")).unwrap();
        (0..1_000).for_each(|n| positions.follow(name(n), Seq(0), Seq(0), false));
        for n in [7, 500, 3] {
            positions.take(&name(n), Seq(1));
        }
        let mut latest = positions.latest(3);
        latest.sort();
        assert_eq!(latest, [3, 500, 7].map(|n| (name(n), Seq(1))));
        assert_eq!(positions.latest(5_000).len(), 1_000);
    }

    #[test]
    fn a_repeat_reads_the_log_where_the_thread_is_followed_too() {
        let mut positions = Positions::default();
        positions.follow(thread(), Seq(1), Seq(1), false);
        positions.ensure(&thread(), Seq(0), true);
        assert_eq!(positions.begin_read(), Some((thread(), Seq(1))));
    }

    #[test]
    fn an_event_that_came_while_reading_is_read_for() {
        let mut positions = Positions::default();
        positions.follow(thread(), Seq(0), Seq(0), true);
        assert_eq!(positions.begin_read(), Some((thread(), Seq(0))));
        assert_eq!(positions.take(&thread(), Seq(2)), Take::Hole);
        assert_eq!(positions.take(&thread(), Seq(1)), Take::HandOut);
        assert_eq!(positions.begin_read(), Some((thread(), Seq(1))));
    }
}
