//! The wall clock, injected, so that tokens and timestamps can be judged at any time a test wants.

use std::time::SystemTime;

/// Tells the time of day. Timers do not use it: they are monotonic.
pub trait Clock: Send + Sync + 'static {
    /// Now.
    fn now(&self) -> SystemTime;
}

/// The machine's clock.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> SystemTime {
        SystemTime::now()
    }
}
