//! The smallest agent, to be read from top to bottom: it says back what it was told.
//!
//! Build it with `cargo build -p echo`, and name `libecho.so` in the host's configuration:
//!
//! ```toml
//! [plugins.echo]
//! path = "libecho.so"
//! tools = ["clock"]          # without this line echo does not know the time, and says so
//!
//! [plugins.echo.config]      # may be left out as a whole
//! prefix = "You said: "
//! ```
#![forbid(unsafe_code)]

use agent_plugin_api::{Agent, AgentError, Context, InitError, Message, Reply, Setup, export_agent, json};

/// What the operator may write under `[plugins.echo.config]`. A field that is not one of these is an error that the
/// operator sees, so that a typo does not go unnoticed.
#[derive(Debug, Default, serde::Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Config {
    /// Put before what is said back.
    prefix: String,
}

/// The agent. One value answers all messages, several of them at the same time: so `handle` takes `&self`, and what
/// belongs to one conversation is kept in `ctx.thread()`, not here.
struct Echo {
    config: Config,
}

impl Agent for Echo {
    type Config = Config;

    /// Called once, with the configuration already read. Connect to things here; if that fails, return the error with
    /// `?`: the host shows its text to the operator and tries again later.
    async fn create(config: Config, _setup: Setup) -> Result<Self, InitError> {
        Ok(Self { config })
    }

    /// Called for each message. Any crate that wants tokio works in here.
    async fn handle(&self, ctx: &Context, message: Message) -> Result<Reply, AgentError> {
        // People see what goes on. Awaiting it may pause this agent until the host has caught up.
        ctx.thinking("looking at the clock").step(1).await?;

        // The host runs the tool, and shows the call to people, if the operator granted it. Without it echo can still
        // answer, and says so; only a cancelled run ends here, through the error.
        match ctx.tools().call("clock", json!({})).await {
            Ok(_time) => ctx.thinking("saying it back").step(2).await?,
            Err(error) if ctx.is_cancelled() => return Err(error.into()),
            Err(error) => {
                let why = match error.code() {
                    "tool.denied" => "I may not look at the clock; saying it back all the same",
                    _ => "the clock does not answer; saying it back all the same",
                };
                ctx.thinking(why).step(2).await?;
            }
        }

        // The answer is streamed piece by piece …
        ctx.delta(&self.config.prefix).await?;
        for word in message.content.split_inclusive(' ') {
            ctx.delta(word).await?;
        }
        // … so there is nothing left to add. `Ok(Reply::text("…"))` would answer in one go.
        Ok(Reply::streamed())
    }
}

// The one line that makes a plugin of this crate. Its name, version and description are those of Cargo.toml.
export_agent!(Echo);

#[cfg(test)]
mod tests;
