//! The SDK for agent-host plugins: plain async Rust, and one line that makes a library of it.
//!
//! ```no_run
//! use agent_plugin_api::{Agent, AgentError, Context, InitError, Message, Reply, Setup};
//!
//! struct Shout;
//!
//! impl Agent for Shout {
//!     type Config = ();
//!
//!     async fn create(_config: (), _setup: Setup) -> Result<Self, InitError> {
//!         Ok(Self)
//!     }
//!
//!     async fn handle(&self, ctx: &Context, message: Message) -> Result<Reply, AgentError> {
//!         ctx.thinking("taking a deep breath").await?;
//!         ctx.delta(&message.content.to_uppercase()).await?;
//!         Ok(Reply::streamed())
//!     }
//! }
//!
//! agent_plugin_api::export_agent!(Shout { id: "shout", description: "says it louder" });
//! # fn main() {}
//! ```
//!
//! The crate is a `cdylib` that depends on this one; `plugins/echo` is a whole example.
//!
//! * **Runtime.** A plugin has a small tokio runtime of its own, on which all of the above runs: use any crate that
//!   wants tokio. Blocking for long blocks other runs of this plugin: use `tokio::task::spawn_blocking`.
//! * **Panics** end their own call and nothing else. Do not build with `panic = "abort"`.
//! * **Cancellation** is cooperative; see [`Agent::handle`].
//! * **Logging**: `tracing` and `log` work as usual and go to the host's log with the plugin and the run. What is
//!   printed to stdout or stderr harms nothing but goes to the crash report only.
//! * **Errors**: `?` works on any error; [`AgentError::new`] gives one a code, [`AgentError::retryable`] a second chance.

pub mod abi;
pub use agent_plugin_protocol as protocol;

mod agent;
mod call;
mod connection;
mod contain;
mod context;
mod emit;
mod error;
mod export;
mod forward;
mod instance;
mod llm;
pub mod model;
#[doc(hidden)]
pub mod raw;
mod reply;
mod served;
mod supervisor;
mod thread;
mod tools;

pub use agent::{Agent, Setup};
pub use agent_plugin_protocol::{
    PluginId, Secret,
    call::{DelegateResult, IncomingMessage as Message, InputAnswer, RosterEntry, RouteChoice, Usage},
};
pub use connection::Connection;
pub use context::Context;
pub use emit::ThinkingEvent;
pub use error::{AgentError, EmitError, InitError, RequestError};
pub use llm::Llm;
pub use reply::{Question, Reply};
pub use serde_json::{Value, json};
pub use supervisor::Supervisor;
pub use thread::{HistoryEntry, Thread};
pub use tools::{ToolInfo, Tools};

/// For the export macros, the test kit and the SDK's own tests; no promise is made about it.
#[doc(hidden)]
pub mod __private {
    pub use abi_stable::{
        library::LibHeader,
        prefix_type::PrefixTypeTrait,
        std_types::{RString, RVec},
    };
    pub use agent_plugin_protocol::{
        PluginKind,
        section::{Identity, SECTION_BYTES},
    };

    pub use crate::{
        abi::{entry::module, header::lib_header},
        export::{PANIC, descriptor, identity},
        served::{OfAgent, OfSupervisor},
    };
}
