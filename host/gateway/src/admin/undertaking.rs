//! Orders that go on though nobody waits for their answer: each is an operation that can be looked up, whether its client
//! waits or not. Nothing of an order that was begun can be taken back half-way; its opposite is an order of its own.
//!
//! The steps of one are what happened to what it is about: the same words as in the log.

use std::{
    collections::VecDeque,
    future::Future,
    panic::AssertUnwindSafe,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, SystemTime},
};

use agent_host_core::{sanitise, timestamp::rfc3339};
use agent_host_telemetry::{
    admin::{self as happenings, AdminEvent},
    happening::{OperationBegun, OperationEnded, PanicCaught},
    series,
};
use agent_plugin_protocol::{Code, PluginId};
use axum::response::{IntoResponse as _, Response};
use futures_util::FutureExt as _;
use http::{HeaderValue, StatusCode, header, request::Parts};
use serde::Serialize;
use tokio::{
    sync::{broadcast::error::RecvError, oneshot},
    time::timeout,
};

use super::{
    door::Admin,
    operation::Operation,
    pages,
    prefer::{APPLIED, Preference, Wait},
    view::{OperationList, OperationPage, StepPart},
};
use crate::{problem::Problem, upgrade::panic_message};

/// The operations of this host.
#[derive(Debug, Default)]
pub(crate) struct Undertakings {
    /// The newest last. The lock is held for a look at a list of at most [`KEPT`].
    all: Mutex<VecDeque<OperationPage>>,
}

/// What is undertaken.
pub(crate) struct Undertaking {
    pub(crate) operation: Operation,
    /// Which plugin, or which keys; one safe line.
    pub(crate) about: String,
    /// Whose happenings are its steps; `None`: those of any plugin, and of the configuration.
    pub(crate) plugin: Option<PluginId>,
}

/// What an order is for is not so.
#[derive(Debug)]
pub(crate) struct Unmet<T> {
    /// Why.
    pub(crate) problem: Problem,
    /// How things are, where it was carried out all the same.
    pub(crate) instead: Option<Box<T>>,
}

impl<T> From<Problem> for Unmet<T> {
    fn from(problem: Problem) -> Self {
        Self { problem, instead: None }
    }
}

/// Carries an order out, in a task of its own: what was begun is finished though its client may leave. Waits for its end as
/// long as the client prefers, `unsaid` if it says nothing: the answer is what came of it, or where that can be looked up.
///
/// # Errors
/// If too many go on: nothing was begun then.
pub(crate) async fn undertake<H, T>(
    admin: &Arc<Admin<H>>,
    parts: &Parts,
    undertaking: Undertaking,
    unsaid: Wait,
    order: impl Future<Output = Result<T, Unmet<T>>> + Send + 'static,
    shown: impl FnOnce(&T) -> Response,
) -> Result<Response, Problem>
where
    H: Send + Sync + 'static,
    T: Serialize + Send + 'static,
{
    let contained = AssertUnwindSafe(order).catch_unwind().map(|ended| {
        ended.unwrap_or_else(|panic| {
            PanicCaught { place: "admin", message: panic_message(panic.as_ref()) }.emit();
            Err(internal().into())
        })
    });
    let preference = Preference::of(&parts.headers, unsaid);
    let begun = admin.undertakings.begin(&undertaking, admin.clock.now())?;
    let (tell, told) = oneshot::channel();
    let task = go_on(Arc::clone(admin), begun.id.clone(), undertaking.plugin, contained, tell);
    // Besides this, nobody waits for it but who looks it up, and the end of the host.
    drop(admin.tasks.spawn(task));
    // Told nothing: the runtime ends.
    let to_its_end = told.map(|told| told.unwrap_or_else(|_| Err(internal().into())));
    let ended = match preference.wait {
        Wait::Never => None,
        Wait::AtMost(long) => timeout(long, to_its_end).await.ok(),
        Wait::ToItsEnd => Some(to_its_end.await),
    };
    let mut response = match ended {
        Some(Ok(result)) => shown(&result),
        Some(Err(unmet)) => unmet.problem.into_response(),
        None => accepted(&admin.undertakings.find(&begun.id).unwrap_or(begun)),
    };
    if let Some(applied) = preference.applied() {
        response.headers_mut().insert(APPLIED, applied);
    }
    Ok(response)
}

/// `GET /admin/v1/operations`
pub(crate) fn list<H>(admin: &Admin<H>, query: Option<&str>) -> Result<Response, Problem> {
    pages::parameters(query, &[])?;
    let operations = admin.undertakings.locked().iter().rev().cloned().collect();
    Ok(pages::json(&OperationList { operations }))
}

/// `GET /admin/v1/operations/{id}`
pub(crate) fn show<H>(admin: &Admin<H>, id: &str, query: Option<&str>) -> Result<Response, Problem> {
    pages::parameters(query, &[])?;
    match admin.undertakings.find(id) {
        Some(page) => Ok(pages::json(&page)),
        None => Err(Problem::of_http(
            StatusCode::NOT_FOUND,
            "http.not_found",
            format!("no operation {:?} is known", sanitise::line(id, 40)),
            format!("the last {KEPT} of this host's process are kept: GET /admin/v1/operations"),
        )),
    }
}

impl Undertakings {
    fn begin(&self, undertaking: &Undertaking, now: SystemTime) -> Result<OperationPage, Problem> {
        let page = OperationPage {
            id: uuid::Uuid::new_v4().simple().to_string(),
            order: undertaking.operation.name().to_owned(),
            about: undertaking.about.clone(),
            state: RUNNING.to_owned(),
            began: rfc3339(now),
            ..OperationPage::default()
        };
        let mut all = self.locked();
        if all.iter().filter(|one| one.state == RUNNING).count() >= AT_ONCE {
            return Err(too_many());
        }
        if all.len() >= KEPT
            && let Some(oldest) = all.iter().position(|one| one.state != RUNNING)
        {
            all.remove(oldest);
        }
        all.push_back(page.clone());
        drop(all);
        let (operation, about) = (page.id.clone(), page.about.clone());
        OperationBegun { operation, order: undertaking.operation.name(), about }.emit();
        Ok(page)
    }

    fn find(&self, id: &str) -> Option<OperationPage> {
        self.locked().iter().find(|one| one.id == id).cloned()
    }

    fn step(&self, id: &str, step: StepPart) {
        self.change(id, |page| {
            if page.steps.len() >= STEPS {
                page.steps.remove(0);
                page.steps_left_out += 1;
            }
            page.steps.push(step);
        });
    }

    fn end<T: Serialize>(&self, id: &str, ended: &Result<T, Unmet<T>>, now: SystemTime) {
        let outcome = match ended {
            Ok(_) => "done",
            Err(unmet) => unmet.problem.code(),
        };
        let told = self.change(id, |page| {
            page.ended = Some(rfc3339(now));
            match ended {
                Ok(result) => {
                    page.state = "done".to_owned();
                    // The types have nothing that JSON cannot say.
                    page.result = serde_json::to_value(result).ok();
                }
                Err(unmet) => {
                    page.state = "failed".to_owned();
                    page.problem = serde_json::to_value(unmet.problem.body()).ok();
                    page.result = unmet.instead.as_ref().and_then(|page| serde_json::to_value(page).ok());
                }
            }
            (page.order.clone(), page.about.clone())
        });
        if let Some((order, about)) = told {
            OperationEnded { operation: id.to_owned(), order, about, outcome }.emit();
        }
    }

    fn change<R>(&self, id: &str, change: impl FnOnce(&mut OperationPage) -> R) -> Option<R> {
        self.locked().iter_mut().find(|one| one.id == id).map(change)
    }

    fn locked(&self) -> MutexGuard<'_, VecDeque<OperationPage>> {
        self.all.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Carries it to its end, and notes what happens on the way.
async fn go_on<H, T: Serialize>(
    admin: Arc<Admin<H>>,
    id: String,
    plugin: Option<PluginId>,
    order: impl Future<Output = Result<T, Unmet<T>>>,
    tell: oneshot::Sender<Result<T, Unmet<T>>>,
) {
    let mut happening = happenings::watch();
    let note = |event: &AdminEvent| {
        if let Some(step) = step(event, plugin.as_ref()) {
            admin.undertakings.step(&id, step);
        }
    };
    tokio::pin!(order);
    let ended = loop {
        tokio::select! {
            // First what happened: the end comes after it.
            biased;
            event = happening.recv() => match event {
                Ok(event) => note(&event),
                Err(RecvError::Lagged(_)) => {}
                // The sender is there as long as the process is.
                Err(RecvError::Closed) => break order.as_mut().await,
            },
            ended = &mut order => break ended,
        }
    };
    while let Ok(event) = happening.try_recv() {
        note(&event);
    }
    if let Err(unmet) = &ended {
        series::admin_refused(unmet.problem.status().as_u16());
    }
    admin.undertakings.end(&id, &ended, admin.clock.now());
    // Last, so that who waits can look it up as ended. Told nobody: its client did not wait, or left.
    drop(tell.send(ended));
}

/// A happening as a step. What says who ordered something, from where, is none: others may look at an operation.
fn step(event: &AdminEvent, of: Option<&PluginId>) -> Option<StepPart> {
    let text = |name: &str| event.fields.get(name).and_then(|value| value.as_str()).map(str::to_owned);
    let plugin = text("plugin");
    let about = match (of, &plugin) {
        (Some(of), Some(plugin)) => of.as_str() == plugin,
        (Some(_), None) => false,
        (None, Some(_)) => true,
        (None, None) => matches!(event.event, "ConfigApplied" | "ConfigRefused"),
    };
    if !about || event.fields.contains_key("operator") {
        return None;
    }
    let at = SystemTime::UNIX_EPOCH + Duration::from_millis(event.at_ms);
    Some(StepPart {
        at: rfc3339(at),
        event: event.event.to_owned(),
        what: event.message.to_owned(),
        plugin,
        reason: text("reason").filter(|reason| !reason.is_empty()),
    })
}

fn accepted(page: &OperationPage) -> Response {
    let mut response = (StatusCode::ACCEPTED, axum::Json(page)).into_response();
    // An id has no character that means anything in a path.
    if let Ok(location) = HeaderValue::try_from(format!("/admin/v1/operations/{}", page.id)) {
        response.headers_mut().insert(header::LOCATION, location);
    }
    response
}

fn too_many() -> Problem {
    let code = Code::HostCapacity;
    let detail = format!("{AT_ONCE} operations go on already, which is as many as may; nothing was done");
    Problem::new(StatusCode::SERVICE_UNAVAILABLE, code, detail, code.remedy().to_owned())
        .retry_after(Duration::from_secs(5))
}

pub(crate) fn internal() -> Problem {
    let code = Code::HostInternal;
    Problem::new(StatusCode::SERVICE_UNAVAILABLE, code, code.meaning().to_owned(), code.remedy().to_owned())
        .retry_after(Duration::from_secs(2))
}

const RUNNING: &str = "running";
/// Operations that are remembered; the oldest that has ended goes first.
const KEPT: usize = 64;
/// Operations that go on. The supervisor and the configuration take one order after the other: more would only wait.
const AT_ONCE: usize = 16;
/// Steps of one that are kept; the oldest goes first.
const STEPS: usize = 32;

#[cfg(test)]
mod tests {
    use super::*;

    fn undertaking() -> Undertaking {
        Undertaking { operation: Operation::ReloadConfig, about: String::new(), plugin: None }
    }

    #[test]
    fn what_goes_on_and_what_is_remembered_is_bounded() {
        let (all, now) = (Undertakings::default(), SystemTime::UNIX_EPOCH);
        let first: Vec<String> = (0..AT_ONCE).map(|_| all.begin(&undertaking(), now).unwrap().id).collect();
        assert_eq!(all.begin(&undertaking(), now).unwrap_err().status(), StatusCode::SERVICE_UNAVAILABLE);
        all.end(&first[0], &Ok(1), now);
        for _ in 0..3 * KEPT {
            let id = all.begin(&undertaking(), now).unwrap().id;
            all.end(&id, &Err::<(), _>(internal().into()), now);
        }
        assert_eq!(all.locked().len(), KEPT);
        let running = all.locked().iter().filter(|one| one.state == RUNNING).count();
        assert_eq!(running, AT_ONCE - 1, "none that goes on is forgotten");
        let last = all.locked().back().cloned().unwrap();
        assert_eq!(
            (last.state.as_str(), last.problem.unwrap()["code"].as_str()),
            ("failed", Some("host.internal"))
        );
    }

    #[test]
    fn the_last_steps_are_kept_and_the_others_counted() {
        let all = Undertakings::default();
        let id = all.begin(&undertaking(), SystemTime::UNIX_EPOCH).unwrap().id;
        for n in 0..STEPS + 3 {
            all.step(&id, StepPart { what: n.to_string(), ..StepPart::default() });
        }
        let page = all.locked().back().cloned().unwrap();
        assert_eq!((page.steps.len(), page.steps_left_out, page.steps[0].what.as_str()), (STEPS, 3, "3"));
    }
}
