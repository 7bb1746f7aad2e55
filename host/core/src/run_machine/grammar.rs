//! The law of a run, as a checker: is this list of events one well-formed run?
//!
//! Independent of [`super::RunMachine`] on purpose: it reads finished events, from a test's memory or from a
//! client's socket, and shares no code with what it judges.

use std::collections::{HashMap, HashSet};

use agent_plugin_protocol::EventKind;
use serde_json::Value;

use super::NewRunEvent;

/// One event as a reader sees it.
#[derive(Debug, Clone, Copy)]
pub struct Seen<'a> {
    /// Its type.
    pub kind: EventKind,
    /// Its `agent`.
    pub agent: &'a str,
    /// Its payload.
    pub payload: &'a [u8],
}

impl<'a> From<&'a NewRunEvent> for Seen<'a> {
    fn from(event: &'a NewRunEvent) -> Self {
        Self { kind: event.kind, agent: &event.agent, payload: &event.payload }
    }
}

/// A broken rule, and which event broke it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("event {at}: {rule}")]
pub struct Broken {
    /// Index of the event; the length of the list if something is missing at its end.
    pub at: usize,
    /// The rule, in a few words.
    pub rule: &'static str,
}

/// Checks a whole run. A leading `user_message` may be there.
///
/// # Errors
/// The first rule that is broken.
pub fn check<'a>(events: impl IntoIterator<Item = impl Into<Seen<'a>>>) -> Result<(), Broken> {
    let mut run = Run::default();
    let mut at = 0;
    for event in events {
        run.step(event.into(), at == 0).map_err(|rule| Broken { at, rule })?;
        at += 1;
    }
    run.end().map_err(|rule| Broken { at, rule })
}

type Rule = Result<(), &'static str>;

#[derive(Default)]
struct Run {
    speaker: Option<String>,
    completed: bool,
    /// Open tool calls and delegations, by id.
    open: HashMap<String, Open>,
    used: HashSet<String>,
    message_id: Option<String>,
}

/// A tool call or a delegation.
struct Open {
    delegation: bool,
    /// The tool, or the agent that has the work.
    name: String,
    /// Who began it.
    by: String,
}

impl Run {
    fn step(&mut self, event: Seen<'_>, first: bool) -> Rule {
        rule(!self.completed, "an event after agent_completed")?;
        let payload = parse(event.payload)?;
        match event.kind {
            EventKind::UserMessage => return rule(first, "user_message is not the first event"),
            EventKind::AgentStarted => return self.started(event.agent, &payload),
            EventKind::RunDegraded => return self.degraded(event.agent, &payload),
            EventKind::AgentThinking
            | EventKind::ToolExecuting
            | EventKind::ToolCompleted
            | EventKind::AgentMessageDelta
            | EventKind::AgentDelegated
            | EventKind::AgentReturned
            | EventKind::AgentCompleted => {}
        }
        rule(self.speaker.is_some(), "an event before agent_started")?;
        let speaks = self.has_run(event.agent) || self.has_work(event.agent);
        rule(speaks, "an event by one who has neither the run nor work of it")?;
        match event.kind {
            EventKind::AgentThinking => rule(payload["text"].is_string(), "thinking without a text"),
            EventKind::AgentMessageDelta => self.delta(event.agent, &payload),
            EventKind::ToolExecuting => self.opened(event.agent, &payload, false),
            EventKind::ToolCompleted => self.closed(event.agent, &payload, false),
            EventKind::AgentDelegated => self.opened(event.agent, &payload, true),
            EventKind::AgentReturned => self.closed(event.agent, &payload, true),
            EventKind::AgentCompleted => self.completed(event.agent, &payload),
            EventKind::UserMessage | EventKind::AgentStarted | EventKind::RunDegraded => Ok(()),
        }
    }

    fn end(&self) -> Rule {
        rule(self.speaker.is_some(), "no agent_started")?;
        rule(self.completed, "no agent_completed")
    }

    fn started(&mut self, agent: &str, payload: &Value) -> Rule {
        rule(self.speaker.is_none(), "a second agent_started")?;
        rule(payload["message"].is_string(), "agent_started without its message")?;
        let levels = ["basic", "fallback", "partial", "full"];
        rule(
            payload["level"].as_str().is_some_and(|l| levels.contains(&l)),
            "agent_started without a level",
        )?;
        responder(agent, payload)?;
        self.speaker = Some(agent.to_owned());
        Ok(())
    }

    fn degraded(&mut self, agent: &str, payload: &Value) -> Rule {
        rule(self.speaker.is_some(), "run_degraded before agent_started")?;
        rule(self.open.is_empty(), "the run moved with a tool call open")?;
        rule(payload["to"].as_str() == Some(agent), "run_degraded not by the one it moved to")?;
        let texts = ["from", "code", "reason"];
        rule(texts.iter().all(|field| payload[field].is_string()), "run_degraded without its fields")?;
        self.speaker = Some(agent.to_owned());
        Ok(())
    }

    fn has_run(&self, agent: &str) -> bool {
        self.speaker.as_deref() == Some(agent)
    }

    /// Whether delegated work is open that the agent has.
    fn has_work(&self, agent: &str) -> bool {
        self.open.values().any(|open| open.delegation && open.name == agent)
    }

    /// A delta is of delegated work, if it carries that work's id, or of the run's one answer.
    fn delta(&mut self, agent: &str, payload: &Value) -> Rule {
        let id = payload["message_id"].as_str().ok_or("a delta without a message id")?;
        rule(payload["text"].is_string(), "a delta without a text")?;
        if let Some(work) = self.open.get(id).filter(|open| open.delegation) {
            return rule(work.name == agent, "a delta of work that another has");
        }
        rule(self.has_run(agent), "a delta of the answer by one who has not the run")?;
        let expected = self.message_id.get_or_insert_with(|| id.to_owned());
        rule(*expected == id, "a delta of another message")
    }

    fn opened(&mut self, by: &str, payload: &Value, delegation: bool) -> Rule {
        let (id, name, _) = fields(delegation);
        let id = payload[id].as_str().ok_or("something begun without an id")?;
        let name = payload[name].as_str().ok_or("something begun without a name")?;
        rule(self.used.insert(id.to_owned()), "an id used twice")?;
        let open = Open { delegation, name: name.to_owned(), by: by.to_owned() };
        self.open.insert(id.to_owned(), open);
        Ok(())
    }

    fn closed(&mut self, by: &str, payload: &Value, delegation: bool) -> Rule {
        let (id, name, result) = fields(delegation);
        let id = payload[id].as_str().ok_or("something ended without an id")?;
        let opened = self.open.remove(id).ok_or("something ended that was not open")?;
        rule(opened.delegation == delegation, "a tool call ended as a delegation, or the reverse")?;
        rule(payload[name].as_str() == Some(&opened.name), "something ended under another name")?;
        rule(opened.by == by, "something ended by another than who began it")?;
        if delegation && !self.has_run(&opened.name) && !self.has_work(&opened.name) {
            let left = self.open.values().any(|open| open.by == opened.name);
            rule(!left, "work ended with something open within it")?;
        }
        match payload["status"].as_str() {
            Some("ok") => rule(payload.get(result).is_some(), "an ok without its result"),
            Some("failed") => error(payload),
            Some(_) | None => Err("an end without a status"),
        }
    }

    fn completed(&mut self, agent: &str, payload: &Value) -> Rule {
        rule(self.has_run(agent), "agent_completed by one who has not the run")?;
        rule(self.open.is_empty(), "agent_completed with a tool call or delegation open")?;
        rule(payload["text"].is_string(), "agent_completed without a text")?;
        rule(payload["duration_ms"].is_u64(), "agent_completed without a duration")?;
        responder(agent, payload)?;
        let built_in = payload["responder"]["built_in"] == true;
        match payload["status"].as_str() {
            Some("ok") => {
                rule(!built_in && payload.get("error").is_none(), "ok is an agent's, without an error")?
            }
            Some("degraded") => rule(built_in, "degraded is the fallback's")?,
            Some("failed" | "interrupted") => error(payload)?,
            Some("cancelled") => {}
            Some("input_required") => {
                let asked = payload["interrupts"].as_array().is_some_and(|list| !list.is_empty());
                rule(asked, "input_required without a question")?;
            }
            Some(_) | None => return Err("agent_completed without a status"),
        }
        self.completed = true;
        Ok(())
    }
}

/// Where a payload names what began or ended: its id, its name, its result.
fn fields(delegation: bool) -> (&'static str, &'static str, &'static str) {
    if delegation { ("sub_run_id", "agent", "text") } else { ("tool_call_id", "tool", "result") }
}

/// One line of JSON in valid UTF-8, and an object.
fn parse(payload: &[u8]) -> Result<Value, &'static str> {
    rule(payload.iter().all(|b| *b >= 0x20), "a payload of more than one line")?;
    let value: Value = serde_json::from_slice(payload).map_err(|_| "a payload that is not JSON")?;
    rule(value.is_object(), "a payload that is not an object")?;
    Ok(value)
}

fn responder(agent: &str, payload: &Value) -> Rule {
    let responder = &payload["responder"];
    rule(responder["plugin"].as_str() == Some(agent), "the responder is not the event's agent")?;
    let whole = responder["version"].is_string()
        && responder["generation"].is_u64()
        && responder["built_in"].is_boolean();
    rule(whole, "a responder without its fields")
}

fn error(payload: &Value) -> Rule {
    let error = &payload["error"];
    let whole = error["code"].is_string() && error["message"].is_string() && error["retryable"].is_boolean();
    rule(whole, "a failure without its error")
}

fn rule(holds: bool, rule: &'static str) -> Rule {
    if holds { Ok(()) } else { Err(rule) }
}
