//! Decides when clients are told how the service is: a level once it has held for a while, whatever else changes meanwhile.

use std::time::{Duration, Instant};

use crate::level::ServiceLevel;

/// What changed since clients were told last, and when.
///
/// The level has a clock of its own, which begins anew only when the level itself moves: a list of what is missing that
/// keeps changing holds no level back. What never holds is told as it is at the latest after ten times the settling
/// time, so that nobody believes for good what is long over.
#[derive(Debug, Clone)]
pub struct Settling {
    told: ServiceLevel,
    level: ServiceLevel,
    /// Of the level, while it is not the one that was told.
    of_level: Option<Changes>,
    /// Of anything, the level with it. A change that was undone counts: who connected in between was told of it.
    of_any: Option<Changes>,
}

/// While everything changes all the time, clients are told a tenth as often as of single changes.
const LONGEST: u32 = 10;

/// When something that is not told yet changed.
#[derive(Debug, Clone, Copy)]
struct Changes {
    first: Instant,
    last: Instant,
}

impl Settling {
    /// Clients were told of that level, and nothing has changed since.
    pub fn new(told: ServiceLevel) -> Self {
        Self { told, level: told, of_level: None, of_any: None }
    }

    /// Something changed at `now`: the level, which is now `level`, or what is missing, or why.
    pub fn changed(&mut self, level: ServiceLevel, now: Instant) {
        self.of_any = Some(Changes::and(self.of_any, now));
        if level != self.level {
            self.level = level;
            self.of_level = (level != self.told).then(|| Changes::and(self.of_level, now));
        }
    }

    /// When clients are to be told, if nothing changes until then; `None`: there is nothing to tell.
    pub fn due(&self, settle: Duration) -> Option<Instant> {
        self.of_level.or(self.of_any).map(|changes| changes.due(settle))
    }

    /// Clients are told all that changed so far.
    pub fn told(&mut self) {
        *self = Self::new(self.level);
    }
}

impl Changes {
    fn and(earlier: Option<Self>, now: Instant) -> Self {
        Self { first: earlier.map_or(now, |changes| changes.first), last: now }
    }

    fn due(self, settle: Duration) -> Instant {
        (self.last + settle).min(self.first + settle * LONGEST)
    }
}

#[cfg(test)]
mod tests {
    use super::{
        ServiceLevel::{Fallback, Full, Partial},
        *,
    };

    const SETTLE: Duration = Duration::from_secs(1);

    /// Plays changes at milliseconds after the start; in how many milliseconds clients are told.
    fn told_after(changes: &[(u64, ServiceLevel)]) -> Option<u64> {
        let start = Instant::now();
        let mut settling = Settling::new(Full);
        for (at, level) in changes {
            let now = start + Duration::from_millis(*at);
            assert!(settling.due(SETTLE).is_none_or(|due| due > now), "told before {at}");
            settling.changed(*level, now);
        }
        settling.due(SETTLE).map(|due| u64::try_from((due - start).as_millis()).unwrap())
    }

    #[test]
    fn what_holds_is_told_after_the_settling_time() {
        assert_eq!(told_after(&[]), None);
        assert_eq!(told_after(&[(0, Partial)]), Some(1000));
        assert_eq!(told_after(&[(0, Full)]), Some(1000), "only the list changed");
    }

    #[test]
    fn a_list_that_keeps_changing_holds_no_level_back() {
        let changes: Vec<_> = (0..10).map(|i| (i * 100, Partial)).collect();
        assert_eq!(told_after(&changes), Some(1000));
    }

    #[test]
    fn a_level_that_moves_begins_anew() {
        assert_eq!(told_after(&[(0, Partial), (900, Fallback)]), Some(1900));
        assert_eq!(told_after(&[(0, Partial), (400, Full), (900, Partial)]), Some(1900));
    }

    #[test]
    fn a_change_that_was_undone_is_told_too() {
        // Somebody connected at 100 ms, and was told `partial`.
        assert_eq!(told_after(&[(0, Partial), (200, Full)]), Some(1200));
    }

    #[test]
    fn what_never_holds_is_told_all_the_same() {
        let list: Vec<_> = (0..100).map(|i| (i * 100, Full)).collect();
        assert_eq!(told_after(&list), Some(10_000));
        let levels: Vec<_> =
            (0..100).map(|i| (i * 100, if i % 2 == 0 { Partial } else { Fallback })).collect();
        assert_eq!(told_after(&levels), Some(10_000));
    }

    #[test]
    fn once_told_there_is_nothing_to_tell() {
        let mut settling = Settling::new(Full);
        let now = Instant::now();
        settling.changed(Partial, now);
        settling.told();
        assert_eq!(settling.due(SETTLE), None);
        settling.changed(Partial, now);
        assert_eq!(settling.due(SETTLE), Some(now + SETTLE), "the list");
    }
}
