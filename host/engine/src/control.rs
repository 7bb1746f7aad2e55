//! What an operator may tell one plugin to do, and why it was not done.

use std::time::Duration;

use agent_host_core::{failpoint, failpoint::Action, ports::instance::Fault};
use agent_plugin_protocol::{Code, PluginId};
use tokio::{
    sync::oneshot,
    time::{Instant, timeout_at},
};

use crate::{shared::Shared, supervisor, view::PluginDetail};

/// An order of an operator. In memory: the next start of the host follows the configuration again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum PluginOrder {
    /// Switch the slot on, and start it.
    Enable,
    /// Switch it off: its runs finish, new ones go elsewhere, sockets stay.
    Disable,
    /// Take it out of rotation for now: its runs finish, new ones go elsewhere, and it ends. It stays wanted: `Enable`,
    /// `Reset` and `Reload` bring it back.
    Drain,
    /// Read the file again: the new generation loads beside the old, takes over once it is healthy, and the old one
    /// finishes its runs. One that fails leaves the old serving.
    Reload,
    /// Forget quarantine, restart budget and breaker, and start it if it does not run.
    Reset,
    /// Ask for a self-test now.
    Probe,
    /// Give the generation that is on trial everything.
    Promote,
    /// Take back the generation that is on trial; else go back to the one that served before, while it is kept.
    Rollback,
}

impl PluginOrder {
    /// Every order.
    pub const ALL: [Self; 8] = [
        Self::Enable,
        Self::Disable,
        Self::Drain,
        Self::Reload,
        Self::Reset,
        Self::Probe,
        Self::Promote,
        Self::Rollback,
    ];

    /// The word in paths, logs and the command line.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Enable => "enable",
            Self::Disable => "disable",
            Self::Drain => "drain",
            Self::Reload => "reload",
            Self::Reset => "reset",
            Self::Probe => "probe",
            Self::Promote => "promote",
            Self::Rollback => "rollback",
        }
    }
}

/// Why an order was not carried out.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ControlError {
    /// No slot has that name.
    #[error("no plugin {0} is configured")]
    Unknown(PluginId),
    /// The slot is switched off: it has to be enabled first.
    #[error("plugin {0} is disabled")]
    Disabled(PluginId),
    /// No generation is on trial.
    #[error("plugin {0} has no generation on trial")]
    NoCanary(PluginId),
    /// No generation is kept that served before.
    #[error("plugin {0} has no generation to go back to")]
    NothingBefore(PluginId),
    /// There is nothing to probe, or to drain.
    #[error("plugin {plugin} does not run")]
    NotRunning {
        /// Which.
        plugin: PluginId,
        /// Why it does not.
        code: Code,
    },
    /// The new generation did not get healthy; what served before still does.
    #[error("the new generation of plugin {plugin} did not take over: {}", fault.reason)]
    ReloadFailed {
        /// Which.
        plugin: PluginId,
        /// Why.
        fault: Box<Fault>,
    },
    /// The host goes away.
    #[error("the host is draining")]
    Draining,
    /// The host did not take the order; this is its own fault.
    #[error("the host's supervisor does not answer")]
    Unanswered,
}

impl ControlError {
    /// The stable code.
    pub fn code(&self) -> Code {
        match self {
            Self::Unknown(_) => Code::PluginUnknown,
            Self::Disabled(_) => Code::PluginDisabled,
            Self::NoCanary(_) => Code::PluginNoCanary,
            Self::NothingBefore(_) => Code::PluginNothingBefore,
            Self::NotRunning { code, .. } => *code,
            Self::ReloadFailed { fault, .. } => fault.code,
            Self::Draining => Code::HostDraining,
            Self::Unanswered => Code::HostInternal,
        }
    }

    /// What the operator can do.
    pub fn hint(&self) -> String {
        match self {
            Self::ReloadFailed { fault, .. } => fault.hint.clone(),
            Self::Disabled(_) => "enable it first".to_owned(),
            Self::Unknown(_)
            | Self::NoCanary(_)
            | Self::NothingBefore(_)
            | Self::NotRunning { .. }
            | Self::Draining
            | Self::Unanswered => self.code().remedy().to_owned(),
        }
    }
}

/// How long an order waits until it is so. 30 s: what people, and the proxies before them, wait for an answer.
const WITHIN: Duration = Duration::from_secs(30);

/// See [`Engine::control`](crate::Engine::control).
pub(crate) async fn control(
    shared: &Shared,
    plugin: &PluginId,
    order: PluginOrder,
) -> Result<PluginDetail, ControlError> {
    let until = Instant::now() + WITHIN;
    let mut details = shared.details.clone();
    let (taken, answer) = oneshot::channel();
    let command = supervisor::Command::Order { plugin: plugin.clone(), order, taken };
    timeout_at(until, shared.supervisor.send(command))
        .await
        .map_err(|_| ControlError::Unanswered)?
        .map_err(|_| ControlError::Unanswered)?;
    let answer = timeout_at(until, answer).await.map_err(|_| ControlError::Unanswered)?;
    let goal = answer.map_err(|_| ControlError::Unanswered)??;
    // For a broken twin: a host that answers before it is so.
    if failpoint!("engine.control.wait") != Some(Action::Off) {
        // At the deadline, and when the host ends, the state reached is the answer.
        let _ = timeout_at(until, details.wait_for(|all| all.reached(plugin, goal))).await;
    }
    let all = shared.details.borrow().clone();
    if let Some(fault) = all.reload_failed(plugin, goal) {
        return Err(ControlError::ReloadFailed { plugin: plugin.clone(), fault: Box::new(fault) });
    }
    all.plugin(plugin).ok_or_else(|| ControlError::Unknown(plugin.clone()))
}
