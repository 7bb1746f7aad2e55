//! The REST surface for clients: tickets, the threads of the user, their events, and the end of a run.
//!
//! Who asks is judged first, by the same rules as at the WebSocket; then what is asked. What belongs to somebody else is
//! answered as what does not exist (law 7). Never a 500: what the store or a bug of ours refuses is a 503.

mod openapi;
mod operation;
mod page;
pub(crate) mod query;

use std::{sync::Arc, time::Duration};

use agent_host_core::{failpoint, failpoint::Action, identity::Principal};
use agent_host_engine::session;
use agent_plugin_protocol::{Code, RunId, Seq, ThreadId};
use axum::{
    body::Body,
    extract::{Request, State},
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use http::{HeaderValue, Method, StatusCode, Uri, header, request::Parts};
use serde::Serialize;

pub(crate) use self::openapi::answer as openapi;
use self::{
    operation::{Found, Operation},
    page::{AgentList, Cancelling, EventPage, IssuedTicket, ThreadList, ThreadPage},
    query::Query,
};
use crate::{
    auth::TokenSource,
    host::Host,
    native,
    problem::Problem,
    refusal::UpgradeRefusal,
    tickets::NoTicket,
    upgrade::{Door, origin},
};

/// Longest answer to a request; the store's own deadlines are shorter.
const WITHIN: Duration = Duration::from_secs(10);
/// Items of one page, if the client does not say.
const PAGE: u64 = 100;
/// At most.
const LARGEST_PAGE: u64 = 500;
/// Bytes of events in one page, about: one event more than fits ends it.
const PAGE_BYTES: usize = 4 << 20;
/// What a browser may remember of a preflight, in seconds.
const PREFLIGHT: &str = "600";

/// Answers one request below `/v1/`.
pub(crate) async fn answer<H: Host>(State(door): State<Arc<Door<H>>>, request: Request) -> Response {
    let (parts, _body) = request.into_parts();
    let page = match origin::check(&parts.headers, &door.shared.rules.now().settings.origins) {
        Ok(()) => parts.headers.get(header::ORIGIN).cloned(),
        Err(refusal) => return refusal.into_response(),
    };
    let mut response = within(&door, &parts).await;
    if let Some(page) = page {
        // The page may read the answer; its answers are not those of another page.
        response.headers_mut().insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, page);
        response.headers_mut().append(header::VARY, HeaderValue::from_static("Origin"));
    }
    response
}

async fn within<H: Host>(door: &Door<H>, parts: &Parts) -> Response {
    // A panic is caught by the layer around everything (`accept`), whose answer is 503 too.
    match tokio::time::timeout(WITHIN, work(door, parts)).await {
        Ok(Ok(response)) => response,
        Ok(Err(refusal)) => *refusal,
        Err(_) => UpgradeRefusal::unavailable(Code::StoreUnavailable, RETRY).into_response(),
    }
}

/// Boxed, so that what goes well stays small.
type Refused = Box<Response>;

fn refused(refusal: impl IntoResponse) -> Refused {
    Box::new(refusal.into_response())
}

async fn work<H: Host>(door: &Door<H>, parts: &Parts) -> Result<Response, Refused> {
    match failpoint!("gateway.rest") {
        Some(Action::Error) => return Err(refused(UpgradeRefusal::internal())),
        Some(action) => tokio::time::sleep(action.pause().unwrap_or_default()).await,
        None => {}
    }
    let path = parts.uri.path();
    let found = Operation::find(&parts.method, path);
    if let (&Method::OPTIONS, Found::Methods(allowed)) = (&parts.method, &found) {
        return Ok(preflight(allowed));
    }
    // Before it is said what there is.
    let principal = Arc::new(authenticate(door, parts).await?);
    let (operation, name) = match found {
        Found::Operation(operation, name) => (operation, name),
        Found::Methods(allowed) => return Err(method_not_allowed(path, allowed)),
        Found::Nothing => return Err(nothing_here(path)),
    };
    let host = &door.host;
    let scope = &principal.scope;
    match operation {
        Operation::IssueTicket => {
            Query::read(&parts.uri, &[]).map_err(bad_request)?;
            issue(door, &principal)
        }
        Operation::ListAgents => {
            Query::read(&parts.uri, &[]).map_err(bad_request)?;
            json(StatusCode::OK, &AgentList::of(&host.status()))
        }
        Operation::ListThreads => {
            let query = Query::read(&parts.uri, &["after", "limit"]).map_err(bad_request)?;
            let limit = query.number("limit", PAGE, 1, LARGEST_PAGE).map_err(bad_request)?;
            let after = query.text("after").map(ThreadId::new).transpose();
            let after = after.map_err(|_| bad_request("after is no thread's id".to_owned()))?;
            if let Some(after) = &after
                && host.thread(scope, after).await.map_err(|p| told(&p))?.is_none()
            {
                let detail =
                    format!("after is {:?}, and there is no such thread to go on behind", after.as_str());
                return Err(bad_request(detail));
            }
            let limit = usize::try_from(limit).unwrap_or(usize::MAX);
            let threads = host.threads(scope, after.as_ref(), limit).await.map_err(|p| told(&p))?;
            json(StatusCode::OK, &ThreadList::of(&threads, limit))
        }
        Operation::ShowThread => {
            let thread = thread(name)?;
            let head = host.thread(scope, &thread).await.map_err(|p| told(&p))?;
            let head = head.ok_or_else(|| absent(Code::ThreadNotFound))?;
            json(StatusCode::OK, &ThreadPage::of(&thread, &head))
        }
        Operation::DeleteThread => {
            if failpoint!("gateway.rest.delete") == Some(Action::Error) {
                return Err(refused(UpgradeRefusal::internal()));
            }
            let thread = thread(name)?;
            match host.delete_thread(scope, &thread).await.map_err(|p| told(&p))? {
                true => Ok(StatusCode::NO_CONTENT.into_response()),
                false => Err(absent(Code::ThreadNotFound)),
            }
        }
        Operation::ReadEvents => events(door, &principal, name, &parts.uri).await,
        Operation::CancelRun => {
            let run = RunId::new(name).map_err(|_| absent(Code::RunNotFound))?;
            let thread = host.cancel(scope, &run).await.map_err(|p| told(&p))?;
            json(StatusCode::ACCEPTED, &Cancelling { run_id: run, thread_id: thread, status: "cancelling" })
        }
    }
}

/// The token of the header: the only place where a request below `/v1/` may carry one.
async fn authenticate<H: Host>(door: &Door<H>, parts: &Parts) -> Result<Principal, Refused> {
    let token = TokenSource::of_header(&parts.headers, &parts.uri)
        .map_err(|error| refused(UpgradeRefusal::of_token(error)))?;
    let rules = door.shared.rules.now();
    rules.users.judge(token).await.map_err(|error| refused(door.no_token(error, parts)))
}

fn issue<H: Host>(door: &Door<H>, principal: &Arc<Principal>) -> Result<Response, Refused> {
    if door.is_draining() {
        return Err(refused(UpgradeRefusal::unavailable(Code::HostDraining, RETRY)));
    }
    match door.tickets.issue(Arc::clone(principal), door.shared.clock.now()) {
        Ok(ticket) => json(StatusCode::CREATED, &IssuedTicket::of(&ticket)),
        Err(NoTicket::Full) => Err(refused(UpgradeRefusal::unavailable(Code::HostCapacity, RETRY))),
        Err(NoTicket::NoRandomness) => Err(refused(UpgradeRefusal::internal())),
    }
}

async fn events<H: Host>(
    door: &Door<H>,
    principal: &Principal,
    name: &str,
    uri: &Uri,
) -> Result<Response, Refused> {
    let thread = thread(name)?;
    let query = Query::read(uri, &["after", "limit"]).map_err(bad_request)?;
    let after = Seq(query.number("after", 0, 0, u64::MAX >> 1).map_err(bad_request)?);
    let limit = query.number("limit", PAGE, 1, LARGEST_PAGE).map_err(bad_request)?;
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    let read = door.host.events(&principal.scope, &thread, after, limit).await.map_err(|p| told(&p))?;
    let entries = read.ok_or_else(|| absent(Code::ThreadNotFound))?;
    let mut page = EventPage::default();
    for entry in &entries {
        page.push(entry.seq, &native::event(entry));
        if page.len() >= PAGE_BYTES {
            break;
        }
    }
    let whole = page.count() == entries.len() && entries.len() < limit;
    Ok(as_json(StatusCode::OK, page.finish(whole)))
}

fn thread(name: &str) -> Result<ThreadId, Refused> {
    // What is no id is no thread's: the same answer as for a stranger's.
    ThreadId::new(name).map_err(|_| absent(Code::ThreadNotFound))
}

fn json<T: Serialize>(status: StatusCode, body: &T) -> Result<Response, Refused> {
    match serde_json::to_vec(body) {
        Ok(bytes) => Ok(as_json(status, bytes.into())),
        Err(_) => Err(refused(UpgradeRefusal::internal())),
    }
}

pub(crate) fn as_json(status: StatusCode, body: Bytes) -> Response {
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// Whatever the store or the engine says, as HTTP.
fn told(problem: &session::Problem) -> Refused {
    let (code, hint) = (problem.code, problem.code.remedy().to_owned());
    let status = match code {
        Code::ThreadNotFound | Code::RunNotFound => return absent(code),
        Code::RunBusy | Code::RunNotCancellable => StatusCode::CONFLICT,
        _ => StatusCode::SERVICE_UNAVAILABLE,
    };
    let answer = Problem::new(status, code, problem.message.clone(), hint);
    match status {
        StatusCode::SERVICE_UNAVAILABLE => refused(answer.retry_after(problem.retry_after.unwrap_or(RETRY))),
        _ => refused(answer),
    }
}

/// It is not there, or it is somebody else's: the same words.
fn absent(code: Code) -> Refused {
    let (detail, hint) = (code.meaning().to_owned(), code.remedy().to_owned());
    refused(Problem::new(StatusCode::NOT_FOUND, code, detail, hint))
}

fn bad_request(detail: String) -> Refused {
    let hint = "see /openapi.json".to_owned();
    refused(Problem::of_http(StatusCode::BAD_REQUEST, "http.bad_request", detail, hint))
}

fn nothing_here(path: &str) -> Refused {
    let path: String = path.chars().take(100).collect();
    let detail = format!("nothing is served at {path}");
    let hint = "see /openapi.json".to_owned();
    refused(Problem::of_http(StatusCode::NOT_FOUND, "http.not_found", detail, hint))
}

fn method_not_allowed(path: &str, allowed: &'static str) -> Refused {
    let path: String = path.chars().take(100).collect();
    let detail = format!("{path} takes {allowed}");
    let problem = Problem::of_http(
        StatusCode::METHOD_NOT_ALLOWED,
        "http.method_not_allowed",
        detail,
        "see /openapi.json".to_owned(),
    );
    refused(problem.with_header(header::ALLOW, HeaderValue::from_static(allowed)))
}

/// What a browser asks before a page of another origin may ask. The origin was judged before.
pub(crate) fn preflight(allowed: &'static str) -> Response {
    let mut response = StatusCode::NO_CONTENT.into_response();
    let headers = response.headers_mut();
    headers.insert(header::ALLOW, HeaderValue::from_static(allowed));
    headers.insert(header::ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static(allowed));
    headers.insert(
        header::ACCESS_CONTROL_ALLOW_HEADERS,
        HeaderValue::from_static("Authorization, Content-Type"),
    );
    headers.insert(header::ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static(PREFLIGHT));
    response
}

/// What does not work now does in a moment, or the next host does.
const RETRY: Duration = Duration::from_secs(2);
