//! What operators may ask of the configuration, and how it is answered. Who owns it is the server: this is the seam.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use agent_host_core::{ports::BoxFuture, sanitise};
use agent_host_engine::{ControlError, view::PluginDetail};
use agent_plugin_protocol::{Code, PluginId};
use axum::{body::Body, response::Response};
use http::{HeaderMap, HeaderValue, StatusCode, header, request::Parts};
use serde_json::Value;

use super::{
    audit::{Line, Operator},
    body,
    door::Admin,
    keys, lasting,
    operation::Operation,
    orders::{self, DRY_RUN},
    pages,
    prefer::Wait,
    undertaking::{Undertaking, undertake},
    view::{ChangePage, ConfigFailurePart, ConfigPage, KeptPart},
};
use crate::{host::Host, problem::Problem};

/// The configuration of a host that serves.
pub trait Configuration: Send + Sync + 'static {
    /// What is in force.
    fn page(&self) -> ConfigPage;
    /// Its ETag.
    fn etag(&self) -> String;
    /// Why the last edit is not in force.
    fn failure(&self) -> Option<ConfigFailurePart>;
    /// The JSON schema of a file.
    fn schema(&self) -> Value;
    /// What the files as they are now would change; nothing is loaded.
    fn compare(&self) -> BoxFuture<'static, Result<ChangePage, NotChanged>>;
    /// Puts the files as they are now in force.
    fn reload(&self) -> BoxFuture<'static, Result<ChangePage, NotChanged>>;
    /// What setting keys would change; nothing is set. `if_match` as there.
    fn consider(
        &self,
        if_match: Option<String>,
        set: BTreeMap<String, Value>,
    ) -> BoxFuture<'static, Result<ChangePage, NotChanged>>;
    /// Sets keys, and writes them into the files that said otherwise. `if_match`: only if that is in force.
    fn set(
        &self,
        if_match: Option<String>,
        set: BTreeMap<String, Value>,
    ) -> BoxFuture<'static, Result<ChangePage, NotChanged>>;
    /// Switches a plugin on or off, and writes that into the file that said otherwise; for a time, in memory only.
    fn toggle(
        &self,
        plugin: PluginId,
        enabled: bool,
        lasting: Option<Duration>,
    ) -> BoxFuture<'static, Result<(PluginDetail, KeptPart), ControlError>>;
}

/// Why a change was not made. What was in force still is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NotChanged {
    /// The stable code.
    pub code: Code,
    /// What is wrong, to what, where.
    pub reason: String,
}

impl NotChanged {
    fn problem(self) -> Problem {
        let status = match self.code {
            Code::ConfigStaleEtag => StatusCode::PRECONDITION_FAILED,
            Code::ConfigFilesOnly => StatusCode::FORBIDDEN,
            Code::HostDraining | Code::HostInternal | Code::ConfigBusy => StatusCode::SERVICE_UNAVAILABLE,
            Code::ConfigUnwritable => StatusCode::CONFLICT,
            code if code.as_str().starts_with("config.") => StatusCode::UNPROCESSABLE_ENTITY,
            _ => StatusCode::CONFLICT,
        };
        let hint = format!("{}; nothing was changed", self.code.remedy());
        let problem = Problem::new(status, self.code, self.reason, hint);
        if status == StatusCode::SERVICE_UNAVAILABLE { problem.retry_after(SOON) } else { problem }
    }
}

/// Another change is over by then.
const SOON: Duration = Duration::from_secs(2);

/// `GET /admin/v1/config`
pub(crate) fn show<H>(admin: &Admin<H>, query: Option<&str>) -> Result<Response, Problem> {
    pages::parameters(query, &[])?;
    let page = of(admin)?.page();
    let mut response = pages::json(&page);
    tag(&mut response, &page.etag);
    Ok(response)
}

/// `GET /admin/v1/config/schema`
pub(crate) fn schema<H>(admin: &Admin<H>, query: Option<&str>) -> Result<Response, Problem> {
    pages::parameters(query, &[])?;
    Ok(pages::json(&of(admin)?.schema()))
}

/// `GET /admin/v1/config/diff`
pub(crate) async fn diff<H>(admin: &Admin<H>, query: Option<&str>) -> Result<Response, Problem> {
    pages::parameters(query, &[])?;
    answered(of(admin)?.compare().await)
}

/// `POST /admin/v1/config/validate`: the same, for who only wants to know whether it holds; or what setting the keys of its
/// body would change.
pub(crate) async fn validate<H>(admin: &Admin<H>, parts: &Parts, body: Body) -> Result<Response, Problem> {
    pages::parameters(parts.uri.query(), &[])?;
    match body::read_any(body, "document of keys", NOTHING).await? {
        None => answered(of(admin)?.compare().await),
        Some(document) => answered(of(admin)?.consider(None, keys_of(document)?).await),
    }
}

/// `POST /admin/v1/config/reload`
pub(crate) async fn reload<H: Host>(
    admin: &Arc<Admin<H>>,
    parts: &Parts,
    body: Body,
    operator: &Operator,
) -> Result<Response, Problem> {
    let only_says = orders::is_dry_run(parts, &[DRY_RUN])?;
    orders::check(parts, body, &[DRY_RUN]).await?;
    if only_says {
        return answered(of(admin)?.compare().await);
    }
    let change = of(admin)?.reload();
    carried_out(admin, change, Operation::ReloadConfig, parts, operator, String::new()).await
}

/// `PATCH /admin/v1/config`
pub(crate) async fn set<H: Host>(
    admin: &Arc<Admin<H>>,
    parts: &Parts,
    body: Body,
    operator: &Operator,
) -> Result<Response, Problem> {
    let only_says = orders::is_dry_run(parts, &[DRY_RUN])?;
    let if_match = if_match(&parts.headers)?;
    let set = keys_of(body::read(body, "document of keys", NOTHING).await?)?;
    if only_says {
        return answered(of(admin)?.consider(if_match, set).await);
    }
    let keys = set.keys().cloned().collect::<Vec<_>>().join(",");
    let change = of(admin)?.set(if_match, set);
    carried_out(admin, change, Operation::SetConfig, parts, operator, keys).await
}

/// Which keys a document sets.
fn keys_of(document: Value) -> Result<BTreeMap<String, Value>, Problem> {
    let keys = keys::read(document).map_err(|why| pages::bad_request(why, NOTHING))?;
    if keys.is_empty() {
        return Err(pages::bad_request("the body names no key".to_owned(), NOTHING));
    }
    Ok(keys)
}

/// What was begun is finished, and noted, though the client may have left.
async fn carried_out<H: Host>(
    admin: &Arc<Admin<H>>,
    change: BoxFuture<'static, Result<ChangePage, NotChanged>>,
    operation: Operation,
    parts: &Parts,
    operator: &Operator,
    about: String,
) -> Result<Response, Problem> {
    let line = Line::new(operator, parts, operation, &about);
    let undertaking = Undertaking { operation, about: sanitise::line(&about, 200), plugin: None };
    let order = async move {
        let refused = match change.await {
            Ok(page) => {
                line.done("in force");
                return Ok(page);
            }
            Err(refused) => refused,
        };
        let is_ours = refused.code == Code::HostInternal;
        let problem = refused.problem();
        if is_ours {
            line.failed(&problem)
        } else {
            line.refused(&problem)
        }
        Err(problem.into())
    };
    undertake(admin, parts, undertaking, Wait::ToItsEnd, order, shown).await
}

fn answered(ended: Result<ChangePage, NotChanged>) -> Result<Response, Problem> {
    Ok(shown(&ended.map_err(NotChanged::problem)?))
}

fn shown(page: &ChangePage) -> Response {
    let mut response = pages::json(page);
    tag(&mut response, &page.etag);
    response
}

fn of<H>(admin: &Admin<H>) -> Result<&Arc<dyn Configuration>, Problem> {
    admin.configuration.as_ref().ok_or_else(|| {
        let code = Code::HostInternal;
        let detail = "this host has no configuration that could be asked for".to_owned();
        Problem::new(StatusCode::SERVICE_UNAVAILABLE, code, detail, code.remedy().to_owned())
            .retry_after(SOON)
    })
}

fn tag(response: &mut Response, etag: &str) {
    if let Ok(value) = HeaderValue::try_from(format!("\"{etag}\"")) {
        response.headers_mut().insert(header::ETAG, value);
    }
}

/// `*` is any; a list is none of ours.
fn if_match(headers: &HeaderMap) -> Result<Option<String>, Problem> {
    let Some(value) = headers.get(header::IF_MATCH) else { return Ok(None) };
    let text = value.to_str().unwrap_or_default().trim();
    if text == "*" {
        return Ok(None);
    }
    let tag = text.strip_prefix('"').and_then(|text| text.strip_suffix('"'));
    tag.map(|tag| Some(tag.to_owned())).ok_or_else(|| {
        pages::bad_request(
            "If-Match is not one quoted ETag".to_owned(),
            "send the ETag of GET /admin/v1/config",
        )
    })
}

/// How long a switch is to hold: the parameter `for` of an order.
///
/// # Errors
/// If it is no length of time.
pub(crate) fn lasting(text: Option<&str>) -> Result<Option<Duration>, Problem> {
    let Some(text) = text else { return Ok(None) };
    match lasting::read(text, LONGEST) {
        Some(lasting) => Ok(Some(lasting)),
        None => Err(pages::bad_request(
            format!("`for` is {text:?}, which is no time from 1s to 30d"),
            "write it as in for=10m; nothing was done",
        )),
    }
}

/// 30 days: what shall hold longer belongs into a file.
const LONGEST: Duration = Duration::from_secs(30 * 86_400);

/// What follows from a mistake.
const NOTHING: &str = "send `{\"set\": {\"limits.runs_at_once\": 5}}`, or `{\"limits\": {\"runs_at_once\": 5}}`; nothing was changed";
