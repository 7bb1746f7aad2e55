//! How one plugin fares: the line of a list, and all that lies behind it.

use std::collections::BTreeMap;

use agent_host_core::{
    isolation::{Layer, LayerState, SandboxReport},
    ports::instance::{Fault, Isolation},
};
use agent_host_engine::{
    ChangedFile,
    view::{BreakerView, CandidateView, PluginDetail, SparesView, StateChange},
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{CanaryPart, CrashPart, KeptPart, RolledBackPart, line, millis, states, time, verdicts};

/// Every configured plugin, in the operator's order.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct PluginList {
    /// One line each.
    pub plugins: Vec<PluginLine>,
}

/// A plugin in a list: the verdict first.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct PluginLine {
    /// `healthy`, `failed` or `disabled`.
    #[schemars(extend("enum" = verdicts()))]
    pub verdict: String,
    /// The plugin.
    pub id: String,
    /// The detail of the verdict.
    #[schemars(extend("enum" = states()))]
    pub state: String,
    /// Since when it is in that state.
    pub since: String,
    /// `agent` or `supervisor`.
    #[schemars(extend("enum" = ["agent", "supervisor"]))]
    pub kind: String,
    /// Why it is not healthy.
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    pub fault: Option<FaultPart>,
    /// When another try is due, if one is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retry_at: Option<String>,
    /// Who gets its traffic meanwhile: another agent, or `fallback`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub served_by: Option<String>,
    /// The current or last generation.
    pub generation: u32,
    /// Its own version, once its file was read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// The generation that is tried on a share of the threads.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub on_trial: Option<u32>,
    /// Calls under way in it.
    pub in_flight: u32,
    /// Runs that wait for a place in it.
    #[serde(default)]
    pub waiting: usize,
    /// Generations that were started after failures.
    pub restarts: u32,
}

/// What went wrong.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct FaultPart {
    /// Where in its life.
    pub stage: String,
    /// The stable code.
    pub code: String,
    /// What happened, to what, why.
    pub reason: String,
    /// What to do.
    pub hint: String,
}

/// All there is to know of one plugin.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct PluginPage {
    /// As in the list.
    #[serde(flatten)]
    pub line: PluginLine,
    /// What it says of itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// SHA-256 of the file that runs, or ran last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub digest: Option<String>,
    /// Where its code runs.
    pub isolation: IsolationPart,
    /// Whether it gets calls.
    pub breaker: BreakerPart,
    /// What is left of its restarts.
    pub restart_budget: BudgetPart,
    /// Its warm spares.
    pub spares: SparesPart,
    /// The generation that a reload loads, or the last that could not take over.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub candidate: Option<CandidatePart>,
    /// The generation that is tried on a share of the threads, beside the serving one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub canary: Option<CanaryPart>,
    /// The generation that served before, while it is kept to go back to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub former: Option<u32>,
    /// How the last generation that was taken back failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rolled_back: Option<RolledBackPart>,
    /// What lies at its path, where that is not what it runs from: the next reload would take it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub changed_file: Option<ChangedFilePart>,
    /// Replaced generations that still finish calls.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub retiring: Vec<u32>,
    /// Answer to an order that switches it: where that is kept.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kept: Option<KeptPart>,
    /// Answer to an order that takes it out: what is worse since, a line each.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub breaks: Vec<String>,
    /// Its last changes of state, newest last.
    pub history: Vec<ChangePart>,
    /// How the last generation that died did so.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_crash: Option<CrashPart>,
}

/// Where a plugin's code runs.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct IsolationPart {
    /// `process` or `in-process`.
    pub tier: String,
    /// What of its sandbox is in force, in one word: `full`, `partial` or `weak`. Absent until it started.
    #[schemars(extend("enum" = ["full", "partial", "weak"]))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub enforced: Option<String>,
    /// The same by layer, as `agent-host check` says it. Empty until it started.
    pub layers: BTreeMap<String, LayerPart>,
}

/// One layer of a sandbox.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct LayerPart {
    /// `enforced`, `partial`, `unavailable` or `off`.
    #[schemars(extend("enum" = ["enforced", "partial", "unavailable", "off"]))]
    pub state: String,
    /// Why it is not in force.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub reason: String,
}

/// A plugin's breaker.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct BreakerPart {
    /// `closed` lets calls through, `open` refuses them, `half_open` tries one.
    #[schemars(extend("enum" = ["closed", "open", "half_open"]))]
    pub state: String,
    /// Since when.
    pub since: String,
    /// From when on the next message may be its trial.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retry_at: Option<String>,
    /// Calls of its window that failed.
    pub failures: u32,
    /// Calls in its window.
    pub calls: u32,
}

/// A plugin's restart budget.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct BudgetPart {
    /// Restarts within the window.
    pub used: u32,
    /// Restarts that it may have before it is quarantined.
    pub max: u32,
    /// The window.
    pub within_ms: u64,
}

/// A plugin's warm spares.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct SparesPart {
    /// Configured.
    pub wanted: u32,
    /// Loaded, probed and idle.
    pub ready: u32,
    /// Why the last one could not be had.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fault: Option<FaultPart>,
}

/// A generation that is to take over.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct CandidatePart {
    /// Its number.
    pub generation: u32,
    /// When it began to load, or failed.
    pub since: String,
    /// Why it did not take over; without one, it is being loaded.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fault: Option<FaultPart>,
}

/// A file that is not the one that runs.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct ChangedFilePart {
    /// When it was noticed.
    pub seen: String,
    /// Its SHA-256, where it could be read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub digest: Option<String>,
    /// Why it would not be loaded, as far as that shows without running it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fault: Option<FaultPart>,
}

/// A change of state.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct ChangePart {
    /// When.
    pub at: String,
    /// The generation that the new state is of.
    pub generation: u32,
    /// From.
    pub from: String,
    /// To.
    pub to: String,
    /// The stable code of the fault, where there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
    /// The same for people.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

impl From<&PluginDetail> for PluginLine {
    fn from(detail: &PluginDetail) -> Self {
        let view = &detail.view;
        Self {
            verdict: view.verdict.to_owned(),
            id: view.id.to_string(),
            state: view.state.to_owned(),
            since: time(view.since),
            kind: view.kind.as_str().to_owned(),
            fault: view.fault.as_ref().map(FaultPart::from),
            retry_at: view.retry_at.map(time),
            served_by: view.served_by.clone(),
            generation: view.generation.0,
            version: view.version.as_deref().map(line),
            on_trial: detail.canary.as_ref().map(|canary| canary.generation.0),
            in_flight: detail.in_flight,
            waiting: detail.waiting,
            restarts: view.restarts,
        }
    }
}

impl From<&PluginDetail> for PluginPage {
    fn from(detail: &PluginDetail) -> Self {
        let view = &detail.view;
        Self {
            line: PluginLine::from(detail),
            description: view.description.as_deref().map(line),
            digest: view.digest.clone(),
            isolation: IsolationPart::new(view.isolation, &detail.sandbox),
            breaker: BreakerPart::from(&detail.breaker),
            restart_budget: BudgetPart {
                used: detail.restarts.used,
                max: detail.restarts.max,
                within_ms: millis(detail.restarts.within),
            },
            spares: SparesPart::from(&detail.spares),
            candidate: detail.candidate.as_ref().map(CandidatePart::from),
            canary: detail.canary.as_ref().map(CanaryPart::from),
            former: detail.former.map(|generation| generation.0),
            rolled_back: detail.rolled_back.as_ref().map(RolledBackPart::from),
            changed_file: detail.changed_file.as_ref().map(ChangedFilePart::from),
            retiring: detail.retiring.iter().map(|generation| generation.0).collect(),
            kept: None,
            breaks: Vec::new(),
            history: detail.history.iter().map(ChangePart::from).collect(),
            last_crash: detail.last_crash.as_ref().map(CrashPart::from),
        }
    }
}

impl From<&Fault> for FaultPart {
    fn from(fault: &Fault) -> Self {
        Self {
            stage: fault.stage.as_str().to_owned(),
            code: fault.code.to_string(),
            reason: line(&fault.reason),
            hint: line(&fault.hint),
        }
    }
}

impl IsolationPart {
    fn new(tier: Isolation, sandbox: &SandboxReport) -> Self {
        let layer = |(layer, it): (Layer, &LayerState)| {
            let part = LayerPart { state: it.state.as_str().to_owned(), reason: line(&it.reason) };
            (layer.as_str().to_owned(), part)
        };
        let layers: BTreeMap<_, _> = sandbox.iter().map(layer).collect();
        let enforced = (!layers.is_empty()).then(|| sandbox.summary().as_str().to_owned());
        Self { tier: tier.as_str().to_owned(), enforced, layers }
    }
}

impl From<&BreakerView> for BreakerPart {
    fn from(breaker: &BreakerView) -> Self {
        Self {
            state: breaker.state.to_owned(),
            since: time(breaker.since),
            retry_at: breaker.retry_at.map(time),
            failures: breaker.failures,
            calls: breaker.calls,
        }
    }
}

impl From<&SparesView> for SparesPart {
    fn from(spares: &SparesView) -> Self {
        let fault = spares.fault.as_ref().map(FaultPart::from);
        Self { wanted: spares.wanted, ready: spares.ready, fault }
    }
}

impl From<&CandidateView> for CandidatePart {
    fn from(candidate: &CandidateView) -> Self {
        Self {
            generation: candidate.generation.0,
            since: time(candidate.since),
            fault: candidate.fault.as_ref().map(FaultPart::from),
        }
    }
}

impl From<&ChangedFile> for ChangedFilePart {
    fn from(file: &ChangedFile) -> Self {
        Self {
            seen: time(file.seen),
            digest: file.candidate.digest.clone(),
            fault: file.candidate.fault.as_ref().map(FaultPart::from),
        }
    }
}

impl From<&StateChange> for ChangePart {
    fn from(change: &StateChange) -> Self {
        Self {
            at: time(change.at),
            generation: change.generation.0,
            from: change.from.to_owned(),
            to: change.to.to_owned(),
            code: change.code.map(|code| code.to_string()),
            reason: change.reason.as_deref().map(line),
        }
    }
}
