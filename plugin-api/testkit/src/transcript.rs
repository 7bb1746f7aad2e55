//! What came of one message: events, tools, delegated work, and the last word.

use agent_plugin_api::{
    DelegateResult, Value,
    protocol::call::{Answer, Completion, InputAnswer, LogLine, Question, Reply},
};
use serde::de::DeserializeOwned;

/// A thing that happened in a run, in order.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// The agent told what it is doing.
    Thinking {
        /// In these words.
        text: String,
        /// Which step, from 1.
        step: Option<u32>,
        /// How far, 0.0 to 1.0.
        progress: Option<f64>,
    },
    /// A piece of the answer.
    Delta(String),
    /// A tool was called. People see `tool_executing` and `tool_completed`.
    Tool(ToolCall),
    /// Work was handed to an agent.
    Delegated(Delegated),
    /// Something that a host would not pass on: an event that is none. It is dropped and counted there.
    Malformed {
        /// Its kind's number.
        kind: u32,
        /// Its payload.
        payload: Vec<u8>,
        /// Why not.
        fault: String,
    },
}

/// A call of a tool.
#[derive(Debug, Clone, PartialEq)]
pub struct ToolCall {
    /// Its name.
    pub name: String,
    /// What it was called with.
    pub arguments: Value,
    /// What the kit answered.
    pub answer: Answer,
}

/// Work that a supervisor handed on.
#[derive(Debug, Clone, PartialEq)]
pub struct Delegated {
    /// To whom.
    pub agent: String,
    /// What was asked.
    pub input: String,
    /// What the kit answered.
    pub result: DelegateResult,
}

/// See the module.
#[derive(Debug, Clone, PartialEq)]
pub struct Transcript {
    pub(crate) run_id: String,
    pub(crate) events: Vec<Event>,
    pub(crate) completion: Completion,
    pub(crate) state: Value,
    pub(crate) logs: Vec<LogLine>,
}

impl Transcript {
    /// Everything that happened, in order.
    pub fn events(&self) -> &[Event] {
        &self.events
    }

    /// The last word.
    pub fn completion(&self) -> &Completion {
        &self.completion
    }

    /// The agent's answer; `None` where the run did not end well, or not with a [`Reply`].
    pub fn reply(&self) -> Option<Reply> {
        match &self.completion {
            Completion::Ok { value } => serde_json::from_value(value.clone()).ok(),
            Completion::Error { .. } | Completion::Panicked { .. } | Completion::Cancelled => None,
        }
    }

    /// What the person reads in the end: the reply's text, else the pieces joined; empty where the run failed.
    pub fn text(&self) -> String {
        match self.reply() {
            Some(reply) => reply.text.unwrap_or_else(|| self.streamed()),
            None => String::new(),
        }
    }

    /// The pieces of the answer, joined.
    pub fn streamed(&self) -> String {
        let pieces = self.events.iter().filter_map(|event| match event {
            Event::Delta(text) => Some(text.as_str()),
            Event::Thinking { .. } | Event::Tool(_) | Event::Delegated(_) | Event::Malformed { .. } => None,
        });
        pieces.collect()
    }

    /// What the agent said that it is doing.
    pub fn thoughts(&self) -> Vec<&str> {
        let thoughts = self.events.iter().filter_map(|event| match event {
            Event::Thinking { text, .. } => Some(text.as_str()),
            Event::Delta(_) | Event::Tool(_) | Event::Delegated(_) | Event::Malformed { .. } => None,
        });
        thoughts.collect()
    }

    /// The tools that were called, in order.
    pub fn tool_calls(&self) -> Vec<&ToolCall> {
        let calls = self.events.iter().filter_map(|event| match event {
            Event::Tool(call) => Some(call),
            Event::Thinking { .. } | Event::Delta(_) | Event::Delegated(_) | Event::Malformed { .. } => None,
        });
        calls.collect()
    }

    /// The work that was handed on, in order.
    pub fn delegated(&self) -> Vec<&Delegated> {
        let handed = self.events.iter().filter_map(|event| match event {
            Event::Delegated(work) => Some(work),
            Event::Thinking { .. } | Event::Delta(_) | Event::Tool(_) | Event::Malformed { .. } => None,
        });
        handed.collect()
    }

    /// The question to the person, where the run ended with one; see [`Plugin::answer`](crate::Plugin::answer).
    pub fn asked(&self) -> Option<Question> {
        self.reply().and_then(|reply| reply.ask)
    }

    /// The code of the error that the agent returned.
    pub fn error_code(&self) -> Option<&str> {
        match &self.completion {
            Completion::Error { code, .. } => Some(code),
            Completion::Ok { .. } | Completion::Panicked { .. } | Completion::Cancelled => None,
        }
    }

    /// The panic's message, where the agent panicked.
    pub fn panic(&self) -> Option<&str> {
        match &self.completion {
            Completion::Panicked { message } => Some(message),
            Completion::Ok { .. } | Completion::Error { .. } | Completion::Cancelled => None,
        }
    }

    /// Whether the agent noticed its cancellation and stopped.
    pub fn was_cancelled(&self) -> bool {
        self.completion == Completion::Cancelled
    }

    /// What the agent keeps about the conversation after this run; `None` if it keeps nothing, or no `T`.
    pub fn state<T: DeserializeOwned>(&self) -> Option<T> {
        serde_json::from_value(self.state.clone()).ok()
    }

    /// What the plugin logged since the run before; lines of other runs that were on their way too are among them.
    pub fn logs(&self) -> &[LogLine] {
        &self.logs
    }

    /// The run's id.
    pub fn run_id(&self) -> &str {
        &self.run_id
    }

    /// The person's answer to the question that ended this run.
    pub(crate) fn answered(&self, response: Value) -> Option<InputAnswer> {
        self.asked()?;
        Some(InputAnswer {
            run_id: agent_plugin_api::protocol::RunId::new(&self.run_id).ok()?,
            interrupt_id: "question-1".to_owned(),
            response,
        })
    }
}
