//! The level of the log, as operators order and see it.

use std::time::SystemTime;

use agent_host_telemetry::log::{InForce, Level};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::time;

/// Which lines the log is to have. What is not known is refused: it would not be done.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LogLevelOrder {
    /// The least level that is written.
    #[schemars(extend("enum" = words()))]
    pub level: String,
    /// For how long, from `1s` to `1d`; then what is configured holds again. Left out: until the host ends, or
    /// `log.level` says otherwise.
    #[serde(default, rename = "for", skip_serializing_if = "Option::is_none")]
    pub lasting: Option<String>,
}

/// Which lines the log has.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct LogLevelPage {
    /// The least level that is written. What operators do is written at every level.
    #[schemars(extend("enum" = words()))]
    pub level: String,
    /// What the configuration says.
    #[schemars(extend("enum" = words()))]
    pub configured: String,
    /// Until when `level` holds, where it was ordered for a time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub until: Option<String>,
}

impl LogLevelPage {
    pub(crate) fn new(in_force: InForce, now: SystemTime) -> Self {
        Self {
            level: in_force.level.as_str().to_owned(),
            configured: in_force.configured.as_str().to_owned(),
            until: in_force.left.map(|left| time(now + left)),
        }
    }
}

fn words() -> Vec<&'static str> {
    Level::ALL.into_iter().map(Level::as_str).collect()
}
