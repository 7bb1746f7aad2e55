//! What everybody may see of the service: an immutable snapshot, the same words for welcome, `/ready`, admin and CLI.

mod detail;
pub(crate) mod requirement;

use std::{sync::Arc, time::SystemTime};

use agent_host_core::{
    level::ServiceLevel,
    ports::{
        instance::{Fault, Isolation},
        store::Durability,
    },
};
use agent_plugin_protocol::{Generation, PluginId, PluginKind};
use serde::Serialize;

pub use self::detail::{
    BreakerView, BudgetView, CanaryView, CandidateView, Crash, OpenCall, PluginDetail, RolledBack,
    SparesView, StateChange,
};

/// The service, as it is now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Status {
    /// This host.
    pub host: Arc<str>,
    /// Derived from the rest.
    pub level: ServiceLevel,
    /// One line: why it is not `full`; empty if it is.
    pub reason: String,
    /// What is not healthy.
    pub missing: Vec<Missing>,
    /// Every configured plugin, in order.
    pub plugins: Vec<PluginView>,
    /// Every service of the host, the store and the fallback with them.
    pub services: Vec<ServiceView>,
    /// How long what is said here is kept.
    pub durability: Durability,
    /// True until every enabled plugin had its first verdict.
    pub starting: bool,
    /// True once the host is going away.
    pub draining: bool,
}

impl Status {
    /// Before anything was looked at: what the tasks start from.
    pub(crate) fn unknown(host: &str) -> Self {
        Self {
            host: host.into(),
            level: ServiceLevel::Fallback,
            reason: "starting".to_owned(),
            missing: Vec::new(),
            plugins: Vec::new(),
            services: Vec::new(),
            durability: Durability::default(),
            starting: true,
            draining: false,
        }
    }
}

/// Something that is wanted and not there; as in the welcome frame.
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Missing {
    /// The plugin's or the service's name.
    pub name: String,
    /// `agent`, `supervisor`, `service`, `store`, `bus` or `fallback`.
    #[cfg_attr(feature = "schema", schemars(with = "agent_host_core::level::MissingKind"))]
    pub kind: &'static str,
    /// The stable code.
    pub code: agent_plugin_protocol::Code,
    /// One line, without paths or secrets: clients see it.
    pub reason: String,
    /// When another try is due, if one is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retry_after_ms: Option<u64>,
}

/// Something that the host itself offers, as operators see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServiceView {
    /// `llm`, `threads`, `tools`, `delegate`, `events`, `store` or `fallback`.
    pub name: &'static str,
    /// `healthy`, `failed`, or `disabled` where the operator did not ask for it.
    pub verdict: &'static str,
    /// Why it failed.
    pub code: Option<agent_plugin_protocol::Code>,
    /// Why, for operators.
    pub reason: Option<String>,
}

/// One plugin, as operators see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PluginView {
    /// The slot's name.
    pub id: PluginId,
    /// Its kind.
    pub kind: PluginKind,
    /// `healthy`, `failed` or `disabled`.
    pub verdict: &'static str,
    /// The detail, in the lifecycle's words.
    pub state: &'static str,
    /// Since when.
    pub since: SystemTime,
    /// The current or last generation.
    pub generation: Generation,
    /// Its own version, once verified.
    pub version: Option<String>,
    /// What it says of itself, once verified.
    pub description: Option<String>,
    /// Where it runs.
    pub isolation: Isolation,
    /// SHA-256 of its file, once verified.
    pub digest: Option<String>,
    /// Why it is not healthy.
    pub fault: Option<Fault>,
    /// Generations started after failures.
    pub restarts: u32,
    /// When another try is due, if one is.
    pub retry_at: Option<SystemTime>,
    /// Who serves its traffic meanwhile: a substitute, another agent, or `fallback`.
    pub served_by: Option<String>,
}
