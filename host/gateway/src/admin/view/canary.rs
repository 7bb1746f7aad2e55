//! A generation that is tried on a share of the threads, as it is shown to operators.

use agent_host_core::canary::Runs;
use agent_host_engine::view::CanaryView;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{line, time};

/// A generation on trial, and how it fares.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct CanaryPart {
    /// Its number.
    pub generation: u32,
    /// Its own version.
    pub version: String,
    /// SHA-256 of its file.
    pub digest: String,
    /// The share of the threads that it has, as in `10%`.
    pub share: String,
    /// Since when.
    pub since: String,
    /// When it takes over, unless it fails.
    pub until: String,
    /// Runs of it that ended.
    pub runs: RunsPart,
    /// Those of the serving generation over the same time.
    pub beside: RunsPart,
}

/// Runs that say something about their plugin: those that were cancelled, refused or interrupted do not.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct RunsPart {
    /// All of them.
    pub ended: u32,
    /// Those that the plugin failed.
    pub failed: u32,
}

impl From<&CanaryView> for CanaryPart {
    fn from(canary: &CanaryView) -> Self {
        Self {
            generation: canary.generation.0,
            version: line(&canary.version),
            digest: canary.digest.clone(),
            share: canary.share.to_string(),
            since: time(canary.since),
            until: time(canary.until),
            runs: canary.runs.into(),
            beside: canary.beside.into(),
        }
    }
}

impl From<Runs> for RunsPart {
    fn from(runs: Runs) -> Self {
        Self { ended: runs.ended, failed: runs.failed }
    }
}
