//! Accepts connections and speaks HTTP/1.1 on them: header deadline, no Nagle, a bound on connections, and a pause
//! instead of a spin when there are no descriptors.

use std::{convert::Infallible, io, net::SocketAddr, panic::AssertUnwindSafe, sync::Arc, time::Duration};

use agent_host_core::{failpoint, failpoint::Action};
use agent_host_telemetry::happening::{AcceptPaused, PanicCaught};
use agent_plugin_protocol::Code;
use axum::{
    Router,
    body::Body,
    response::{IntoResponse, Response},
};
use futures_util::FutureExt;
use http::{HeaderValue, Request, StatusCode, header};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tower::ServiceExt;

use crate::{descriptors::Places, refusal::UpgradeRefusal, upgrade::panic_message};

/// One listener with what it serves.
pub(crate) struct Listener {
    pub(crate) name: &'static str,
    pub(crate) socket: TcpListener,
    pub(crate) router: Router,
    pub(crate) header_within: Duration,
    /// Open connections, and how many more are told 503; beyond that they are dropped.
    pub(crate) places: Places,
    pub(crate) tasks: TaskTracker,
    pub(crate) stop: CancellationToken,
}

/// A connection's place among those that are open: in each request's extensions, for what outlives the request.
#[derive(Debug, Clone)]
pub(crate) struct ConnectionSlot {
    _permit: Arc<OwnedSemaphorePermit>,
}

/// Who is at the other end: in each request's extensions, for the audit.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Peer(pub(crate) SocketAddr);

/// A request's head. A token has at most 8 KiB; longer ones must get their 401, not just any 431.
const HEAD_BYTES: usize = 128 * 1024;

impl Listener {
    /// Accepts until stopped.
    pub(crate) async fn run(self) {
        let places = Arc::new(Semaphore::new(self.places.served.min(Semaphore::MAX_PERMITS)));
        let overflow = Arc::new(Semaphore::new(self.places.told));
        let mut pause = Pause::default();
        loop {
            let accepted = tokio::select! {
                accepted = self.socket.accept() => accepted,
                () = self.stop.cancelled() => return,
            };
            match accepted {
                Ok((stream, peer)) => {
                    pause = Pause::default();
                    self.take(stream, Peer(peer), &places, &overflow);
                }
                // The client was gone before we took it; the listener is well.
                Err(e) if is_the_clients(&e) => {}
                Err(e) => {
                    let wait = pause.next();
                    AcceptPaused { listener: self.name, reason: e.to_string(), pause_ms: wait.as_millis() }
                        .emit();
                    tokio::select! {
                        () = tokio::time::sleep(wait) => {}
                        () = self.stop.cancelled() => return,
                    }
                }
            }
        }
    }

    fn take(&self, stream: TcpStream, peer: Peer, places: &Arc<Semaphore>, overflow: &Arc<Semaphore>) {
        // Without it an answer could wait for the client's delayed acknowledgement; with it unset, all still works.
        let _ = stream.set_nodelay(true);
        if let Ok(permit) = Arc::clone(places).try_acquire_owned() {
            let slot = ConnectionSlot { _permit: Arc::new(permit) };
            self.tasks.spawn(self.serve(stream, peer, Some(self.router.clone()), slot));
        } else if let Ok(permit) = Arc::clone(overflow).try_acquire_owned() {
            let slot = ConnectionSlot { _permit: Arc::new(permit) };
            self.tasks.spawn(self.serve(stream, peer, None, slot));
        }
        // Beyond that the stream is dropped: refusing politely costs what we have not got.
    }

    /// Serves one connection; without a router, only to say that the host is full.
    fn serve(
        &self,
        stream: TcpStream,
        peer: Peer,
        router: Option<Router>,
        slot: ConnectionSlot,
    ) -> impl Future<Output = ()> + use<> {
        let stop = self.stop.clone();
        // For a broken twin: a host that waits for ever.
        let patient = failpoint!("gateway.head_deadline") == Some(Action::Off);
        let header_within = if patient { Duration::from_secs(3600) } else { self.header_within };
        async move {
            let service = service_fn(move |request| respond(router.clone(), (peer, slot.clone()), request));
            let connection = http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(header_within)
                .max_buf_size(HEAD_BYTES)
                .serve_connection(TokioIo::new(stream), service)
                .with_upgrades();
            tokio::pin!(connection);
            // Errors are the client's: cut off, too slow, not HTTP. What the client was owed, hyper has sent.
            tokio::select! {
                _ = &mut connection => return,
                () = stop.cancelled() => connection.as_mut().graceful_shutdown(),
            }
            let _ = connection.await;
        }
    }
}

/// Answers a request, whatever happens: the layer around everything, whose answer to a panic is 503.
async fn respond(
    router: Option<Router>,
    (peer, slot): (Peer, ConnectionSlot),
    mut request: Request<Incoming>,
) -> Result<Response, Infallible> {
    let Some(router) = router else { return Ok(full()) };
    request.extensions_mut().insert(peer);
    request.extensions_mut().insert(slot);
    match AssertUnwindSafe(router.oneshot(request.map(Body::new))).catch_unwind().await {
        Ok(Ok(response)) => Ok(response),
        Ok(Err(never)) => match never {},
        Err(panic) => {
            PanicCaught { place: "http", message: panic_message(panic.as_ref()) }.emit();
            Ok(after_panic())
        }
    }
}

fn after_panic() -> Response {
    // For the twin: what a host without this layer would say.
    if failpoint!("gateway.panic_answer") == Some(Action::Off) {
        return StatusCode::INTERNAL_SERVER_ERROR.into_response();
    }
    UpgradeRefusal::internal().into_response()
}

fn full() -> Response {
    let mut response =
        UpgradeRefusal::unavailable(Code::HostCapacity, Duration::from_secs(5)).into_response();
    response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    response
}

fn is_the_clients(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset | io::ErrorKind::ConnectionRefused
    )
}

/// How long to wait after an accept that failed: doubling, and reset by the first that works.
#[derive(Debug)]
struct Pause(Duration);

impl Default for Pause {
    fn default() -> Self {
        Self(Duration::from_millis(10))
    }
}

impl Pause {
    fn next(&mut self) -> Duration {
        let now = self.0;
        self.0 = (now * 2).min(Duration::from_secs(1));
        now
    }
}
