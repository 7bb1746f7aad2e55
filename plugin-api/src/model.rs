//! The trait behind which an agent's model stands: the host's service, or a scripted one for tests and demos.

use std::pin::Pin;

use agent_plugin_protocol::chat::{ChatChunk, ChatRequest};
use futures_util::Stream;

use crate::AgentError;

/// A model's answer, piece by piece. Ends after [`ChatChunk::Done`] or the first error.
pub type ChatStream<'a> = Pin<Box<dyn Stream<Item = Result<ChatChunk, AgentError>> + Send + 'a>>;

/// Something that answers a conversation.
///
/// An agent that asks for a `dyn ChatModel` can be tested, and shown offline, with a scripted one.
pub trait ChatModel: Send + Sync {
    /// Begins an answer. Dropping the stream stops it.
    fn stream<'a>(&'a self, request: ChatRequest) -> ChatStream<'a>;
}
