//! `[plugins.<id>.canary]`: how a new version is tried before it takes over.

use std::time::Duration;

use agent_host_core::share::Share;

use crate::reader::Reader;

/// How a new version is tried: on a share of the threads, beside the one that serves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CanaryConfig {
    /// The share of the threads that it gets; none: it takes over at once.
    pub share: Share,
    /// How long it is tried before it takes over.
    pub lasts: Duration,
    /// Runs of it below which it is not judged before its time is over.
    pub min_runs: u32,
    /// How much larger its share of failed runs may be than the other's.
    pub tolerance: Share,
}

/// Reads `[plugins.<id>.canary]`.
pub(super) fn read(r: &Reader<'_>) -> CanaryConfig {
    CanaryConfig {
        share: r.or("share", Share::NONE),
        lasts: r.within(
            "for",
            Duration::from_secs(300),
            Duration::from_secs(1)..=Duration::from_secs(30 * 86_400),
        ),
        min_runs: r.within("min_runs", 20, 1..=1_000_000),
        tolerance: r.or("tolerance", Share::percent(20)),
    }
}
