//! `/live` and `/ready`: whether the process runs, and whether it should get traffic. Degraded is ready.

use std::sync::Arc;

use agent_host_core::{
    failpoint,
    failpoint::Action,
    level::ServiceLevel,
    ports::{chaos::Chaos, store::Durability},
    timestamp::rfc3339,
};
use agent_host_engine::view::{PluginView, ServiceView, Status};
use agent_plugin_protocol::{Code, PluginKind};
use axum::{
    Json,
    extract::{RawQuery, State},
    response::{IntoResponse, Response},
};
use http::{HeaderMap, HeaderValue, StatusCode, header};
use serde::Serialize;
use tokio::sync::watch;

use crate::{
    admin::{
        configuration::Configuration,
        view::{ChaosStanding, ConfigFailurePart},
    },
    auth::{KeySetView, TokenSource, permits},
    host::Host,
    rotation::Rotation,
    rules::{InForce, Rules},
    self_check::{Report, SELF_CHECK, Shown},
};

/// What the health pages need.
pub(crate) struct Health<H> {
    pub(crate) host: Arc<H>,
    /// What came of the host's last look at itself.
    pub(crate) checked: watch::Receiver<Report>,
    /// What `/ready` insists on, who may see the details, and the keys of another issuer.
    pub(crate) rules: Arc<Rules>,
    pub(crate) rotation: Arc<Rotation>,
    /// What injects faults, where this host allows it.
    pub(crate) chaos: Option<Arc<dyn Chaos>>,
    /// Who knows whether the last edit is in force.
    pub(crate) configuration: Option<Arc<dyn Configuration>>,
}

/// Whether traffic should come here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum Verdict {
    Ready,
    Starting,
    Draining,
    /// Something that `readiness.require` names is missing.
    RequirementUnmet,
}

#[derive(Serialize)]
struct Ready<'a> {
    status: Verdict,
    level: ServiceLevel,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    unmet: Vec<&'a str>,
    #[serde(flatten)]
    verbose: Option<Verbose<'a>>,
}

#[derive(Serialize)]
struct Verbose<'a> {
    host: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'a str>,
    durability: Durability,
    self_check: Shown,
    /// Whether the files are in force.
    #[serde(skip_serializing_if = "Option::is_none")]
    configuration: Option<LastEdit>,
    services: Vec<Service<'a>>,
    /// The keys of another issuer.
    #[serde(skip_serializing_if = "Option::is_none")]
    keys: Option<KeySetView>,
    plugins: Vec<Plugin<'a>>,
    /// There where faults may be injected: what then goes wrong may be on purpose.
    #[serde(skip_serializing_if = "Option::is_none")]
    chaos: Option<ChaosStanding>,
    #[serde(skip_serializing_if = "Option::is_none")]
    time: Option<String>,
}

/// What became of the last edit of the configuration.
#[derive(Serialize)]
struct LastEdit {
    /// `healthy`: it is in force; `failed`: what was in force before still is.
    verdict: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    code: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    at: Option<String>,
    /// What is wrong and where. For operators: it names files, and quotes them.
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
}

#[derive(Serialize)]
struct Service<'a> {
    name: &'a str,
    verdict: &'static str,
    state: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    code: Option<Code>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'a str>,
}

#[derive(Serialize)]
struct Plugin<'a> {
    id: &'a str,
    kind: PluginKind,
    verdict: &'static str,
    state: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    code: Option<Code>,
    #[serde(flatten)]
    details: Option<Details<'a>>,
}

/// For operators only.
#[derive(Serialize)]
struct Details<'a> {
    since: String,
    generation: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    version: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    hint: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    served_by: Option<&'a str>,
}

/// `GET /live`: the process answers.
pub(crate) async fn live() -> Response {
    let mut response = "ok\n".into_response();
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// `GET /ready[?verbose]`
pub(crate) async fn ready<H: Host>(
    State(health): State<Arc<Health<H>>>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Response {
    let status = health.host.status();
    let draining = status.draining || health.host.is_draining() || health.rotation.is_out();
    let checked = health.checked.borrow().clone();
    let rules = health.rules.now();
    let unmet = unmet(&rules, &status, &checked);
    let verdict = verdict(&status, draining, &unmet);
    let verbose = is_verbose(query.as_deref())
        .then(|| health.verbose(&rules, &status, &checked, sees_details(&rules, &headers)));
    let body = Ready { status: verdict, level: status.level, unmet, verbose };
    let code = if verdict == Verdict::Ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let mut response = (code, Json(body)).into_response();
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

impl<H: Host> Health<H> {
    /// The word of `/ready`, and whether it is `ready`.
    pub(crate) fn readiness(&self, status: &Status) -> (serde_json::Value, bool) {
        let draining = status.draining || self.host.is_draining() || self.rotation.is_out();
        let checked = self.checked.borrow().clone();
        let verdict = verdict(status, draining, &unmet(&self.rules.now(), status, &checked));
        (serde_json::json!(verdict), verdict == Verdict::Ready)
    }
}

impl<H> Health<H> {
    fn verbose<'a>(
        &self,
        rules: &InForce,
        status: &'a Status,
        checked: &Report,
        details: bool,
    ) -> Verbose<'a> {
        let keys = rules.keys.as_ref().map(|keys| keys.view());
        Verbose {
            host: &status.host,
            reason: details.then_some(&status.reason),
            durability: status.durability,
            self_check: checked.shown(details),
            configuration: self.configuration.as_ref().map(|c| last_edit(c.failure(), details)),
            services: status.services.iter().map(|s| service(s, details)).collect(),
            keys: if details { keys } else { keys.map(KeySetView::for_everybody) },
            plugins: status.plugins.iter().map(|p| plugin(p, details)).collect(),
            chaos: self.chaos.as_ref().map(|chaos| ChaosStanding::new(&chaos.injected())),
            time: details.then(|| rfc3339(self.rules.clock().now())),
        }
    }
}

/// Whether the request carries an operator's token. A bad one is as none: the page is public.
fn sees_details(rules: &InForce, headers: &HeaderMap) -> bool {
    match TokenSource::find(headers, &http::Uri::default()) {
        Ok(TokenSource::Jwt(token)) => {
            rules.operators.verify(&token).is_ok_and(|p| permits(&p, "admin:read"))
        }
        Ok(TokenSource::Ticket(_)) | Err(_) => false,
    }
}

/// What is required and not there: by kind (`agent`: at least one healthy), by a plugin's or service's name, or one of
/// the host's own.
fn unmet<'a>(rules: &'a InForce, status: &Status, checked: &Report) -> Vec<&'a str> {
    // Off for a broken twin: a host that is ready whatever is required.
    if failpoint!("gateway.requirements") == Some(Action::Off) {
        return Vec::new();
    }
    let met = |name: &str| match name {
        SELF_CHECK => checked.holds(),
        // Whether tokens of the other issuer can be judged; without one there is nothing to miss.
        "keys" => rules.keys.as_ref().is_none_or(|keys| keys.now().standing.holds()),
        _ => status.meets(name),
    };
    rules.settings.require.iter().map(String::as_str).filter(|name| !met(name)).collect()
}

fn verdict(status: &Status, draining: bool, unmet: &[&str]) -> Verdict {
    if draining {
        Verdict::Draining
    } else if status.starting {
        Verdict::Starting
    } else if unmet.is_empty() {
        Verdict::Ready
    } else {
        Verdict::RequirementUnmet
    }
}

fn is_verbose(query: Option<&str>) -> bool {
    query.is_some_and(|q| {
        q.split('&').any(|pair| matches!(pair, "verbose" | "verbose=" | "verbose=1" | "verbose=true"))
    })
}

fn last_edit(failure: Option<ConfigFailurePart>, details: bool) -> LastEdit {
    let verdict = if failure.is_some() { "failed" } else { "healthy" };
    LastEdit {
        verdict,
        code: failure.as_ref().map(|failed| failed.code.clone()),
        at: failure.as_ref().map(|failed| failed.at.clone()),
        reason: failure.map(|failed| failed.reason).filter(|_| details),
    }
}

fn service(service: &ServiceView, details: bool) -> Service<'_> {
    Service {
        name: service.name,
        verdict: service.verdict,
        state: if service.verdict == "healthy" { "available" } else { "unavailable" },
        code: service.code,
        reason: service.reason.as_deref().filter(|_| details),
    }
}

fn plugin(plugin: &PluginView, details: bool) -> Plugin<'_> {
    let fault = plugin.fault.as_ref();
    Plugin {
        id: plugin.id.as_str(),
        kind: plugin.kind,
        verdict: plugin.verdict,
        state: plugin.state,
        code: fault.map(|f| f.code),
        details: details.then(|| Details {
            since: rfc3339(plugin.since),
            generation: plugin.generation.0,
            version: plugin.version.as_deref(),
            reason: fault.map(|f| f.reason.as_str()),
            hint: fault.map(|f| f.hint.as_str()),
            served_by: plugin.served_by.as_deref(),
        }),
    }
}
