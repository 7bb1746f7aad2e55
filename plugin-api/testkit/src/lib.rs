//! Tests an agent without a host.
//!
//! The kit is a small host inside the test's process. It drives the very table of functions that a real host drives, so
//! what is tested is the agent as it will be loaded: its own runtime, its contained panics, its cancellation.
//!
//! ```
//! use agent_plugin_api::{Agent, AgentError, Context, InitError, Message, Reply, Setup, json};
//! use agent_plugin_testkit::Testkit;
//!
//! struct Clerk;
//!
//! impl Agent for Clerk {
//!     type Config = ();
//!
//!     async fn create(_: (), _: Setup) -> Result<Self, InitError> {
//!         Ok(Self)
//!     }
//!
//!     async fn handle(&self, ctx: &Context, _: Message) -> Result<Reply, AgentError> {
//!         let now = ctx.tools().call("clock", json!({"zone": "utc"})).await?;
//!         ctx.delta(&format!("it is {}", now["time"])).await?;
//!         Ok(Reply::streamed())
//!     }
//! }
//!
//! # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
//! // In a test: #[tokio::test] async fn …
//! let kit = Testkit::<Clerk>::new().tool("clock", |_| json!({"time": 9}));
//! let transcript = kit.run("what time is it?").await;
//! assert_eq!(transcript.text(), "it is 9");
//! assert_eq!(transcript.tool_calls()[0].arguments, json!({"zone": "utc"}));
//! # });
//! ```
//!
//! * [`Testkit`] says what the host has; [`Plugin`] is the agent, alive; [`Run`] is one message on its way;
//!   [`Transcript`] is what came of it.
//! * [`ScriptedModel`] stands in for a model behind [`ChatModel`](agent_plugin_api::model::ChatModel).
//! * [`conformance`] holds any plugin, loaded anyhow, against the contract; `agent-host check` runs the same suite.
//!
//! The agent runs on threads of its own: do not use tokio's paused clock in such a test.
#![forbid(unsafe_code)]

pub mod conformance;
#[doc(hidden)]
pub mod local;

mod cost;
mod desk;
mod kit;
mod model;
mod plugin;
mod run;
mod streams;
mod subject;
mod transcript;

pub use cost::{Cost, measure};
pub use desk::ToolAnswer;
pub use kit::Testkit;
pub use model::ScriptedModel;
pub use plugin::Plugin;
pub use run::Run;
pub use subject::{Output, Subject};
pub use transcript::{Delegated, Event, ToolCall, Transcript};
