//! Gives memory back after a crowd of clients has left.

use std::{convert::Infallible, time::Duration};

use agent_host_gateway::Gateway;
use agent_host_runtime::memory;
use tokio::time::{MissedTickBehavior, interval};

/// How often to look. A look reads one number.
const EVERY: Duration = Duration::from_millis(500);
/// Fewer that left are not worth it: their memory is used again by those who come next.
const CROWD: usize = 1000;

/// Looks for as long as it is polled. Cancel safe.
pub(crate) async fn tidy(gateway: &Gateway) -> Infallible {
    let mut look = interval(EVERY);
    look.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut crowd = Crowd::default();
    loop {
        look.tick().await;
        if crowd.has_left(gateway.connections()) {
            // An error is a runtime that ends, or a panic where there is nothing to panic.
            let _ = tokio::task::spawn_blocking(memory::give_back).await;
        }
    }
}

/// The most connections since memory was last given back.
#[derive(Debug, Default)]
struct Crowd {
    most: usize,
}

impl Crowd {
    /// Whether half of it, and not only a few, have left. It is forgotten then.
    fn has_left(&mut self, now: usize) -> bool {
        self.most = self.most.max(now);
        let left = self.most - now;
        let gone = left >= CROWD && left >= self.most / 2;
        if gone {
            self.most = now;
        }
        gone
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_crowd_has_left_once_when_half_of_it_has() {
        let mut crowd = Crowd::default();
        assert!(!crowd.has_left(10_000));
        assert!(!crowd.has_left(5_001));
        assert!(crowd.has_left(5_000));
        assert!(!crowd.has_left(5_000));
        assert!(crowd.has_left(0));
        assert!(!crowd.has_left(0));
    }

    #[test]
    fn a_few_are_no_crowd() {
        let mut crowd = Crowd::default();
        assert!(!crowd.has_left(CROWD - 1));
        assert!(!crowd.has_left(0));
    }
}
