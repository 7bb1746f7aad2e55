//! What the admin API says, as types: the gateway writes them, the command line reads them, and the description is made
//! from them.
//!
//! What is not there is left out, and a reader takes what it does not know for not there: the two may be of different
//! versions. Whatever a plugin said of itself is one safe line, bounded.

mod canary;
mod chaos;
mod configuration;
mod connection;
mod crash;
mod deleted;
mod foresight;
mod log_level;
mod operation;
mod plugin;
mod revocation;
mod rolled_back;
mod status;

pub use canary::{CanaryPart, RunsPart};
pub use chaos::{ChaosPage, ChaosStanding, FaultKindPart, FaultOrder, InjectedPart};
pub use configuration::{
    ChangePage, ConfigFailurePart, ConfigOrder, ConfigPage, KeptPart, KeyChangePart, OverridePart,
    SettingPart,
};
pub use connection::{ConnectionList, ConnectionPart};
pub use crash::{CrashPart, FramePart, OpenCallPart};
pub use deleted::DeletedPart;
pub use foresight::{ForesightPage, LevelChangePart};
pub use log_level::{LogLevelOrder, LogLevelPage};
pub use operation::{OperationList, OperationPage, StepPart};
pub use plugin::{
    BreakerPart, BudgetPart, CandidatePart, ChangePart, ChangedFilePart, FaultPart, IsolationPart, LayerPart,
    PluginLine, PluginList, PluginPage, SparesPart,
};
pub use revocation::{RevocationList, RevocationOrder, RevocationPart};
pub use rolled_back::RolledBackPart;
pub use status::{Counts, MissingPart, OnTrialPart, ServiceLine, StatusPage};

use std::time::{Duration, SystemTime};

use agent_host_core::{sanitise, timestamp::rfc3339};

/// A line of what a plugin may have written; a fault's reason has at most as much.
fn line(text: &str) -> String {
    sanitise::line(text, 1000)
}

fn time(at: SystemTime) -> String {
    rfc3339(at)
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// The verdicts, for the description.
fn verdicts() -> Vec<&'static str> {
    use agent_host_core::lifecycle::Verdict;
    Verdict::ALL.iter().map(|verdict| verdict.as_str()).collect()
}

/// The states, for the description.
fn states() -> Vec<&'static str> {
    use agent_host_core::lifecycle::PluginState;
    PluginState::ALL.iter().map(|state| state.as_str()).collect()
}
