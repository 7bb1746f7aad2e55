//! What happens, as it happens: server-sent events, after what is kept of before.
//!
//! A reader that is slow slows nobody: the host keeps the last happenings for it, and it is told how many it missed. A
//! stream ends with its token, and with the host.

use std::{collections::VecDeque, convert::Infallible, sync::Arc, time::Duration};

use agent_host_core::{failpoint, failpoint::Action};
use agent_host_telemetry::admin::{self as happenings, AdminEvent, Kept, Position};
use agent_plugin_protocol::Code;
use axum::{
    body::{Body, Bytes},
    response::{IntoResponse as _, Response},
};
use futures_util::stream;
use http::{HeaderValue, StatusCode, header, request::Parts};
use tokio::{
    sync::{OwnedSemaphorePermit, broadcast::error::RecvError, watch},
    time::timeout,
};
use tokio_util::sync::CancellationToken;

use super::{audit::Operator, door::Admin, pages};
use crate::{
    problem::Problem,
    rest::query::Query,
    rules::{InForce, Rules},
};

/// `GET /admin/v1/events[?since=&follow=]`
pub(crate) fn answer<H>(admin: &Admin<H>, parts: &Parts, operator: &Operator) -> Result<Response, Problem> {
    let wrong = |why: String| pages::bad_request(why, "see /admin/v1/openapi.json");
    let query = Query::read(&parts.uri, &["since", "follow"]).map_err(wrong)?;
    let follow = match query.text("follow") {
        None | Some("true") => true,
        Some("false") => false,
        Some(_) => return Err(wrong("follow is true or false".to_owned())),
    };
    let last = parts.headers.get("last-event-id").and_then(|id| id.to_str().ok());
    let since = match last.or(query.text("since")) {
        None => None,
        Some("0") => Some(Position::BEGIN),
        Some(id) => Some(
            Position::parse(id)
                .ok_or_else(|| wrong("since is 0 for all that is kept, or the id of an event".to_owned()))?,
        ),
    };
    let place = Arc::clone(&admin.watchers).try_acquire_owned().map_err(|_| too_many())?;
    // Off for a broken twin: a host that takes each reader for a new one.
    let since = since.filter(|_| failpoint!("gateway.events_since") != Some(Action::Off));
    let Kept { events, missed, next } = happenings::since(since);
    let mut ready: VecDeque<Bytes> = VecDeque::new();
    // Off for a broken twin: a host that is silent about what it does not keep any more.
    let missed = if failpoint!("gateway.events_missed") == Some(Action::Off) { 0 } else { missed };
    ready.extend((missed > 0).then(|| of_missed(missed)));
    ready.extend(events.iter().map(frame));
    let watching = Watching {
        ready,
        next: follow.then_some(next),
        ends: Ends {
            stop: admin.stop.clone(),
            rules: Arc::clone(&admin.rules),
            exchanged: admin.rules.watch(),
            operator: operator.clone(),
        },
        _place: place,
    };
    let body = Body::from_stream(stream::unfold(watching, |mut watching| async move {
        let bytes = watching.next().await?;
        Some((Ok::<_, Infallible>(bytes), watching))
    }));
    let mut response = body.into_response();
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    Ok(response)
}

struct Watching {
    ready: VecDeque<Bytes>,
    /// `None`: only what was kept.
    next: Option<tokio::sync::broadcast::Receiver<AdminEvent>>,
    ends: Ends,
    _place: OwnedSemaphorePermit,
}

struct Ends {
    stop: CancellationToken,
    rules: Arc<Rules>,
    exchanged: watch::Receiver<Arc<InForce>>,
    operator: Operator,
}

impl Watching {
    /// The next piece; `None`: it is over. Cancel safe.
    async fn next(&mut self) -> Option<Bytes> {
        if let Some(bytes) = self.ready.pop_front() {
            return Some(bytes);
        }
        let events = self.next.as_mut()?;
        loop {
            let Ends { rules, operator, stop, exchanged } = &mut self.ends;
            let over = operator.is_over(&exchanged.borrow_and_update(), rules.clock().now());
            if over {
                return None;
            }
            let event = tokio::select! {
                event = timeout(QUIET, events.recv()) => event,
                () = stop.cancelled() => return None,
                // The sender is there as long as the rules are.
                _ = exchanged.changed() => continue,
            };
            return match event {
                Ok(Ok(event)) => Some(frame(&event)),
                Ok(Err(RecvError::Lagged(missed))) => Some(of_missed(missed)),
                Ok(Err(RecvError::Closed)) => None,
                // So that a connection that is dead is noticed, and none is taken for dead.
                Err(_) => Some(Bytes::from_static(b": still here\n\n")),
            };
        }
    }
}

fn frame(event: &AdminEvent) -> Bytes {
    // The type has nothing that JSON cannot say; one line, as JSON escapes line ends.
    let data = serde_json::to_string(event).unwrap_or_default();
    format!("id: {}\nevent: {}\ndata: {data}\n\n", event.id, event.event).into()
}

fn of_missed(missed: u64) -> Bytes {
    format!("event: missed\ndata: {{\"missed\":{missed}}}\n\n").into()
}

fn too_many() -> Problem {
    let code = Code::HostCapacity;
    let detail = format!("{WATCHERS} others watch already, which is as many as may");
    Problem::new(StatusCode::SERVICE_UNAVAILABLE, code, detail, "close one of them".to_owned())
        .retry_after(Duration::from_secs(30))
}

/// Who may watch at once: each holds one of the 64 connections of operators.
pub(crate) const WATCHERS: usize = 16;
/// How long a stream is silent: below the 30 s after which load balancers cut.
const QUIET: Duration = Duration::from_secs(15);
