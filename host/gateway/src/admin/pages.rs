//! Answers what an operator wants to see.

use agent_host_core::{
    lifecycle::{PluginState, Verdict},
    timestamp::rfc3339,
};
use agent_host_engine::{ControlError, view::PluginDetail};
use agent_plugin_protocol::Code;
use axum::{
    Json,
    response::{IntoResponse, Response},
};
use http::StatusCode;
use serde::Serialize;

use super::{
    door::Admin,
    operation::plugin_id,
    view::{ChaosStanding, OnTrialPart, PluginLine, PluginList, PluginPage, StatusPage},
};
use crate::{host::Host, problem::Problem};

/// `GET /admin/v1/status`
pub(crate) fn status<H: Host>(admin: &Admin<H>, query: Option<&str>) -> Result<Response, Problem> {
    parameters(query, &[])?;
    let (since, now) = (rfc3339(admin.since), rfc3339(admin.clock.now()));
    let mut page = StatusPage::new(&admin.host.status(), since, now);
    page.draining |= admin.host.is_draining();
    page.out_of_rotation = admin.rotation.is_out();
    page.on_trial = OnTrialPart::of(&admin.host.plugins());
    page.config_failure = admin.configuration.as_ref().and_then(|configuration| configuration.failure());
    page.chaos = admin.chaos.as_ref().map(|chaos| ChaosStanding::new(&chaos.injected()));
    Ok(json(&page))
}

/// `GET /admin/v1/plugins[?state=]`
pub(crate) fn list<H: Host>(admin: &Admin<H>, query: Option<&str>) -> Result<Response, Problem> {
    let wanted = match parameters(query, &["state"])? {
        Some(word) if !is_state(word) => return Err(no_state(word)),
        wanted => wanted,
    };
    let fits = |plugin: &PluginDetail| {
        wanted.is_none_or(|word| plugin.view.verdict == word || plugin.view.state == word)
    };
    let plugins = admin.host.plugins();
    let plugins = plugins.iter().filter(|plugin| fits(plugin)).map(PluginLine::from).collect();
    Ok(json(&PluginList { plugins }))
}

/// `GET /admin/v1/plugins/{id}`
pub(crate) fn show<H: Host>(
    admin: &Admin<H>,
    plugin: &str,
    query: Option<&str>,
) -> Result<Response, Problem> {
    parameters(query, &[])?;
    let detail = plugin_id(plugin).and_then(|id| admin.host.plugin(&id));
    match detail {
        Some(detail) => Ok(json(&PluginPage::from(&detail))),
        None => Err(no_such_plugin(admin.host.as_ref(), plugin)),
    }
}

/// A page. The types have nothing that JSON cannot say.
pub(crate) fn json(page: &impl Serialize) -> Response {
    Json(page).into_response()
}

/// Why an order was not carried out.
pub(crate) fn not_done<H: Host>(host: &H, plugin: &str, error: &ControlError) -> Problem {
    let (code, detail, hint) = (error.code(), error.to_string(), error.hint());
    let problem = |status| Problem::new(status, code, detail, hint);
    match error {
        ControlError::Unknown(_) => no_such_plugin(host, plugin),
        ControlError::Disabled(_)
        | ControlError::NoCanary(_)
        | ControlError::NothingBefore(_)
        | ControlError::NotRunning { .. }
        | ControlError::ReloadFailed { .. } => problem(StatusCode::CONFLICT),
        ControlError::Draining | ControlError::Unanswered => {
            problem(StatusCode::SERVICE_UNAVAILABLE).retry_after(SOON)
        }
    }
}

/// The host, or its successor, is there by then.
const SOON: std::time::Duration = std::time::Duration::from_secs(2);

pub(crate) fn no_such_plugin<H: Host>(host: &H, plugin: &str) -> Problem {
    let plugin: String = plugin.chars().take(80).collect();
    let known = host.status();
    let known: Vec<&str> = known.plugins.iter().take(NAMED).map(|plugin| plugin.id.as_str()).collect();
    let hint = match known.as_slice() {
        [] => "none is configured".to_owned(),
        _ => format!("configured: {}", known.join(", ")),
    };
    let detail = format!("no plugin {plugin:?} is configured");
    Problem::new(StatusCode::NOT_FOUND, Code::PluginUnknown, detail, hint)
}

/// Plugins named in a hint.
const NAMED: usize = 20;

pub(crate) fn bad_request(detail: String, hint: &str) -> Problem {
    Problem::of_http(StatusCode::BAD_REQUEST, "http.bad_request", detail, hint.to_owned())
}

/// The value of the one parameter that may be there. Another is a mistake, which would be passed over in silence.
pub(crate) fn parameters<'a>(query: Option<&'a str>, known: &[&str]) -> Result<Option<&'a str>, Problem> {
    let mut value = None;
    for pair in query.unwrap_or_default().split('&').filter(|pair| !pair.is_empty()) {
        let (name, given) = pair.split_once('=').unwrap_or((pair, ""));
        if !known.contains(&name) || value.is_some() {
            let name: String = name.chars().take(40).collect();
            let hint = match known {
                [] => "there is none here".to_owned(),
                _ => format!("there is {}, once", known.join(", ")),
            };
            return Err(bad_request(format!("there is no such parameter: {name:?}"), &hint));
        }
        value = Some(given);
    }
    Ok(value)
}

fn is_state(word: &str) -> bool {
    words().any(|known| known == word)
}

fn words() -> impl Iterator<Item = &'static str> {
    let verdicts = Verdict::ALL.iter().map(|verdict| verdict.as_str());
    verdicts.chain(PluginState::ALL.iter().map(|state| state.as_str()))
}

fn no_state(word: &str) -> Problem {
    let word: String = word.chars().take(40).collect();
    let mut known: Vec<&str> = words().collect();
    known.sort_unstable();
    known.dedup();
    bad_request(
        format!("{word:?} is no verdict and no state of a plugin"),
        &format!("one of {}", known.join(", ")),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_those_that_are_known_and_once() {
        assert_eq!(parameters(None, &[]).unwrap(), None);
        assert_eq!(parameters(Some("state=failed"), &["state"]).unwrap(), Some("failed"));
        for query in ["dry_run=true", "state=a&state=b", "x"] {
            assert_eq!(parameters(Some(query), &["state"]).unwrap_err().status(), StatusCode::BAD_REQUEST);
        }
    }
}
