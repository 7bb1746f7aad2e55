//! All there is to know of one plugin: what the list shows of it, and what lies behind.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use agent_host_core::{isolation::SandboxReport, outcome::ExitReport, ports::instance::Fault};
use agent_plugin_protocol::{Code, Generation, RunId};

use super::PluginView;
use crate::files::ChangedFile;

/// One plugin, as an operator sees it who looks closely.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PluginDetail {
    /// What the list shows.
    pub view: PluginView,
    /// What of the sandbox is in force for the current generation, by layer; empty before the first one started.
    pub sandbox: SandboxReport,
    /// Whether calls go through.
    pub breaker: BreakerView,
    /// Calls under way, those in generations that finish their last ones with them.
    pub in_flight: u32,
    /// Runs that wait for a place in it.
    pub waiting: usize,
    /// What is left of its restarts.
    pub restarts: BudgetView,
    /// Its warm spares.
    pub spares: SparesView,
    /// The generation that a reload loads beside the serving one, or the last that could not take over.
    pub candidate: Option<CandidateView>,
    /// The generation that served before, while it is kept to go back to.
    pub former: Option<Generation>,
    /// How the last generation that was taken back failed.
    pub rolled_back: Option<RolledBack>,
    /// What lies at its path, where that is not what it runs from: the next reload would take it.
    pub changed_file: Option<ChangedFile>,
    /// Replaced generations that still finish calls.
    pub retiring: Vec<Generation>,
    /// Its last 20 changes of state, newest last.
    pub history: Vec<StateChange>,
    /// How the last generation that died did so.
    pub last_crash: Option<Crash>,
}

/// A generation that was taken back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RolledBack {
    /// When.
    pub at: SystemTime,
    /// Which it was.
    pub from: Generation,
    /// Which serves again.
    pub to: Generation,
    /// Why, in one stable word.
    pub code: Code,
    /// Why.
    pub reason: String,
}

/// Where a plugin's breaker stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BreakerView {
    /// `closed`, `open` or `half_open` (its one trial run is under way).
    pub state: &'static str,
    /// Since when.
    pub since: SystemTime,
    /// While it is open: from when on the next message may be its trial.
    pub retry_at: Option<SystemTime>,
    /// Calls of its window that failed.
    pub failures: u32,
    /// Calls in its window.
    pub calls: u32,
}

/// A plugin's restart budget.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BudgetView {
    /// Restarts within the window, as of the last change.
    pub used: u32,
    /// Restarts it may have.
    pub max: u32,
    /// The window.
    pub within: Duration,
}

/// A plugin's warm spares.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SparesView {
    /// How many the operator wants.
    pub wanted: u32,
    /// How many are loaded, probed and idle.
    pub ready: u32,
    /// Why the last one could not be had, until the next is ready.
    pub fault: Option<Fault>,
}

/// A generation that is to take over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CandidateView {
    /// Its number.
    pub generation: Generation,
    /// When it began to load, or failed.
    pub since: SystemTime,
    /// Why it did not take over; `None`: it is being loaded.
    pub fault: Option<Fault>,
}

/// A change of a plugin's state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StateChange {
    /// When.
    pub at: SystemTime,
    /// The generation that the new state is of.
    pub generation: Generation,
    /// From which state, in the lifecycle's words.
    pub from: &'static str,
    /// To which.
    pub to: &'static str,
    /// Why, where there is a fault.
    pub code: Option<Code>,
    /// The same for people.
    pub reason: Option<String>,
}

/// The end of a generation that nobody asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Crash {
    /// When.
    pub at: SystemTime,
    /// Which generation.
    pub generation: Generation,
    /// How long it had lived.
    pub uptime: Duration,
    /// Calls that were open in it; at most 32 are kept.
    pub calls: Vec<OpenCall>,
    /// What is known of its end.
    pub report: Arc<ExitReport>,
}

/// A call that was open when its generation ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpenCall {
    /// `handle`, `route`, ….
    pub method: &'static str,
    /// Its run.
    pub run: RunId,
}
