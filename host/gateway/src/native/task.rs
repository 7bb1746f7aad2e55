//! The task of one connection: from the 101 to the last byte. Whatever happens inside, the socket is closed with a
//! code that says so, and the connection is counted once in and once out.

use std::{panic::AssertUnwindSafe, sync::Arc, time::Duration};

use agent_host_core::{failpoint, failpoint::Action, identity::Principal, ports::clock::Clock};
use agent_host_telemetry::{
    happening::{ConnectionClosed, ConnectionOpened, PanicCaught, SlowConsumer},
    series::Delivered,
};
use futures_util::FutureExt;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    sync::Semaphore,
    time::{Instant, timeout},
};
use tokio_tungstenite::tungstenite::Utf8Bytes;
use tokio_util::sync::CancellationToken;

use super::{
    close::Close,
    connection::{Connection, Ending},
    socket::Socket,
    speech::Speech,
};
use crate::{host::Conversation, open::OpenPlace, rules::Rules, surface::Surface, upgrade::panic_message};

/// What all connections share.
pub(crate) struct Shared {
    pub(crate) rules: Arc<Rules>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) delivered: Delivered,
    /// The same, by the older wire.
    pub(crate) delivered_netra: DeliveredNetra,
    /// How many sockets are closed at once when the host goes: in batches, so that the clients of all of them do not
    /// come back in the same instant. The others wait.
    pub(crate) closers: Semaphore,
}

/// Events handed to clients of the older wire, by its version.
pub(crate) struct DeliveredNetra([Delivered; 2]);

impl Default for DeliveredNetra {
    fn default() -> Self {
        Self([Surface::NetraV1, Surface::NetraV2].map(|surface| Delivered::on(surface.name())))
    }
}

impl DeliveredNetra {
    pub(super) fn by(&self, surface: Surface) -> &Delivered {
        let Self([v1, v2]) = self;
        match surface {
            Surface::Native | Surface::NetraV1 => v1,
            Surface::NetraV2 => v2,
        }
    }
}

/// A connection, just upgraded.
pub(crate) struct Upgraded<T, C> {
    pub(crate) stream: T,
    pub(crate) conversation: C,
    pub(crate) principal: Arc<Principal>,
    /// Its place among those that are open.
    pub(crate) place: OpenPlace,
    /// What it speaks, and what is to be said of it first.
    pub(crate) speech: Speech,
    /// The first frames.
    pub(crate) welcome: Vec<Utf8Bytes>,
    /// When the upgrade was accepted.
    pub(crate) accepted: Instant,
}

/// Serves a connection to its end.
pub(crate) async fn serve<T, C>(upgraded: Upgraded<T, C>, shared: Arc<Shared>, stop: CancellationToken)
where
    T: AsyncRead + AsyncWrite + Unpin,
    C: Conversation,
{
    let Upgraded { stream, conversation, principal, place, speech, welcome, accepted } = upgraded;
    let connection = place.card().id.clone();
    let surface = speech.surface();
    let rules = shared.rules.now();
    let timing = &rules.settings.timing;
    // The welcome has told it: it holds for this connection, whatever comes.
    let frame_bytes = surface.frame_bytes(rules.settings.limits.frame_bytes);
    let mut socket = Socket::new(stream, frame_bytes, timing.write, timing.close, surface).await;
    let counted = !principal.scope.is_self_check();
    if counted {
        ConnectionOpened { connection: connection.clone(), surface: surface.name() }.emit();
    }

    let mut open =
        Connection::new(&mut socket, conversation, speech, &shared, &principal, (&stop, place.card()));
    let run = open.run(welcome, accepted);
    let ending = AssertUnwindSafe(run).catch_unwind().await.unwrap_or_else(|panic| {
        PanicCaught { place: "connection", message: panic_message(panic.as_ref()) }.emit();
        Ending::ByHost(Close::Bug)
    });
    // With it the conversation ends: nothing more is told.
    drop(open);
    drop(place);

    let (code, reason) = match ending {
        Ending::ByClient(code) => (code.map_or(NO_STATUS, known), "closed by the client"),
        Ending::Gone | Ending::Cut => (ABNORMAL, "connection lost"),
        Ending::ByHost(close) => (close.code_on(surface), close.reason()),
    };
    if ending == Ending::ByHost(Close::Slow) {
        SlowConsumer { connection: connection.clone() }.emit();
    }
    // Boxed: an open connection does not keep the room for its end.
    Box::pin(end(socket, ending, &shared)).await;
    if counted {
        ConnectionClosed { connection, code, reason: reason.to_owned() }.emit();
    }
}

async fn end<T: AsyncRead + AsyncWrite + Unpin>(socket: Socket<T>, ending: Ending, shared: &Shared) {
    match ending {
        Ending::ByClient(_) => socket.finish().await,
        Ending::Gone | Ending::Cut => drop(socket),
        Ending::ByHost(Close::Restarting) => {
            // The semaphore is never closed; without a place the socket would be closed all the same.
            let place = shared.closers.acquire().await;
            let close = socket.close(Close::Restarting);
            tokio::pin!(close);
            // For a broken twin: a host that stays with the deaf until they have had their time.
            let turn = if failpoint!("gateway.close.turn") == Some(Action::Off) { FOR_EVER } else { TURN };
            if timeout(turn, &mut close).await.is_err() {
                drop(place);
                close.await;
            }
        }
        Ending::ByHost(why) => socket.close(why).await,
    }
}

/// How long a socket that is closed with many others keeps its place in the batch. Its close frame is out within that;
/// for the client's half it waits beside the next ones, or a few hundred clients that are gone without a word would use
/// up the time of all the others, who would see 1006. 10 ms: ten thousand sockets then take less than a second.
const TURN: Duration = Duration::from_millis(10);

/// For the twin.
const FOR_EVER: Duration = Duration::from_secs(3600);

/// RFC 6455's codes for what never is on the wire.
const NO_STATUS: u16 = 1005;
const ABNORMAL: u16 = 1006;

/// A client may send any of thousands of codes; the metric's label has few values.
fn known(code: u16) -> u16 {
    match code {
        1000..=1003 | 1007..=1011 => code,
        _ => OTHER,
    }
}

/// Any other code of a client's, as a label.
const OTHER: u16 = 3000;
