//! How the host as a whole fares.

use agent_host_engine::view::{Missing, PluginDetail, ServiceView, Status};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{ChaosStanding, ConfigFailurePart, line, time, verdicts};

/// The host.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct StatusPage {
    /// The service level: `full`, `partial`, `fallback` or `basic`.
    #[schemars(extend("enum" = ["full", "partial", "fallback", "basic"]))]
    pub level: String,
    /// Why it is not `full`; empty if it is.
    pub reason: String,
    /// This host's name.
    pub host: String,
    /// Its version.
    pub version: String,
    /// Since when it runs.
    pub since: String,
    /// Its clock.
    pub time: String,
    /// Whether plugins have not had their first verdict yet.
    pub starting: bool,
    /// Whether it is going away.
    pub draining: bool,
    /// Whether an operator took it out of rotation: not ready, no new connections; what is open goes on.
    pub out_of_rotation: bool,
    /// The configured plugins by verdict.
    pub plugins: Counts,
    /// New generations that have a share of the threads.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub on_trial: Vec<OnTrialPart>,
    /// What the host itself offers.
    pub services: Vec<ServiceLine>,
    /// What is wanted and not there, as clients are told.
    pub missing: Vec<MissingPart>,
    /// Why the last edit of the configuration is not in force, until one is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub config_failure: Option<ConfigFailurePart>,
    /// There where faults may be injected: what then goes wrong may be on purpose.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub chaos: Option<ChaosStanding>,
}

/// How many plugins have which verdict.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Counts {
    /// They get runs.
    pub healthy: usize,
    /// They should and do not.
    pub failed: usize,
    /// They are not wanted.
    pub disabled: usize,
}

/// A new generation that has a share of the threads.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct OnTrialPart {
    /// Of which plugin.
    pub plugin: String,
    /// Which.
    pub generation: u32,
    /// How many, as in `10%`.
    pub share: String,
    /// When it takes over, unless it fails.
    pub until: String,
}

/// One service.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct ServiceLine {
    /// `healthy`, `failed` or `disabled`.
    #[schemars(extend("enum" = verdicts()))]
    pub verdict: String,
    /// Its name.
    pub name: String,
    /// The stable code, where it failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
    /// Why it failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// Something that is wanted and not there.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct MissingPart {
    /// The plugin's or the service's name.
    pub name: String,
    /// What it is.
    pub kind: String,
    /// The stable code.
    pub code: String,
    /// In one line.
    pub reason: String,
    /// When another try is due, if one is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retry_after_ms: Option<u64>,
}

impl StatusPage {
    /// Of a host that began at `since`; both times are as they are shown.
    pub(crate) fn new(status: &Status, since: String, now: String) -> Self {
        let count = |verdict| status.plugins.iter().filter(|plugin| plugin.verdict == verdict).count();
        Self {
            level: status.level.as_str().to_owned(),
            reason: line(&status.reason),
            host: status.host.to_string(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            since,
            time: now,
            starting: status.starting,
            draining: status.draining,
            out_of_rotation: false,
            plugins: Counts {
                healthy: count("healthy"),
                failed: count("failed"),
                disabled: count("disabled"),
            },
            on_trial: Vec::new(),
            services: status.services.iter().map(ServiceLine::from).collect(),
            missing: status.missing.iter().map(MissingPart::from).collect(),
            config_failure: None,
            chaos: None,
        }
    }
}

impl OnTrialPart {
    /// Of those plugins that have one.
    pub(crate) fn of(plugins: &[PluginDetail]) -> Vec<Self> {
        let parts = plugins.iter().filter_map(|plugin| {
            let canary = plugin.canary.as_ref()?;
            Some(Self {
                plugin: plugin.view.id.to_string(),
                generation: canary.generation.0,
                share: canary.share.to_string(),
                until: time(canary.until),
            })
        });
        parts.collect()
    }
}

impl From<&ServiceView> for ServiceLine {
    fn from(service: &ServiceView) -> Self {
        Self {
            verdict: service.verdict.to_owned(),
            name: service.name.to_owned(),
            code: service.code.map(|code| code.to_string()),
            reason: service.reason.as_deref().map(line),
        }
    }
}

impl From<&Missing> for MissingPart {
    fn from(missing: &Missing) -> Self {
        Self {
            name: missing.name.clone(),
            kind: missing.kind.to_owned(),
            code: missing.code.to_string(),
            reason: line(&missing.reason),
            retry_after_ms: missing.retry_after_ms,
        }
    }
}
