//! The tools that the host runs for plugins.

use agent_plugin_protocol::{Code, PluginId, RunId, call::ToolInfo};

use super::BoxFuture;
use crate::identity::Scope;

/// Runs tools. Grants are checked by the caller, against the plugin's configuration.
pub trait ToolHost: Send + Sync + 'static {
    /// All tools there are.
    fn list(&self) -> Vec<ToolInfo>;

    /// Runs a tool that takes microseconds and asks for nothing outside: at once, on the caller's thread. `None`: the
    /// tool is none of these, or does not exist.
    fn call_at_once(
        &self,
        tool: &str,
        arguments: &serde_json::Value,
    ) -> Option<Result<serde_json::Value, ToolError>> {
        let _ = (tool, arguments);
        None
    }

    /// Runs a tool under the run's principal. Cancel safe: a dropped call stops as soon as the tool can.
    fn call(&self, call: ToolCall) -> BoxFuture<'_, Result<serde_json::Value, ToolError>>;
}

/// A tool call to run.
#[derive(Debug, Clone)]
pub struct ToolCall {
    /// Who asks.
    pub plugin: PluginId,
    /// For whom.
    pub scope: Scope,
    /// Within which run.
    pub run: RunId,
    /// The tool's name.
    pub tool: String,
    /// Its arguments.
    pub arguments: serde_json::Value,
}

/// Why a tool gave no result.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct ToolError {
    /// `tool.unknown`, `tool.invalid_arguments`, `tool.failed`, `tool.denied`.
    pub code: Code,
    /// For the agent.
    pub message: String,
}
