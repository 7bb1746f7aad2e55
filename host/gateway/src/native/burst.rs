//! What the next write to a client holds, and whether it may wait for more: a write costs more than all else that a burst
//! does, so on a busy host the first part of a run waits for the rest of it.

use tokio::time::Instant;
use tokio_tungstenite::tungstenite::{Bytes, Message, Utf8Bytes};

use super::pace;

/// Frames of one write; more wait for the next turn, so that what comes in is heard in between.
const MOST: usize = 256;
/// Bytes from which on a burst does not wait for more: one write more is little beside them.
const ENOUGH: usize = 4096;

/// See the module. Bounded by [`MOST`] and [`ENOUGH`]; then it is written before more is taken.
#[derive(Debug, Default)]
pub(super) struct Burst {
    frames: Vec<Message>,
    /// Of what may wait, in bytes.
    bytes: usize,
    /// Until when it may wait for more. `None`: nothing waits.
    held_until: Option<Instant>,
    /// Whether there is something in it that may not wait.
    urgent: bool,
}

impl Burst {
    /// Something that may not wait.
    pub(super) fn push(&mut self, text: Utf8Bytes) {
        self.urgent = true;
        self.frames.push(Message::Text(text));
    }

    /// The protocol's own ping, which goes with whatever else is said.
    pub(super) fn ping(&mut self) {
        self.frames.push(Message::Ping(Bytes::new()));
    }

    /// What one event becomes; `may_wait`: more of the same run is to follow at once.
    pub(super) fn add(&mut self, texts: Vec<Utf8Bytes>, may_wait: bool) {
        self.urgent |= !may_wait && !texts.is_empty();
        for text in texts {
            self.bytes += text.len();
            self.frames.push(Message::Text(text));
        }
    }

    /// Whether it takes no more before it is written.
    pub(super) fn is_full(&self) -> bool {
        self.frames.len() >= MOST
    }

    /// When what waits has waited enough.
    pub(super) fn held_until(&self) -> Option<Instant> {
        self.held_until
    }

    /// Whether it is to be written now; if not, it is held until [`Burst::held_until`]. `busy`: whether a write less is
    /// worth the wait.
    pub(super) fn is_due(&mut self, now: Instant, busy: impl FnOnce() -> bool) -> bool {
        if self.frames.is_empty() {
            return false;
        }
        if self.urgent || self.is_full() || self.bytes >= ENOUGH {
            return true;
        }
        match self.held_until {
            Some(until) => now >= until,
            None if busy() => {
                self.held_until = Some(now + pace::HOLD);
                false
            }
            None => true,
        }
    }

    /// What is to be written, if anything is; whatever comes from now on begins another.
    pub(super) fn take(&mut self) -> Option<&mut Vec<Message>> {
        if self.frames.is_empty() {
            return None;
        }
        (self.urgent, self.held_until, self.bytes) = (false, None, 0);
        Some(&mut self.frames)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(length: usize) -> Utf8Bytes {
        "x".repeat(length).into()
    }

    #[test]
    fn what_may_wait_is_held_once_and_only_on_a_busy_host() {
        let now = Instant::now();
        let mut calm = Burst::default();
        assert!(!calm.is_due(now, || true), "there is nothing");
        calm.add(vec![text(1)], true);
        assert!(calm.is_due(now, || false));
        let mut busy = Burst::default();
        busy.add(vec![text(1)], true);
        assert!(!busy.is_due(now, || true));
        let until = busy.held_until().expect("it waits");
        assert_eq!(until, now + pace::HOLD);
        assert!(!busy.is_due(until - pace::HOLD / 2, || true), "more does not put it off");
        assert!(busy.is_due(until, || true));
        assert_eq!(busy.take().map(|frames| frames.len()), Some(1));
        assert_eq!(busy.held_until(), None);
    }

    #[test]
    fn what_is_urgent_large_or_much_does_not_wait() {
        let now = Instant::now();
        let busy = || true;
        let mut urgent = Burst::default();
        urgent.add(vec![text(1)], false);
        assert!(urgent.is_due(now, busy));
        let mut said = Burst::default();
        said.push(text(1));
        assert!(said.is_due(now, busy));
        let mut large = Burst::default();
        large.add(vec![text(ENOUGH)], true);
        assert!(large.is_due(now, busy));
        let mut many = Burst::default();
        many.add((0..MOST).map(|_| text(1)).collect(), true);
        assert!(many.is_full() && many.is_due(now, busy));
        // What became no frame hurries nothing.
        let mut nothing = Burst::default();
        nothing.add(Vec::new(), false);
        nothing.add(vec![text(1)], true);
        assert!(!nothing.is_due(now, busy));
    }

    #[test]
    fn what_was_written_counts_for_nothing() {
        let now = Instant::now();
        let mut burst = Burst::default();
        burst.push(text(ENOUGH));
        burst.add(vec![text(ENOUGH)], true);
        burst.take().expect("there is something").clear();
        assert!(burst.take().is_none());
        burst.add(vec![text(1)], true);
        assert!(!burst.is_due(now, || true), "neither its urgency nor its bytes are left");
    }
}
