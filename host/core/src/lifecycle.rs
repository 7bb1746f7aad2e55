//! The life of a plugin: one enum, one transition function.
//!
//! ```text
//! discovered → verified → loaded → initialised → healthy ⇄ degraded → draining → unloaded      anywhere → failed
//! the slot's own: disabled, quarantined
//! ```
//! A generation never goes back: restart, reload, enable and reset begin the *next* one
//! ([`Transition::NextGeneration`]). The whole table is a snapshot beside the tests.

use std::fmt;

use serde::Serialize;

macro_rules! words {
    ($(#[$doc:meta])* $name:ident { $($(#[$variant_doc:meta])* $variant:ident = $word:literal,)* }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
        pub enum $name { $($(#[$variant_doc])* #[serde(rename = $word)] $variant,)* }

        impl $name {
            /// Every variant, in order.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// The word in views, logs and metrics.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $word,)* }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.as_str())
            }
        }
    };
}

words! {
    /// Where a plugin is in its life: the detail behind the [`Verdict`].
    PluginState {
        /// Named by the configuration, not looked at yet.
        Discovered = "discovered",
        /// Its file was read and judged without running it.
        Verified = "verified",
        /// Its library is mapped in its worker.
        Loaded = "loaded",
        /// `create` returned and its services are there.
        Initialised = "initialised",
        /// It answered its probe: it gets runs.
        Healthy = "healthy",
        /// Loaded, but its breaker is open or its probe fails: no new runs.
        Degraded = "degraded",
        /// Finishing its runs, taking no new ones.
        Draining = "draining",
        /// Gone, in order.
        Unloaded = "unloaded",
        /// A stage failed, or its process ended; the fault says how.
        Failed = "failed",
        /// The operator switched the slot off.
        Disabled = "disabled",
        /// The restart budget is spent.
        Quarantined = "quarantined",
    }
}

words! {
    /// What happens to a plugin.
    PluginEvent {
        /// Stage `verify` passed.
        VerifyPassed = "verify_passed",
        /// Stage `load` passed.
        LoadPassed = "load_passed",
        /// Stages `init` and `dependencies` passed.
        InitPassed = "init_passed",
        /// A probe was answered.
        ProbePassed = "probe_passed",
        /// A probe was not answered.
        ProbeFailed = "probe_failed",
        /// Its breaker opened.
        BreakerOpened = "breaker_opened",
        /// Its breaker closed after its trial.
        BreakerClosed = "breaker_closed",
        /// A stage of its start failed.
        StageFailed = "stage_failed",
        /// Its process ended unasked.
        Exited = "exited",
        /// It shall finish: replaced, disabled, shutting down.
        DrainOrdered = "drain_ordered",
        /// It finished and is gone.
        Drained = "drained",
        /// The operator switched the slot off; its generation, if it runs, drains by its own transition.
        Disabled = "disabled",
        /// The operator switched the slot on.
        Enabled = "enabled",
        /// The restart is due.
        RestartDue = "restart_due",
        /// The restart budget is spent.
        BudgetSpent = "budget_spent",
        /// An operator, a new file or a new configuration.
        Reset = "reset",
    }
}

words! {
    /// The word that leads every list of plugins.
    Verdict {
        /// It gets runs.
        Healthy = "healthy",
        /// It should get runs and does not.
        Failed = "failed",
        /// It is not wanted.
        Disabled = "disabled",
    }
}

/// What an event makes of a state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transition {
    /// The generation moves on.
    To(PluginState),
    /// A new generation begins at `discovered`.
    NextGeneration,
    /// Nothing changes: the event is late, or says what is so already.
    Stay,
}

impl PluginState {
    /// The one transition function. Total: every pair has an answer.
    pub const fn on(self, event: PluginEvent) -> Transition {
        use PluginEvent as E;
        use PluginState as S;
        use Transition::{NextGeneration, Stay, To};
        match (self, event) {
            // The start, stage by stage. A stage reported out of order is late, and says nothing.
            (S::Discovered, E::VerifyPassed) => To(S::Verified),
            (S::Verified, E::LoadPassed) => To(S::Loaded),
            (S::Loaded, E::InitPassed) => To(S::Initialised),
            (S::Initialised, E::ProbePassed) => To(S::Healthy),
            (S::Initialised, E::ProbeFailed) => To(S::Failed),
            (S::Discovered | S::Verified | S::Loaded | S::Initialised, E::StageFailed) => To(S::Failed),
            // Serving.
            (S::Healthy, E::ProbeFailed | E::BreakerOpened) => To(S::Degraded),
            (S::Degraded, E::ProbePassed | E::BreakerClosed) => To(S::Healthy),
            // The end.
            (
                S::Discovered | S::Verified | S::Loaded | S::Initialised | S::Healthy | S::Degraded,
                E::Exited,
            ) => To(S::Failed),
            (S::Healthy | S::Degraded, E::DrainOrdered | E::Disabled) => To(S::Draining),
            // Before it served there is nothing to drain.
            (S::Discovered | S::Verified | S::Loaded | S::Initialised, E::DrainOrdered) => To(S::Unloaded),
            (S::Draining, E::Drained | E::Exited) => To(S::Unloaded),
            // The slot's own states.
            (S::Discovered | S::Verified | S::Loaded | S::Initialised, E::Disabled) => To(S::Disabled),
            (S::Unloaded | S::Failed | S::Quarantined, E::Disabled) => To(S::Disabled),
            (S::Failed, E::BudgetSpent) => To(S::Quarantined),
            // A generation never goes back.
            (S::Failed, E::RestartDue | E::Reset) => NextGeneration,
            (S::Quarantined, E::Reset) => NextGeneration,
            (S::Disabled, E::Enabled) => NextGeneration,
            (S::Unloaded, E::Enabled | E::Reset | E::RestartDue) => NextGeneration,
            (
                S::Discovered
                | S::Verified
                | S::Loaded
                | S::Initialised
                | S::Healthy
                | S::Degraded
                | S::Draining
                | S::Unloaded
                | S::Failed
                | S::Disabled
                | S::Quarantined,
                E::VerifyPassed
                | E::LoadPassed
                | E::InitPassed
                | E::ProbePassed
                | E::ProbeFailed
                | E::BreakerOpened
                | E::BreakerClosed
                | E::StageFailed
                | E::Exited
                | E::DrainOrdered
                | E::Drained
                | E::Disabled
                | E::Enabled
                | E::RestartDue
                | E::BudgetSpent
                | E::Reset,
            ) => Stay,
        }
    }

    /// The word that leads every list. Whatever should serve and does not is `failed`, starting included.
    pub const fn verdict(self) -> Verdict {
        match self {
            Self::Healthy => Verdict::Healthy,
            Self::Disabled => Verdict::Disabled,
            Self::Discovered
            | Self::Verified
            | Self::Loaded
            | Self::Initialised
            | Self::Degraded
            | Self::Draining
            | Self::Unloaded
            | Self::Failed
            | Self::Quarantined => Verdict::Failed,
        }
    }

    /// Whether it is on its way to `healthy` for the first time.
    pub const fn is_starting(self) -> bool {
        matches!(self, Self::Discovered | Self::Verified | Self::Loaded | Self::Initialised)
    }
}

#[cfg(test)]
mod tests;
