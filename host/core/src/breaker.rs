//! Refuses calls to a plugin that keeps failing, so that callers fall back at once.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use crate::outcome::{Exit, Outcome};

/// When a breaker opens, and for how long.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct BreakerPolicy {
    /// Judge the last so many calls …
    pub window: usize,
    /// … of the last so long.
    pub within: Duration,
    /// Below so many calls there is no judgement.
    pub min_calls: usize,
    /// Open at this share of failures: above 0.0, at most 1.0.
    pub failure_rate: f64,
    /// How long it stays open the first time; doubles with each failed trial.
    pub cool_down: Duration,
    /// The longest it stays open.
    pub max_cool_down: Duration,
}

impl Default for BreakerPolicy {
    /// Half of the last 20 calls within 60 s, from the fifth on; 5 s, then up to 60 s.
    fn default() -> Self {
        Self {
            window: 20,
            within: Duration::from_secs(60),
            min_calls: 5,
            failure_rate: 0.5,
            cool_down: Duration::from_secs(5),
            max_cool_down: Duration::from_secs(60),
        }
    }
}

impl BreakerPolicy {
    /// One that never judges.
    pub fn never() -> Self {
        Self { failure_rate: f64::INFINITY, ..Self::default() }
    }
}

/// Refuses calls to an instance which keeps failing, so that callers fall back at once.
///
/// ```text
///          failure rate reached                cool-down over
/// Closed ───────────────────────▶ Open ──────────────────────▶ HalfOpen
///   ▲                              ▲                             │  │
///   │                              └── trial failed, ×2 ─────────┘  │
///   └───────────────────────────────── trial succeeded ─────────────┘
/// ```
/// `Closed` lets calls through and counts failures. At the threshold it opens; after the cool-down one trial
/// call decides between `Closed` and `Open` with a longer cool-down. A trial whose permit was lost is given up
/// after one cool-down, so that a breaker cannot stay half-open for ever.
#[derive(Debug)]
pub struct CircuitBreaker {
    policy: BreakerPolicy,
    state: State,
    /// Rises with each change of state: a permit of an earlier state says nothing about this one.
    era: u64,
}

#[derive(Debug)]
enum State {
    Closed { calls: VecDeque<(Instant, bool)> },
    Open { until: Instant, cool_down: Duration },
    HalfOpen { trial_since: Instant, cool_down: Duration },
}

/// Where a breaker stands, for gauges and views.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BreakerState {
    /// Calls go through.
    Closed,
    /// Calls are refused.
    Open,
    /// One trial call is under way.
    HalfOpen,
}

impl BreakerState {
    /// The word in views and logs.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Open => "open",
            Self::HalfOpen => "half_open",
        }
    }
}

/// The calls that a closed breaker judges by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Window {
    /// All of them.
    pub calls: u32,
    /// Those that failed.
    pub failures: u32,
}

/// The right to one call. Settling consumes it, so a second report is impossible.
#[derive(Debug)]
#[must_use = "settle the permit, or the breaker never learns how the call went"]
pub struct Permit {
    era: u64,
}

/// How a call went, in the breaker's eyes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CallResult {
    /// The plugin works: it answered, be it with an error for this message only.
    Success,
    /// The plugin failed: crash, panic, hang, timeout, violation.
    Failure,
    /// It says nothing about the plugin: cancelled by the person, interrupted by the host, refused.
    Neutral,
}

impl CallResult {
    /// What an outcome says about the plugin. An error that its author calls retryable is the plugin's own
    /// trouble; one that is not is an answer to this message.
    pub fn of(outcome: &Outcome) -> Self {
        match outcome {
            Outcome::Ok(_) | Outcome::PluginError { retryable: false, .. } => Self::Success,
            Outcome::PluginError { retryable: true, .. }
            | Outcome::Panicked { .. }
            | Outcome::TimedOut(_)
            | Outcome::Violation(_) => Self::Failure,
            // The host ended it: reload, drain, disable.
            Outcome::Lost(report) if report.exit == Exit::Stopped => Self::Neutral,
            Outcome::Lost(_) => Self::Failure,
            Outcome::Refused(_) | Outcome::Cancelled | Outcome::Deserted | Outcome::Interrupted => {
                Self::Neutral
            }
        }
    }
}

/// The breaker is open, or its trial is under way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the breaker is open for another {retry_after:?}")]
pub struct Rejected {
    /// When it is worth asking again.
    pub retry_after: Duration,
}

impl CircuitBreaker {
    /// A closed breaker.
    pub fn new(policy: BreakerPolicy) -> Self {
        Self { policy, state: State::Closed { calls: VecDeque::new() }, era: 0 }
    }

    /// Whether a call may start at `now`.
    ///
    /// # Errors
    /// [`Rejected`] while it is open, or while another call is the trial.
    pub fn admit(&mut self, now: Instant) -> Result<Permit, Rejected> {
        match &self.state {
            State::Closed { .. } => Ok(Permit { era: self.era }),
            State::Open { until, cool_down } => match until.checked_duration_since(now) {
                Some(left) if !left.is_zero() => Err(Rejected { retry_after: left }),
                _ => Ok(self.begin_trial(now, *cool_down)),
            },
            State::HalfOpen { trial_since, cool_down } => {
                let left = cool_down.saturating_sub(now.saturating_duration_since(*trial_since));
                if left.is_zero() {
                    Ok(self.begin_trial(now, *cool_down))
                } else {
                    Err(Rejected { retry_after: left })
                }
            }
        }
    }

    /// Reports how the call went.
    pub fn settle(&mut self, permit: Permit, result: CallResult, now: Instant) {
        if permit.era != self.era {
            return;
        }
        match (&mut self.state, result) {
            (State::Closed { calls }, CallResult::Success | CallResult::Failure) => {
                calls.push_back((now, result == CallResult::Failure));
                if is_failing(calls, &self.policy, now) {
                    self.enter_open(now, self.policy.cool_down);
                }
            }
            (State::HalfOpen { .. }, CallResult::Success) => self.close(),
            (State::HalfOpen { cool_down, .. }, CallResult::Failure) => {
                let longer = cool_down.saturating_mul(2).min(self.policy.max_cool_down);
                self.enter_open(now, longer);
            }
            // A trial that told nothing: the next call may be the trial at once.
            (State::HalfOpen { cool_down, .. }, CallResult::Neutral) => {
                let cool_down = *cool_down;
                self.change(State::Open { until: now, cool_down });
            }
            (State::Closed { .. }, CallResult::Neutral) | (State::Open { .. }, _) => {}
        }
    }

    /// Forgets everything: a new generation, or an operator's reset, or a health probe that succeeded.
    pub fn close(&mut self) {
        self.change(State::Closed { calls: VecDeque::new() });
    }

    /// Where it stands. `Open` until a call is admitted as the trial.
    pub fn state(&self) -> BreakerState {
        match self.state {
            State::Closed { .. } => BreakerState::Closed,
            State::Open { .. } => BreakerState::Open,
            State::HalfOpen { .. } => BreakerState::HalfOpen,
        }
    }

    /// How long it still refuses; `None` if a call may start at `now`.
    pub fn retry_after(&self, now: Instant) -> Option<Duration> {
        let left = match &self.state {
            State::Closed { .. } => return None,
            State::Open { until, .. } => until.saturating_duration_since(now),
            State::HalfOpen { trial_since, cool_down } => {
                cool_down.saturating_sub(now.saturating_duration_since(*trial_since))
            }
        };
        (!left.is_zero()).then_some(left)
    }

    /// What it has counted, as of the last call that ended: nothing while it is not closed.
    pub fn window(&self) -> Window {
        let State::Closed { calls } = &self.state else { return Window::default() };
        let count = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        Window {
            calls: count(calls.len()),
            failures: count(calls.iter().filter(|(_, failed)| *failed).count()),
        }
    }

    fn begin_trial(&mut self, now: Instant, cool_down: Duration) -> Permit {
        self.change(State::HalfOpen { trial_since: now, cool_down });
        Permit { era: self.era }
    }

    fn enter_open(&mut self, now: Instant, cool_down: Duration) {
        self.change(State::Open { until: now + cool_down, cool_down });
    }

    fn change(&mut self, state: State) {
        self.state = state;
        self.era += 1;
    }
}

fn is_failing(calls: &mut VecDeque<(Instant, bool)>, policy: &BreakerPolicy, now: Instant) -> bool {
    while calls.len() > policy.window.max(1)
        || calls.front().is_some_and(|(t, _)| now.saturating_duration_since(*t) > policy.within)
    {
        calls.pop_front();
    }
    let failures = calls.iter().filter(|(_, failed)| *failed).count();
    // The window may be smaller than `min_calls` in a careless configuration; then a full window is enough.
    let enough = calls.len() >= policy.min_calls.clamp(1, policy.window.max(1));
    enough && failures > 0 && failures as f64 >= policy.failure_rate * calls.len() as f64
}

#[cfg(test)]
mod tests;
