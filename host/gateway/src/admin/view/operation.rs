//! An order that was begun, as it is shown to operators: how far it is, and what came of it.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Those that go on and the last that ended, the newest first.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct OperationList {
    /// At most 64.
    pub operations: Vec<OperationPage>,
}

/// One of them.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct OperationPage {
    /// Its name. It is kept in memory: the next start of the host does not know it.
    pub id: String,
    /// What was ordered, as in the description's `operationId`.
    pub order: String,
    /// Which plugin, or which keys.
    pub about: String,
    /// `running`, then `done` or `failed`.
    #[schemars(extend("enum" = ["running", "done", "failed"]))]
    pub state: String,
    /// When it was begun.
    pub began: String,
    /// When it ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ended: Option<String>,
    /// What happened to what it is about since it was begun, the last 32.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub steps: Vec<StepPart>,
    /// How many steps there were before those.
    #[serde(skip_serializing_if = "is_none")]
    pub steps_left_out: u32,
    /// What is answered to who waits: a page. Beside a `problem`, it is how things are all the same.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub result: Option<Value>,
    /// The same, where it was refused, or what it is for is not so.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub problem: Option<Value>,
}

/// One thing that happened on the way.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct StepPart {
    /// When.
    pub at: String,
    /// Its name among the happenings.
    pub event: String,
    /// In words.
    pub what: String,
    /// To which plugin, if to one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub plugin: Option<String>,
    /// Why, where something did not go well.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands it so")]
fn is_none(count: &u32) -> bool {
    *count == 0
}
