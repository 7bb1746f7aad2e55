//! What one of the replaced platform's clients may say, in any of the forms that its history shows.

use agent_host_engine::session::Message;
use agent_plugin_protocol::{MessageId, PluginId, ThreadId};
use serde_json::{Map, Value};

/// A frame of a client.
#[derive(Debug)]
pub(super) enum ClientFrame {
    /// A message to an agent.
    Message {
        /// For the engine. Without a thread if the one that was named cannot be any.
        message: Box<Message>,
        /// The type that it came with.
        received: String,
        /// The thread that was named, and cannot be any.
        no_thread: Option<String>,
    },
    /// A message without text.
    Empty,
    /// A message to an agent of this name, which no agent may have.
    NoAgent(String),
    /// Wants a pong.
    Ping,
    /// Answers our ping.
    Pong,
    /// Wants a `heartbeat_ack`.
    Heartbeat,
    /// The client has the ids of the second version's handshake.
    Acknowledged,
    /// A JSON-RPC request of that method; without an id it wants no answer of its own.
    Rpc { id: Option<Value>, method: String },
    /// Anything else: acknowledged, and nothing done.
    Other(Option<String>),
    /// No JSON, or no object; why.
    Malformed(String),
}

/// The types that carry text.
const TEXT: [&str; 11] = [
    "user_message",
    "message",
    "user",
    "user_input",
    "chat",
    "chat_message",
    "start_agent",
    "agent_request",
    "agent",
    "agent_task",
    "execute_agent",
];

impl ClientFrame {
    /// Reads one text frame.
    pub(super) fn read(text: &str) -> Self {
        let frame = match serde_json::from_str::<Value>(text) {
            Ok(Value::Object(frame)) => frame,
            Ok(_) => return Self::Malformed("a frame is one JSON object".to_owned()),
            Err(error) => return Self::Malformed(shortened(&error.to_string())),
        };
        if frame.contains_key("jsonrpc") {
            let method = frame.get("method").and_then(Value::as_str).map(shortened).unwrap_or_default();
            let id = frame.get("id").filter(|id| id.is_string() || id.is_number()).cloned();
            return Self::Rpc { id, method };
        }
        match frame.get("type").and_then(Value::as_str) {
            Some(kind) if TEXT.contains(&kind) => Self::message(kind.to_owned(), &frame),
            Some("ping") => Self::Ping,
            Some("pong") => Self::Pong,
            Some("heartbeat") => Self::Heartbeat,
            Some("handshake_acknowledged") => Self::Acknowledged,
            other => Self::Other(other.map(shortened)),
        }
    }

    /// Reads what carries text, whatever the type it came with.
    pub(super) fn message(received: String, frame: &Map<String, Value>) -> Self {
        // Without a payload the frame is its own.
        let payload = frame.get("payload").and_then(Value::as_object).unwrap_or(frame);
        let Some(content) = first(&[payload], &["content", "message", "text", "user_request"]) else {
            return Self::Empty;
        };
        let agent = match first(&[payload, frame], &["agent_name", "agent_type", "agent"]) {
            None => None,
            Some(name) => match PluginId::new(name) {
                Ok(agent) => Some(agent),
                Err(_) => return Self::NoAgent(shortened(name)),
            },
        };
        let named = first(&[payload, frame], &["thread_id"]);
        let thread: Option<ThreadId> = named.and_then(parsed);
        let no_thread = named.filter(|_| thread.is_none()).map(shortened);
        let id = first(&[payload, frame], &["message_id"]).and_then(parsed).unwrap_or_else(MessageId::random);
        let content = content.to_owned();
        let message = Box::new(Message { id, thread, given: None, agent, content, metadata: Map::new() });
        Self::Message { message, received, no_thread }
    }
}

/// The first of these fields that holds text which is not blank.
fn first<'a>(objects: &[&'a Map<String, Value>], names: &[&str]) -> Option<&'a str> {
    let fields = names.iter().flat_map(|name| objects.iter().map(move |object| object.get(*name)));
    fields.flatten().filter_map(Value::as_str).find(|text| !text.trim().is_empty())
}

fn parsed<T: serde::de::DeserializeOwned>(text: &str) -> Option<T> {
    serde_json::from_value(Value::String(text.to_owned())).ok()
}

/// Answers quote what the client sent: not more than so much of it.
fn shortened(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(200).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(text: &str) -> (Message, Option<String>) {
        match ClientFrame::read(text) {
            ClientFrame::Message { message, no_thread, .. } => (*message, no_thread),
            other => panic!("{text} is {other:?}"),
        }
    }

    #[test]
    fn every_type_takes_every_field_nested_and_flat() {
        for kind in TEXT {
            for field in ["content", "message", "text", "user_request"] {
                for text in [
                    format!(r#"{{"type":"{kind}","payload":{{"{field}":"hi"}}}}"#),
                    format!(r#"{{"type":"{kind}","{field}":"hi"}}"#),
                ] {
                    assert_eq!(message(&text).0.content, "hi", "{text}");
                }
                let blank = format!(r#"{{"type":"{kind}","payload":{{"{field}":" "}}}}"#);
                assert!(matches!(ClientFrame::read(&blank), ClientFrame::Empty), "{blank}");
            }
        }
    }

    #[test]
    fn a_thread_may_stand_in_payload_or_frame_and_one_that_cannot_be_is_said() {
        let thread = ThreadId::random();
        for text in [
            format!(r#"{{"type":"chat","payload":{{"content":"a","thread_id":"{thread}"}}}}"#),
            format!(r#"{{"type":"chat","thread_id":"{thread}","payload":{{"content":"a"}}}}"#),
        ] {
            assert_eq!(message(&text).0.thread, Some(thread.clone()), "{text}");
        }
        let long = "x".repeat(4096);
        let (found, no_thread) = message(&format!(r#"{{"type":"chat","content":"a","thread_id":"{long}"}}"#));
        assert_eq!((found.thread, no_thread), (None, Some("x".repeat(200))));
    }

    #[test]
    fn what_carries_no_text_is_told_apart() {
        let is = |text: &str| format!("{:?}", ClientFrame::read(text));
        assert_eq!(is(r#"{"type":"ping"}"#), "Ping");
        assert_eq!(is(r#"{"type":"heartbeat"}"#), "Heartbeat");
        assert_eq!(is(r#"{"type":"handshake_acknowledged","thread_id":"t"}"#), "Acknowledged");
        assert_eq!(is(r#"{"type":"typing_start"}"#), r#"Other(Some("typing_start"))"#);
        assert_eq!(is("{}"), "Other(None)");
        assert!(is("{").starts_with("Malformed"));
        assert!(is("[]").starts_with("Malformed"));
        assert_eq!(is(r#"{"type":"agent","content":"a","agent":"No Such"}"#), r#"NoAgent("No Such")"#);
        assert!(is(r#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#).starts_with("Rpc"));
    }
}
