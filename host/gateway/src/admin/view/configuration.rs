//! The configuration in force, and what was or would be changed in it, as they are shown to operators.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// The configuration in force. A secret is shown as a reference or a mark, never as its text.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct ConfigPage {
    /// Changes with every change; in the header `ETag` too. `If-Match` with an older one is refused.
    pub etag: String,
    /// Since when it is in force.
    pub since: String,
    /// The profile's name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub profile: Option<String>,
    /// The files that it was read from, in order.
    pub files: Vec<String>,
    /// Each key with its value and where that came from.
    pub settings: BTreeMap<String, SettingPart>,
    /// Keys whose value holds from the next start on.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub pending_restart: Vec<String>,
    /// What was switched by order and stands in no file.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub in_memory: Vec<OverridePart>,
    /// Switches that stood in no file and ended with the host before this one: what the files say holds.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub ended_with_host: Vec<OverridePart>,
    /// Why the last edit is not in force, until one is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failure: Option<ConfigFailurePart>,
}

/// One key.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct SettingPart {
    /// As it would be written.
    pub value: Value,
    /// `file:line:column`, a variable, the command line, an order, or `default`.
    pub origin: String,
}

/// A switch that stands in no file.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct OverridePart {
    /// The key.
    pub key: String,
    /// Its value.
    pub value: Value,
    /// Until when, if the host does not end before; left out: until the host ends, or the file says something new of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub until: Option<String>,
    /// Why it is in no file.
    pub reason: String,
}

/// An edit that is not in force.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct ConfigFailurePart {
    /// When it was seen.
    pub at: String,
    /// One stable word.
    pub code: String,
    /// What is wrong, with place and remedy, as the command line says it.
    pub reason: String,
}

/// What a change changed, or would.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct ChangePage {
    /// Of the configuration in force.
    pub etag: String,
    /// Key by key.
    pub changes: Vec<KeyChangePart>,
    /// What enabled plugins of it will fail, as far as that shows without loading them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
}

/// One key of a change.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct KeyChangePart {
    /// Dotted.
    pub key: String,
    /// `null`: nothing held.
    pub from: Value,
    /// `null`: nothing holds.
    pub to: Value,
    /// Whether it holds without a restart of the host.
    pub live: bool,
}

/// Values to be set, in the files that say otherwise.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ConfigOrder {
    /// By dotted key; `null` takes the key out.
    pub set: BTreeMap<String, Value>,
}

/// Where a switch is kept.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct KeptPart {
    /// The file that says so from now on, or said so before; left out: none does.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub file: Option<String>,
    /// The configuration said so without this order: no file was changed, and nothing will be taken back.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub already: bool,
    /// Until when it holds, where it was ordered for a time; a restart of the host ends it before.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub until: Option<String>,
    /// Why it is in no file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}
