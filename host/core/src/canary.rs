//! Judges a new generation that has a share of the runs by the one beside it that has the rest.
//!
//! ```text
//!                    ┌── fails more than the other, by more than is borne ──▶ taken back
//! has its share ─────┤
//!                    └── its time is over ──▶ as much as was seen of it is judged ──▶ promoted, or taken back
//! ```
//! Both are counted over the same time, so that what befalls everybody (a model that is down) is not put down to the new
//! one.

use std::{fmt, time::Duration};

use crate::share::Share;

/// How a new generation is tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CanaryPolicy {
    /// The share of the threads that it gets; none: it takes over at once.
    pub share: Share,
    /// How long it is tried.
    pub lasts: Duration,
    /// Runs of it below which it is not judged before its time is over.
    pub min_runs: u32,
    /// How much larger its share of failed runs may be than the other's.
    pub tolerance: Share,
}

/// Whose runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Side {
    /// The new generation's.
    Canary,
    /// Those of the one that serves.
    Serving,
}

impl Side {
    /// The word in metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Canary => "canary",
            Self::Serving => "serving",
        }
    }
}

/// Runs that ended and say something about their plugin.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Runs {
    /// All of them.
    pub ended: u32,
    /// Those that failed.
    pub failed: u32,
}

impl Runs {
    fn count(&mut self, failed: bool) {
        // Kept in proportion where there are more than can be counted.
        if self.ended == u32::MAX {
            (self.ended, self.failed) = (self.ended / 2, self.failed / 2);
        }
        self.ended += 1;
        self.failed += u32::from(failed);
    }
}

impl fmt::Display for Runs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of {}", self.failed, self.ended)
    }
}

/// It fails more than the one beside it, by more than is borne.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "{canary} of its runs failed, against {serving} of the generation beside it: more than {tolerance} more"
)]
pub struct Worse {
    /// Its runs.
    pub canary: Runs,
    /// The other's, over the same time.
    pub serving: Runs,
    /// What would have been borne.
    pub tolerance: Share,
}

/// A new generation on trial.
#[derive(Debug, Clone)]
pub struct Canary {
    policy: CanaryPolicy,
    canary: Runs,
    serving: Runs,
}

impl Canary {
    /// Nothing is known of it.
    pub fn new(policy: CanaryPolicy) -> Self {
        Self { policy, canary: Runs::default(), serving: Runs::default() }
    }

    /// The terms that it is tried by.
    pub fn policy(&self) -> CanaryPolicy {
        self.policy
    }

    /// Other terms hold from now on; what was counted stays.
    pub fn follow(&mut self, policy: CanaryPolicy) {
        self.policy = policy;
    }

    /// The runs of one side.
    pub fn runs(&self, side: Side) -> Runs {
        match side {
            Side::Canary => self.canary,
            Side::Serving => self.serving,
        }
    }

    /// Counts a run that ended.
    ///
    /// # Errors
    /// [`Worse`] if the new generation is to be taken back for it.
    pub fn ended(&mut self, side: Side, failed: bool) -> Result<(), Worse> {
        match side {
            Side::Canary => self.canary.count(failed),
            Side::Serving => self.serving.count(failed),
        }
        if self.canary.ended < self.policy.min_runs { Ok(()) } else { self.verdict() }
    }

    /// Its time is over: judged by whatever was seen of it.
    ///
    /// # Errors
    /// [`Worse`] if it is to be taken back rather than promoted.
    pub fn verdict(&self) -> Result<(), Worse> {
        let (canary, serving, tolerance) = (self.canary, self.serving, self.policy.tolerance);
        let (failed, of) = (u128::from(canary.failed), u128::from(canary.ended));
        // Nothing seen of the other: it is taken to fail never.
        let (failed_beside, of_beside) = (u128::from(serving.failed), u128::from(serving.ended.max(1)));
        let all = u128::from(Share::ALL.hundredths());
        let borne = failed_beside * all + u128::from(tolerance.hundredths()) * of_beside;
        // failed / of > failed_beside / of_beside + tolerance, without a division.
        if failed * of_beside * all > of * borne {
            return Err(Worse { canary, serving, tolerance });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
