//! `POST /api/agents/…`: one message, and its answer in the response. The same run as over a WebSocket, in the same log and
//! under the same limits; who does not wait for its end finds it there.

use std::{sync::Arc, time::Duration};

use agent_host_core::identity::{Principal, Scope};
use agent_host_engine::{
    Incoming, Outgoing,
    session::{self, Accepted, Message},
    view::Status,
};
use agent_plugin_protocol::{Code, EventKind, PluginId, PluginKind};
use axum::{
    body::{Body, to_bytes},
    extract::Request,
    response::{IntoResponse, Response},
};
use http::{StatusCode, request::Parts};
use serde_json::{Value, json};
use tokio::time::timeout;

use super::{json, path::Path};
use crate::{
    auth::TokenSource,
    host::{Conversation, Host},
    netra::{ANSWER_WITHIN, events, frames::ClientFrame},
    problem::Problem,
    refusal::UpgradeRefusal,
    rules::InForce,
    upgrade::Door,
};

/// A client sends its request's body within this.
const BODY_WITHIN: Duration = Duration::from_secs(10);
/// A run that takes longer goes on, and is answered as `running`: common load balancers give up after 30 s.
const RUN_WITHIN: Duration = Duration::from_secs(25);
/// What does not work now does in a moment, or the next host does.
const RETRY: Duration = Duration::from_secs(2);

/// Boxed, so that what goes well stays small.
type Refused = Box<Response>;

/// Answers one request.
pub(super) async fn answer<H: Host>(door: &Door<H>, path: &Path, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let answered = async {
        let rules = door.shared.rules.now();
        let principal = authenticate(door, &rules, &parts)?;
        let limits = &rules.settings.limits;
        if door.host.is_draining() {
            return Err(refused(UpgradeRefusal::unavailable(Code::HostDraining, RETRY)));
        }
        // A place as a WebSocket has one: so many requests of one user wait at once, and no more.
        let _place = door
            .users
            .admit(&principal.scope, limits.connections_per_user)
            .ok_or_else(|| refused(UpgradeRefusal::too_many(Code::LimitConnections, RETRY)))?;
        let message = read(body, limits.frame_bytes, path, &door.host.status()).await?;
        run(door, principal, message).await
    };
    answered.await.unwrap_or_else(|refused: Refused| *refused)
}

fn refused(refusal: impl IntoResponse) -> Refused {
    Box::new(refusal.into_response())
}

fn authenticate<H: Host>(door: &Door<H>, rules: &InForce, parts: &Parts) -> Result<Arc<Principal>, Refused> {
    let token = TokenSource::of_header(&parts.headers, &parts.uri)
        .map_err(|error| refused(UpgradeRefusal::of_token(error)))?;
    let verified = rules.users.verify(token);
    verified.map(Arc::new).map_err(|error| refused(door.no_token(error, parts)))
}

/// Reads a message in any of the forms that it has in a frame.
async fn read(body: Body, most: usize, path: &Path, status: &Status) -> Result<Message, Refused> {
    let bytes = match timeout(BODY_WITHIN, to_bytes(body, most)).await {
        Ok(Ok(bytes)) => bytes,
        Ok(Err(_)) => {
            let detail = format!("the body is longer than {most} bytes, or was cut off");
            return Err(unprocessable(Code::FrameTooLarge, detail));
        }
        Err(_) => {
            return Err(unprocessable(Code::FrameInvalid, format!("no whole body within {BODY_WITHIN:?}")));
        }
    };
    let body = match serde_json::from_slice::<Value>(&bytes) {
        Ok(Value::Object(body)) => body,
        Ok(_) => return Err(unprocessable(Code::FrameInvalid, "the body is no JSON object".to_owned())),
        Err(error) => return Err(unprocessable(Code::FrameInvalidJson, format!("Invalid JSON: {error}"))),
    };
    let mut message = match ClientFrame::message("agent_request".to_owned(), &body) {
        ClientFrame::Message { message, no_thread: None, .. } => *message,
        ClientFrame::Message { no_thread: Some(named), .. } => {
            return Err(unprocessable(Code::ThreadNotFound, format!("{named:?} is no thread's id")));
        }
        ClientFrame::NoAgent(name) => {
            return Err(unprocessable(Code::AgentUnknown, format!("no agent is named {name:?}")));
        }
        _ => {
            return Err(unprocessable(Code::FrameEmptyContent, Code::FrameEmptyContent.meaning().to_owned()));
        }
    };
    if let (None, Path::Ask(Some(named))) = (&message.agent, path) {
        message.agent = agent_of(named, status);
    }
    Ok(message)
}

/// The agent of a path's name, where one is configured; else the host chooses.
fn agent_of(name: &str, status: &Status) -> Option<PluginId> {
    let mut agents = status.plugins.iter().filter(|plugin| plugin.kind == PluginKind::Agent);
    agents.find(|plugin| plugin.id.as_str() == name).map(|plugin| plugin.id.clone())
}

async fn run<H: Host>(
    door: &Door<H>,
    principal: Arc<Principal>,
    message: Message,
) -> Result<Response, Refused> {
    let scope = principal.scope.clone();
    let mut asking = Asking { conversation: door.host.open(principal), waits: true };
    let answered = asked(&mut asking.conversation, message, &scope).await;
    asking.waits = false;
    answered
}

/// A client that waits for its answer. Dropped meanwhile, it is gone.
struct Asking<C: Conversation> {
    conversation: C,
    waits: bool,
}

impl<C: Conversation> Drop for Asking<C> {
    fn drop(&mut self) {
        if self.waits {
            self.conversation.lost();
        }
    }
}

async fn asked(
    conversation: &mut impl Conversation,
    message: Message,
    scope: &Scope,
) -> Result<Response, Refused> {
    let id = message.id.clone();
    if timeout(ANSWER_WITHIN, conversation.handle(Incoming::Message(message))).await.is_err() {
        return Err(refused(UpgradeRefusal::unavailable(Code::StoreUnavailable, RETRY)));
    }
    let mut accepted: Option<Accepted> = None;
    let ended = timeout(RUN_WITHIN, async {
        loop {
            match conversation.next().await {
                Some(Outgoing::Accepted(told)) if told.id == id => accepted = Some(told),
                Some(Outgoing::Problem(problem)) if problem.id.as_ref() == Some(&id) => {
                    return Err(told(&problem));
                }
                Some(Outgoing::Event(delivery)) => {
                    let event = &delivery.entry.event;
                    let ours = accepted.as_ref().is_some_and(|accepted| accepted.run == event.run);
                    if ours && event.kind == EventKind::AgentCompleted {
                        return Ok(events::ended(&delivery.entry, &scope.user));
                    }
                }
                Some(
                    Outgoing::Accepted(_)
                    | Outgoing::Subscribed(_)
                    | Outgoing::Status { .. }
                    | Outgoing::Problem(_)
                    | Outgoing::GoingAway { .. },
                ) => {}
                // More came than this connection keeps: the log has it.
                None => return Err(refused(UpgradeRefusal::unavailable(Code::StoreUnavailable, RETRY))),
            }
        }
    })
    .await;
    match (ended, accepted) {
        (Ok(answer), _) => answer.map(|frame| json(StatusCode::OK, &frame)),
        (Err(_), Some(accepted)) => Ok(json(StatusCode::OK, &running(&accepted, scope))),
        // Not accepted in all that time: nothing is promised.
        (Err(_), None) => Err(refused(UpgradeRefusal::unavailable(Code::StoreUnavailable, RETRY))),
    }
}

/// The run goes on; its thread has what comes of it.
fn running(accepted: &Accepted, scope: &Scope) -> Value {
    json!({
        "status": "running", "run_id": accepted.run, "thread_id": accepted.thread, "user_id": &*scope.user,
        "message": "the run goes on: its thread's events tell how it ends",
    })
}

/// A refusal of the engine, as HTTP.
fn told(problem: &session::Problem) -> Refused {
    let code = problem.code;
    let after = problem.retry_after.unwrap_or(RETRY);
    let answer = |status| Problem::new(status, code, problem.message.clone(), code.remedy().to_owned());
    let area = code.as_str().split('.').next().unwrap_or_default();
    match area {
        "limit" | "quota" => refused(answer(StatusCode::TOO_MANY_REQUESTS).retry_after(after)),
        _ if code == Code::RunBusy => refused(answer(StatusCode::TOO_MANY_REQUESTS).retry_after(after)),
        "agent" | "thread" | "frame" | "idempotency" => refused(answer(StatusCode::UNPROCESSABLE_ENTITY)),
        _ => refused(answer(StatusCode::SERVICE_UNAVAILABLE).retry_after(after)),
    }
}

fn unprocessable(code: Code, detail: String) -> Refused {
    refused(Problem::new(StatusCode::UNPROCESSABLE_ENTITY, code, detail, code.remedy().to_owned()))
}
