//! How a conversation looks: a frame in, text for the terminal out. Whatever others wrote is made safe first.

use agent_host_core::sanitise;
use agent_plugin_protocol::{Code, EventKind};
use serde_json::Value;

use super::frame::{Event, Refusal, Service, Welcome};
use crate::safe;

/// What is on the screen, as far as the next text depends on it.
#[derive(Debug)]
pub(super) struct Screen {
    colour: bool,
    /// What was streamed of the answer that is under way.
    streamed: String,
}

/// How a line is meant.
#[derive(Debug, Clone, Copy)]
enum Tone {
    /// Beside the point.
    Quiet,
    /// To be noticed.
    Alert,
}

impl Screen {
    /// Colours where a person reads, plain text elsewhere.
    pub(super) fn new(colour: bool) -> Self {
        Self { colour, streamed: String::new() }
    }

    /// Who one is, what is there and what is not.
    pub(super) fn welcome(&self, welcome: &Welcome) -> String {
        let agents: Vec<String> =
            welcome.agents.iter().map(|agent| format!("{} ({})", agent.name, agent.state)).collect();
        let agents = if agents.is_empty() { "none".to_owned() } else { agents.join(", ") };
        let who = format!("connected to {} as {}; agents: {agents}", welcome.host, welcome.user_id);
        self.tone(Tone::Quiet, &who) + &self.service(&welcome.service)
    }

    /// The level of the service, and what is missing and why.
    pub(super) fn service(&self, service: &Service) -> String {
        let tone = if service.level == "full" { Tone::Quiet } else { Tone::Alert };
        let reason = if service.reason.is_empty() { String::new() } else { format!(": {}", service.reason) };
        let mut text = self.tone(tone, &format!("service: {}{reason}", service.level));
        for missing in &service.missing {
            let line =
                format!("missing: {} ({}), {}: {}", missing.name, missing.kind, missing.code, missing.reason);
            text += &self.tone(Tone::Alert, &line);
        }
        text
    }

    /// A refusal, with what to do.
    pub(super) fn refusal(&mut self, refusal: &Refusal) -> String {
        let again = if refusal.retryable { "; trying again" } else { "" };
        let text = format!("error {}: {}{again}", refusal.code, refusal.message);
        self.break_line() + &self.tone(Tone::Alert, &text) + &self.remedy(&refusal.code)
    }

    /// Something of the client's own.
    pub(super) fn note(&mut self, text: &str) -> String {
        self.break_line() + &self.tone(Tone::Alert, text)
    }

    /// One event.
    pub(super) fn event(&mut self, event: &Event) -> String {
        let Some(kind) = event.kind else { return String::new() };
        match kind {
            EventKind::UserMessage => {
                let said = sanitise::text(event.text("content"), LONGEST);
                format!("{}{}{said}\n", self.break_line(), "> ")
            }
            EventKind::AgentStarted => self.started(event),
            EventKind::AgentThinking => self.line(Tone::Quiet, &format!("· {}", event.text("text"))),
            EventKind::ToolExecuting => {
                let arguments = brief(&event.payload["arguments"]);
                self.line(Tone::Quiet, &format!("→ {}({arguments})", event.text("tool")))
            }
            EventKind::ToolCompleted => self.tool_completed(event),
            EventKind::AgentMessageDelta => {
                let piece = event.text("text");
                self.streamed.push_str(piece);
                sanitise::text(piece, LONGEST)
            }
            EventKind::AgentDelegated => {
                self.line(Tone::Quiet, &format!("⇢ {} works on it", event.text("agent")))
            }
            EventKind::AgentReturned => self.line(Tone::Quiet, &format!("⇠ {} is done", event.text("agent"))),
            EventKind::RunDegraded => {
                let (from, to) = (event.text("from"), event.text("to"));
                let text = format!("! {from} → {to}: {}: {}", event.text("code"), event.text("reason"));
                self.line(Tone::Alert, &text)
            }
            EventKind::AgentCompleted => self.completed(event),
        }
    }

    fn started(&mut self, event: &Event) -> String {
        let text = self.break_line();
        let responder = &event.payload["responder"];
        let (plugin, version) = (string(&responder["plugin"]), string(&responder["version"]));
        let line = if responder["built_in"] == true {
            self.tone(Tone::Alert, &format!("! the built-in fallback answers: {}", event.text("message")))
        } else {
            self.tone(Tone::Quiet, &format!("{plugin} {version}"))
        };
        text + &line
    }

    fn tool_completed(&mut self, event: &Event) -> String {
        let (tool, took) = (event.text("tool"), &event.payload["duration_ms"]);
        if event.text("status") == "ok" {
            let result = brief(&event.payload["result"]);
            return self.line(Tone::Quiet, &format!("← {tool}: {result} ({took} ms)"));
        }
        let error = &event.payload["error"];
        let why = format!("{}: {}", string(&error["code"]), string(&error["message"]));
        self.line(Tone::Alert, &format!("← {tool} failed: {why} ({took} ms)"))
    }

    /// The answer, as far as it was not streamed, and how it ended if that was not well.
    fn completed(&mut self, event: &Event) -> String {
        let text = event.text("text");
        let rest = match text.strip_prefix(self.streamed.as_str()) {
            Some(rest) => rest.to_owned(),
            None if text.is_empty() => String::new(),
            None => format!("\n{text}"),
        };
        let mut out = sanitise::text(&rest, LONGEST);
        if !(self.streamed.is_empty() && rest.is_empty()) {
            out.push('\n');
        }
        self.streamed.clear();
        let status = event.text("status");
        let asks = event.payload["interrupts"].as_array().is_some_and(|asked| !asked.is_empty());
        match status {
            "ok" => {}
            "input_required" if asks => {
                let question = brief(&event.payload["interrupts"][0]);
                out += &self.tone(Tone::Alert, &format!("? {question}; your next line answers"));
            }
            _ => {
                let error = &event.payload["error"];
                let (code, message) = (string(&error["code"]), string(&error["message"]));
                let why = if code.is_empty() { String::new() } else { format!(": {code}: {message}") };
                out += &self.tone(Tone::Alert, &format!("! {status}{why}"));
                out += &self.remedy(code);
            }
        }
        out
    }

    fn remedy(&self, code: &str) -> String {
        let known = Code::parse(code);
        known.map_or_else(String::new, |code| {
            self.tone(Tone::Quiet, &format!("  what to do: {}", code.remedy()))
        })
    }

    /// A line of its own, also in the midst of an answer.
    fn line(&mut self, tone: Tone, text: &str) -> String {
        self.break_line() + &self.tone(tone, text)
    }

    /// Ends the line of an answer that is under way.
    fn break_line(&self) -> String {
        let midst = !self.streamed.is_empty() && !self.streamed.ends_with('\n');
        if midst { "\n".to_owned() } else { String::new() }
    }

    fn tone(&self, tone: Tone, text: &str) -> String {
        let text = sanitise::line(text, LONGEST);
        match (self.colour, tone) {
            (false, Tone::Quiet | Tone::Alert) => format!("{text}\n"),
            (true, Tone::Quiet) => format!("\u{1b}[2m{text}\u{1b}[0m\n"),
            (true, Tone::Alert) => format!("\u{1b}[33m{text}\u{1b}[0m\n"),
        }
    }
}

/// A frame on one line, for programs.
pub(super) fn json_line(frame: &Value) -> String {
    safe::json(&frame.to_string()) + "\n"
}

fn string(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

/// A value on part of a line.
fn brief(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => sanitise::line(text, BRIEF),
        other => sanitise::line(&other.to_string(), BRIEF),
    }
}

/// Characters of a line.
const LONGEST: usize = 100_000;
/// Characters of an argument or result.
const BRIEF: usize = 200;

#[cfg(test)]
mod tests;
