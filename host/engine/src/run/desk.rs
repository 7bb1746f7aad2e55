//! Serves what a plugin in this process asks of the quickest tools, on the plugin's own thread: the same grants and the
//! same answers as on the way to the run, which shows the call to people when it hears of it.

use std::{fmt, sync::Arc, time::Instant};

use agent_host_core::{
    failpoint,
    failpoint::Action,
    ports::{
        instance::{Desk, Isolation, PluginSpec, Served},
        tools::ToolHost,
    },
    run_machine::RunInput,
    service::{ServiceName, ServiceTable},
};
use agent_plugin_protocol::{
    CallId, ToolCallId,
    call::{ToolCallParams, request},
};
use tokio::sync::watch;

use super::{Run, requests::event_error};
use crate::{routes::Instance, shared::Shared};

/// The tools of one call.
struct ToolDesk {
    spec: Arc<PluginSpec>,
    tools: Arc<dyn ToolHost>,
    services: watch::Receiver<Arc<ServiceTable>>,
}

/// The desk of a run's own call; none for a worker, where foreign code could speak in its name.
pub(super) fn of(shared: &Shared, instance: &Instance) -> Option<Arc<dyn Desk>> {
    (instance.handle.isolation == Isolation::InProcess).then(|| {
        let (tools, services) = (Arc::clone(&shared.parts.tools), shared.parts.services.clone());
        Arc::new(ToolDesk { spec: Arc::clone(&instance.spec), tools, services }) as Arc<dyn Desk>
    })
}

impl Desk for ToolDesk {
    fn at_once(&self, method: &str, payload: &[u8]) -> Option<Served> {
        if method != request::TOOLS_CALL || !self.services.borrow().is_available(ServiceName::Tools) {
            return None;
        }
        // What is malformed or not granted is refused on the usual way.
        let ToolCallParams { name, arguments } = serde_json::from_slice(payload).ok()?;
        let granted = self.spec.tools.contains(&name);
        // For a broken twin: a desk that serves whoever asks.
        if !granted && failpoint!("engine.desk_grants") != Some(Action::Off) {
            return None;
        }
        let begun = Instant::now();
        let result = self.tools.call_at_once(&name, &arguments)?;
        Some(Served { tool: name, arguments, result, duration: begun.elapsed() })
    }
}

impl fmt::Debug for ToolDesk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ToolDesk").field("plugin", &self.spec.id).finish_non_exhaustive()
    }
}

impl Run {
    /// A tool was called at the desk: people see the call and its result.
    pub(super) fn was_served(&mut self, call: CallId, served: Served) {
        if !self.heard(call) {
            return self.dropped(Some(call), "out_of_turn");
        }
        let tool_call_id = ToolCallId::random();
        let within = self.within(call);
        self.push(RunInput::ToolStarted {
            within,
            tool_call_id: tool_call_id.clone(),
            tool: served.tool,
            arguments: served.arguments,
        });
        let result = served.result.map_err(event_error);
        self.push(RunInput::ToolFinished { tool_call_id, result, duration: served.duration });
    }
}
