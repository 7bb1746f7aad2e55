//! Decides whether a write to a client may wait a moment for more: only on a thread that writes so often that one
//! write less is worth it. A calm host writes at once.

use std::{cell::Cell, time::Duration};

use tokio::time::Instant;

/// How long something said waits for more, at most: about as long as a busy thread takes to come back to a connection,
/// and too short for a person to see.
pub(super) const HOLD: Duration = Duration::from_millis(5);
/// Over this time writes are counted.
const WINDOW: Duration = Duration::from_millis(8);
/// So many writes of one thread within the window make it busy: at 6 µs each, a twentieth of its time.
const BUSY: u32 = 64;

thread_local! {
    /// The writes of this thread: what is saved is its own time.
    static PACE: Cell<Option<Pace>> = const { Cell::new(None) };
}

/// Notes a write by this thread.
pub(super) fn wrote(now: Instant) {
    let pace = PACE.get().map_or_else(|| Pace::new(now), |pace| pace.at(now));
    PACE.set(Some(Pace { count: pace.count.saturating_add(1), ..pace }));
}

/// Whether this thread writes so often that a write may wait.
pub(super) fn is_busy(now: Instant) -> bool {
    PACE.get().is_some_and(|pace| pace.at(now).is_busy())
}

/// Writes in the present window, and in the one before.
#[derive(Debug, Clone, Copy)]
struct Pace {
    since: Instant,
    count: u32,
    before: u32,
}

impl Pace {
    fn new(now: Instant) -> Self {
        Self { since: now, count: 0, before: 0 }
    }

    /// The same at a later time: a window that is over becomes the one before, and an older one is forgotten.
    fn at(self, now: Instant) -> Self {
        match now.saturating_duration_since(self.since) {
            passed if passed < WINDOW => self,
            passed if passed < 2 * WINDOW => {
                Self { since: self.since + WINDOW, count: 0, before: self.count }
            }
            _ => Self::new(now),
        }
    }

    fn is_busy(self) -> bool {
        self.count.max(self.before) >= BUSY
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(writes: u32, passed: Duration) -> Pace {
        let start = Instant::now();
        Pace { count: writes, ..Pace::new(start) }.at(start + passed)
    }

    #[test]
    fn a_thread_is_busy_from_so_many_writes_on_and_until_a_calm_window_has_passed() {
        assert!(!after(BUSY - 1, Duration::ZERO).is_busy());
        assert!(after(BUSY, Duration::ZERO).is_busy());
        assert!(after(BUSY, WINDOW).is_busy());
        assert!(!after(BUSY, 2 * WINDOW).is_busy());
    }

    #[test]
    fn writes_are_counted_by_thread() {
        let now = Instant::now();
        for _ in 0..BUSY {
            wrote(now);
        }
        assert!(is_busy(now));
        let elsewhere = std::thread::spawn(move || is_busy(now));
        assert!(!elsewhere.join().unwrap());
    }
}
