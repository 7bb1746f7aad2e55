//! New settings for a host that serves, and why they were not taken.

use std::{fmt, sync::Arc};

use agent_host_core::ports::instance::Fault;
use agent_plugin_protocol::{Code, PluginId};
use tokio::sync::oneshot;

use crate::{settings::Settings, shared::Shared, supervisor};

/// A plugin that could not be had as the new settings want it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// Which.
    pub plugin: PluginId,
    /// Why.
    pub fault: Fault,
}

/// Why new settings are not in force. What was in force still is, all of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ChangeError {
    /// These plugins could not be loaded, or did not answer their probe.
    Refused(Vec<Refusal>),
    /// Another change is going on.
    Busy,
    /// The host goes away.
    Draining,
    /// The host did not take them; this is its own fault.
    Unanswered,
}

impl ChangeError {
    /// The stable code.
    pub fn code(&self) -> Code {
        match self {
            Self::Refused(refusals) => refusals.first().map_or(Code::HostInternal, |first| first.fault.code),
            Self::Busy => Code::ConfigBusy,
            Self::Draining => Code::HostDraining,
            Self::Unanswered => Code::HostInternal,
        }
    }
}

impl fmt::Display for ChangeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused(refusals) => {
                for (n, Refusal { plugin, fault }) in refusals.iter().enumerate() {
                    let (between, code) = (if n == 0 { "" } else { "; " }, fault.code);
                    write!(f, "{between}plugin `{plugin}` did not get healthy: {} ({code})", fault.reason)?;
                }
                Ok(())
            }
            Self::Busy => f.write_str("another change is going on"),
            Self::Draining => f.write_str("the host is draining"),
            Self::Unanswered => f.write_str("the host's supervisor does not answer"),
        }
    }
}

/// See [`Engine::configure`](crate::Engine::configure).
pub(crate) async fn configure(shared: &Shared, settings: Settings) -> Result<(), ChangeError> {
    let (changed, answer) = oneshot::channel();
    let command = supervisor::Command::Configure { settings: Arc::new(settings), changed };
    shared.supervisor.send(command).await.map_err(|_| ChangeError::Unanswered)?;
    // Bounded by the deadlines of the starts that it takes.
    answer.await.map_err(|_| ChangeError::Unanswered)?
}
