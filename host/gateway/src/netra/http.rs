//! The HTTP paths of the replaced platform: what its clients and its monitoring look at, and its four ways to ask an agent
//! without a WebSocket. Never a 500: what the host cannot do now is a 503.

mod ask;
mod page;
mod path;

use std::sync::Arc;

use agent_host_core::{failpoint, failpoint::Action};
use axum::{
    Router,
    extract::{Request, State},
    response::{IntoResponse, Response},
    routing::any,
};
use http::{HeaderValue, Method, StatusCode, Uri, header};

use self::path::Path;
use crate::{
    health::Health,
    host::Host,
    problem::Problem,
    refusal::UpgradeRefusal,
    rest::{as_json, preflight},
    upgrade::{Door, origin},
};

/// The public doors, and what the health pages know.
struct Paths<H> {
    door: Arc<Door<H>>,
    health: Arc<Health<H>>,
}

/// The routes. Any method, so that each path says which it takes.
pub(crate) fn routes<H: Host>(door: Arc<Door<H>>, health: Arc<Health<H>>) -> Router {
    let paths = ["/ws/{*path}", "/health", "/health/", "/health/{*path}", "/api/{*path}"];
    let router = paths.into_iter().fold(Router::new(), |router, path| router.route(path, any(answer::<H>)));
    router.with_state(Arc::new(Paths { door, health }))
}

async fn answer<H: Host>(State(paths): State<Arc<Paths<H>>>, request: Request) -> Response {
    let page = match origin::check(request.headers(), &paths.door.shared.rules.now().settings.origins) {
        Ok(()) => request.headers().get(header::ORIGIN).cloned(),
        Err(refusal) => return refusal.into_response(),
    };
    let mut response = found(&paths, request).await;
    let headers = response.headers_mut();
    if let Some(page) = page {
        headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, page);
        headers.append(header::VARY, HeaderValue::from_static("Origin"));
    }
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

async fn found<H: Host>(paths: &Paths<H>, request: Request) -> Response {
    match failpoint!("gateway.netra_http") {
        Some(Action::Error) => return UpgradeRefusal::internal().into_response(),
        Some(action) => tokio::time::sleep(action.pause().unwrap_or_default()).await,
        None => {}
    }
    let Some(path) = Path::find(request.uri().path()) else { return nothing_here(request.uri()) };
    match *request.method() {
        Method::OPTIONS => preflight(path.methods()),
        // What a HEAD answers has its headers and no body: hyper leaves that out.
        Method::GET | Method::HEAD if !path.is_asked() => page::show(paths, &path),
        Method::POST if path.is_asked() => ask::answer(&paths.door, &path, request).await,
        _ => method_not_allowed(request.uri(), &path),
    }
}

/// A page that is there.
fn json(status: StatusCode, body: &serde_json::Value) -> Response {
    as_json(status, body.to_string().into())
}

fn nothing_here(uri: &Uri) -> Response {
    // The path is a client's: bounded, and JSON escapes the rest.
    let path: String = uri.path().chars().take(100).collect();
    let hint =
        "docs/netra.md lists the paths of the older wire; this host's own are in /openapi.json".to_owned();
    let detail = format!("nothing is served at {path}");
    Problem::of_http(StatusCode::NOT_FOUND, "http.not_found", detail, hint).into_response()
}

fn method_not_allowed(uri: &Uri, path: &Path) -> Response {
    let shown: String = uri.path().chars().take(100).collect();
    let detail = format!("{shown} takes {}", path.methods());
    let hint = "docs/netra.md lists the paths of the older wire".to_owned();
    Problem::of_http(StatusCode::METHOD_NOT_ALLOWED, "http.method_not_allowed", detail, hint)
        .with_header(header::ALLOW, HeaderValue::from_static(path.methods()))
        .into_response()
}
