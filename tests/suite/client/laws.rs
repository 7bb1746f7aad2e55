//! What must be true of every frame, whatever the scenario: form, dense positions, one acceptance, whole runs.

use std::collections::{HashMap, HashSet};

use serde_json::Value;

/// The events that the log may hold.
const EVENTS: &[&str] = &[
    "user_message",
    "agent_started",
    "agent_thinking",
    "tool_executing",
    "tool_completed",
    "agent_message_delta",
    "agent_delegated",
    "agent_returned",
    "run_degraded",
    "agent_completed",
];

/// The frames that are not events.
const OTHERS: &[&str] = &[
    "welcome",
    "accepted",
    "subscribed",
    "service_status",
    "error",
    "ping",
    "pong",
    "auth_expiring",
    "auth_refreshed",
    "going_away",
];

/// What one connection has seen so far.
#[derive(Debug, Default)]
pub(super) struct Laws {
    welcomed: bool,
    last_seq: HashMap<String, u64>,
    accepted: HashSet<String>,
    /// By thread and run.
    runs: HashMap<(String, String), Progress>,
    /// Threads joined behind their start: the first run met there may have begun before.
    joined_late: HashSet<String>,
}

/// How far a run is.
#[derive(Debug, Default)]
struct Progress {
    asked: bool,
    started: bool,
    completed: bool,
    open_tools: HashSet<String>,
    /// Its beginning was not seen, nor which tools were called before.
    begun_before: bool,
}

impl Laws {
    /// Parses a frame and objects to what must never be.
    pub(super) fn judge(&mut self, text: &str) -> Result<Value, String> {
        let frame: Value = serde_json::from_str(text).map_err(|e| format!("not JSON ({e}): {text}"))?;
        let kind = frame["type"].as_str().ok_or_else(|| format!("a frame without type: {text}"))?;
        if self.welcomed == (kind == "welcome") {
            return Err(format!("the welcome is the first frame, once: {text}"));
        }
        self.welcomed = true;
        if EVENTS.contains(&kind) {
            self.judge_event(kind, &frame)?;
        } else if !OTHERS.contains(&kind) {
            return Err(format!("a frame of unknown type: {text}"));
        } else {
            self.judge_other(kind, &frame)?;
        }
        Ok(frame)
    }

    fn judge_other(&mut self, kind: &str, frame: &Value) -> Result<(), String> {
        match kind {
            "accepted" => {
                let id = text(frame, "id")?;
                if frame["duplicate"] == false && !self.accepted.insert(id.clone()) {
                    return Err(format!("message {id} was accepted twice"));
                }
                // Sending subscribes, from the message on: a thread not met before is dense from here.
                let seq = frame["seq"].as_u64().filter(|seq| *seq > 0).ok_or("accepted without seq")?;
                self.last_seq.entry(text(frame, "thread_id")?).or_insert(seq - 1);
                text(frame, "run_id").and(text(frame, "epoch")).map(drop)
            }
            "error" => {
                let code = text(frame, "code")?;
                if agent_plugin_protocol::Code::parse(&code).is_none() {
                    return Err(format!("an error of a code that is not in the table: {frame}"));
                }
                text(frame, "message").map(drop)
            }
            // A position begins anew with a subscription; the replay that follows is dense from here.
            "subscribed" => {
                let thread = text(frame, "thread_id")?;
                let from =
                    frame["from_seq"].as_u64().filter(|seq| *seq > 0).ok_or("subscribed without from_seq")?;
                self.runs.retain(|(of, _), _| *of != thread);
                if from > 1 {
                    self.joined_late.insert(thread.clone());
                } else {
                    self.joined_late.remove(&thread);
                }
                self.last_seq.insert(thread, from - 1);
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn judge_event(&mut self, kind: &str, frame: &Value) -> Result<(), String> {
        let thread = text(frame, "thread_id")?;
        let run = text(frame, "run_id")?;
        text(frame, "agent")?;
        text(frame, "time")?;
        if !frame["payload"].is_object() {
            return Err(format!("an event without payload: {frame}"));
        }
        let seq = frame["seq"].as_u64().ok_or_else(|| format!("an event without seq: {frame}"))?;
        // A thread is met either at its start or behind a `subscribed`, which set the position.
        let last = self.last_seq.entry(thread.clone()).or_insert(0);
        if seq != *last + 1 {
            return Err(format!("seq {seq} after {last}: {frame}"));
        }
        *last = seq;
        let late = self.joined_late.remove(&thread);
        let begin = || if late { Progress::met_at(kind) } else { Progress::default() };
        self.runs.entry((thread, run)).or_insert_with(begin).step(kind, frame)
    }
}

impl Progress {
    /// A run of which the first event seen is of this kind.
    fn met_at(kind: &str) -> Self {
        let begun_before = kind != "user_message";
        let started = begun_before && kind != "agent_started";
        Self { asked: begun_before, started, begun_before, ..Self::default() }
    }

    /// Law 3, event by event.
    fn step(&mut self, kind: &str, frame: &Value) -> Result<(), String> {
        let lawful = match kind {
            "user_message" => !std::mem::replace(&mut self.asked, true) && !self.started,
            "agent_started" => !std::mem::replace(&mut self.started, true) && !self.completed,
            "agent_completed" => {
                self.started && self.open_tools.is_empty() && !std::mem::replace(&mut self.completed, true)
            }
            "tool_executing" => {
                self.running() && self.open_tools.insert(text(&frame["payload"], "tool_call_id")?)
            }
            "tool_completed" => {
                let was_open = self.open_tools.remove(&text(&frame["payload"], "tool_call_id")?);
                self.running() && (was_open || self.begun_before)
            }
            _ => self.running(),
        };
        match lawful {
            true => Ok(()),
            false => Err(format!("out of order in its run: {frame}")),
        }
    }

    fn running(&self) -> bool {
        self.started && !self.completed
    }
}

fn text(frame: &Value, field: &str) -> Result<String, String> {
    match frame[field].as_str() {
        Some(text) if !text.is_empty() => Ok(text.to_owned()),
        _ => Err(format!("no {field} in {frame}")),
    }
}

#[cfg(test)]
mod tests;
