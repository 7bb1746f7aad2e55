//! The upgrade of the platform that this host replaces, as it was on the day of the incident: after a valid token the
//! handler builds the supervisor, the LLM manager, the thread service and the event bridge, in this order, and what one of
//! them raises goes out as a 500. Only in the build with failpoints, and only where `gateway.builds_nothing` is off: what
//! the conformance client says of such a host is what shows that it would have said it then.

use std::sync::Arc;

use agent_host_core::{failpoint, failpoint::Action, identity::Principal, ports::store::ThreadSummary};
use agent_host_engine::{
    session::Problem,
    view::{Missing, Status},
};
use agent_plugin_protocol::PluginId;
use axum::response::{IntoResponse, Response};
use http::{HeaderMap, StatusCode, Uri};

use super::Door;
use crate::{
    auth::TokenSource,
    host::{Conversation, Host},
    surface::{Policy, Surface},
};

/// What could not be built, by that platform's name, and why.
#[derive(Debug)]
struct Raised {
    what: &'static str,
    why: String,
}

/// Answers as that platform did, if something raises; `None`: nothing did, or this is no such host.
pub(super) async fn raised<H: Host>(door: &Door<H>, headers: &HeaderMap, uri: &Uri) -> Option<Response> {
    if failpoint!("gateway.builds_nothing") != Some(Action::Off) {
        return None;
    }
    let older = Surface::choose(headers, Policy::from(&door.shared.rules.now().settings)).surface;
    if older == Surface::Native {
        return None;
    }
    // A wrong token was refused in order then, too.
    let Ok(TokenSource::Jwt(token)) = TokenSource::find(headers, uri) else { return None };
    let principal = door.shared.rules.now().users.judge(&token).await.ok()?;
    let Raised { what, why } = build(&*door.host, Arc::new(principal)).await.err()?;
    let trace = format!("Internal Server Error: {what} could not be built in the upgrade: {why}");
    Some((StatusCode::INTERNAL_SERVER_ERROR, trace).into_response())
}

/// All four, one after the other; each stands on those before it.
async fn build<H: Host>(host: &H, principal: Arc<Principal>) -> Result<(), Raised> {
    let status = host.status();
    let supervisor = AgentSupervisor::build(&status)?;
    let llm = LlmManager::build(&status)?;
    let threads = ThreadService::build(host, &status, &principal).await?;
    let bridge = EventBridge::<H>::build(host, &status, principal)?;
    tracing::debug!(
        agents = supervisor.agents.len(),
        services = llm.services.len(),
        threads = threads.threads.len(),
        waiting = Conversation::load(&bridge.session).waiting_bytes(),
        "built on the fly"
    );
    Ok(())
}

struct AgentSupervisor {
    agents: Vec<PluginId>,
}

impl AgentSupervisor {
    fn build(status: &Status) -> Result<Self, Raised> {
        needs(status, "agent_supervisor", |missing| missing.kind == "supervisor")?;
        Ok(Self { agents: status.plugins.iter().map(|plugin| plugin.id.clone()).collect() })
    }
}

struct LlmManager {
    services: Vec<&'static str>,
}

impl LlmManager {
    fn build(status: &Status) -> Result<Self, Raised> {
        needs(status, "llm_manager", is_service("llm"))?;
        Ok(Self { services: status.services.iter().map(|service| service.name).collect() })
    }
}

struct ThreadService {
    threads: Vec<ThreadSummary>,
}

impl ThreadService {
    async fn build<H: Host>(host: &H, status: &Status, of: &Principal) -> Result<Self, Raised> {
        needs(status, "thread_service", is_service("threads"))?;
        let threads = host.threads(&of.scope, None, 1).await;
        let raised = |problem: Problem| Raised { what: "thread_service", why: problem.message };
        Ok(Self { threads: threads.map_err(raised)? })
    }
}

struct EventBridge<H: Host> {
    session: H::Conversation,
}

impl<H: Host> EventBridge<H> {
    fn build(host: &H, status: &Status, of: Arc<Principal>) -> Result<Self, Raised> {
        needs(status, "websocket_bridge", is_service("events"))?;
        Ok(Self { session: host.open(of) })
    }
}

fn is_service(name: &'static str) -> impl Fn(&Missing) -> bool {
    move |missing| missing.kind == "service" && missing.name == name
}

/// Raises if what it stands on is missing.
fn needs(status: &Status, what: &'static str, is: impl Fn(&Missing) -> bool) -> Result<(), Raised> {
    match status.missing.iter().find(|missing| is(missing)) {
        Some(missing) => Err(Raised { what, why: missing.reason.clone() }),
        None => Ok(()),
    }
}
