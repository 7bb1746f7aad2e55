//! Chooses the agent whose description fits the message, and joins the answers where several are asked for.
//!
//! * `@name …` names an agent; `@one @two …` asks both at once, and joins what they answer;
//! * otherwise the agent whose description shares most words with the message gets it; the first of the roster where
//!   none does.
#![forbid(unsafe_code)]

mod choose;

use agent_plugin_api::{
    AgentError, Context, DelegateResult, InitError, Message, Reply, RosterEntry, RouteChoice, Setup,
    Supervisor, export_supervisor,
};
use futures_util::future::join_all;

use choose::{Choice, choose};

struct Chooser;

impl Supervisor for Chooser {
    type Config = ();

    async fn create(_config: (), _setup: Setup) -> Result<Self, InitError> {
        Ok(Self)
    }

    async fn route(
        &self,
        _ctx: &Context,
        message: &Message,
        roster: &[RosterEntry],
    ) -> Result<RouteChoice, AgentError> {
        match choose(&message.content, roster) {
            Choice::One(agent) => Ok(RouteChoice::To(agent)),
            Choice::Several(_) => Ok(RouteChoice::Handle),
            // The host's configured order decides.
            Choice::Nobody => Err(AgentError::new("nobody", "there is no agent to choose from")),
        }
    }

    async fn handle(&self, ctx: &Context, message: Message) -> Result<Reply, AgentError> {
        let Choice::Several(agents) = choose(&message.content, ctx.roster()) else {
            return Err(AgentError::new("nobody", "the agents that were asked for are gone").retryable());
        };
        let question = choose::without_names(&message.content);
        let names: Vec<&str> = agents.iter().map(|a| a.as_str()).collect();
        ctx.thinking(&format!("asking {}", names.join(" and "))).await?;
        let answers = join_all(names.iter().map(|name| ctx.delegate(name, &question))).await;

        let mut joined = Vec::new();
        let mut answered = 0;
        for (name, answer) in names.iter().zip(answers) {
            joined.push(match answer {
                Ok(DelegateResult::Ok { text }) => {
                    answered += 1;
                    format!("{name}: {text}")
                }
                Ok(DelegateResult::Failed { message, .. }) => format!("{name} could not answer: {message}"),
                Err(error) if ctx.is_cancelled() => return Err(error.into()),
                Err(error) => format!("{name} could not be asked: {}", error.message()),
            });
        }
        if answered == 0 {
            return Err(AgentError::new("nobody_answered", joined.join("; ")).retryable());
        }
        let text = joined.join("\n");
        ctx.delta(&text).await?;
        Ok(Reply::text(text))
    }
}

export_supervisor!(Chooser);

#[cfg(test)]
mod tests;
