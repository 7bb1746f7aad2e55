//! Carries out an operator's order to a plugin, to its end, and notes how it ended.

use std::{panic::AssertUnwindSafe, sync::Arc, time::Duration};

use agent_host_engine::{ControlError, PluginOrder, view::PluginDetail};
use agent_host_telemetry::{happening::PanicCaught, series};
use agent_plugin_protocol::{Code, PluginId};
use axum::{
    body::{Body, to_bytes},
    response::{IntoResponse as _, Response},
};
use futures_util::FutureExt as _;
use http::{StatusCode, header, request::Parts};
use tokio::time::timeout;

use super::{
    audit::{self, Operator},
    configuration,
    door::Admin,
    operation::{Operation, plugin_id},
    pages,
    view::{KeptPart, PluginPage},
};
use crate::{host::Host, problem::Problem, upgrade::panic_message};

/// An order is said by its path alone.
const BODY_BYTES: usize = 1024;
/// For what is said beside it.
const BODY_WITHIN: Duration = Duration::from_secs(5);

/// Answers an order.
///
/// # Errors
/// If it says what no order says, or names what no plugin can be called: nothing was tried then.
pub(crate) async fn answer<H: Host>(
    admin: &Arc<Admin<H>>,
    order: PluginOrder,
    plugin: &str,
    parts: &Parts,
    body: Body,
    operator: Operator,
) -> Result<Response, Problem> {
    let switches = matches!(order, PluginOrder::Enable | PluginOrder::Disable);
    let lasting = if switches && admin.configuration.is_some() {
        check(parts, body, &["for"]).await?;
        configuration::lasting(parts.uri.query())?
    } else {
        check(parts, body, &[]).await?;
        None
    };
    carry_out(admin, Told { order, lasting }, plugin, operator, audit::from(parts)).await
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

/// Carries it out. A task of its own: what was begun is finished, and noted, though the client may have left.
///
/// # Errors
/// Only for a name that no plugin can have: nothing was tried then.
async fn carry_out<H: Host>(
    admin: &Arc<Admin<H>>,
    Told { order, lasting }: Told,
    plugin: &str,
    operator: Operator,
    from: String,
) -> Result<Response, Problem> {
    let Some(id) = plugin_id(plugin) else { return Err(pages::no_such_plugin(admin.host.as_ref(), plugin)) };
    let task = {
        let admin = Arc::clone(admin);
        async move {
            let ordered = AssertUnwindSafe(order_of(&admin, &id, order, lasting)).catch_unwind().await;
            let told = match ordered {
                Ok(Ok((detail, kept))) => Ok(PluginPage { kept, ..PluginPage::from(&detail) }),
                Ok(Err(error)) => Err(pages::not_done(admin.host.as_ref(), id.as_str(), &error)),
                Err(panic) => {
                    PanicCaught { place: "admin", message: panic_message(panic.as_ref()) }.emit();
                    Err(internal())
                }
            };
            let outcome = match &told {
                Ok(page) => page.line.state.as_str(),
                Err(problem) => problem.code(),
            };
            audit::ordered(&operator, &from, Operation::Order(order), id.as_str(), outcome);
            told
        }
    };
    // The join fails where the runtime ends.
    let problem = match admin.tasks.spawn(task).await {
        Ok(Ok(page)) => return Ok(pages::json(&page)),
        Ok(Err(problem)) => problem,
        Err(_) => internal(),
    };
    // Counted as refused, and not noted as such: the line says how the order ended.
    series::admin_refused(problem.status().as_u16());
    Ok(problem.into_response())
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
        PluginOrder::Reload
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

fn internal() -> Problem {
    let code = Code::HostInternal;
    Problem::new(StatusCode::SERVICE_UNAVAILABLE, code, code.meaning().to_owned(), code.remedy().to_owned())
        .retry_after(Duration::from_secs(2))
}
