//! What is served where: the public listener and the operators'.

use std::sync::Arc;

use axum::{
    Router,
    response::{IntoResponse, Response},
    routing::{any, get},
};
use http::{HeaderValue, StatusCode, Uri, header};

use crate::{
    admin::{self, Admin},
    asyncapi,
    health::{Health, live, ready},
    host::Host,
    netra,
    problem::Problem,
    rest,
    server::MetricsPage,
    upgrade::{self, Door},
};

const PUBLIC: &[&str] = &[
    "GET /ws (WebSocket)",
    "GET /asyncapi.json",
    "what is in GET /openapi.json",
    "GET /live",
    "GET /ready[?verbose]",
    "the paths of the older wire: docs/netra.md",
];
const ADMIN: &[&str] =
    &["GET /live", "GET /ready[?verbose]", "GET /metrics", "the admin API: GET /admin/v1/"];

/// The routes for clients. `/ws` takes any method, so that it can answer 405 in our words and HTTP/2 can come later.
pub(crate) fn public<H: Host>(door: Arc<Door<H>>, health: Arc<Health<H>>) -> Router {
    let router = Router::new();
    #[cfg(feature = "failpoints")]
    let router = router.route("/conformance/echo", any(upgrade::echo::<H>));
    router
        .route("/ws", any(upgrade::answer::<H>))
        // Its name on the platform that this host replaces.
        .route("/websocket", any(upgrade::answer::<H>))
        // Any path and method: who asks is judged before it is said what there is.
        .route("/v1/{*operation}", any(rest::answer::<H>))
        .with_state(Arc::clone(&door))
        .merge(netra::http::routes(door, Arc::clone(&health)))
        .route("/openapi.json", get(rest::openapi))
        .route("/asyncapi.json", get(asyncapi::answer))
        .merge(health_routes(health))
        .fallback(|uri: Uri| async move { not_found(&uri, PUBLIC) })
        .method_not_allowed_fallback(|uri: Uri| async move { method_not_allowed(&uri) })
}

/// The routes for operators.
pub(crate) fn admin<H: Host>(api: Arc<Admin<H>>, health: Arc<Health<H>>, metrics: MetricsPage) -> Router {
    Router::new()
        // Any path and method: the API judges who asks before it says what there is.
        .route("/admin/v1/{*operation}", any(admin::answer::<H>))
        // Its page: the pattern above takes no empty rest.
        .route("/admin/v1/", any(admin::answer::<H>))
        .with_state(api)
        .route("/metrics", get(move || async move { metrics_page(&metrics) }))
        .merge(health_routes(health))
        .fallback(|uri: Uri| async move { not_found(&uri, ADMIN) })
        .method_not_allowed_fallback(|uri: Uri| async move { method_not_allowed(&uri) })
}

fn health_routes<H: Host>(health: Arc<Health<H>>) -> Router {
    Router::new().route("/live", get(live)).route("/ready", get(ready::<H>)).with_state(health)
}

fn metrics_page(render: &MetricsPage) -> Response {
    let Some(render) = render else {
        let detail = "the page of metrics could not be set up when the host started".to_owned();
        let hint = "look for StartStepFailed in the host's log, and restart the host".to_owned();
        return Problem::of_http(StatusCode::SERVICE_UNAVAILABLE, "host.internal", detail, hint)
            .into_response();
    };
    let mut response = render().into_response();
    let kind = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    response
}

fn not_found(uri: &Uri, routes: &[&str]) -> Response {
    // The path is a client's: bounded, and JSON escapes the rest.
    let path: String = uri.path().chars().take(100).collect();
    let hint = format!("this listener serves {}", routes.join(", "));
    Problem::of_http(StatusCode::NOT_FOUND, "http.not_found", format!("nothing is served at {path}"), hint)
        .into_response()
}

fn method_not_allowed(uri: &Uri) -> Response {
    let path: String = uri.path().chars().take(100).collect();
    let detail = format!("{path} takes GET only");
    Problem::of_http(StatusCode::METHOD_NOT_ALLOWED, "http.method_not_allowed", detail, "use GET".to_owned())
        .with_header(header::ALLOW, HeaderValue::from_static("GET, HEAD"))
        .into_response()
}
