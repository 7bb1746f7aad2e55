//! The tools that are linked into the host.

use std::sync::Arc;

use agent_host_core::{
    failpoint,
    failpoint::Action,
    ports::{
        BoxFuture,
        clock::Clock,
        tools::{ToolCall, ToolError, ToolHost},
    },
    sanitise,
};
use agent_plugin_protocol::{Code, call::ToolInfo};
use serde_json::Value;

use crate::{calculator, clock};

/// `clock` and `calculator`: quick, without I/O, the same for every user.
#[derive(Clone)]
pub struct BuiltinTools {
    clock: Arc<dyn Clock>,
}

impl BuiltinTools {
    /// The tools, with the time told by `clock`.
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        Self { clock }
    }

    fn call_now(&self, tool: &str, arguments: &Value) -> Result<Value, ToolError> {
        match tool {
            clock::NAME => clock::call(arguments, self.clock.now()),
            calculator::NAME => calculator::call(arguments),
            other => Err(ToolError {
                code: Code::ToolUnknown,
                message: format!("there is no tool `{}`", sanitise::line(other, 64)),
            }),
        }
    }
}

impl ToolHost for BuiltinTools {
    fn list(&self) -> Vec<ToolInfo> {
        vec![clock::info(), calculator::info()]
    }

    fn call_at_once(&self, tool: &str, arguments: &Value) -> Option<Result<Value, ToolError>> {
        // A test's fault, which takes its time.
        if failpoint!("services.tool_call").is_some() {
            return None;
        }
        matches!(tool, clock::NAME | calculator::NAME).then(|| self.call_now(tool, arguments))
    }

    fn call(&self, call: ToolCall) -> BoxFuture<'_, Result<Value, ToolError>> {
        Box::pin(async move {
            // A test's fault: a tool that takes its time.
            if let Some(pause) = failpoint!("services.tool_call").and_then(Action::pause) {
                tokio::time::sleep(pause).await;
            }
            self.call_now(&call.tool, &call.arguments)
        })
    }
}

#[cfg(test)]
mod tests {
    use agent_host_core::{identity::Scope, ports::clock::SystemClock};
    use agent_plugin_protocol::{PluginId, RunId};
    use serde_json::json;

    use super::*;

    async fn call(tool: &str, arguments: Value) -> Result<Value, ToolError> {
        let call = ToolCall {
            plugin: PluginId::new("echo").unwrap(),
            scope: Scope { tenant: "t".into(), user: "u".into() },
            run: RunId::random(),
            tool: tool.to_owned(),
            arguments,
        };
        BuiltinTools::new(Arc::new(SystemClock)).call(call).await
    }

    #[tokio::test]
    async fn every_listed_tool_can_be_called() {
        for tool in BuiltinTools::new(Arc::new(SystemClock)).list() {
            let outcome = call(&tool.name, json!({})).await;
            assert_ne!(outcome.map_err(|e| e.code), Err(Code::ToolUnknown), "{}", tool.name);
        }
        assert_eq!(call("calculator", json!({"expression": "6*7"})).await, Ok(json!({"result": 42})));
    }

    #[tokio::test]
    async fn an_unknown_tool_is_said_safely() {
        let error = call("rm\u{1b}[31m -rf", json!({})).await.unwrap_err();
        assert_eq!((error.code, error.message.as_str()), (Code::ToolUnknown, "there is no tool `rm -rf`"));
    }
}
