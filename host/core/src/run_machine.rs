//! Guards the grammar of a run (law 3): whatever goes in, what comes out is a well-formed run.
//!
//! ```text
//! user_message   (the store's)
//! agent_started  exactly one, first
//!   thinking | delta | tool pair | delegation | run_degraded …   each tool and delegation closed exactly once
//! agent_completed exactly one, last
//! ```
//! Pure: inputs and the time since the run began in, events and a counted fault out. [`grammar`] is the same law
//! told a second time, as a checker that shares no code with this.

mod completion;
pub mod grammar;
mod payload;
#[cfg(feature = "schema")]
pub mod schema;
mod text;
mod types;

use std::{collections::HashSet, sync::Arc, time::Duration};

use agent_plugin_protocol::{
    Code, EventKind, PluginId, RunId, ToolCallId,
    call::DelegateResult,
    event::{Emitted, EventError, Responder},
};
use bytes::Bytes;
use serde_json::Value;

use self::text::Answer;
pub use self::types::{NewRunEvent, RunFault, RunHead, RunInput, RunOutput};
use crate::{failpoint, failpoint::Action, level::ServiceLevel, outcome::Outcome};

/// Turns whatever happens to a run into its well-formed events.
///
/// What needs a responder before there is one is dropped and counted (`before_start`): there is no name under
/// which it could be said. Two inputs make the start themselves, as a run must not stay silent: a move, whose new
/// responder starts; and an end, which is started and completed by `host`.
#[derive(Debug)]
pub struct RunMachine {
    head: RunHead,
    phase: Phase,
    /// Deltas of the present responder, joined.
    answer: Answer,
    /// Open tool calls, in order: (id, tool, since).
    tools: Vec<(ToolCallId, String, Duration)>,
    /// Open delegations, in order.
    delegated: Vec<(RunId, PluginId)>,
    /// Ids used so far: none is used twice in a run.
    used: HashSet<Arc<str>>,
    /// Whether a plugin event, a tool call or a delegation came out.
    touched: bool,
}

#[derive(Debug)]
enum Phase {
    Waiting,
    Running(Speaker),
    Over,
}

/// Who has the run.
#[derive(Debug, Clone)]
struct Speaker {
    name: Arc<str>,
    responder: Responder,
    /// Why it is not the one the person asked: the last move's code and reason.
    moved: Option<(Code, String)>,
}

impl RunMachine {
    /// A run that nobody took yet.
    pub fn new(head: RunHead) -> Self {
        Self {
            head,
            phase: Phase::Waiting,
            answer: Answer::default(),
            tools: Vec::new(),
            delegated: Vec::new(),
            used: HashSet::new(),
            touched: false,
        }
    }

    /// What the run is.
    pub fn head(&self) -> &RunHead {
        &self.head
    }

    /// No plugin event, tool call or delegation came out: another try is allowed.
    pub fn is_before_first_event(&self) -> bool {
        !self.touched
    }

    /// Whether a responder took the run.
    pub fn is_started(&self) -> bool {
        !matches!(self.phase, Phase::Waiting)
    }

    /// Whether `agent_completed` came out.
    pub fn is_over(&self) -> bool {
        matches!(self.phase, Phase::Over)
    }

    /// Takes one input. `now` is the time since the run began; it only dates durations.
    pub fn push(&mut self, input: RunInput, now: Duration) -> RunOutput {
        match (&self.phase, input) {
            (Phase::Over, _) => fault(RunFault::AfterCompletion),
            (Phase::Waiting, RunInput::Started { responder, level, message }) => {
                events(vec![self.start(responder, level, &message)])
            }
            (Phase::Running(_), RunInput::Started { .. }) => fault(RunFault::StartedTwice),
            (Phase::Waiting, RunInput::Degraded { from, to, code, reason }) => {
                self.move_unstarted(&from, to, code, &reason)
            }
            (Phase::Running(from), RunInput::Degraded { from: _, to, code, reason }) => {
                let from = from.clone();
                self.move_on(&from, to, code, &reason, now)
            }
            (_, RunInput::Finished(outcome)) => self.finish(&outcome, now),
            (_, RunInput::Cancelled) => self.finish(&Outcome::Cancelled, now),
            (_, RunInput::Interrupted) => self.finish(&Outcome::Interrupted, now),
            (
                Phase::Waiting,
                RunInput::Emitted { .. }
                | RunInput::ToolStarted { .. }
                | RunInput::ToolFinished { .. }
                | RunInput::Delegated { .. }
                | RunInput::Returned { .. },
            ) => fault(RunFault::BeforeStart),
            (Phase::Running(s), RunInput::Emitted { kind, payload }) => {
                let name = s.name.clone();
                self.emitted(name, kind, payload)
            }
            (Phase::Running(s), RunInput::ToolStarted { tool_call_id, tool, arguments }) => {
                let name = s.name.clone();
                self.tool_started(name, tool_call_id, &tool, &arguments, now)
            }
            (Phase::Running(s), RunInput::ToolFinished { tool_call_id, result, duration }) => {
                let name = s.name.clone();
                self.tool_finished(name, &tool_call_id, result, duration)
            }
            (Phase::Running(s), RunInput::Delegated { agent, sub_run }) => {
                let name = s.name.clone();
                self.delegated(name, agent, sub_run)
            }
            (Phase::Running(s), RunInput::Returned { sub_run, result }) => {
                let name = s.name.clone();
                self.returned(name, &sub_run, &result)
            }
        }
    }

    fn start(&mut self, responder: Responder, level: ServiceLevel, message: &str) -> NewRunEvent {
        let speaker = Speaker::new(responder, None);
        let payload = payload::started(message, level, &speaker.responder);
        let event = event(EventKind::AgentStarted, &speaker.name, payload);
        self.phase = Phase::Running(speaker);
        event
    }

    fn move_unstarted(&mut self, from: &str, to: Responder, code: Code, reason: &str) -> RunOutput {
        let level = self.head.level;
        let started = self.start(to.clone(), level, "");
        let to = Speaker::new(to, Some((code, text::reason(reason))));
        let degraded =
            event(EventKind::RunDegraded, &to.name, payload::degraded(from, &to.name, code, reason));
        self.phase = Phase::Running(to);
        events(vec![started, degraded])
    }

    /// The old responder's tools are closed under its name; its half answer is not the new one's.
    fn move_on(
        &mut self,
        from: &Speaker,
        to: Responder,
        code: Code,
        reason: &str,
        now: Duration,
    ) -> RunOutput {
        let mut out = self.close_open(&from.name, &payload::error_of(code), now);
        let to = Speaker::new(to, Some((code, text::reason(reason))));
        out.push(event(
            EventKind::RunDegraded,
            &to.name,
            payload::degraded(&from.name, &to.name, code, reason),
        ));
        self.answer = Answer::default();
        self.phase = Phase::Running(to);
        events(out)
    }

    fn emitted(&mut self, name: Arc<str>, kind: u32, payload: Bytes) -> RunOutput {
        let out = match Emitted::decode(kind, &payload) {
            Ok(Emitted::Delta(delta)) if delta.message_id != self.head.message_id => {
                return fault(RunFault::WrongMessage);
            }
            Ok(Emitted::Delta(delta)) => {
                self.answer.push(&delta.text);
                EventKind::AgentMessageDelta
            }
            Ok(Emitted::Thinking(_)) => EventKind::AgentThinking,
            // For a broken twin: a host that does not judge what plugins emit.
            Err(_) if failpoint!("run_machine.decode") == Some(Action::Off) => EventKind::AgentThinking,
            Err(why) => return fault(RunFault::Emit(why)),
        };
        self.touched = true;
        events(vec![NewRunEvent { kind: out, agent: name, payload }])
    }

    fn tool_started(
        &mut self,
        name: Arc<str>,
        id: ToolCallId,
        tool: &str,
        arguments: &Value,
        now: Duration,
    ) -> RunOutput {
        if !self.used.insert(id.as_str().into()) {
            return fault(RunFault::DuplicateId);
        }
        let tool = text::name(tool);
        let payload = payload::tool_executing(&id, &tool, arguments);
        self.tools.push((id, tool, now));
        self.touched = true;
        events(vec![event(EventKind::ToolExecuting, &name, payload)])
    }

    fn tool_finished(
        &mut self,
        name: Arc<str>,
        id: &ToolCallId,
        result: Result<Value, EventError>,
        duration: Duration,
    ) -> RunOutput {
        let Some(at) = self.tools.iter().position(|(open, ..)| open == id) else {
            return fault(RunFault::UnknownId);
        };
        let (id, tool, _) = self.tools.remove(at);
        let result = result.as_ref().map_err(payload::safe_error);
        let payload = payload::tool_completed(&id, &tool, result, duration);
        events(vec![event(EventKind::ToolCompleted, &name, payload)])
    }

    fn delegated(&mut self, name: Arc<str>, agent: PluginId, sub_run: RunId) -> RunOutput {
        if !self.used.insert(sub_run.as_str().into()) {
            return fault(RunFault::DuplicateId);
        }
        let payload = payload::delegated(&agent, &sub_run);
        self.delegated.push((sub_run, agent));
        self.touched = true;
        events(vec![event(EventKind::AgentDelegated, &name, payload)])
    }

    fn returned(&mut self, name: Arc<str>, sub_run: &RunId, result: &DelegateResult) -> RunOutput {
        let Some(at) = self.delegated.iter().position(|(open, _)| open == sub_run) else {
            return fault(RunFault::UnknownId);
        };
        let (sub_run, agent) = self.delegated.remove(at);
        events(vec![event(EventKind::AgentReturned, &name, payload::returned(&agent, &sub_run, result))])
    }

    fn finish(&mut self, outcome: &Outcome, now: Duration) -> RunOutput {
        let mut out = Vec::with_capacity(2);
        let speaker = match &self.phase {
            Phase::Running(speaker) => speaker.clone(),
            Phase::Waiting | Phase::Over => {
                let host = Speaker::new(payload::host_responder(), None);
                let level = self.head.level;
                out.push(self.start(host.responder.clone(), level, ""));
                host
            }
        };
        // For a broken twin: a host that leaves tools open.
        if failpoint!("run_machine.close") != Some(Action::Off) {
            let why = outcome.code().map_or_else(payload::not_waited_for, payload::error_of);
            out.extend(self.close_open(&speaker.name, &why, now));
        }
        let answer = std::mem::take(&mut self.answer);
        let payload = completion::completed(&self.head, &speaker, outcome, answer, now);
        out.push(event(EventKind::AgentCompleted, &speaker.name, payload));
        // For a broken twin: a host that may complete a run twice.
        if failpoint!("run_machine.over") != Some(Action::Off) {
            self.phase = Phase::Over;
        }
        events(out)
    }

    fn close_open(&mut self, name: &Arc<str>, error: &EventError, now: Duration) -> Vec<NewRunEvent> {
        let tools = self.tools.drain(..).map(|(id, tool, since)| {
            let payload = payload::tool_completed(&id, &tool, Err(error.clone()), now.saturating_sub(since));
            event(EventKind::ToolCompleted, name, payload)
        });
        let failed = DelegateResult::Failed { code: error.code.clone(), message: error.message.clone() };
        let delegated = self.delegated.drain(..).map(|(sub_run, agent)| {
            event(EventKind::AgentReturned, name, payload::returned(&agent, &sub_run, &failed))
        });
        tools.chain(delegated).collect()
    }
}

impl Speaker {
    fn new(responder: Responder, moved: Option<(Code, String)>) -> Self {
        let responder = Responder {
            plugin: text::name(&responder.plugin),
            version: text::name(&responder.version),
            ..responder
        };
        Self { name: responder.plugin.as_str().into(), responder, moved }
    }
}

fn event(kind: EventKind, agent: &Arc<str>, payload: Bytes) -> NewRunEvent {
    NewRunEvent { kind, agent: agent.clone(), payload }
}

fn events(events: Vec<NewRunEvent>) -> RunOutput {
    RunOutput { events, fault: None }
}

fn fault(fault: RunFault) -> RunOutput {
    RunOutput { events: Vec::new(), fault: Some(fault) }
}

#[cfg(test)]
mod tests;
