//! Tools, called through the host: it checks the grant, runs the tool, and shows the call to people.

use agent_plugin_protocol::call::{ToolCallParams, request};
use serde::Serialize;
use serde_json::Value;

use crate::{Context, RequestError};

pub use agent_plugin_protocol::call::ToolInfo;

/// See [`Context::tools`].
#[derive(Clone, Copy)]
pub struct Tools<'a>(&'a Context);

impl<'a> Tools<'a> {
    pub(crate) fn new(ctx: &'a Context) -> Self {
        Self(ctx)
    }

    /// Calls a tool; `arguments` must serialise to an object. The host writes `tool_executing` and `tool_completed`.
    ///
    /// # Errors
    /// [`RequestError`] with `tool.denied` (not granted), `tool.unknown`, `tool.invalid_arguments`, `tool.failed`,
    /// or `cancelled`.
    pub async fn call(&self, name: &str, arguments: impl Serialize) -> Result<Value, RequestError> {
        let arguments = serde_json::to_value(arguments).map_err(|e| {
            RequestError::new(request::TOOLS_CALL, "tool.invalid_arguments", e.to_string(), false)
        })?;
        let params = ToolCallParams { name: name.to_owned(), arguments };
        self.0.call().request(request::TOOLS_CALL, &params).await
    }

    /// The tools that this plugin may call.
    ///
    /// # Errors
    /// [`RequestError`] where the host cannot tell, or the call was cancelled.
    pub async fn list(&self) -> Result<Vec<ToolInfo>, RequestError> {
        self.0.call().request(request::TOOLS_LIST, &serde_json::Map::new()).await
    }
}
