//! What is said and heard: a prepared `user_message`, and the kinds of frames that count.

use std::sync::atomic::{AtomicU64, Ordering};

use serde::Deserialize;

use crate::wire::{self, Opcode};

/// What a server's frame is, as far as measuring cares.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// The first frame of a connection.
    Welcome,
    /// A message was taken.
    Accepted,
    /// The run's first event.
    Started,
    /// A piece of streamed text.
    Delta,
    /// The run's last event.
    Completed,
    /// A message was not taken.
    Error,
    /// Anything else.
    Other,
}

impl Kind {
    /// The kind of a frame, by the first `"type"` in it: at its begin, as our servers write it.
    pub fn of(payload: &[u8]) -> Self {
        let Some(at) = find(payload, b"\"type\":\"") else { return Self::Other };
        let word = payload.get(at + 8..).unwrap_or_default();
        let table: [(&[u8], Self); 6] = [
            (b"agent_completed\"", Self::Completed),
            (b"agent_message_delta\"", Self::Delta),
            (b"agent_started\"", Self::Started),
            (b"accepted\"", Self::Accepted),
            (b"welcome\"", Self::Welcome),
            (b"error\"", Self::Error),
        ];
        table.into_iter().find(|(name, _)| word.starts_with(name)).map_or(Self::Other, |(_, kind)| kind)
    }
}

/// Whether an `agent_completed` is an agent's own answer: the fallback's is `degraded`.
pub fn is_ok(completed: &[u8]) -> bool {
    find(completed, b"\"status\":\"ok\"").is_some()
}

/// What a frame says, for people: its payload if it has one.
pub fn payload_of(text: &[u8]) -> String {
    let at = find(text, b"\"payload\":").unwrap_or_default();
    String::from_utf8_lossy(text.get(at..).unwrap_or_default()).into_owned()
}

/// The thread that an `accepted` names.
pub fn thread_of(accepted: &[u8]) -> Option<String> {
    #[derive(Deserialize)]
    struct Accepted {
        thread_id: String,
    }
    serde_json::from_slice::<Accepted>(accepted).ok().map(|accepted| accepted.thread_id)
}

/// A `user_message`, framed once; each use only writes another id into it.
#[derive(Debug, Clone)]
pub struct UserMessage {
    frame: Vec<u8>,
    id_at: usize,
}

impl UserMessage {
    /// Without a thread the host makes one.
    pub fn new(content: &str, thread: Option<&str>) -> Self {
        let thread = thread.map(|id| format!("\"thread_id\":\"{id}\",")).unwrap_or_default();
        let json =
            format!("{{\"type\":\"user_message\",\"id\":\"{NO_ID}\",{thread}\"content\":\"{content}\"}}");
        let frame = wire::encode(Opcode::Text, json.as_bytes());
        let id_at = find(&frame, NO_ID.as_bytes()).expect("the placeholder is in the text above");
        Self { frame, id_at }
    }

    /// The frame with an id that no other message of this process has.
    pub fn prepare(&mut self) -> &[u8] {
        let id = format!("{:016x}", NEXT.fetch_add(1, Ordering::Relaxed));
        self.frame[self.id_at..self.id_at + id.len()].copy_from_slice(id.as_bytes());
        &self.frame
    }
}

fn find(bytes: &[u8], what: &[u8]) -> Option<usize> {
    bytes.windows(what.len()).position(|window| window == what)
}

/// As long as an id: 16 hexadecimal digits. Not hexadecimal, so that no thread's id looks like it.
const NO_ID: &str = "xxxxxxxxxxxxxxxx";

static NEXT: AtomicU64 = AtomicU64::new(1);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_told_apart_by_their_type() {
        assert_eq!(Kind::of(br#"{"type":"agent_completed","seq":4}"#), Kind::Completed);
        assert_eq!(Kind::of(br#"{"seq":4,"type":"agent_message_delta"}"#), Kind::Delta);
        assert_eq!(Kind::of(br#"{"type":"errors"}"#), Kind::Other);
        assert_eq!(Kind::of(br"{}"), Kind::Other);
    }

    #[test]
    fn each_use_of_a_message_has_its_own_id() {
        let mut message = UserMessage::new("hello", Some("t"));
        assert_ne!(message.prepare().to_vec(), message.prepare().to_vec());
    }

    #[test]
    fn the_thread_is_read_from_accepted() {
        assert_eq!(thread_of(br#"{"type":"accepted","thread_id":"t1"}"#).as_deref(), Some("t1"));
    }
}
