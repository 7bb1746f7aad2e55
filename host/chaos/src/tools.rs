//! Tools that fail, or take their time.

use std::sync::Arc;

use agent_host_core::{
    chaos::Kind,
    ports::{
        BoxFuture,
        tools::{ToolCall, ToolError, ToolHost},
    },
};
use agent_plugin_protocol::{Code, call::ToolInfo};
use serde_json::Value;

use crate::board::Board;

/// Stands before the tools.
pub struct FaultyTools {
    board: Arc<Board>,
    tools: Arc<dyn ToolHost>,
}

impl FaultyTools {
    /// Stands before those.
    pub fn new(board: Arc<Board>, tools: Arc<dyn ToolHost>) -> Self {
        Self { board, tools }
    }
}

impl ToolHost for FaultyTools {
    fn list(&self) -> Vec<ToolInfo> {
        self.tools.list()
    }

    fn call_at_once(&self, tool: &str, arguments: &Value) -> Option<Result<Value, ToolError>> {
        // What may have to wait takes the other way.
        let faulty = self.board.has(Kind::ToolsFail) || self.board.has(Kind::ToolsSlow);
        if faulty { None } else { self.tools.call_at_once(tool, arguments) }
    }

    fn call(&self, call: ToolCall) -> BoxFuture<'_, Result<Value, ToolError>> {
        Box::pin(async move {
            self.board.pause(Kind::ToolsSlow, |_| true).await;
            if self.board.hit(Kind::ToolsFail, |_| true).is_some() {
                let message = "an injected fault (tools-fail)".to_owned();
                return Err(ToolError { code: Code::ToolFailed, message });
            }
            self.tools.call(call).await
        })
    }
}
