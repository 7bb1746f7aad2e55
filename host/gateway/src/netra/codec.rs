//! What one connection of the older wire remembers between its frames, and how each is turned into the other side's.

use std::{
    collections::VecDeque,
    sync::Arc,
    time::{Duration, SystemTime},
};

use agent_host_core::identity::Principal;
use agent_host_engine::{
    Incoming, Outgoing,
    session::{Accepted, Message, Problem},
    view::Status,
};
use agent_plugin_protocol::{Code, MessageId};
use serde_json::{Value, json};
use tokio::time::Instant;
use tokio_tungstenite::tungstenite::Utf8Bytes;

use super::{
    encode, events,
    frames::ClientFrame,
    handshake::Handshake,
    pulse::{Open, Pulse},
};
use crate::{settings::Settings, surface::Surface};

/// Messages that wait for the engine's word on them. Beyond it the oldest is forgotten: it is answered all the same, but
/// not begun anew in another thread.
const WAITING: usize = 64;
/// Something is said of each frame within 3 s; a busy host, and the way to the client, have what is left of it.
pub(crate) const ANSWER_WITHIN: Duration = Duration::from_millis(2500);

/// The codec of one connection.
#[derive(Debug)]
pub(crate) struct Codec {
    user: Arc<str>,
    /// The second version's; the first has none.
    handshake: Option<Handshake>,
    waiting: VecDeque<Waiting>,
    pulse: Pulse,
    /// Whether the client knows that the host goes.
    told_shutdown: bool,
}

/// A message that the engine has and has not accepted yet.
#[derive(Debug)]
struct Waiting {
    message: Message,
    received: String,
    /// When the client is told that it still waits; `None` once it was.
    speak_at: Option<Instant>,
}

/// What to do about a frame of the client's.
#[derive(Debug)]
pub(crate) enum Heard {
    /// Answer it.
    Say(Utf8Bytes),
    /// Answer it by these.
    SayAll(Vec<Utf8Bytes>),
    /// Say this, if anything, and ask the engine.
    Ask(Option<Utf8Bytes>, Incoming),
    /// It was a sign of life.
    Nothing,
}

/// What to do about something that the engine said.
#[derive(Debug, Default)]
pub(crate) struct Told {
    /// Frames for the client.
    pub(crate) frames: Vec<Utf8Bytes>,
    /// The same message once more, in a thread of its own.
    pub(crate) again: Option<Incoming>,
}

impl Codec {
    /// For a connection of that user, in the first version.
    pub(crate) fn v1(principal: &Principal) -> Self {
        Self {
            user: principal.scope.user.clone(),
            handshake: None,
            waiting: VecDeque::new(),
            pulse: Pulse::default(),
            told_shutdown: false,
        }
    }

    /// In the second.
    pub(crate) fn v2(principal: &Principal, status: Arc<Status>) -> Self {
        Self { handshake: Some(Handshake::new(status)), ..Self::v1(principal) }
    }

    /// Which version it is.
    pub(crate) fn surface(&self) -> Surface {
        match self.handshake {
            None => Surface::NetraV1,
            Some(_) => Surface::NetraV2,
        }
    }

    /// The first frames, in order. In the first version: what is missing, if anything is; the welcome; a ping. In the
    /// second the ids alone, and the rest when the client has them.
    pub(crate) fn welcome(
        &self,
        connection: &str,
        status: &Status,
        settings: &Settings,
        now: SystemTime,
    ) -> Vec<Utf8Bytes> {
        if let Some(handshake) = &self.handshake {
            return vec![handshake.response(connection, status, now)];
        }
        let welcome = encode::established(connection, &self.user, status, settings, now);
        encode::service_info(status, now).into_iter().chain([welcome, encode::ping(now)]).collect()
    }

    /// Reads a frame of the client's. Each but a `pong` gets an answer: here, or when the engine has one.
    pub(crate) fn heard(&mut self, text: &str, at: Instant, now: SystemTime) -> Heard {
        match ClientFrame::read(text) {
            ClientFrame::Message { mut message, received, no_thread } => {
                let said = no_thread.map(|thread| new_thread(&thread, now));
                if let Some(handshake) =
                    self.handshake.as_mut().filter(|own| said.is_none() || own.is_unused())
                {
                    handshake.place(&mut message);
                }
                self.wait_for((*message).clone(), received, at);
                Heard::Ask(said, Incoming::Message(*message))
            }
            ClientFrame::Empty => Heard::Say(self.problem(&Problem::new(Code::FrameEmptyContent), now)),
            ClientFrame::NoAgent(name) => Heard::Say(events::no_agent(&name, &self.user, now)),
            ClientFrame::Ping => Heard::Say(encode::alive("pong", &self.user, now)),
            ClientFrame::Pong => Heard::Nothing,
            ClientFrame::Heartbeat => Heard::Say(encode::alive("heartbeat_ack", &self.user, now)),
            ClientFrame::Acknowledged => match &mut self.handshake {
                Some(handshake) => {
                    let complete = handshake.complete(now);
                    let ready = handshake.acknowledged().map(|status| self.ready(&status, now));
                    Heard::SayAll(std::iter::once(complete).chain(ready.into_iter().flatten()).collect())
                }
                None => Heard::Say(self.ack(Some("handshake_acknowledged"), now)),
            },
            ClientFrame::Rpc { id: Some(id), method } => Heard::Say(rpc(&id, &method)),
            ClientFrame::Rpc { id: None, method } => Heard::Say(self.ack(Some(&method), now)),
            ClientFrame::Other(kind) => Heard::Say(self.ack(kind.as_deref(), now)),
            ClientFrame::Malformed(why) => {
                let message = format!("Invalid JSON: {why}");
                Heard::Say(encode::error("FORMAT_ERROR", &message, json!({}), now))
            }
        }
    }

    /// Turns what the engine says into frames.
    pub(crate) fn told(&mut self, told: &Outgoing, at: Instant, now: SystemTime) -> Told {
        let frames = match told {
            Outgoing::Event(delivery) => {
                self.pulse.told(&delivery.entry, at);
                events::frames(&delivery.entry, &self.user)
            }
            Outgoing::Accepted(accepted) => vec![self.accepted(accepted, at, now)],
            // This wire has no subscriptions, so nobody asked for one.
            Outgoing::Subscribed(_) => Vec::new(),
            Outgoing::Status { status, changed } => {
                match self.handshake.as_mut().is_some_and(|handshake| handshake.hold(status)) {
                    true => Vec::new(),
                    false => vec![status_changed(status, changed, now)],
                }
            }
            Outgoing::Problem(problem) => return self.refused(problem, at, now),
            Outgoing::GoingAway { reconnect_after, .. } => self.going_away(*reconnect_after, now),
        };
        Told { frames, again: None }
    }

    /// When something is to be said though nothing happens; `None`: never.
    pub(crate) fn wake_at(&self) -> Option<Instant> {
        let waiting = self.waiting.iter().filter_map(|waiting| waiting.speak_at);
        waiting.chain(self.pulse.wake_at()).min()
    }

    /// What is to be said at `at` of runs that are silent, and of messages that nothing was said of yet.
    pub(crate) fn due(&mut self, at: Instant, now: SystemTime) -> Vec<Utf8Bytes> {
        let mut frames = Vec::new();
        for waiting in &mut self.waiting {
            if waiting.speak_at.is_some_and(|speak_at| speak_at <= at) {
                waiting.speak_at = None;
                frames.push(pending(waiting, now));
            }
        }
        let silent = self.pulse.due(at);
        frames.extend(silent.iter().map(|open| at_work(open, open.silent_for(at), &self.user, now)));
        frames
    }

    /// The connection's ping.
    pub(crate) fn ping(now: SystemTime) -> Utf8Bytes {
        encode::ping(now)
    }

    /// A refusal; the connection stays.
    pub(crate) fn problem(&mut self, problem: &Problem, now: SystemTime) -> Utf8Bytes {
        if let Some(id) = &problem.id {
            self.settled(id, false);
        }
        encode::problem(problem, now)
    }

    /// The token ends soon. That platform had no way to renew one: the client connects again.
    pub(crate) fn expiring(now: SystemTime) -> Utf8Bytes {
        let message = "the token expires soon: connect again with a new one";
        encode::system("auth_expiring", json!({ "message": message }), now)
    }

    /// Before the host closes the connection because it stops; once.
    pub(crate) fn going_away(&mut self, reconnect_after: Duration, now: SystemTime) -> Vec<Utf8Bytes> {
        if std::mem::replace(&mut self.told_shutdown, true) {
            return Vec::new();
        }
        let data = json!({
            "message": "the server is shutting down: connect again",
            "reconnect_after": reconnect_after.as_secs_f64(),
        });
        vec![encode::frame("server_shutdown", data, now)]
    }

    fn ack(&self, received: Option<&str>, now: SystemTime) -> Utf8Bytes {
        encode::ack(received, &self.user, &json!({}), now)
    }

    /// What a client of the second version is told once it has its ids.
    fn ready(&self, status: &Status, now: SystemTime) -> Vec<Utf8Bytes> {
        let established = encode::frame("connection_established", json!({ "user_id": self.user }), now);
        std::iter::once(established)
            .chain(encode::service_info(status, now))
            .chain([encode::ping(now)])
            .collect()
    }

    fn accepted(&mut self, accepted: &Accepted, at: Instant, now: SystemTime) -> Utf8Bytes {
        let received = self.settled(&accepted.id, true).map(|waiting| waiting.received);
        if !accepted.duplicate {
            self.pulse.accepted(&accepted.run, &accepted.thread, at);
        }
        let more = json!({ "run_id": accepted.run, "thread_id": accepted.thread, "message_id": accepted.id });
        encode::ack(received.as_deref(), &self.user, &more, now)
    }

    fn refused(&mut self, problem: &Problem, at: Instant, now: SystemTime) -> Told {
        let waiting = problem.id.as_ref().and_then(|id| self.settled(id, false));
        match waiting {
            Some(Waiting { mut message, received, .. }) if problem.code == Code::ThreadNotFound => {
                let thread = message.thread.take();
                let named = thread.as_ref().map(ToString::to_string).unwrap_or_default();
                message.given = None;
                if let Some(handshake) = &mut self.handshake {
                    thread.iter().for_each(|thread| handshake.lost(thread));
                    // The connection's own thread is new as well, as long as nothing was said in it.
                    if handshake.is_unused() {
                        handshake.place(&mut message);
                    }
                }
                self.wait_for(message.clone(), received, at);
                Told { frames: vec![new_thread(&named, now)], again: Some(Incoming::Message(message)) }
            }
            Some(Waiting { message: Message { agent: Some(agent), .. }, .. })
                if problem.code == Code::AgentUnknown =>
            {
                Told { frames: vec![events::no_agent(agent.as_str(), &self.user, now)], again: None }
            }
            Some(_) | None => Told { frames: vec![encode::problem(problem, now)], again: None },
        }
    }

    fn wait_for(&mut self, message: Message, received: String, at: Instant) {
        if self.waiting.len() >= WAITING {
            self.waiting.pop_front();
        }
        self.waiting.push_back(Waiting { message, received, speak_at: Some(at + ANSWER_WITHIN) });
    }

    fn settled(&mut self, id: &MessageId, accepted: bool) -> Option<Waiting> {
        if let Some(handshake) = &mut self.handshake {
            handshake.settled(id, accepted);
        }
        let at = self.waiting.iter().position(|waiting| waiting.message.id == *id)?;
        self.waiting.remove(at)
    }
}

/// Says that a message is not in the log yet: no acknowledgement, which it gets or a refusal.
fn pending(waiting: &Waiting, now: SystemTime) -> Utf8Bytes {
    let data = json!({
        "message": "the message has not been accepted yet: it will be acknowledged, or refused",
        "message_id": waiting.message.id, "received_type": waiting.received,
    });
    encode::system("message_pending", data, now)
}

/// Says that a run goes on which says nothing: the host's own word, no event of the run.
fn at_work(open: &Open, silent_for: Duration, user: &str, now: SystemTime) -> Utf8Bytes {
    let silent_for = silent_for.as_secs();
    match &open.agent {
        Some(agent) => events::at_work((&open.run, &open.thread), agent, silent_for, user, now),
        None => {
            let data = json!({
                "message": "the message waits for its turn", "run_id": open.run, "thread_id": open.thread,
                "waiting_for_seconds": silent_for,
            });
            encode::system("run_waiting", data, now)
        }
    }
}

fn status_changed(status: &Status, changed: &[String], now: SystemTime) -> Utf8Bytes {
    encode::service_info(status, now).unwrap_or_else(|| {
        let data = json!({
            "message": "the service is full", "missing_dependencies": [], "fallback_active": false,
            "service_level": status.level, "changed": changed,
        });
        encode::system("service_info", data, now)
    })
}

/// Says that a message begins a thread of its own, and why.
fn new_thread(named: &str, now: SystemTime) -> Utf8Bytes {
    let message = "there is no such thread of yours: the message begins a new one";
    encode::system("thread_not_found", json!({ "message": message, "thread_id": named }), now)
}

/// Answers a JSON-RPC request: the host has no methods but `ping`.
fn rpc(id: &Value, method: &str) -> Utf8Bytes {
    let answer = match method {
        "ping" => json!({ "jsonrpc": "2.0", "id": id, "result": {} }),
        _ => json!({
            "jsonrpc": "2.0", "id": id, "error": { "code": -32601, "message": "method not found" },
        }),
    };
    answer.to_string().into()
}
