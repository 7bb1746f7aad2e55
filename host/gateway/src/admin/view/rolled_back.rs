//! A generation that was taken back, as it is shown to operators.

use agent_host_engine::view::RolledBack;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::time;

/// A generation that was taken back.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct RolledBackPart {
    /// When.
    pub at: String,
    /// Which it was.
    pub from: u32,
    /// Which serves again.
    pub to: u32,
    /// Why, in one stable word.
    pub code: String,
    /// Why.
    pub reason: String,
}

impl From<&RolledBack> for RolledBackPart {
    fn from(back: &RolledBack) -> Self {
        Self {
            at: time(back.at),
            from: back.from.0,
            to: back.to.0,
            code: back.code.to_string(),
            reason: back.reason.clone(),
        }
    }
}
