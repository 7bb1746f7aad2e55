//! Carries out an operator's order to a plugin, to its end, and notes how it ended.

use std::{panic::AssertUnwindSafe, sync::Arc, time::Duration};

use agent_host_core::{failpoint, failpoint::Action};
use agent_host_engine::{ControlError, PluginOrder, view::PluginDetail};
use agent_host_telemetry::happening::PanicCaught;
use agent_plugin_protocol::PluginId;
use axum::{
    body::{Body, to_bytes},
    response::Response,
};
use futures_util::FutureExt as _;
use http::{StatusCode, header, request::Parts};
use tokio::time::timeout;

use super::{
    aim::missed,
    audit::{Line, Operator},
    configuration,
    door::Admin,
    foresight::{Known, foresee},
    operation::{Operation, plugin_id},
    pages,
    prefer::Wait,
    undertaking::{self, Undertaking, Unmet, undertake},
    view::{ForesightPage, KeptPart, PluginPage},
};
use crate::{host::Host, problem::Problem, rest::query::Query, upgrade::panic_message};

/// An order is said by its path alone.
const BODY_BYTES: usize = 1024;
/// For what is said beside it.
const BODY_WITHIN: Duration = Duration::from_secs(5);

/// Answers an order.
///
/// # Errors
/// If it says what no order says, names a plugin that is not there, or cannot be begun: nothing was tried then.
pub(crate) async fn answer<H: Host>(
    admin: &Arc<Admin<H>>,
    order: PluginOrder,
    plugin: &str,
    parts: &Parts,
    body: Body,
    operator: Operator,
) -> Result<Response, Problem> {
    let switches = matches!(order, PluginOrder::Enable | PluginOrder::Disable);
    let known: &[&str] =
        if switches && admin.configuration.is_some() { &["for", DRY_RUN] } else { &[DRY_RUN] };
    let only_says = is_dry_run(parts, known)?;
    check(parts, body, known).await?;
    let query = Query::read(&parts.uri, known).map_err(wrong)?;
    let lasting = configuration::lasting(query.text("for"))?;
    if only_says {
        return would(admin, order, plugin);
    }
    carry_out(admin, Told { order, lasting }, plugin, parts, operator).await
}

/// The parameter of an order that is not to be carried out: what it would do is said.
pub(crate) const DRY_RUN: &str = "dry_run";

/// Whether a request only wants to know.
///
/// # Errors
/// If a parameter is not known, or the answer is neither yes nor no: whoever wrote it did not mean it to be done.
pub(crate) fn is_dry_run(parts: &Parts, known: &[&str]) -> Result<bool, Problem> {
    match Query::read(&parts.uri, known).map_err(wrong)?.text(DRY_RUN) {
        // For a broken twin: a host that does what it is only asked about.
        Some("true") if failpoint!("gateway.dry_run") == Some(Action::Off) => Ok(false),
        Some("true" | "") => Ok(true),
        Some("false") | None => Ok(false),
        Some(_) => Err(wrong("dry_run is true or false".to_owned())),
    }
}

fn wrong(why: String) -> Problem {
    pages::bad_request(why, "see /admin/v1/openapi.json; nothing was done")
}

/// What the order would do.
fn would<H: Host>(admin: &Admin<H>, order: PluginOrder, plugin: &str) -> Result<Response, Problem> {
    let detail = plugin_id(plugin).and_then(|id| admin.host.plugin(&id));
    let Some(detail) = detail else { return Err(pages::no_such_plugin(admin.host.as_ref(), plugin)) };
    let page = foreseen(admin, order, &detail);
    page.map(|page| pages::json(&page)).map_err(|error| pages::not_done(admin.host.as_ref(), plugin, &error))
}

fn foreseen<H: Host>(
    admin: &Admin<H>,
    order: PluginOrder,
    plugin: &PluginDetail,
) -> Result<ForesightPage, ControlError> {
    let (status, rules) = (admin.host.status(), admin.rules.now());
    let heir = admin.host.heir(&plugin.view.id);
    foresee(order, &Known { status: &status, heir, plugin, require: &rules.settings.require })
}

/// An order, and how long it holds.
#[derive(Debug, Clone, Copy)]
struct Told {
    order: PluginOrder,
    lasting: Option<Duration>,
}

/// Refuses what an order does not have: who writes it means something by it, which would not be done.
///
/// Cancel safe.
pub(crate) async fn check(parts: &Parts, body: Body, known: &[&str]) -> Result<(), Problem> {
    let mut names = parts.uri.query().unwrap_or_default().split('&').filter(|pair| !pair.is_empty());
    let unknown = names.find_map(|pair| {
        let name = pair.split('=').next().unwrap_or_default();
        (!known.contains(&name)).then(|| name.chars().take(40).collect::<String>())
    });
    if let Some(name) = unknown {
        let hint = match known {
            [] => "say it by the path alone; nothing was done".to_owned(),
            known => format!("there is {}; nothing was done", known.join(", ")),
        };
        return Err(pages::bad_request(format!("this order has no parameter {name:?}"), &hint));
    }
    let length =
        parts.headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse().ok());
    if length.is_some_and(|length: u64| length > BODY_BYTES as u64) {
        return Err(too_large());
    }
    match timeout(BODY_WITHIN, to_bytes(body, BODY_BYTES)).await {
        Ok(Ok(bytes)) if matches!(bytes.trim_ascii(), b"" | b"{}") => Ok(()),
        Ok(Ok(_)) => Err(pages::bad_request(
            "an order has no body, but this has".to_owned(),
            "send none, or `{}`; nothing was done",
        )),
        Ok(Err(_)) => Err(too_large()),
        Err(_) => Err(Problem::of_http(
            StatusCode::REQUEST_TIMEOUT,
            "http.timeout",
            format!("the body did not come within {} s", BODY_WITHIN.as_secs()),
            "send none".to_owned(),
        )),
    }
}

/// Carries it out. What was begun is finished, and noted, though the client may have left.
///
/// # Errors
/// For a plugin that is not there, of a host that goes away, or if too much goes on: nothing was tried then.
async fn carry_out<H: Host>(
    admin: &Arc<Admin<H>>,
    Told { order, lasting }: Told,
    plugin: &str,
    parts: &Parts,
    operator: Operator,
) -> Result<Response, Problem> {
    let Some(id) = plugin_id(plugin).filter(|id| admin.host.plugin(id).is_some()) else {
        return Err(pages::no_such_plugin(admin.host.as_ref(), plugin));
    };
    if admin.host.is_draining() {
        return Err(pages::not_done(admin.host.as_ref(), plugin, &ControlError::Draining));
    }
    let operation = Operation::Order(order);
    let undertaking = Undertaking { operation, about: id.to_string(), plugin: Some(id.clone()) };
    let task = {
        let (admin, line) = (Arc::clone(admin), Line::new(&operator, parts, operation, id.as_str()));
        async move {
            // As it is now: afterwards, what it broke looks as if it had never been there.
            let before = admin.host.plugin(&id);
            let foreseen = before.and_then(|plugin| foreseen(&admin, order, &plugin).ok());
            let breaks = foreseen.map(|page| page.breaks).unwrap_or_default();
            let ordered = AssertUnwindSafe(order_of(&admin, &id, order, lasting)).catch_unwind().await;
            match ordered {
                Ok(Ok((detail, kept))) => {
                    let page = PluginPage { kept, breaks, ..PluginPage::from(&detail) };
                    judged(line, order, &detail, page)
                }
                Ok(Err(error)) => {
                    let problem = pages::not_done(admin.host.as_ref(), id.as_str(), &error);
                    match error {
                        ControlError::ReloadFailed { .. } | ControlError::Unanswered => line.failed(&problem),
                        ControlError::Unknown(_)
                        | ControlError::Disabled(_)
                        | ControlError::NoCanary(_)
                        | ControlError::NothingBefore(_)
                        | ControlError::NotRunning { .. }
                        | ControlError::Draining => line.refused(&problem),
                    }
                    Err(problem.into())
                }
                Err(panic) => {
                    PanicCaught { place: "admin", message: panic_message(panic.as_ref()) }.emit();
                    let problem = undertaking::internal();
                    line.failed(&problem);
                    Err(problem.into())
                }
            }
        }
    };
    // For a broken twin: a host that keeps who only wants it begun until it has ended.
    let unsaid = match failpoint!("gateway.orders_wait") {
        Some(Action::Off) => Wait::ToItsEnd,
        Some(_) | None => Wait::Never,
    };
    undertake(admin, parts, undertaking, unsaid, task, pages::json).await
}

/// Whether what the order is for is so, and its line.
fn judged(
    line: Line,
    order: PluginOrder,
    detail: &PluginDetail,
    page: PluginPage,
) -> Result<PluginPage, Unmet<PluginPage>> {
    // For a broken twin: a host that takes for done what was tried.
    let missed = match failpoint!("gateway.order_aims") {
        Some(Action::Off) => None,
        Some(_) | None => missed(order, detail, page.kept.as_ref()),
    };
    match missed {
        None => {
            line.done(&page.line.state);
            Ok(page)
        }
        Some(problem) => {
            line.failed(&problem);
            Err(Unmet { problem, instead: Some(Box::new(page)) })
        }
    }
}

/// A switch is kept, where somebody keeps the configuration.
async fn order_of<H: Host>(
    admin: &Admin<H>,
    id: &PluginId,
    order: PluginOrder,
    lasting: Option<Duration>,
) -> Result<(PluginDetail, Option<KeptPart>), ControlError> {
    let enabled = match order {
        PluginOrder::Enable => Some(true),
        PluginOrder::Disable => Some(false),
        PluginOrder::Drain
        | PluginOrder::Reload
        | PluginOrder::Reset
        | PluginOrder::Probe
        | PluginOrder::Promote
        | PluginOrder::Rollback => None,
    };
    match (enabled, &admin.configuration) {
        (Some(enabled), Some(configuration)) => {
            let (detail, kept) = configuration.toggle(id.clone(), enabled, lasting).await?;
            Ok((detail, Some(kept)))
        }
        (_, _) => Ok((admin.host.control(id, order).await?, None)),
    }
}

fn too_large() -> Problem {
    Problem::of_http(
        StatusCode::PAYLOAD_TOO_LARGE,
        "http.too_large",
        format!("the body is longer than {BODY_BYTES} bytes"),
        "send none: an order is said by its path".to_owned(),
    )
}
