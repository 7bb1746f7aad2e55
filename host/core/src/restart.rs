//! Decides when a plugin whose process ended is started again, and when it is left alone.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use agent_plugin_protocol::Code;

use crate::ports::instance::Stage;

/// How often a plugin may be restarted, and how long to wait in between.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RestartPolicy {
    /// Restarts within `within` before the plugin is quarantined; 0: never restarted.
    pub max: u32,
    /// The window.
    pub within: Duration,
    /// The second restart's pause; it doubles from there.
    pub base: Duration,
    /// The longest pause, jitter included.
    pub cap: Duration,
}

impl Default for RestartPolicy {
    /// 5 in 60 s. The pauses 0 + 0.5 + 1 + 2 + 4 s fit the window, so that a crash loop does spend the budget.
    fn default() -> Self {
        Self {
            max: 5,
            within: Duration::from_secs(60),
            base: Duration::from_millis(500),
            cap: Duration::from_secs(10),
        }
    }
}

/// What to do after a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RestartDecision {
    /// Start the next generation after this pause.
    After(Duration),
    /// The budget is spent: leave it until an operator, a new file or a new configuration resets it.
    Quarantine,
}

/// The failures of one slot within the policy's window.
#[derive(Debug, Clone)]
pub struct RestartBudget {
    policy: RestartPolicy,
    /// Times of the restarts granted, oldest first; at most `max` of them.
    granted: VecDeque<Instant>,
}

impl RestartBudget {
    /// A full budget.
    pub fn new(policy: RestartPolicy) -> Self {
        Self { policy, granted: VecDeque::new() }
    }

    /// A generation failed at `now`. `jitter` is a random number from 0 to 1, which shortens the pause by up to
    /// half, so that plugins that failed together do not start together.
    pub fn failed(&mut self, now: Instant, jitter: f64) -> RestartDecision {
        self.forget_before(now);
        let spent = self.granted.len();
        if spent >= self.policy.max as usize {
            return RestartDecision::Quarantine;
        }
        let pause = self.pause(spent, jitter);
        // The restart's own time, not the failure's: pauses must not use up the window they count in.
        self.granted.push_back(now + pause);
        RestartDecision::After(pause)
    }

    /// An operator, a new file or a new configuration gives the slot a fresh start.
    pub fn reset(&mut self) {
        self.granted.clear();
    }

    /// Restarts granted within the window that ends at `now`.
    pub fn spent(&mut self, now: Instant) -> u32 {
        self.forget_before(now);
        u32::try_from(self.granted.len()).unwrap_or(u32::MAX)
    }

    fn forget_before(&mut self, now: Instant) {
        while self.granted.front().is_some_and(|t| now.saturating_duration_since(*t) > self.policy.within) {
            self.granted.pop_front();
        }
    }

    fn pause(&self, spent: usize, jitter: f64) -> Duration {
        if spent == 0 {
            return Duration::ZERO;
        }
        // 2^20 times any base is beyond every sensible cap.
        let doubled = self.policy.base.saturating_mul(1 << (spent - 1).min(20));
        let jitter = if jitter.is_finite() { jitter.clamp(0.0, 1.0) } else { 0.0 };
        doubled.min(self.policy.cap).mul_f64(1.0 - jitter / 2.0)
    }
}

/// Whether a start that failed is worth another, within the budget.
///
/// A file that cannot be loaded is not mended by loading it again, and a missing service comes back by itself. What
/// ended the plugin's own code (a crash or a panic as it began) may have had its cause outside, such as a
/// peer that was not there yet: it is tried again, and quarantined when the budget is spent. A library whose loading
/// hangs is not: each try would cost a core for as long as its deadline.
pub fn start_again(stage: Stage, code: Code) -> bool {
    match code {
        Code::PluginInitCrashed | Code::PluginInitPanicked | Code::PluginLoadCrashed => true,
        _ => code.retryable() && stage != Stage::Dependencies,
    }
}

#[cfg(test)]
mod tests;
