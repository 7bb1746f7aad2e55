//! Takes a run up where its log breaks off, to end it: what is open is closed, and one `agent_completed` follows.

use std::time::{Duration, SystemTime};

use agent_plugin_protocol::{Code, EventKind, PluginId, RunId, ThreadId, ToolCallId, event::Responder};
use serde::Deserialize;
use serde_json::Value;

use super::{
    Moved, NewRunEvent, Phase, RunHead, RunInput, RunMachine, Speaker,
    payload::{host_responder, not_waited_for},
};
use crate::{level::ServiceLevel, ports::store::NewEvent};

/// The events that end a run as `interrupted`, given those that the log has of it, in order. None, if it is ended.
///
/// A responder that took over is known by its name only: the log does not say its version.
pub fn interrupt(
    run: &RunId,
    thread: &ThreadId,
    level: ServiceLevel,
    logged: &[NewEvent],
    now: SystemTime,
) -> Vec<NewRunEvent> {
    let head =
        RunHead { run: run.clone(), thread: thread.clone(), message_id: format!("{run}.answer"), level };
    let began = logged.first().map_or(now, |first| first.time);
    let since = |time: SystemTime| time.duration_since(began).unwrap_or_default();
    let mut machine = RunMachine::new(head);
    for event in logged {
        machine.recall(event, since(event.time));
    }
    machine.push(RunInput::Interrupted, since(now)).events
}

/// What of a payload says where the run is. Each field is of one kind of event or another.
#[derive(Deserialize)]
struct Told {
    #[serde(default)]
    responder: Option<Responder>,
    #[serde(default)]
    tool_call_id: Option<ToolCallId>,
    #[serde(default)]
    tool: String,
    #[serde(default)]
    message_id: Option<String>,
    #[serde(default)]
    text: String,
    #[serde(default)]
    sub_run_id: Option<RunId>,
    /// Of a delegation.
    #[serde(default)]
    agent: Option<PluginId>,
    #[serde(default)]
    code: Option<Code>,
    #[serde(default)]
    reason: String,
}

impl RunMachine {
    /// An event that came out of this run in an earlier life. One that cannot be read changes nothing.
    fn recall(&mut self, event: &NewEvent, at: Duration) {
        match event.kind {
            EventKind::UserMessage | EventKind::AgentThinking => return,
            EventKind::AgentCompleted => return self.phase = Phase::Over,
            EventKind::AgentStarted
            | EventKind::AgentMessageDelta
            | EventKind::ToolExecuting
            | EventKind::ToolCompleted
            | EventKind::AgentDelegated
            | EventKind::AgentReturned
            | EventKind::RunDegraded => {}
        }
        let Ok(told) = serde_json::from_slice::<Told>(&event.payload) else { return };
        let by = event.agent.clone();
        match event.kind {
            EventKind::AgentStarted => {
                let responder = told.responder.unwrap_or_else(host_responder);
                self.phase = Phase::Running(Speaker { name: by, responder, moved: None });
            }
            EventKind::RunDegraded => {
                let built_in = &*by == "fallback";
                let responder =
                    Responder { plugin: by.to_string(), version: String::new(), generation: 0, built_in };
                let moved = told.code.map(|code| Moved::new(code, &told.reason, code.retryable()));
                self.answer = super::Answer::default();
                self.phase = Phase::Running(Speaker { name: by, responder, moved });
            }
            EventKind::AgentMessageDelta => {
                let sub_run = told.message_id.filter(|id| *id != self.head.message_id);
                let sub_run = sub_run.and_then(|id| RunId::new(&id).ok());
                match sub_run.and_then(|sub_run| self.open.answer(&sub_run)) {
                    Some(answer) => answer.push(&told.text),
                    None => self.answer.push(&told.text),
                }
            }
            EventKind::ToolExecuting => {
                if let Some(id) = told.tool_call_id {
                    self.open.begin_tool(by, None, id, told.tool, at);
                }
            }
            EventKind::ToolCompleted => {
                let id = told.tool_call_id;
                drop(id.and_then(|id| self.open.end_tool(&id, Ok(&Value::Null), Duration::ZERO)));
            }
            EventKind::AgentDelegated => {
                if let (Some(agent), Some(sub_run)) = (told.agent, told.sub_run_id) {
                    self.open.begin_work(by, None, agent, sub_run);
                }
            }
            EventKind::AgentReturned => {
                let result = agent_plugin_protocol::call::DelegateResult::Ok { text: String::new() };
                let ended =
                    told.sub_run_id.and_then(|id| self.open.end_work(&id, &result, &not_waited_for(), at));
                drop(ended);
            }
            EventKind::UserMessage | EventKind::AgentThinking | EventKind::AgentCompleted => {}
        }
    }
}
