//! How long to wait before the next try to connect: longer each time, and never in step with other clients.

use std::time::Duration;

/// Doubles from a quarter of a second to ten seconds; each pause is between a half and the whole of that.
#[derive(Debug, Default)]
pub(super) struct Backoff {
    tries: u32,
}

impl Backoff {
    /// The next pause; `random` is from 0 to 1, and `least` is what the host asked for.
    pub(super) fn next(&mut self, least: Duration, random: f64) -> Duration {
        let whole = FIRST.saturating_mul(1 << self.tries.min(8)).min(LONGEST);
        self.tries += 1;
        whole.mul_f64(0.5 + random.clamp(0.0, 1.0) / 2.0).max(least)
    }

    /// It worked.
    pub(super) fn reset(&mut self) {
        self.tries = 0;
    }
}

/// From 0 to 1; a half where there is no randomness to be had.
pub(super) fn random() -> f64 {
    f64::from(getrandom::u32().unwrap_or(u32::MAX / 2)) / f64::from(u32::MAX)
}

const FIRST: Duration = Duration::from_millis(250);
const LONGEST: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_a_bound_and_begin_anew() {
        let mut backoff = Backoff::default();
        let pauses: Vec<u128> = (0..8).map(|_| backoff.next(Duration::ZERO, 1.0).as_millis()).collect();
        assert_eq!(pauses, [250, 500, 1000, 2000, 4000, 8000, 10_000, 10_000]);
        assert!((0..100).all(|_| backoff.next(Duration::ZERO, 0.0) == LONGEST / 2));
        backoff.reset();
        assert_eq!(backoff.next(Duration::ZERO, 0.0), FIRST / 2);
        assert_eq!(backoff.next(Duration::from_secs(3), 0.0), Duration::from_secs(3));
    }
}
