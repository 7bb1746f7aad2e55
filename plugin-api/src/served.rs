//! Agents and supervisors behind one object-safe trait, so that an instance does not care which it serves.

use std::marker::PhantomData;

use agent_plugin_protocol::call::{RosterEntry, RouteChoice};
use futures_util::future::BoxFuture;
use serde::de::DeserializeOwned;

use crate::{Agent, AgentError, Context, InitError, Message, Reply, Setup, Supervisor};

/// The author's value, its type forgotten.
pub(crate) trait Served: Send + Sync + 'static {
    fn probe(&self) -> BoxFuture<'_, Result<(), AgentError>>;
    fn handle<'a>(&'a self, ctx: &'a Context, message: Message) -> BoxFuture<'a, Result<Reply, AgentError>>;
    /// `None`: it does not route.
    fn route<'a>(
        &'a self,
        ctx: &'a Context,
        message: &'a Message,
        roster: &'a [RosterEntry],
    ) -> Option<BoxFuture<'a, Result<RouteChoice, AgentError>>>;
}

/// How the value of one kind of plugin is made. Sealed by living in a private module; named by the export macros.
pub trait Kind: 'static {
    /// The type of its configuration.
    type Config: DeserializeOwned + Send + 'static;
    /// Whether it knows the method `route`.
    const ROUTES: bool;

    #[doc(hidden)]
    fn config_schema() -> Option<serde_json::Value>;
    #[doc(hidden)]
    fn create(config: Self::Config, setup: Setup) -> BoxFuture<'static, Result<Made, InitError>>;
}

/// What [`Kind::create`] made; opaque outside the SDK.
pub struct Made(pub(crate) Box<dyn Served>);

/// The kind of an [`Agent`].
pub struct OfAgent<A>(PhantomData<A>);

impl<A: Agent> Kind for OfAgent<A> {
    type Config = A::Config;
    const ROUTES: bool = false;

    fn config_schema() -> Option<serde_json::Value> {
        A::config_schema()
    }

    fn create(config: A::Config, setup: Setup) -> BoxFuture<'static, Result<Made, InitError>> {
        Box::pin(async { Ok(Made(Box::new(ServedAgent(A::create(config, setup).await?)))) })
    }
}

/// The kind of a [`Supervisor`].
pub struct OfSupervisor<S>(PhantomData<S>);

impl<S: Supervisor> Kind for OfSupervisor<S> {
    type Config = S::Config;
    const ROUTES: bool = true;

    fn config_schema() -> Option<serde_json::Value> {
        S::config_schema()
    }

    fn create(config: S::Config, setup: Setup) -> BoxFuture<'static, Result<Made, InitError>> {
        Box::pin(async { Ok(Made(Box::new(ServedSupervisor(S::create(config, setup).await?)))) })
    }
}

struct ServedAgent<A>(A);

impl<A: Agent> Served for ServedAgent<A> {
    fn probe(&self) -> BoxFuture<'_, Result<(), AgentError>> {
        Box::pin(self.0.probe())
    }

    fn handle<'a>(&'a self, ctx: &'a Context, message: Message) -> BoxFuture<'a, Result<Reply, AgentError>> {
        Box::pin(self.0.handle(ctx, message))
    }

    fn route<'a>(
        &'a self,
        _: &'a Context,
        _: &'a Message,
        _: &'a [RosterEntry],
    ) -> Option<BoxFuture<'a, Result<RouteChoice, AgentError>>> {
        None
    }
}

struct ServedSupervisor<S>(S);

impl<S: Supervisor> Served for ServedSupervisor<S> {
    fn probe(&self) -> BoxFuture<'_, Result<(), AgentError>> {
        Box::pin(self.0.probe())
    }

    fn handle<'a>(&'a self, ctx: &'a Context, message: Message) -> BoxFuture<'a, Result<Reply, AgentError>> {
        Box::pin(self.0.handle(ctx, message))
    }

    fn route<'a>(
        &'a self,
        ctx: &'a Context,
        message: &'a Message,
        roster: &'a [RosterEntry],
    ) -> Option<BoxFuture<'a, Result<RouteChoice, AgentError>>> {
        Some(Box::pin(self.0.route(ctx, message, roster)))
    }
}
