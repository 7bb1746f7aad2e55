//! The trait that a supervisor implements.

use serde::de::DeserializeOwned;

use crate::{AgentError, Context, InitError, Message, Reply, RosterEntry, RouteChoice, Setup};

/// A supervisor: it chooses who answers, or answers itself with the help of others. Export it with
/// [`export_supervisor!`](crate::export_supervisor).
pub trait Supervisor: Sized + Send + Sync + 'static {
    /// As [`Agent::Config`](crate::Agent::Config).
    type Config: DeserializeOwned + Send + 'static;

    /// As [`Agent::create`](crate::Agent::create).
    fn create(config: Self::Config, setup: Setup) -> impl Future<Output = Result<Self, InitError>> + Send;

    /// Chooses who answers. The host waits a moment only (2 s) and then goes by its configured order; nothing can be
    /// emitted here, as the run has not begun.
    fn route(
        &self,
        ctx: &Context,
        message: &Message,
        roster: &[RosterEntry],
    ) -> impl Future<Output = Result<RouteChoice, AgentError>> + Send;

    /// Answers a message itself, after [`RouteChoice::Handle`]; see [`Context::delegate`].
    fn handle(
        &self,
        _ctx: &Context,
        _message: Message,
    ) -> impl Future<Output = Result<Reply, AgentError>> + Send {
        async { Err(AgentError::new("unimplemented", "this supervisor only routes")) }
    }

    /// As [`Agent::probe`](crate::Agent::probe).
    fn probe(&self) -> impl Future<Output = Result<(), AgentError>> + Send {
        async { Ok(()) }
    }

    /// As [`Agent::config_schema`](crate::Agent::config_schema).
    fn config_schema() -> Option<serde_json::Value> {
        None
    }
}
