//! The agent under load: as little work as an agent can do, so that what is measured is the host.
//!
//! A message gives the five events: the host's `agent_started`, one thought, one tool call, the answer. The message
//! `deltas N` gives N pieces of streamed text instead of the thought and the tool.
#![forbid(unsafe_code)]

use agent_plugin_api::{Agent, AgentError, Context, InitError, Message, Reply, Setup, export_agent, json};

struct Load;

impl Agent for Load {
    type Config = ();

    async fn create(_config: (), _setup: Setup) -> Result<Self, InitError> {
        Ok(Self)
    }

    async fn handle(&self, ctx: &Context, message: Message) -> Result<Reply, AgentError> {
        match message.content.strip_prefix("deltas ").map(str::parse::<u32>) {
            Some(count) => stream(ctx, count?).await,
            None => answer(ctx, &message.content).await,
        }
    }
}

async fn answer(ctx: &Context, content: &str) -> Result<Reply, AgentError> {
    ctx.thinking("about it").await?;
    ctx.tools().call("clock", json!({})).await?;
    Ok(Reply::text(content))
}

async fn stream(ctx: &Context, count: u32) -> Result<Reply, AgentError> {
    for _ in 0..count {
        ctx.delta("word ").await?;
    }
    Ok(Reply::streamed())
}

export_agent!(Load);
