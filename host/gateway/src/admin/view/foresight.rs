//! What an order to a plugin would do, as it is shown to who asks before giving it.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What would come of an order. Nothing was done.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct ForesightPage {
    /// Always true: this is no page of what is so.
    pub dry_run: bool,
    /// The order.
    pub order: String,
    /// The plugin.
    pub plugin: String,
    /// Its verdict now.
    pub verdict: String,
    /// Whether it would change anything.
    pub changes: bool,
    /// What would happen, in a sentence.
    pub would: String,
    /// Who would get its messages: an agent, or `fallback`. Left out: it would go on to get them itself, or gets none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub served_by: Option<String>,
    /// Calls under way in it, which would be finished.
    pub in_flight: u32,
    /// What users could expect then, where that can be told.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub level: Option<LevelChangePart>,
    /// What would be worse than now, a line each.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub breaks: Vec<String>,
}

/// A service level and the one after it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct LevelChangePart {
    /// What holds.
    pub now: String,
    /// What would.
    pub then: String,
}
