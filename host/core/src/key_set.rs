//! Decides when a key set is fetched, and whether the keys that are there still hold.

use std::time::{Duration, Instant};

/// The first pause after a fetch that left the host without a key: nobody can be let in meanwhile.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
/// The longest pause after a fetch that failed; also the first one while older keys still hold, where nothing is urgent.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// How often a set is fetched, and how long it holds when it cannot be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeySetPolicy {
    /// From one fetch to the next, at most.
    pub refresh: Duration,
    /// From the last fetch that succeeded, while later ones fail.
    pub stale: Duration,
    /// The least time between two fetches that tokens ask for: whoever makes up names of keys makes the host ask its
    /// issuer no more often than that.
    pub pace: Duration,
}

impl Default for KeySetPolicy {
    /// Every 5 minutes; for a day without the issuer; at most every 30 seconds for tokens.
    fn default() -> Self {
        Self {
            refresh: Duration::from_secs(300),
            stale: Duration::from_secs(24 * 3600),
            pace: Duration::from_secs(30),
        }
    }
}

/// What the keys are worth.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Standing {
    /// None was ever fetched.
    Absent,
    /// They are the issuer's.
    Current,
    /// They are what the issuer had; it cannot be asked now.
    Stale,
    /// They were stale for too long, and hold no more.
    Expired,
    /// The issuer has none that this host could use.
    Empty,
}

impl Standing {
    /// Every one.
    pub const ALL: [Self; 5] = [Self::Absent, Self::Current, Self::Stale, Self::Expired, Self::Empty];

    /// The word in views and logs.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Absent => "absent",
            Self::Current => "current",
            Self::Stale => "stale",
            Self::Expired => "expired",
            Self::Empty => "empty",
        }
    }

    /// Whether a token can be judged by them.
    pub const fn holds(self) -> bool {
        match self {
            Self::Current | Self::Stale => true,
            Self::Absent | Self::Expired | Self::Empty => false,
        }
    }
}

/// How a fetch ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fetched {
    /// With a set that has a key.
    Keys,
    /// With a set that has none: those of before are withdrawn.
    NoKey,
    /// Without a set.
    Failed,
}

/// What becomes of a token whose key is not there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Demand {
    /// The set is being fetched, or is about to be.
    Coming,
    /// The set was fetched for the like of it a moment ago. It will be again, after so long.
    Later(Duration),
}

/// When a set is fetched.
///
/// ```text
///                begin                      settle(Keys)
/// waits for due ───────▶ one fetch goes on ──────────────▶ due after `refresh`
///      ▲  ▲                                 settle(Failed, NoKey)
///      │  └── demand: due now, ◀─────────────────────────▶ due after a pause that doubles
///      └───── or when the pace allows it
/// ```
/// There is one fetch at a time. A demand always leads to one, now or within its pace; however many demands there
/// are, it leads to one.
#[derive(Debug, Clone)]
pub struct KeySetPlan {
    policy: KeySetPolicy,
    /// When the fetch began that the keys are from, and whether it found one.
    last: Option<(Instant, bool)>,
    /// Fetches since then that did not give the host a key.
    failures: u32,
    due: Instant,
    begun: Option<Instant>,
    /// Whether a token asked for the next fetch.
    demanded: bool,
    /// From when on a demand is answered at once.
    demands_from: Instant,
}

impl KeySetPlan {
    /// A plan whose first fetch is due now.
    pub fn new(policy: KeySetPolicy, now: Instant) -> Self {
        Self { policy, last: None, failures: 0, due: now, begun: None, demanded: false, demands_from: now }
    }

    /// What the keys are worth at `now`.
    pub fn standing(&self, now: Instant) -> Standing {
        match (self.last, self.failures) {
            (None, _) => Standing::Absent,
            (Some((_, false)), _) => Standing::Empty,
            (Some(_), 0) => Standing::Current,
            (Some((at, true)), _) if now.saturating_duration_since(at) >= self.policy.stale => {
                Standing::Expired
            }
            (Some(_), _) => Standing::Stale,
        }
    }

    /// How long ago the fetch began that the keys are from.
    pub fn age(&self, now: Instant) -> Option<Duration> {
        self.last.map(|(at, _)| now.saturating_duration_since(at))
    }

    /// When to look again at `now`: a fetch is due then, or stale keys expire. `None` while a fetch goes on.
    pub fn wake_at(&self, now: Instant) -> Option<Instant> {
        if self.begun.is_some() {
            return None;
        }
        let expiry = match (self.standing(now), self.last) {
            (Standing::Stale, Some((at, _))) => at.checked_add(self.policy.stale),
            _ => None,
        };
        Some(expiry.map_or(self.due, |expiry| expiry.min(self.due)))
    }

    /// Whether a fetch is to begin at `now`. If so it has begun.
    pub fn begin(&mut self, now: Instant) -> bool {
        if self.begun.is_some() || now < self.due {
            return false;
        }
        self.begun = Some(now);
        if std::mem::take(&mut self.demanded) {
            self.demands_from = now + self.policy.pace;
        }
        true
    }

    /// The fetch that had begun is over. `spread`, of 0 to 1, keeps hosts that started together from asking together;
    /// answers how long it is to the next one.
    pub fn settle(&mut self, fetched: Fetched, now: Instant, spread: f64) -> Duration {
        let begun = self.begun.take().unwrap_or(now);
        match fetched {
            Fetched::Keys => (self.last, self.failures) = (Some((begun, true)), 0),
            Fetched::NoKey => {
                (self.last, self.failures) = (Some((begun, false)), self.failures.saturating_add(1))
            }
            Fetched::Failed => self.failures = self.failures.saturating_add(1),
        }
        let spread = if spread.is_finite() { spread.clamp(0.0, 1.0) } else { 0.5 };
        let pause = match fetched {
            Fetched::Keys => self.policy.refresh.mul_f64(1.0 - 0.1 * spread),
            Fetched::NoKey | Fetched::Failed => self.pause(now).mul_f64(1.0 + 0.2 * spread),
        };
        self.due = now + pause;
        pause
    }

    /// A token came whose key is not there.
    pub fn demand(&mut self, now: Instant) -> Demand {
        if self.begun.is_some() {
            return Demand::Coming;
        }
        self.demanded = true;
        self.due = self.due.min(self.demands_from.max(now));
        match self.due.saturating_duration_since(now) {
            Duration::ZERO => Demand::Coming,
            left => Demand::Later(left),
        }
    }

    /// Fetches that failed since the last one that did not.
    pub fn failures(&self) -> u32 {
        self.failures
    }

    fn pause(&self, now: Instant) -> Duration {
        if self.standing(now).holds() {
            return LONGEST_PAUSE.min(self.policy.refresh.max(FIRST_PAUSE));
        }
        let doublings = self.failures.saturating_sub(1).min(16);
        FIRST_PAUSE.saturating_mul(1 << doublings).min(LONGEST_PAUSE)
    }
}

#[cfg(test)]
mod tests;
