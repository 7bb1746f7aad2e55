//! The plugins of these tests: what they do is chosen by the message.

use std::{any::Any, future::pending, sync::Mutex};

use agent_plugin_api::{
    Agent, AgentError, Context, InitError, Message, Reply, RosterEntry, RouteChoice, Setup, Supervisor, json,
};

/// Panics when dropped.
pub struct Bomb;

impl Drop for Bomb {
    fn drop(&mut self) {
        panic!("a drop panicked");
    }
}

pub struct Scripted {
    /// A context whose call may be over.
    kept: Mutex<Option<Context>>,
    _bomb: Option<Bomb>,
}

#[derive(Debug, Default, serde::Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Script {
    create: String,
}

impl Agent for Scripted {
    type Config = Script;

    async fn create(config: Script, setup: Setup) -> Result<Self, InitError> {
        assert_eq!((setup.plugin(), setup.generation()), ("test", 1));
        match config.create.as_str() {
            "error" => return Err(InitError::new("no")),
            "panic" => panic!("create panicked"),
            "bomb" => {
                let bomb: Box<dyn Any + Send> = Box::new(Bomb);
                std::panic::panic_any(bomb)
            }
            _ => {}
        }
        let bomb = (config.create == "drop").then(|| Bomb);
        Ok(Self { kept: Mutex::default(), _bomb: bomb })
    }

    async fn handle(&self, ctx: &Context, message: Message) -> Result<Reply, AgentError> {
        match message.content.as_str() {
            "events" => {
                ctx.thinking("hm").step(1).progress(7.0).await?;
                ctx.delta("a").await?;
                ctx.delta("b").await?;
                Ok(Reply::streamed())
            }
            // Unconstrained: tokio's own budget for one poll is as large as the window, and would hide it.
            "window" => tokio::task::unconstrained(window(ctx)).await,
            "many" => {
                for _ in 0..1000 {
                    ctx.delta("x").await?;
                }
                Ok(Reply::streamed())
            }
            "tool" => Ok(ctx.tools().call("clock", json!({"zone": "utc"})).await?.to_string().into()),
            "state" => {
                let seen: Option<u32> = ctx.thread().state().await?;
                ctx.thread().set_state(&(seen.unwrap_or(0) + 1)).await?;
                Ok("kept".into())
            }
            "error" => Err(AgentError::new("My Code", "sorry").retryable()),
            "panic" => panic!("handle panicked"),
            "bomb" => {
                let bomb: Box<dyn Any + Send> = Box::new(Bomb);
                std::panic::panic_any(bomb)
            }
            "hold" => {
                let _bomb = Bomb;
                ctx.thinking("holding").await?;
                pending().await
            }
            "wait" => {
                ctx.cancelled().await;
                Err(AgentError::cancelled())
            }
            "stubborn" => {
                ctx.cancelled().await;
                // What is asked to tidy up is still answered.
                ctx.thread().set_state(&1).await?;
                Ok("done all the same".into())
            }
            "keep" => {
                *self.kept.lock().unwrap() = Some(ctx.clone());
                Ok("kept".into())
            }
            "use" => {
                let late = self.kept.lock().unwrap().take().unwrap();
                let emitted = late.delta("late").await.unwrap_err();
                let asked = late.tools().list().await.unwrap_err();
                Ok(format!("{emitted:?} {}", asked.code()).into())
            }
            "log" => {
                tracing::info!(answer = 42, "inside");
                tracing::debug!("not wanted");
                log_in_a_task().await;
                Ok("logged".into())
            }
            other => Ok(other.into()),
        }
    }
}

/// Emits a whole window, finds that the next event waits, and tells so by a request; answers
/// how many more then go out.
async fn window(ctx: &Context) -> Result<Reply, AgentError> {
    for _ in 0..agent_plugin_api::protocol::call::CREDIT_WINDOW {
        ctx.delta("x").await?;
    }
    let mut next = std::pin::pin!(ctx.delta("beyond"));
    assert!(futures_util::poll!(&mut next).is_pending());
    ctx.tools().list().await?;
    next.await?;
    let mut more = 0;
    while futures_util::poll!(std::pin::pin!(ctx.delta("x"))).is_ready() {
        more += 1;
    }
    Ok(more.to_string().into())
}

async fn log_in_a_task() {
    use tracing::Instrument;
    let task = tokio::spawn(async { tracing::warn!("in a task") }.in_current_span());
    task.await.unwrap();
}

/// A supervisor that takes the first agent, or, for the message `self`, does it itself.
pub struct First;

impl Supervisor for First {
    type Config = ();

    async fn create(_: (), _: Setup) -> Result<Self, InitError> {
        Ok(Self)
    }

    async fn route(
        &self,
        ctx: &Context,
        message: &Message,
        roster: &[RosterEntry],
    ) -> Result<RouteChoice, AgentError> {
        assert!(ctx.delta("too early").await.is_err());
        match roster.first() {
            Some(agent) if message.content != "self" => Ok(RouteChoice::To(agent.name.clone())),
            _ => Ok(RouteChoice::Handle),
        }
    }

    async fn handle(&self, ctx: &Context, message: Message) -> Result<Reply, AgentError> {
        Ok(format!("{:?}", ctx.delegate("echo", &message.content).await?).into())
    }
}

/// An agent without a configuration whose probe fails.
pub struct Unwell;

impl Agent for Unwell {
    type Config = ();

    async fn create(_: (), _: Setup) -> Result<Self, InitError> {
        Ok(Self)
    }

    async fn handle(&self, _: &Context, _: Message) -> Result<Reply, AgentError> {
        Ok(Reply::streamed())
    }

    async fn probe(&self) -> Result<(), AgentError> {
        Err(AgentError::new("unwell", "no"))
    }
}
