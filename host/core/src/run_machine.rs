//! Guards the grammar of a run (law 3): whatever goes in, what comes out is a well-formed run.
//!
//! ```text
//! user_message   (the store's)
//! agent_started  exactly one, first
//!   thinking | delta | tool pair | delegation | run_degraded …   each tool and delegation closed exactly once
//! agent_completed exactly one, last
//! ```
//! Within an open delegation its agent may say the same: thinking, deltas of its own message, tool pairs, and further
//! delegations; all of it is closed before `agent_returned`. What it answers is no part of the run's own answer.
//!
//! Pure: inputs and the time since the run began in, events and a counted fault out. [`grammar`] is the same law
//! told a second time, as a checker that shares no code with this.

mod completion;
pub mod grammar;
mod open;
mod payload;
pub mod replay;
#[cfg(feature = "schema")]
pub mod schema;
mod text;
mod types;

use std::{collections::HashSet, sync::Arc, time::Duration};

use agent_plugin_protocol::{
    Code, EventKind, PluginId, RunId, ToolCallId,
    event::{Emitted, Responder},
};
use bytes::Bytes;
use serde_json::Value;

pub use self::completion::failure_of;
pub use self::types::{NewRunEvent, RunFault, RunHead, RunInput, RunOutput};
use self::{open::Open, text::Answer};
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
    open: Open,
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
    /// Why it is not the one the person asked: the last move.
    moved: Option<Moved>,
}

/// Why a run moved.
#[derive(Debug, Clone)]
struct Moved {
    code: Code,
    reason: String,
    retryable: bool,
}

impl Moved {
    fn new(code: Code, reason: &str, retryable: bool) -> Self {
        Self { code, reason: text::reason(reason), retryable }
    }
}

impl RunMachine {
    /// A run that nobody took yet.
    pub fn new(head: RunHead) -> Self {
        Self {
            head,
            phase: Phase::Waiting,
            answer: Answer::default(),
            open: Open::default(),
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

    /// The text of an answer to delegated work: what the agent says at its end, else what it streamed; cut as the
    /// run's own answer is.
    pub fn answer_to(&mut self, sub_run: &RunId, said: Option<&str>) -> String {
        let streamed = self.open.answer(sub_run).map(std::mem::take).unwrap_or_default();
        said.map_or_else(|| streamed.finish(), text::bounded)
    }

    /// Takes one input. `now` is the time since the run began; it only dates durations.
    pub fn push(&mut self, input: RunInput, now: Duration) -> RunOutput {
        match (&self.phase, input) {
            (Phase::Over, _) => fault(RunFault::AfterCompletion),
            (Phase::Waiting, RunInput::Started { responder, level, message }) => {
                events(vec![self.start(responder, level, &message)])
            }
            (Phase::Running(_), RunInput::Started { .. }) => fault(RunFault::StartedTwice),
            (Phase::Waiting, RunInput::Degraded { from, to, code, reason, retryable }) => {
                self.move_unstarted(&from, to, Moved::new(code, &reason, retryable))
            }
            (Phase::Running(from), RunInput::Degraded { from: _, to, code, reason, retryable }) => {
                let from = from.clone();
                self.move_on(&from, to, Moved::new(code, &reason, retryable), now)
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
            (Phase::Running(_), RunInput::Emitted { within, kind, payload }) => {
                self.emitted(within.as_ref(), kind, payload)
            }
            (Phase::Running(_), RunInput::ToolStarted { within, tool_call_id, tool, arguments }) => {
                self.tool_started(within, tool_call_id, &tool, &arguments, now)
            }
            (Phase::Running(_), RunInput::ToolFinished { tool_call_id, result, duration }) => {
                let result = result.as_ref().map_err(payload::safe_error);
                self.ended(|open| Some(vec![open.end_tool(&tool_call_id, result, duration)?]))
            }
            (Phase::Running(_), RunInput::Delegated { within, agent, sub_run }) => {
                self.delegated(within, agent, sub_run)
            }
            (Phase::Running(_), RunInput::Returned { sub_run, result }) => {
                self.ended(|open| open.end_work(&sub_run, &result, &payload::not_waited_for(), now))
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

    fn move_unstarted(&mut self, from: &str, to: Responder, why: Moved) -> RunOutput {
        let level = self.head.level;
        let started = self.start(to.clone(), level, "");
        let to = Speaker::new(to, None);
        let payload = payload::degraded(from, &to.name, why.code, &why.reason);
        let degraded = event(EventKind::RunDegraded, &to.name, payload);
        let to = Speaker { moved: Some(why), ..to };
        self.phase = Phase::Running(to);
        events(vec![started, degraded])
    }

    /// The old responder's tools are closed under its name; its half answer is not the new one's.
    fn move_on(&mut self, from: &Speaker, to: Responder, why: Moved, now: Duration) -> RunOutput {
        let mut out = self.open.end_all(&payload::error_of(why.code), now);
        let to = Speaker::new(to, None);
        let payload = payload::degraded(&from.name, &to.name, why.code, &why.reason);
        out.push(event(EventKind::RunDegraded, &to.name, payload));
        self.answer = Answer::default();
        self.phase = Phase::Running(Speaker { moved: Some(why), ..to });
        events(out)
    }

    /// Who speaks: the responder, or the agent of delegated work; `None` if that is not open.
    fn voice(&self, within: Option<&RunId>) -> Option<Arc<str>> {
        match (within, &self.phase) {
            (Some(sub_run), Phase::Running(_)) => self.open.speaker(sub_run),
            (None, Phase::Running(speaker)) => Some(speaker.name.clone()),
            (_, Phase::Waiting | Phase::Over) => None,
        }
    }

    fn emitted(&mut self, within: Option<&RunId>, kind: u32, payload: Bytes) -> RunOutput {
        let Some(name) = self.voice(within) else { return fault(RunFault::UnknownId) };
        let message_id = within.map_or(self.head.message_id.as_str(), RunId::as_str);
        let out = match Emitted::decode(kind, &payload) {
            Ok(Emitted::Delta(delta)) if delta.message_id != message_id => {
                return fault(RunFault::WrongMessage);
            }
            Ok(Emitted::Delta(delta)) => {
                let answer = within.and_then(|sub_run| self.open.answer(sub_run));
                answer.unwrap_or(&mut self.answer).push(&delta.text);
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
        within: Option<RunId>,
        id: ToolCallId,
        tool: &str,
        arguments: &Value,
        now: Duration,
    ) -> RunOutput {
        let Some(name) = self.voice(within.as_ref()) else { return fault(RunFault::UnknownId) };
        if !self.used.insert(id.as_str().into()) {
            return fault(RunFault::DuplicateId);
        }
        let tool = text::name(tool);
        let payload = payload::tool_executing(&id, &tool, arguments);
        let begun = event(EventKind::ToolExecuting, &name, payload);
        self.open.begin_tool(name, within, id, tool, now);
        self.touched = true;
        events(vec![begun])
    }

    fn delegated(&mut self, within: Option<RunId>, agent: PluginId, sub_run: RunId) -> RunOutput {
        let Some(name) = self.voice(within.as_ref()) else { return fault(RunFault::UnknownId) };
        if !self.used.insert(sub_run.as_str().into()) {
            return fault(RunFault::DuplicateId);
        }
        let begun = event(EventKind::AgentDelegated, &name, payload::delegated(&agent, &sub_run));
        self.open.begin_work(name, within, agent, sub_run);
        self.touched = true;
        events(vec![begun])
    }

    fn ended(&mut self, end: impl FnOnce(&mut Open) -> Option<Vec<NewRunEvent>>) -> RunOutput {
        end(&mut self.open).map_or_else(|| fault(RunFault::UnknownId), events)
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
            out.extend(self.open.end_all(&why, now));
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
}

impl Speaker {
    fn new(responder: Responder, moved: Option<Moved>) -> Self {
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
