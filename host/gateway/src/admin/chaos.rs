//! Shows and injects faults, on a host whose files allow it. Whether it does is not the API's to say.

use std::time::Duration;

use agent_host_core::{
    chaos::{Fault, Kind, Order},
    duration,
    ports::chaos::NotInjected,
    service::ServiceName,
};
use agent_plugin_protocol::Code;
use axum::{body::Body, response::Response};
use http::{StatusCode, request::Parts};

use super::{
    audit::{Line, Operator},
    body,
    door::Admin,
    operation::{Operation, plugin_id},
    orders, pages,
    view::{ChaosPage, FaultOrder, InjectedPart},
};
use crate::{host::Host, problem::Problem};

/// `GET /admin/v1/chaos`
pub(crate) fn show<H: Host>(admin: &Admin<H>, query: Option<&str>) -> Result<Response, Problem> {
    pages::parameters(query, &[])?;
    Ok(page(admin))
}

fn page<H>(admin: &Admin<H>) -> Response {
    pages::json(&ChaosPage::new(admin.chaos.as_deref()))
}

/// `POST /admin/v1/chaos`. Answered once it is in force.
///
/// # Errors
/// If this host injects none, if the order says what no fault is, or if what it is to hit is not there.
pub(crate) async fn begin<H: Host>(
    admin: &Admin<H>,
    parts: &Parts,
    body: Body,
    operator: &Operator,
) -> Result<Response, Problem> {
    pages::parameters(parts.uri.query(), &[])?;
    let order: FaultOrder = body::read(body, "fault", NOTHING).await?;
    let line = Line::new(operator, parts, Operation::BeginFault, &brief(&order));
    let chaos = admin.chaos.as_ref().ok_or_else(disabled)?;
    let fault = meant(&order).map_err(|why| pages::bad_request(why, NOTHING))?;
    match chaos.begin(fault).await {
        Ok(injected) => {
            line.done(&format!("injected as {}", injected.id));
            Ok(pages::json(&InjectedPart::from(&injected)))
        }
        Err(NotInjected { code, reason }) => {
            Err(Problem::new(StatusCode::CONFLICT, code, reason, code.remedy().to_owned()))
        }
    }
}

/// `DELETE /admin/v1/chaos` and `DELETE /admin/v1/chaos/{id}`
///
/// # Errors
/// If this host injects none, or if none of that number is in force.
pub(crate) async fn end<H: Host>(
    admin: &Admin<H>,
    parts: &Parts,
    body: Body,
    operator: &Operator,
    id: Option<&str>,
) -> Result<Response, Problem> {
    orders::check(parts, body, &[]).await?;
    let (operation, about) = match id {
        Some(id) => (Operation::EndFault, id),
        None => (Operation::EndFaults, "all"),
    };
    let chaos = admin.chaos.as_ref().ok_or_else(disabled)?;
    // What is no number is none that was told.
    let which = id.map(|id| id.parse().unwrap_or(0));
    let ended = chaos.end(which);
    if which.is_some() && ended.is_empty() {
        let shown: String = about.chars().take(20).collect();
        return Err(Problem::of_http(
            StatusCode::NOT_FOUND,
            "http.not_found",
            format!("no fault {shown:?} is in force"),
            "`agent-host chaos status`, or GET /admin/v1/chaos, has those that are, and how the last ones ended".to_owned(),
        ));
    }
    Line::new(operator, parts, operation, about).done(&format!("ended {}", ended.len()));
    Ok(page(admin))
}

fn meant(order: &FaultOrder) -> Result<Fault, String> {
    let kind = Kind::parse(&order.fault).ok_or_else(|| {
        let names: Vec<&str> = Kind::ALL.into_iter().map(Kind::name).collect();
        format!("`fault` is one of {}", names.join(", "))
    })?;
    let plugin = order.plugin.as_deref();
    let plugin = plugin.map(|name| plugin_id(name).ok_or("`plugin` is no plugin's name")).transpose()?;
    let service = order.service.as_deref().map(|name| {
        ServiceName::parse(name).ok_or("`service` is one of llm, threads, tools, delegate and events")
    });
    let time = |text: &Option<String>, what: &str| -> Result<Option<Duration>, String> {
        let Some(text) = text else { return Ok(None) };
        duration::parse(text.trim())
            .map(Some)
            .ok_or_else(|| format!("`{what}` is a time such as 500ms or 30s"))
    };
    Order {
        kind,
        plugin,
        service: service.transpose()?,
        share: order.share,
        delay: time(&order.delay, "delay")?,
        every: time(&order.every, "every")?,
        lasting: time(&order.lasting, "for")?,
    }
    .judged()
}

/// For the audit line.
fn brief(order: &FaultOrder) -> String {
    let of = order.plugin.as_ref().or(order.service.as_ref());
    of.map_or_else(|| order.fault.clone(), |of| format!("{} of {of}", order.fault))
}

fn disabled() -> Problem {
    let code = Code::ChaosDisabled;
    Problem::new(StatusCode::FORBIDDEN, code, code.meaning().to_owned(), code.remedy().to_owned())
}

/// What follows from a mistake.
const NOTHING: &str = "send `{\"fault\": \"store-fail\", \"for\": \"10s\"}`; `agent-host chaos list`, or GET \
                       /admin/v1/chaos, says what each fault takes; nothing was done";
