//! Decides when to ping a client, and when it is taken for gone.

use std::time::Duration;

use tokio::time::Instant;

/// `Quiet` until the next ping is due; then `Asked` until anything is heard. Silence until the deadline is the end.
/// What is heard while quiet does not put off the ping: it also keeps proxies from closing an idle connection.
#[derive(Debug, Clone)]
pub(crate) struct Liveness {
    next_ping: Instant,
    answer_by: Option<Instant>,
    pong: Duration,
}

/// What is due.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Beat {
    /// Nothing yet.
    Rest,
    /// Send a ping.
    Ping,
    /// The client is gone.
    Dead,
}

impl Liveness {
    pub(crate) fn new(first_ping: Instant, pong: Duration) -> Self {
        Self { next_ping: first_ping, answer_by: None, pong }
    }

    /// When to ask again.
    pub(crate) fn wake_at(&self) -> Instant {
        self.answer_by.unwrap_or(self.next_ping)
    }

    /// Something came in, whatever it was.
    pub(crate) fn heard(&mut self) {
        self.answer_by = None;
    }

    /// What is due at `now`; a ping that is answered is followed by the next after `interval`, which is drawn then.
    pub(crate) fn beat(&mut self, now: Instant, interval: impl FnOnce() -> Duration) -> Beat {
        match self.answer_by {
            Some(deadline) if now >= deadline => Beat::Dead,
            Some(_) => Beat::Rest,
            None if now >= self.next_ping => {
                self.next_ping = now + interval();
                self.answer_by = Some(now + self.pong);
                Beat::Ping
            }
            None => Beat::Rest,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const INTERVAL: Duration = Duration::from_secs(20);
    const PONG: Duration = Duration::from_secs(8);

    #[test]
    fn silence_after_a_ping_is_the_end_and_any_sign_is_life() {
        let start = Instant::now();
        let mut liveness = Liveness::new(start + INTERVAL, PONG);
        assert_eq!(liveness.beat(start, || INTERVAL), Beat::Rest);
        assert_eq!(liveness.beat(start + INTERVAL, || INTERVAL), Beat::Ping);
        assert_eq!(liveness.wake_at(), start + INTERVAL + PONG);
        assert_eq!(liveness.beat(start + INTERVAL + PONG / 2, || INTERVAL), Beat::Rest);
        liveness.heard();
        assert_eq!(liveness.beat(start + INTERVAL + PONG, || INTERVAL), Beat::Rest);
        assert_eq!(liveness.wake_at(), start + INTERVAL * 2);
        assert_eq!(liveness.beat(start + INTERVAL * 2, || INTERVAL), Beat::Ping);
        assert_eq!(liveness.beat(start + INTERVAL * 2 + PONG, || INTERVAL), Beat::Dead);
    }
}
