//! Answers `GET /ws`: ordered steps up to the 101. Total: a step that panics, fails or hangs is a 503, never a 500
//! and never a client left waiting (law 1). Nothing here asks a plugin, the store or a bus.

mod guard;
mod handshake;
#[cfg(feature = "failpoints")]
mod on_the_fly;
pub(crate) mod origin;

use std::{
    net::IpAddr,
    sync::{Arc, atomic::AtomicBool},
    time::Duration,
};

use agent_host_core::{failpoint, failpoint::Action, identity::Principal};
use agent_host_engine::view::Status;
use agent_host_telemetry::{
    happening::{TokensGuessed, UpgradeAnswered},
    series,
};
use agent_plugin_protocol::Code;
use axum::{
    body::Body,
    extract::{Request, State},
    response::{IntoResponse, Response},
};
use http::{HeaderValue, Method, StatusCode, header, request::Parts};
use hyper_util::rt::TokioIo;
use tokio::{
    sync::Notify,
    time::{Instant, timeout},
};
use tokio_tungstenite::tungstenite::Utf8Bytes;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

pub(crate) use guard::panic_message;

use self::{
    guard::{StepCell, guarded},
    handshake::Handshake,
};
use crate::{
    accept::{ConnectionSlot, Peer},
    auth::{AuthError, TokenSource},
    client_address::client_address,
    guesses::{Guesses, TooMany},
    host::{Conversation, Host},
    limits::{UserConnection, UserConnections},
    native::{self, Shared, Speech, Upgraded},
    netra,
    open::{Card, OpenConnections, OpenPlace},
    problem::Problem,
    refusal::UpgradeRefusal,
    rotation::Rotation,
    rules::InForce,
    self_check::Own,
    surface::{Policy, Surface},
    tickets::Tickets,
};

/// What the public routes share.
pub(crate) struct Door<H> {
    pub(crate) host: Arc<H>,
    pub(crate) shared: Arc<Shared>,
    pub(crate) users: UserConnections,
    pub(crate) tickets: Tickets,
    /// Bad tokens, by address.
    pub(crate) failures: Guesses,
    /// The connections that the host makes to itself.
    pub(crate) own: Own,
    pub(crate) tasks: TaskTracker,
    /// Ends every connection.
    pub(crate) stop: CancellationToken,
    pub(crate) open: Arc<OpenConnections>,
    pub(crate) rotation: Arc<Rotation>,
}

impl<H: Host> Door<H> {
    /// Whether new connections are refused: the host goes away, or an operator took it out of rotation.
    pub(crate) fn is_draining(&self) -> bool {
        self.host.is_draining() || self.stop.is_cancelled() || self.rotation.is_out()
    }

    /// Where the client of a request is, as far as trusted proxies tell.
    fn address_of(&self, parts: &Parts) -> Option<IpAddr> {
        let peer = parts.extensions.get::<Peer>()?;
        Some(client_address(peer.0.ip(), &parts.headers, &self.shared.rules.now().settings.trusted_proxies))
    }

    /// Refuses a token that is no good. An address with too many of them is told to wait: good tokens from the same
    /// address are none of them, so that nobody is locked out by a neighbour.
    pub(crate) fn no_token(&self, error: AuthError, of: &Parts) -> UpgradeRefusal {
        if error.code == Code::AuthKeysUnavailable {
            return UpgradeRefusal::of_token(error);
        }
        let peer = of.extensions.get::<Peer>().filter(|peer| !self.own.is(peer.0));
        let peer = peer.and_then(|_| self.address_of(of));
        // The host's own look at itself guesses at no token.
        let counted = peer.map_or(Ok(()), |peer| {
            let per_minute = self.shared.rules.now().settings.limits.auth_failures_per_minute;
            self.failures.count(peer, per_minute, Instant::now())
        });
        match counted {
            Ok(()) => UpgradeRefusal::of_token(error),
            Err(TooMany { retry_after, first }) => {
                if let (true, Some(peer)) = (first, peer) {
                    TokensGuessed { from: peer.to_string(), retry_after_ms: retry_after.as_millis() }.emit();
                }
                UpgradeRefusal::too_many(Code::LimitAuthFailures, retry_after)
            }
        }
    }
}

/// The steps, in order. Each is a failpoint, `gateway.upgrade.<step>`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    Headers,
    Drain,
    Origin,
    Token,
    Limits,
    Subprotocol,
    Session,
    Welcome,
    Accept,
}

impl Step {
    /// In order: a step's number is its place here.
    const ALL: [Self; 9] = [
        Self::Headers,
        Self::Drain,
        Self::Origin,
        Self::Token,
        Self::Limits,
        Self::Subprotocol,
        Self::Session,
        Self::Welcome,
        Self::Accept,
    ];

    const fn name(self) -> &'static str {
        match self {
            Self::Headers => "headers",
            Self::Drain => "drain",
            Self::Origin => "origin",
            Self::Token => "token",
            Self::Limits => "limits",
            Self::Subprotocol => "subprotocol",
            Self::Session => "session",
            Self::Welcome => "welcome",
            Self::Accept => "accept",
        }
    }
}

/// Answers one request for `/ws`.
pub(crate) async fn answer<H: Host>(State(door): State<Arc<Door<H>>>, request: Request) -> Response {
    if request.method() != Method::GET {
        return method_not_allowed();
    }
    #[cfg(feature = "failpoints")]
    if let Some(raised) = on_the_fly::raised(&door, request.headers(), request.uri()).await {
        return raised;
    }
    let own = request.extensions().get::<Peer>().is_some_and(|peer| door.own.is(peer.0));
    // One for the whole of it: what is exchanged meanwhile holds for the next.
    let rules = door.shared.rules.now();
    let response = guarded(rules.settings.timing.upgrade, |step| upgrade(&door, &rules, request, step)).await;
    let (status, code) = match &response {
        Ok(_) => (StatusCode::SWITCHING_PROTOCOLS, ""),
        Err(refusal) => (refusal.status(), refusal.code().as_str()),
    };
    // What the host asks itself is no user's traffic.
    if !own {
        UpgradeAnswered { status: status.as_u16(), code: code.to_owned() }.emit();
    }
    response.unwrap_or_else(IntoResponse::into_response)
}

/// The path itself. `at` says which step it is in, for the log.
async fn upgrade<H: Host>(
    door: &Arc<Door<H>>,
    rules: &InForce,
    mut request: Request,
    at: StepCell,
) -> Result<Response, UpgradeRefusal> {
    let accepted = Instant::now();
    let on_upgrade = hyper::upgrade::on(&mut request);
    let (parts, _body) = request.into_parts();

    enter(&at, Step::Headers, failpoint!("gateway.upgrade.headers")).await?;
    let handshake = Handshake::check(&parts)?;
    // Before the token is judged: which refusal its client understands depends on it.
    let choice = Surface::choose(&parts.headers, Policy::from(&rules.settings));

    enter(&at, Step::Drain, failpoint!("gateway.upgrade.drain")).await?;
    if door.is_draining() {
        return Err(UpgradeRefusal::unavailable(Code::HostDraining, DRAIN_RETRY));
    }

    enter(&at, Step::Origin, failpoint!("gateway.upgrade.origin")).await?;
    origin::check(&parts.headers, &rules.settings.origins)?;

    enter(&at, Step::Token, failpoint!("gateway.upgrade.token")).await?;
    let principal = authenticate(door, rules, &parts).await.map_err(|refusal| refusal.on(choice.surface))?;

    enter(&at, Step::Limits, failpoint!("gateway.upgrade.limits")).await?;
    let user = door
        .users
        .admit(&principal.scope, rules.settings.limits.connections_per_user)
        .ok_or_else(|| UpgradeRefusal::too_many(Code::LimitConnections, CONNECTIONS_RETRY))?;

    enter(&at, Step::Subprotocol, failpoint!("gateway.upgrade.subprotocol")).await?;
    let surface = (!choice.unsupported).then_some(choice.surface);

    enter(&at, Step::Session, failpoint!("gateway.upgrade.session")).await?;
    let conversation = door.host.open(Arc::clone(&principal));

    enter(&at, Step::Welcome, failpoint!("gateway.upgrade.welcome")).await?;
    let connection = uuid::Uuid::new_v4().simple().to_string();
    let status = conversation.status();
    let speech = speech(surface, &principal, &status);
    let welcome = welcome(door, rules, (&speech, &status), &principal, &connection);

    enter(&at, Step::Accept, failpoint!("gateway.upgrade.accept")).await?;
    let slot = parts.extensions.get::<ConnectionSlot>().cloned();
    let card = Card {
        id: connection,
        scope: principal.scope.clone(),
        surface: speech.surface(),
        since: door.shared.clock.now(),
        address: door.address_of(&parts),
        load: conversation.load(),
        dismissed: Notify::new(),
        cut: AtomicBool::new(false),
    };
    let place = door.open.enter(card);
    // Boxed: on its way into the connection's loop it is moved from future to future, and each keeps room for it.
    let conversation = Box::new(conversation);
    let session = Opened { conversation, principal, place, speech, welcome, accepted, places: (user, slot) };
    door.tasks.spawn(take_over(on_upgrade, session, Arc::clone(&door.shared), door.stop.clone()));
    Ok(switching_protocols(&handshake, choice.answer))
}

/// Answers one request for the echo of the conformance suite: the same handshake and socket as at `/ws`, for anybody.
#[cfg(feature = "failpoints")]
pub(crate) async fn echo<H: Host>(State(door): State<Arc<Door<H>>>, mut request: Request) -> Response {
    let on_upgrade = hyper::upgrade::on(&mut request);
    let handshake = match Handshake::check(&request.into_parts().0) {
        Ok(handshake) => handshake,
        Err(refusal) => return refusal.into_response(),
    };
    let shared = Arc::clone(&door.shared);
    door.tasks.spawn(async move {
        if let Ok(stream) = on_upgrade.await {
            native::echo(TokioIo::new(stream), shared).await;
        }
    });
    switching_protocols(&handshake, None)
}

/// Notes the step, and does what a test wants to happen in it.
async fn enter(at: &StepCell, step: Step, injected: Option<Action>) -> Result<(), UpgradeRefusal> {
    at.set(step);
    match injected {
        None | Some(Action::Off) => Ok(()),
        // `failpoint!` unwinds by itself for a panic.
        Some(Action::Error | Action::Panic) => Err(guard::failed(step, "injected error")),
        Some(pause @ (Action::Delay(_) | Action::Hang)) => {
            tokio::time::sleep(pause.pause().unwrap_or_default()).await;
            Ok(())
        }
    }
}

async fn authenticate<H: Host>(
    door: &Door<H>,
    rules: &InForce,
    parts: &Parts,
) -> Result<Arc<Principal>, UpgradeRefusal> {
    let refuse = UpgradeRefusal::of_token;
    // For a broken twin: a host that logs what opens its doors.
    if failpoint!("gateway.quiet_tokens") == Some(Action::Off) {
        tracing::info!(headers = ?parts.headers, "an upgrade");
    }
    match TokenSource::find(&parts.headers, &parts.uri).map_err(refuse)? {
        TokenSource::Jwt(token) => {
            // For a broken twin: a host that counts what opens its doors, each by itself.
            if failpoint!("gateway.quiet_metrics") == Some(Action::Off) {
                series::peer_refused(&token);
            }
            let verified = rules.users.judge(&token).await.map(Arc::new);
            verified.map_err(|error| door.no_token(error, parts))
        }
        TokenSource::Ticket(ticket) => door
            .tickets
            .redeem(ticket, door.shared.clock.now())
            .ok_or_else(|| AuthError::of(Code::AuthTicketInvalid))
            // Its token may have been revoked since, its key removed.
            .and_then(|principal| rules.users.check_standing(&principal).map(|()| principal))
            .map_err(|error| door.no_token(error, parts)),
    }
}

fn welcome<H: Host>(
    door: &Door<H>,
    rules: &InForce,
    (speech, status): (&Speech, &Status),
    principal: &Principal,
    connection: &str,
) -> Vec<Utf8Bytes> {
    let (settings, now) = (&rules.settings, door.shared.clock.now());
    match speech {
        Speech::Native => vec![native::welcome(connection, principal, status, settings, now)],
        Speech::Netra(codec) => codec.welcome(connection, status, settings, now),
        Speech::None => Vec::new(),
    }
}

/// Without a surface the client speaks nothing of ours.
fn speech(surface: Option<Surface>, principal: &Principal, status: &Arc<Status>) -> Speech {
    match surface {
        None => Speech::None,
        Some(Surface::Native) => Speech::Native,
        Some(Surface::NetraV1) => Speech::Netra(Box::new(netra::Codec::v1(principal))),
        Some(Surface::NetraV2) => Speech::Netra(Box::new(netra::Codec::v2(principal, Arc::clone(status)))),
    }
}

/// An opened session on its way to its socket, with the places it takes: they come back when it ends.
struct Opened<C> {
    conversation: C,
    principal: Arc<Principal>,
    place: OpenPlace,
    speech: Speech,
    welcome: Vec<Utf8Bytes>,
    accepted: Instant,
    places: (UserConnection, Option<ConnectionSlot>),
}

/// Waits for the 101 to be written, then serves the connection.
async fn take_over<C: Conversation>(
    on_upgrade: hyper::upgrade::OnUpgrade,
    opened: Opened<C>,
    shared: Arc<Shared>,
    stop: CancellationToken,
) {
    // An error or a timeout is a client that left before it had its answer.
    let Ok(Ok(stream)) = timeout(shared.rules.now().settings.timing.write, on_upgrade).await else { return };
    let Opened { conversation, principal, place, speech, welcome, accepted, places } = opened;
    let upgraded =
        Upgraded { stream: TokioIo::new(stream), conversation, principal, place, speech, welcome, accepted };
    native::serve(upgraded, shared, stop).await;
    drop(places);
}

fn switching_protocols(handshake: &Handshake, protocol: Option<HeaderValue>) -> Response {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let headers = response.headers_mut();
    headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
    headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
    headers.insert(header::SEC_WEBSOCKET_ACCEPT, handshake.accept.clone());
    if let Some(protocol) = protocol {
        headers.insert(header::SEC_WEBSOCKET_PROTOCOL, protocol);
    }
    response
}

fn method_not_allowed() -> Response {
    Problem::of_http(
        StatusCode::METHOD_NOT_ALLOWED,
        "http.method_not_allowed",
        "/ws takes GET only".to_owned(),
        "connect with a WebSocket client".to_owned(),
    )
    .with_header(header::ALLOW, HeaderValue::from_static("GET"))
    .into_response()
}

/// The next host, or this one's successor, is there by then.
const DRAIN_RETRY: Duration = Duration::from_secs(2);
/// Connections that died are noticed after a ping interval.
const CONNECTIONS_RETRY: Duration = Duration::from_secs(30);
