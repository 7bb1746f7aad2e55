use std::{collections::HashSet, time::SystemTime};

use agent_host_core::{
    ports::store::{LogEntry, NewEvent},
    timestamp::rfc3339,
};
use bytes::Bytes;

use super::*;
use crate::native::encode;

#[test]
fn the_event_s_type_is_what_the_encoder_writes() {
    for kind in EventKind::ALL {
        let payload = r#"{ "text":"a\u0041",  "step":1 }"#;
        let entry = LogEntry {
            seq: Seq(42),
            thread: ThreadId::new("t\"é").unwrap(),
            event: NewEvent {
                run: RunId::new("r\\").unwrap(),
                kind: *kind,
                agent: "ech\u{1F600}o".into(),
                time: SystemTime::UNIX_EPOCH,
                payload: Bytes::from_static(payload.as_bytes()),
            },
        };
        let typed = Event {
            kind: *kind,
            seq: entry.seq,
            thread_id: &entry.thread,
            run_id: &entry.event.run,
            agent: &entry.event.agent,
            time: rfc3339(entry.event.time),
            payload: serde_json::from_str(payload).unwrap(),
        };
        assert_eq!(encode::event(&entry), serde_json::to_string(&typed).unwrap());
    }
}

#[test]
fn every_frame_is_described_once() {
    let frames = Frames::describe();
    let kinds: HashSet<&str> = frames.server.iter().map(|frame| frame.kind.as_str()).collect();
    // The variants of `ServerFrame`, and the events.
    assert_eq!((kinds.len(), frames.server.len()), (10 + EventKind::ALL.len(), 10 + EventKind::ALL.len()));
    let client: Vec<&str> = frames.client.iter().map(|frame| frame.kind.as_str()).collect();
    assert_eq!(client, frames::TYPES);
}

#[test]
fn every_reference_leads_to_a_definition_and_no_two_types_share_a_name() {
    let frames = Frames::describe();
    let mut all: Vec<Value> = frames.definitions.values().cloned().collect();
    all.extend(frames.server.iter().chain(&frames.client).map(|frame| frame.schema.clone().to_value()));
    let text = Value::from(all).to_string();
    for name in text.split("\"#/components/schemas/").skip(1).filter_map(|rest| rest.split('"').next()) {
        assert!(frames.definitions.contains_key(name), "{name}");
        // The generator numbers the second of a name.
        assert!(!name.ends_with(|c: char| c.is_ascii_digit()), "{name}");
    }
}

#[test]
fn what_the_host_sends_has_no_unnamed_field() {
    fn open(schema: &Value) -> bool {
        let named = schema.get("properties").is_some();
        (named && schema["additionalProperties"] != false)
            || schema.as_object().is_some_and(|all| all.values().any(open))
            || schema.as_array().is_some_and(|all| all.iter().any(open))
    }
    for frame in Frames::describe().server {
        assert!(!open(frame.schema.as_value()), "{}: {}", frame.kind, frame.schema.as_value());
    }
}
