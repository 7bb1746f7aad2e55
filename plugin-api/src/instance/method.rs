//! What a call does: reads its parameters, asks the author's value, and makes the completion.

use std::sync::Arc;

use abi_stable::std_types::RVec;
use agent_plugin_protocol::call::{Completion, HandleParams, RouteParams, method};
use serde::{Serialize, de::DeserializeOwned};
use tracing::Instrument;

use super::Author;
use crate::{AgentError, Context, Setup, call::Call, context::Inner, forward};

/// A method that this instance knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Method {
    Handle,
    Route,
    Probe,
}

impl Method {
    pub(crate) fn parse(name: &str, routes: bool) -> Option<Self> {
        match name {
            method::HANDLE => Some(Self::Handle),
            method::ROUTE if routes => Some(Self::Route),
            method::PROBE => Some(Self::Probe),
            _ => None,
        }
    }
}

/// The whole of a call. Everything of the author's lives and dies inside this future, which is polled contained.
pub(super) async fn run(
    method: Method,
    author: Arc<Author>,
    call: Arc<Call>,
    payload: RVec<u8>,
    setup: Setup,
) -> Completion {
    let answer = match method {
        Method::Probe => probe(&author).await,
        Method::Handle => handle(&author, call, &payload, setup).await,
        Method::Route => route(&author, call, &payload, setup).await,
    };
    match answer {
        Ok(value) => Completion::Ok { value },
        Err(error) => error.into_completion(),
    }
}

async fn probe(author: &Author) -> Result<serde_json::Value, AgentError> {
    match author.as_ref() {
        Some(served) => served.probe().await.map(|()| serde_json::Value::Null),
        None => Err(gone()),
    }
}

async fn handle(
    author: &Author,
    call: Arc<Call>,
    payload: &[u8],
    setup: Setup,
) -> Result<serde_json::Value, AgentError> {
    let params: HandleParams = parse(payload)?;
    let served = author.as_ref().ok_or_else(gone)?;
    let ctx = Context::new(Inner {
        call,
        run_id: params.run_id.to_string(),
        thread_id: params.thread_id.to_string(),
        message_id: Some(params.message_id),
        retry: params.retry,
        answer: params.answer,
        roster: params.roster,
        setup,
    });
    let reply = served.handle(&ctx, params.message).instrument(forward::run_span(ctx.run_id())).await?;
    value(&reply.into_protocol())
}

async fn route(
    author: &Author,
    call: Arc<Call>,
    payload: &[u8],
    setup: Setup,
) -> Result<serde_json::Value, AgentError> {
    let params: RouteParams = parse(payload)?;
    let served = author.as_ref().ok_or_else(gone)?;
    let ctx = Context::new(Inner {
        call,
        run_id: params.run_id.to_string(),
        thread_id: params.thread_id.to_string(),
        message_id: None,
        retry: false,
        answer: None,
        roster: params.roster.clone(),
        setup,
    });
    let span = forward::run_span(ctx.run_id());
    match served.route(&ctx, &params.message, &params.roster) {
        Some(choice) => value(&choice.instrument(span).await?),
        None => Err(AgentError::new("unimplemented", "this plugin does not route")),
    }
}

fn parse<T: DeserializeOwned>(payload: &[u8]) -> Result<T, AgentError> {
    serde_json::from_slice(payload)
        .map_err(|e| AgentError::new("sdk.invalid", format!("the host's parameters: {e}")))
}

fn value(answer: &impl Serialize) -> Result<serde_json::Value, AgentError> {
    serde_json::to_value(answer).map_err(|e| AgentError::new("sdk.invalid", e.to_string()))
}

/// The author's value lives as long as this call holds it; only its drop empties it.
fn gone() -> AgentError {
    AgentError::new("sdk.stopped", "the plugin is being destroyed").retryable()
}
