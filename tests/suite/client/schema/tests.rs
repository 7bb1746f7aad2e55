//! The twin: real frames pass, and the same frames with one thing wrong do not.

use serde_json::{Value, json};

use super::{SCHEMAS, Side, judge, validator};
use crate::{client::Client, harness::Setup, scenario::ready};

/// The frames of a whole conversation.
async fn conversation() -> Vec<Value> {
    let host = Setup::echo().start();
    ready(&host).await.unwrap();
    let mut client = Client::connect(&host, "alice").await.unwrap();
    let run = client.run_with("hello", json!({ "metadata": { "any": [1] } })).await.unwrap();
    let mut frames = vec![client.welcome.clone(), run.accepted];
    frames.extend(run.events);
    frames
}

/// What a lawful frame may be without.
const OPTIONAL: [&str; 4] =
    ["/agents/0/description", "/agents/0/version", "/payload/step", "/payload/result"];

/// A frame with each of its fields, at any depth, gone or of another type, and one too many: where fields are named.
fn broken(frame: &Value) -> Vec<Value> {
    let mut all = Vec::new();
    for path in objects(frame, "") {
        let mut extra = frame.clone();
        extra.pointer_mut(&path).unwrap()["surprise"] = true.into();
        all.push(extra);
        let names: Vec<String> = frame.pointer(&path).unwrap().as_object().unwrap().keys().cloned().collect();
        for name in names {
            let mut other = frame.clone();
            other.pointer_mut(&path).unwrap()[&name] = json!(-1.5);
            if !FREE[1..].contains(&name.as_str()) {
                all.push(other);
            }
            if OPTIONAL.contains(&format!("{path}/{name}").as_str()) {
                continue;
            }
            let mut gone = frame.clone();
            gone.pointer_mut(&path).unwrap().as_object_mut().unwrap().remove(&name);
            all.push(gone);
        }
    }
    all
}

/// What is anything: the client's, or a tool's.
const FREE: [&str; 3] = ["metadata", "arguments", "result"];

/// The places of objects whose fields are named.
fn objects(at: &Value, path: &str) -> Vec<String> {
    let mut found = Vec::new();
    match at {
        Value::Object(fields) => {
            found.push(path.to_owned());
            for (name, inner) in fields.iter().filter(|(name, _)| !FREE.contains(&name.as_str())) {
                found.extend(objects(inner, &format!("{path}/{name}")));
            }
        }
        Value::Array(items) => {
            for (index, inner) in items.iter().enumerate() {
                found.extend(objects(inner, &format!("{path}/{index}")));
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
    found
}

#[tokio::test]
async fn real_frames_pass_and_each_broken_one_is_seen() {
    for frame in conversation().await {
        assert_eq!(judge(Side::Server, &frame), Ok(()));
        for wrong in broken(&frame) {
            assert!(judge(Side::Server, &wrong).is_err(), "{frame} became {wrong}");
        }
    }
}

#[test]
fn a_time_that_is_none_and_an_unknown_type_are_seen() {
    let lawful = json!({ "type": "auth_expiring", "expires_at": "2027-01-15T08:00:00.042Z" });
    assert_eq!(judge(Side::Server, &lawful), Ok(()));
    for wrong in [
        json!({ "type": "auth_expiring", "expires_at": "tomorrow" }),
        json!({ "type": "surprise" }),
        json!({ "type": "cancel", "run_id": "r" }),
        json!({}),
    ] {
        assert!(judge(Side::Server, &wrong).is_err(), "{wrong}");
    }
}

#[test]
fn a_client_may_send_fields_that_the_host_does_not_know() {
    let frame = json!({ "type": "cancel", "run_id": "r", "why": "bored" });
    assert_eq!(judge(Side::Client, &frame), Ok(()));
}

#[test]
fn every_published_schema_compiles() {
    for name in SCHEMAS.keys().filter(|name| name.contains('.')) {
        assert!(validator(name).is_some(), "{name}");
    }
}
