//! A real agent: it thinks, uses the tools that it was granted, remembers the conversation and streams its answer.
//!
//! What it says comes from a [`ChatModel`]. The shipped one, [`scripted`], works offline and says so; the loop around it
//! is what any model needs.
#![forbid(unsafe_code)]

mod scripted;

use agent_plugin_api::{
    Agent, AgentError, Context, InitError, Message, Reply, Setup, Usage, export_agent,
    model::ChatModel,
    protocol::chat::{ChatChunk, ChatMessage, ChatRequest, ChatRole, ChatToolCall},
};
use futures_util::StreamExt;

use scripted::Scripted;

/// `[plugins.assistant.config]`.
#[derive(Debug, Clone, serde::Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Config {
    /// The model's name, handed to it as it is.
    model: String,
    /// What the model is told about itself.
    instructions: String,
    /// Earlier turns that the model sees.
    history: u32,
    /// Rounds of tools before it must answer.
    rounds: u32,
}

/// The one that it ships, by its name and as what there is.
const MODELS: [&str; 2] = ["scripted", "default"];

impl Default for Config {
    fn default() -> Self {
        Self {
            model: "scripted".to_owned(),
            instructions: "You are a helpful assistant.".to_owned(),
            history: 20,
            rounds: 4,
        }
    }
}

struct Assistant {
    config: Config,
    model: Box<dyn ChatModel>,
}

impl Agent for Assistant {
    type Config = Config;

    async fn create(config: Config, _setup: Setup) -> Result<Self, InitError> {
        if !MODELS.contains(&config.model.as_str()) {
            return Err(InitError::config(format!(
                "model {:?} is not known; this version ships \"scripted\" only, which \"default\" means too",
                config.model
            )));
        }
        Ok(Self { config, model: Box::new(Scripted) })
    }

    async fn handle(&self, ctx: &Context, message: Message) -> Result<Reply, AgentError> {
        let mut conversation = self.conversation(ctx, &message).await?;
        let tools = ctx.tools().list().await?;
        let mut usage = Usage::default();
        for _ in 0..self.config.rounds {
            let request = ChatRequest {
                model: self.config.model.clone(),
                messages: conversation.clone(),
                tools: tools.clone(),
            };
            let turn = self.turn(ctx, request, &mut usage).await?;
            if turn.tool_calls.is_empty() {
                return Ok(Reply::streamed().with_usage(usage));
            }
            let calls = turn.tool_calls.clone();
            conversation.push(turn);
            for call in calls {
                conversation.push(run_tool(ctx, call).await?);
            }
        }
        Err(AgentError::new(
            "too_many_rounds",
            format!("the model asked for tools {} times without answering", self.config.rounds),
        ))
    }
}

impl Assistant {
    async fn conversation(&self, ctx: &Context, message: &Message) -> Result<Vec<ChatMessage>, AgentError> {
        let mut turns = vec![ChatMessage::text(ChatRole::System, self.config.instructions.clone())];
        for entry in ctx.thread().history(self.config.history).await? {
            let role = if entry.role == "user" { ChatRole::User } else { ChatRole::Assistant };
            turns.push(ChatMessage::text(role, entry.text));
        }
        turns.push(ChatMessage::text(ChatRole::User, message.content.clone()));
        Ok(turns)
    }

    /// One answer of the model, shown to people as it comes.
    async fn turn(
        &self,
        ctx: &Context,
        request: ChatRequest,
        usage: &mut Usage,
    ) -> Result<ChatMessage, AgentError> {
        let mut said = ChatMessage::text(ChatRole::Assistant, "");
        let mut chunks = self.model.stream(request);
        loop {
            // A model may be silent for long: a cancelled run does not wait for it.
            let chunk = futures_util::future::select(chunks.next(), Box::pin(ctx.cancelled())).await;
            let chunk = match chunk {
                futures_util::future::Either::Left((Some(chunk), _)) => chunk?,
                futures_util::future::Either::Left((None, _)) => return Ok(said),
                futures_util::future::Either::Right(_) => return Err(AgentError::cancelled()),
            };
            match chunk {
                ChatChunk::Thinking(text) => ctx.thinking(&text).await?,
                ChatChunk::Text(text) => {
                    ctx.delta(&text).await?;
                    said.content.push_str(&text);
                }
                ChatChunk::ToolCall(call) => said.tool_calls.push(call),
                ChatChunk::Done(cost) => {
                    usage.input_tokens += cost.input_tokens;
                    usage.output_tokens += cost.output_tokens;
                }
            }
        }
    }
}

/// Runs one tool. That it failed is something the model is told, not the end of the run.
async fn run_tool(ctx: &Context, call: ChatToolCall) -> Result<ChatMessage, AgentError> {
    let result = match ctx.tools().call(&call.name, &call.arguments).await {
        Ok(value) => value.to_string(),
        Err(error) if ctx.is_cancelled() => return Err(error.into()),
        Err(error) => {
            agent_plugin_api::json!({"error": error.code(), "message": error.message()}).to_string()
        }
    };
    Ok(ChatMessage {
        role: ChatRole::Tool,
        content: result,
        tool_call_id: Some(call.id),
        tool_calls: Vec::new(),
    })
}

export_agent!(Assistant);

#[cfg(test)]
mod tests;
