//! Which lines are written, while the host runs: what the configuration says, unless an operator said otherwise.
//!
//! ```text
//! configured ── ordered ──▶ ordered ── ordered for a time ──▶ until then ── time is over ──▶ configured
//! ```
//! Another level in the file ends an order without a time: the later word holds. One for a time runs out by itself.

use std::time::{Duration, Instant};

/// The least level that is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[expect(missing_docs, reason = "the usual five")]
pub enum Level {
    Error,
    Warn,
    Info,
    Debug,
    Trace,
}

impl Level {
    /// Every level, the quietest first.
    pub const ALL: [Self; 5] = [Self::Error, Self::Warn, Self::Info, Self::Debug, Self::Trace];

    /// Its word.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warn => "warn",
            Self::Info => "info",
            Self::Debug => "debug",
            Self::Trace => "trace",
        }
    }

    /// By its word.
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|level| level.as_str() == word)
    }

    /// As a filter. Libraries below the host show whole frames and headers in their `debug` and `trace`, people's text
    /// and tokens with them: those never go into a log. And what an operator did is written at every level: nobody
    /// shall give orders behind a log that he made quiet.
    pub(super) fn filter(self) -> String {
        let below = self.min(Self::Info);
        let (level, below) = (self.as_str(), below.as_str());
        format!("{below},agent_host={level},plugin={level},{}=info", crate::declare::AUDIT)
    }
}

/// What holds now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InForce {
    /// The level.
    pub level: Level,
    /// What the configuration says.
    pub configured: Level,
    /// How long the level still holds, where it was ordered for a time.
    pub left: Option<Duration>,
}

/// The levels of a log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Levels {
    configured: Level,
    ordered: Option<Ordered>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Ordered {
    level: Level,
    until: Option<Instant>,
}

impl Levels {
    pub(super) const fn new(configured: Level) -> Self {
        Self { configured, ordered: None }
    }

    /// What holds at `now`.
    pub(super) fn in_force(&self, now: Instant) -> InForce {
        let level = self.ordered.map_or(self.configured, |ordered| ordered.level);
        let until = self.ordered.and_then(|ordered| ordered.until);
        let left = until.map(|until| until.saturating_duration_since(now));
        InForce { level, configured: self.configured, left }
    }

    /// When the order runs out, if it does.
    pub(super) fn until(&self) -> Option<Instant> {
        self.ordered.and_then(|ordered| ordered.until)
    }

    /// An operator orders a level, until then or until further notice.
    pub(super) fn order(&mut self, level: Level, until: Option<Instant>) {
        self.ordered = Some(Ordered { level, until });
    }

    /// The configuration says this now. Nothing changes where it said so before.
    pub(super) fn configure(&mut self, level: Level) {
        if level != self.configured && self.ordered.is_some_and(|ordered| ordered.until.is_none()) {
            self.ordered = None;
        }
        self.configured = level;
    }

    /// Ends an order whose time is over. Answers whether there was one.
    pub(super) fn expire(&mut self, now: Instant) -> bool {
        let over = self.until().is_some_and(|until| until <= now);
        if over {
            self.ordered = None;
        }
        over
    }
}

#[cfg(test)]
mod tests {
    use tracing_subscriber::EnvFilter;

    use super::*;

    #[test]
    fn a_level_is_not_that_of_the_libraries_below_and_orders_are_always_written() {
        let filters: Vec<String> = Level::ALL.into_iter().map(Level::filter).collect();
        assert_eq!(filters.first().unwrap(), "error,agent_host=error,plugin=error,agent_host::audit=info");
        assert_eq!(filters.last().unwrap(), "info,agent_host=trace,plugin=trace,agent_host::audit=info");
        assert!(filters.iter().all(|filter| EnvFilter::try_new(filter).is_ok()), "{filters:?}");
        assert!(Level::ALL.into_iter().all(|level| Level::parse(level.as_str()) == Some(level)));
        assert_eq!(Level::parse("hyper=trace"), None);
    }

    #[test]
    fn an_order_holds_until_its_time_is_over_or_the_file_says_otherwise() {
        let start = Instant::now();
        let later = start + Duration::from_secs(60);
        let level = |levels: &Levels| levels.in_force(start).level;
        let mut levels = Levels::new(Level::Info);
        levels.order(Level::Debug, Some(later));
        assert_eq!(
            levels.in_force(start),
            InForce { level: Level::Debug, configured: Level::Info, left: Some(Duration::from_secs(60)) }
        );
        assert!(!levels.expire(start), "its time is not over");
        levels.configure(Level::Warn);
        assert_eq!(level(&levels), Level::Debug, "the file waits for its time");
        assert!(levels.expire(later) && !levels.expire(later));
        assert_eq!(level(&levels), Level::Warn);

        levels.order(Level::Trace, None);
        levels.configure(Level::Warn);
        assert_eq!(level(&levels), Level::Trace, "the file says nothing new");
        levels.configure(Level::Error);
        assert_eq!(level(&levels), Level::Error);
    }
}
