//! What others tell the supervisor, and how an order is answered.

use std::{sync::Arc, time::Duration};

use agent_host_core::{breaker::CallResult, routing::Target};
use agent_plugin_protocol::{CallId, Generation, PluginId};
use tokio::sync::oneshot;

use super::change::Changed;
use crate::{
    control::{ControlError, PluginOrder},
    settings::Settings,
};

/// What others tell the supervisor. Its channel is bounded; what is lost when it is full is said at each sender.
pub(crate) enum Command {
    /// A call into a plugin ended.
    CallEnded {
        /// Whose.
        target: Target,
        /// Which.
        call: CallId,
        /// How.
        result: CallResult,
    },
    /// A run took an open breaker's trial.
    TrialBegan {
        /// Whose.
        target: Target,
        /// Its call.
        call: CallId,
    },
    /// The run that had the trial is over; its result, if it has one, was told before.
    TrialEnded {
        /// Whose.
        target: Target,
        /// Its call.
        call: CallId,
    },
    /// An operator wants something of a plugin.
    Order {
        /// Which.
        plugin: PluginId,
        /// What.
        order: PluginOrder,
        /// Where to say that it was taken, and when it is so.
        taken: Taken,
    },
    /// Other settings are to be in force.
    Configure {
        /// Which.
        settings: Arc<Settings>,
        /// Where to say that they are, or why not.
        changed: Changed,
    },
    /// What lies at a plugin's path is what it runs from, again.
    SameFile {
        /// Whose.
        plugin: PluginId,
    },
    /// The store began or ceased to work.
    Store {
        /// Which.
        works: bool,
    },
    /// The built-in fallback could not answer.
    FallbackFailed,
    /// The host goes away: nothing is restarted any more.
    Drain,
    /// End every plugin in order; answered when all are gone.
    Stop {
        /// For each.
        grace: Duration,
        /// Where to say so.
        done: oneshot::Sender<()>,
    },
}

/// Where an order is answered.
pub(crate) type Taken = oneshot::Sender<Result<Goal, ControlError>>;

/// When an order is carried out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Goal {
    /// It is.
    #[default]
    Now,
    /// Once that generation has its verdict.
    Started(Generation),
    /// Once that generation serves, or has failed to.
    Replaced(Generation),
    /// Once nothing runs any more.
    Off,
    /// Once so many self-tests have ended.
    Probed(u64),
}
