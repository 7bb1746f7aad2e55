//! How many connections clients may have beside everything else in this process that needs a descriptor: operators,
//! workers, the log.

use agent_host_core::{failpoint, failpoint::Action};

/// Places on the public listener.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Places {
    /// Connections that are served.
    pub(crate) served: usize,
    /// Further ones that are told that the host is full.
    pub(crate) told: usize,
}

/// Connections above the limit that are answered before they are closed.
const TOLD: usize = 64;
/// A host that may have next to nothing serves so many all the same.
const LEAST: usize = 8;

impl Places {
    /// As many as are configured (0: no limit of its own), and fit. Asked when everything is open that the host opens
    /// before its doors.
    pub(crate) fn of(configured: usize) -> Self {
        let wanted = if configured == 0 { usize::MAX } else { configured };
        // For a broken twin: a host that takes whoever comes.
        match limit() {
            Some(limit) if failpoint!("gateway.descriptors") != Some(Action::Off) => {
                Self::within(wanted, limit, open())
            }
            Some(_) | None => Self { served: wanted, told: TOLD },
        }
    }

    /// What is open already is not to be had, and some is kept for what is opened later.
    fn within(wanted: usize, limit: usize, open: usize) -> Self {
        // Twenty plugins need a hundred, an operator a few: a small host has few of both.
        let kept = (limit / 8).clamp(32, 512);
        let told = TOLD.min(kept / 4);
        let room = limit.saturating_sub(open + kept + told);
        Self { served: wanted.min(room.max(LEAST)), told }
    }
}

/// The soft limit on open files. `None` where it is not told, or unlimited.
fn limit() -> Option<usize> {
    let limits = std::fs::read_to_string("/proc/self/limits").ok()?;
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"))?;
    line.split_whitespace().next()?.parse().ok()
}

/// Descriptors that are open now; 0 where that is not told.
fn open() -> usize {
    std::fs::read_dir("/proc/self/fd").map_or(0, Iterator::count)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_roomy_host_has_what_is_configured() {
        assert_eq!(Places::within(10_000, 20_000, 30), Places { served: 10_000, told: 64 });
    }

    #[test]
    fn everything_together_fits_within_the_limit() {
        for limit in [96, 256, 1_024, 20_000] {
            let open = 30;
            let places = Places::within(usize::MAX, limit, open);
            assert!(places.served + places.told + open + 32 <= limit, "{limit}: {places:?}");
        }
    }

    #[test]
    fn a_host_with_next_to_nothing_serves_a_few() {
        assert_eq!(Places::within(100, 32, 30), Places { served: LEAST, told: 8 });
    }
}
