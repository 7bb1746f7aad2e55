//! What a host says, read from its frames.

use std::collections::BTreeMap;

use agent_plugin_protocol::{Epoch, EventKind, MessageId, RunId, Seq, ThreadId};
use serde::Deserialize;
use serde_json::Value;

/// A frame of the host. Fields that a terminal has no use for are not read.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(super) enum Frame {
    /// The first of a connection.
    Welcome(Welcome),
    /// A message is durable.
    Accepted { id: MessageId, thread_id: ThreadId, run_id: RunId, epoch: Epoch, seq: Seq },
    /// What follows of a thread.
    Subscribed {
        thread_id: ThreadId,
        epoch: Epoch,
        to_seq: Seq,
        recovered: bool,
        #[serde(default)]
        reason: Option<String>,
    },
    /// The service changed.
    ServiceStatus(Service),
    /// A refusal; the connection stays.
    Error(Refusal),
    /// Wants a pong.
    Ping {
        #[serde(default)]
        positions: BTreeMap<ThreadId, Seq>,
    },
    /// The host will end.
    GoingAway {
        #[serde(default)]
        reconnect_after_ms: u64,
    },
    /// The token ends soon.
    AuthExpiring { expires_at: String },
    /// An entry of a thread's log.
    #[serde(skip)]
    Event(Event),
    /// A type that this client does not know, or has nothing to do for.
    #[serde(other)]
    Other,
}

/// The first frame of a connection.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub(super) struct Welcome {
    pub(super) host: String,
    pub(super) user_id: String,
    #[serde(default = "ping_interval")]
    pub(super) ping_interval_ms: u64,
    pub(super) limits: Limits,
    pub(super) service: Service,
    #[serde(default)]
    pub(super) agents: Vec<Agent>,
}

#[derive(Debug, Clone, PartialEq, Deserialize)]
pub(super) struct Limits {
    pub(super) frame_bytes: usize,
}

/// What the service can do now.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub(super) struct Service {
    pub(super) level: String,
    #[serde(default)]
    pub(super) reason: String,
    #[serde(default)]
    pub(super) missing: Vec<Missing>,
}

/// What it lacks.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub(super) struct Missing {
    pub(super) name: String,
    pub(super) kind: String,
    pub(super) code: String,
    #[serde(default)]
    pub(super) reason: String,
}

#[derive(Debug, Clone, PartialEq, Deserialize)]
pub(super) struct Agent {
    pub(super) name: String,
    pub(super) state: String,
}

/// An error frame.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub(super) struct Refusal {
    pub(super) code: String,
    #[serde(default)]
    pub(super) message: String,
    #[serde(default)]
    pub(super) id: Option<MessageId>,
    #[serde(default)]
    pub(super) retryable: bool,
    #[serde(default)]
    pub(super) retry_after_ms: Option<u64>,
}

/// An entry of a thread's log.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub(super) struct Event {
    /// `None`: one from the future. It moves the position like any other.
    #[serde(rename = "type", deserialize_with = "kind")]
    pub(super) kind: Option<EventKind>,
    pub(super) seq: Seq,
    pub(super) thread_id: ThreadId,
    pub(super) run_id: RunId,
    #[serde(default)]
    pub(super) agent: String,
    #[serde(default)]
    pub(super) payload: Value,
}

impl Frame {
    /// Reads a frame.
    ///
    /// # Errors
    /// If it is no frame of the protocol. An unknown type is none: a newer host may say more.
    pub(super) fn read(value: &Value) -> Result<Self, serde_json::Error> {
        let is_event = value.get("seq").is_some() && value.get("payload").is_some();
        if !is_event {
            return Self::deserialize(value);
        }
        Event::deserialize(value).map(Self::Event)
    }
}

impl Event {
    /// A text of the payload; empty if it has none.
    pub(super) fn text(&self, field: &str) -> &str {
        self.payload[field].as_str().unwrap_or_default()
    }
}

fn kind<'de, D: serde::Deserializer<'de>>(from: D) -> Result<Option<EventKind>, D::Error> {
    let name = String::deserialize(from)?;
    Ok(EventKind::ALL.iter().copied().find(|kind| kind.as_str() == name))
}

/// What the protocol promises where the host does not say.
fn ping_interval() -> u64 {
    25_000
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_unknown_is_passed_over() {
        assert_eq!(Frame::read(&json!({"type": "from_the_future", "x": 1})).unwrap(), Frame::Other);
        assert_eq!(Frame::read(&json!({"type": "pong"})).unwrap(), Frame::Other);
        let ping = Frame::read(&json!({"type": "ping", "positions": {"t": 7}, "new": true})).unwrap();
        let positions = [(ThreadId::new("t").unwrap(), Seq(7))].into();
        assert_eq!(ping, Frame::Ping { positions });
    }

    #[test]
    fn an_event_is_told_by_its_position_and_payload() {
        let event = json!({"type": "agent_thinking", "seq": 3, "thread_id": "t", "run_id": "r", "payload": {"text": "hm"}});
        let Frame::Event(event) = Frame::read(&event).unwrap() else { panic!("it is an event") };
        assert_eq!(
            (event.kind, event.seq, event.text("text")),
            (Some(EventKind::AgentThinking), Seq(3), "hm")
        );
        // `accepted` has a position too.
        let accepted =
            json!({"type": "accepted", "id": "m", "thread_id": "t", "run_id": "r", "epoch": "e", "seq": 1});
        assert!(matches!(Frame::read(&accepted).unwrap(), Frame::Accepted { .. }));
    }
}
