//! A model whose answers were written beforehand.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, PoisonError},
};

use agent_plugin_api::{
    AgentError, Usage, Value,
    model::{ChatModel, ChatStream},
    protocol::chat::{ChatChunk, ChatRequest, ChatToolCall},
};
use futures_util::{StreamExt as _, stream};

/// A [`ChatModel`] that gives canned answers in order, and remembers what it was asked.
///
/// Cheap to clone; clones share the script, so that a test keeps one and the agent gets another. Asked more often than
/// there are answers, it fails with `llm.protocol`: a loop that never ends is noticed.
///
/// ```
/// # use agent_plugin_testkit::ScriptedModel;
/// # use agent_plugin_api::json;
/// let model = ScriptedModel::new()
///     .calls_tool("calculator", json!({"expression": "1 + 1"}))
///     .says("it is 2");
/// # let _ = model;
/// ```
#[derive(Debug, Clone, Default)]
pub struct ScriptedModel(Arc<Mutex<Script>>);

#[derive(Debug, Default)]
struct Script {
    answers: VecDeque<Vec<Piece>>,
    asked: Vec<ChatRequest>,
    tool_calls: u32,
}

#[derive(Debug, Clone)]
enum Piece {
    Chunk(ChatChunk),
    Error {
        code: String,
        message: String,
    },
    /// Nothing more comes.
    Silence,
}

impl ScriptedModel {
    /// A model without answers.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds an answer of these pieces, as they are.
    #[must_use]
    pub fn answers(self, chunks: impl IntoIterator<Item = ChatChunk>) -> Self {
        self.add(chunks.into_iter().map(Piece::Chunk).collect())
    }

    /// Adds an answer of text, word by word, and its end.
    #[must_use]
    pub fn says(self, text: &str) -> Self {
        let words = text.split_inclusive(' ').map(|word| ChatChunk::Text(word.to_owned()));
        let chunks: Vec<_> = words.chain([ChatChunk::Done(Usage::default())]).collect();
        self.answers(chunks)
    }

    /// Adds an answer that asks for a tool.
    #[must_use]
    pub fn calls_tool(self, name: &str, arguments: Value) -> Self {
        let id = {
            let mut script = self.script();
            script.tool_calls += 1;
            format!("call-{}", script.tool_calls)
        };
        let call = ChatToolCall { id, name: name.to_owned(), arguments };
        self.answers([ChatChunk::ToolCall(call), ChatChunk::Done(Usage::default())])
    }

    /// Adds an answer that breaks off with an error after these pieces.
    #[must_use]
    pub fn fails(self, after: impl IntoIterator<Item = ChatChunk>, code: &str, message: &str) -> Self {
        let error = Piece::Error { code: code.to_owned(), message: message.to_owned() };
        self.add(after.into_iter().map(Piece::Chunk).chain([error]).collect())
    }

    /// Adds an answer that falls silent after these pieces and never ends: for tests of cancellation.
    #[must_use]
    pub fn hangs(self, after: impl IntoIterator<Item = ChatChunk>) -> Self {
        self.add(after.into_iter().map(Piece::Chunk).chain([Piece::Silence]).collect())
    }

    /// What it was asked so far.
    pub fn asked(&self) -> Vec<ChatRequest> {
        self.script().asked.clone()
    }

    fn add(self, answer: Vec<Piece>) -> Self {
        self.script().answers.push_back(answer);
        self
    }

    fn script(&self) -> std::sync::MutexGuard<'_, Script> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ChatModel for ScriptedModel {
    fn stream<'a>(&'a self, request: ChatRequest) -> ChatStream<'a> {
        let mut script = self.script();
        script.asked.push(request);
        let answer = script.answers.pop_front().unwrap_or_else(|| {
            let message = format!("the script has no answer for question {}", script.asked.len());
            vec![Piece::Error { code: "llm.protocol".to_owned(), message }]
        });
        Box::pin(stream::iter(answer).then(|piece| async {
            match piece {
                Piece::Chunk(chunk) => Ok(chunk),
                Piece::Error { code, message } => Err(AgentError::new(code, message)),
                Piece::Silence => std::future::pending().await,
            }
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn pieces(model: &ScriptedModel) -> Vec<Result<ChatChunk, String>> {
        let stream = model.stream(ChatRequest::default());
        stream.map(|piece| piece.map_err(|error| error.to_string())).collect().await
    }

    #[tokio::test]
    async fn answers_come_in_order_and_then_an_error() {
        let model = ScriptedModel::new().calls_tool("clock", Value::Null).says("it is nine");
        assert!(matches!(&pieces(&model).await[0], Ok(ChatChunk::ToolCall(call)) if call.name == "clock"));
        let said = pieces(&model.clone()).await;
        assert_eq!(said[1], Ok(ChatChunk::Text("is ".to_owned())));
        assert!(matches!(said.last(), Some(Ok(ChatChunk::Done(_)))));
        assert!(pieces(&model).await[0].is_err());
        assert_eq!(model.asked().len(), 3);
    }

    #[tokio::test]
    async fn an_answer_can_break_off() {
        let model = ScriptedModel::new().fails([ChatChunk::Text("it".to_owned())], "llm.unavailable", "gone");
        let said = pieces(&model).await;
        assert!(said[0].is_ok() && said[1].is_err() && said.len() == 2);
    }
}
