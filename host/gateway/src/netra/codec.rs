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
use tokio_tungstenite::tungstenite::Utf8Bytes;

use super::{encode, events, frames::ClientFrame};
use crate::settings::Settings;

/// Messages that wait for the engine's word on them. Beyond it the oldest is forgotten: it is answered all the same, but
/// not begun anew in another thread.
const WAITING: usize = 64;

/// The codec of one connection.
#[derive(Debug)]
pub(crate) struct Codec {
    user: Arc<str>,
    waiting: VecDeque<Waiting>,
    /// Whether the client knows that the host goes.
    told_shutdown: bool,
}

/// A message that the engine has and has not accepted yet.
#[derive(Debug)]
struct Waiting {
    message: Message,
    received: String,
}

/// What to do about a frame of the client's.
#[derive(Debug)]
pub(crate) enum Heard {
    /// Answer it.
    Say(Utf8Bytes),
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
    /// For a connection of that user.
    pub(crate) fn new(principal: &Principal) -> Self {
        Self { user: principal.scope.user.clone(), waiting: VecDeque::new(), told_shutdown: false }
    }

    /// The first frames, in order: what is missing, if anything is; the welcome; a ping.
    pub(crate) fn welcome(
        &self,
        connection: &str,
        status: &Status,
        settings: &Settings,
        now: SystemTime,
    ) -> Vec<Utf8Bytes> {
        let welcome = encode::established(connection, &self.user, status, settings, now);
        encode::service_info(status, now).into_iter().chain([welcome, encode::ping(now)]).collect()
    }

    /// Reads a frame of the client's. Each but a `pong` gets an answer: here, or when the engine has one.
    pub(crate) fn heard(&mut self, text: &str, now: SystemTime) -> Heard {
        match ClientFrame::read(text) {
            ClientFrame::Message { message, received, no_thread } => {
                let said = no_thread.map(|thread| new_thread(&thread, now));
                self.wait_for(Waiting { message: (*message).clone(), received });
                Heard::Ask(said, Incoming::Message(*message))
            }
            ClientFrame::Empty => Heard::Say(self.problem(&Problem::new(Code::FrameEmptyContent), now)),
            ClientFrame::NoAgent(name) => Heard::Say(events::no_agent(&name, &self.user, now)),
            ClientFrame::Ping => Heard::Say(encode::alive("pong", &self.user, now)),
            ClientFrame::Pong => Heard::Nothing,
            ClientFrame::Heartbeat => Heard::Say(encode::alive("heartbeat_ack", &self.user, now)),
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
    pub(crate) fn told(&mut self, told: &Outgoing, now: SystemTime) -> Told {
        let frames = match told {
            Outgoing::Event(delivery) => events::frames(&delivery.entry, &self.user),
            Outgoing::Accepted(accepted) => vec![self.accepted(accepted, now)],
            // This wire has no subscriptions, so nobody asked for one.
            Outgoing::Subscribed(_) => Vec::new(),
            Outgoing::Status { status, changed } => vec![status_changed(status, changed, now)],
            Outgoing::Problem(problem) => return self.refused(problem, now),
            Outgoing::GoingAway { reconnect_after, .. } => self.going_away(*reconnect_after, now),
        };
        Told { frames, again: None }
    }

    /// The connection's ping.
    pub(crate) fn ping(now: SystemTime) -> Utf8Bytes {
        encode::ping(now)
    }

    /// A refusal; the connection stays.
    #[allow(clippy::unused_self, reason = "the codec's own word, as the others")]
    pub(crate) fn problem(&self, problem: &Problem, now: SystemTime) -> Utf8Bytes {
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

    fn accepted(&mut self, accepted: &Accepted, now: SystemTime) -> Utf8Bytes {
        let received = self.settled(&accepted.id).map(|waiting| waiting.received);
        let more = json!({ "run_id": accepted.run, "thread_id": accepted.thread, "message_id": accepted.id });
        encode::ack(received.as_deref(), &self.user, &more, now)
    }

    fn refused(&mut self, problem: &Problem, now: SystemTime) -> Told {
        let waiting = problem.id.as_ref().and_then(|id| self.settled(id));
        match waiting {
            Some(Waiting { mut message, received }) if problem.code == Code::ThreadNotFound => {
                let thread = message.thread.take();
                let named = thread.as_ref().map(ToString::to_string).unwrap_or_default();
                self.wait_for(Waiting { message: message.clone(), received });
                Told { frames: vec![new_thread(&named, now)], again: Some(Incoming::Message(message)) }
            }
            Some(Waiting { message: Message { agent: Some(agent), .. }, .. })
                if problem.code == Code::AgentUnknown =>
            {
                Told { frames: vec![events::no_agent(agent.as_str(), &self.user, now)], again: None }
            }
            Some(_) | None => Told { frames: vec![self.problem(problem, now)], again: None },
        }
    }

    fn wait_for(&mut self, waiting: Waiting) {
        if self.waiting.len() >= WAITING {
            self.waiting.pop_front();
        }
        self.waiting.push_back(waiting);
    }

    fn settled(&mut self, id: &MessageId) -> Option<Waiting> {
        let at = self.waiting.iter().position(|waiting| waiting.message.id == *id)?;
        self.waiting.remove(at)
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
