//! An agent that is alive, in one conversation.

use std::time::Duration;

use agent_plugin_api::{
    HistoryEntry, Message, RouteChoice, Value,
    protocol::{
        MessageId, RunId, ThreadId,
        call::{Completion, HandleParams, InputAnswer, RouteParams, method},
    },
};
use serde::Serialize;

use crate::{Subject as _, desk::Desk, run::Run, subject::LocalCalls, transcript::Transcript};

/// A plugin that was made, and the conversation that it has with one person. Dropped, it is destroyed.
pub struct Plugin {
    pub(crate) calls: LocalCalls,
    pub(crate) desk: Desk,
    pub(crate) history: Vec<HistoryEntry>,
    /// What the plugin keeps about the conversation.
    pub(crate) state: Value,
    pub(crate) patience: Duration,
}

impl Plugin {
    /// Has it handle a message, to the end.
    ///
    /// # Panics
    /// When it is silent for too long, or takes no call.
    pub async fn run(&mut self, content: &str) -> Transcript {
        self.begin(content).await.finish().await
    }

    /// Begins a run, to be watched or cancelled on its way.
    pub async fn begin(&mut self, content: &str) -> Run<'_> {
        self.begin_with(content, None, false).await
    }

    /// Begins a run that tries a message again.
    pub async fn retry(&mut self, content: &str) -> Run<'_> {
        self.begin_with(content, None, true).await
    }

    /// Answers the question that an earlier run ended with: a new run, to its end.
    ///
    /// # Panics
    /// When that run ended with no question; and as [`run`](Self::run).
    pub async fn answer(&mut self, asked: &Transcript, response: Value) -> Transcript {
        let Some(answer) = asked.answered(response) else {
            panic!("that run ended with no question, but with {:?}", asked.completion());
        };
        let content = answer.response.as_str().map_or_else(|| answer.response.to_string(), str::to_owned);
        self.begin_with(&content, Some(answer), false).await.finish().await
    }

    /// Has a supervisor choose.
    ///
    /// # Errors
    /// The last word, where it was no choice.
    ///
    /// # Panics
    /// As [`run`](Self::run); and when the plugin is no supervisor.
    pub async fn route(&mut self, content: &str) -> Result<RouteChoice, Completion> {
        let params = RouteParams {
            run_id: RunId::random(),
            thread_id: thread(),
            message: message(content),
            roster: self.desk.roster(),
        };
        let call = self.calls.begin(method::ROUTE, bytes(&params)).await;
        match Run::new(self, call, params.run_id).last_word().await {
            Completion::Ok { value } => {
                serde_json::from_value(value.clone()).map_err(|_| Completion::Ok { value })
            }
            other => Err(other),
        }
    }

    /// Asks it whether it is fit to answer.
    ///
    /// # Panics
    /// As [`run`](Self::run).
    pub async fn probe(&mut self) -> Completion {
        let call = self.calls.begin(method::PROBE, b"{}".to_vec()).await;
        Run::new(self, call, RunId::random()).last_word().await
    }

    /// The conversation so far.
    pub fn history(&self) -> &[HistoryEntry] {
        &self.history
    }

    /// The plugin as a subject of the [conformance](crate::conformance) suite.
    pub fn subject(&mut self) -> &mut (impl crate::Subject + use<>) {
        &mut self.calls
    }

    async fn begin_with(&mut self, content: &str, answer: Option<InputAnswer>, retry: bool) -> Run<'_> {
        let params = HandleParams {
            run_id: RunId::random(),
            thread_id: thread(),
            message_id: "answer-1".to_owned(),
            message: message(content),
            retry,
            answer,
            roster: self.desk.roster(),
        };
        let call = self.calls.begin(method::HANDLE, bytes(&params)).await;
        Run::of_message(self, call, params.run_id, content)
    }
}

impl std::fmt::Debug for Plugin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Plugin").field("calls", &self.calls).finish_non_exhaustive()
    }
}

pub(crate) fn message(content: &str) -> Message {
    Message { id: MessageId::random(), content: content.to_owned(), metadata: serde_json::Map::new() }
}

pub(crate) fn bytes(params: &impl Serialize) -> Vec<u8> {
    // Parameters have texts as keys only, so they cannot fail to serialise.
    serde_json::to_vec(params).unwrap_or_default()
}

fn thread() -> ThreadId {
    ThreadId::new("thread-1").unwrap_or_else(|_| ThreadId::random())
}
