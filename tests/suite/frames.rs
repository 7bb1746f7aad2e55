//! Frames that are wrong: each gets an error frame with a code, and the socket stays.

use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::Message;

use crate::{
    client::{Client, End, Side, judge},
    harness::{Host, Setup},
    scenario::ready,
};

/// Text that is no lawful frame, and the code that says so.
const WRONG: &[(&str, &[&str])] = &[
    ("{", &["frame.invalid_json"]),
    ("", &["frame.invalid_json"]),
    ("hello", &["frame.invalid_json"]),
    ("{\"type\":\"user_message\",\"content\":\"a\nb\"}", &["frame.invalid_json"]),
    ("{\"type\":\"user_message\",\"content\":\"\\ud800\"}", &["frame.invalid_json", "frame.invalid"]),
    ("[]", &["frame.invalid", "frame.invalid_json"]),
    ("[\"ping\",null]", &["frame.invalid"]),
    ("null", &["frame.invalid", "frame.invalid_json"]),
    ("{}", &["frame.invalid", "frame.unknown_type"]),
    ("{\"type\":7}", &["frame.invalid", "frame.unknown_type"]),
    ("{\"type\":\"make_coffee\"}", &["frame.unknown_type"]),
    ("{\"type\":\"welcome\"}", &["frame.unknown_type"]),
    ("{\"type\":\"user_message\"}", &["frame.invalid", "frame.empty_content"]),
    ("{\"type\":\"user_message\",\"content\":\"\"}", &["frame.empty_content"]),
    ("{\"type\":\"user_message\",\"content\":\" \\n\\t \"}", &["frame.empty_content"]),
    ("{\"type\":\"user_message\",\"content\":7}", &["frame.invalid"]),
    ("{\"type\":\"user_message\",\"content\":\"x\",\"metadata\":7}", &["frame.invalid"]),
    ("{\"type\":\"user_message\",\"content\":\"x\",\"agent\":\"nobody\"}", &["agent.unknown"]),
    ("{\"type\":\"user_message\",\"content\":\"x\",\"thread_id\":\"not-mine\"}", &["thread.not_found"]),
    ("{\"type\":\"subscribe\",\"thread_id\":\"not-mine\",\"after_seq\":0}", &["thread.not_found"]),
    ("{\"type\":\"subscribe\"}", &["frame.invalid"]),
    ("{\"type\":\"subscribe\",\"thread_id\":\"t\",\"after_seq\":-1}", &["frame.invalid"]),
    ("{\"type\":\"cancel\",\"run_id\":\"not-mine\"}", &["run.not_found"]),
    ("{\"type\":\"cancel\"}", &["frame.invalid"]),
];

/// Each wrong frame is answered with its code, and the connection serves on.
async fn wrong_frames_are_answered(host: &Host) -> Result<(), String> {
    ready(host).await?;
    let mut client = Client::connect(host, "alice").await?;
    for (text, codes) in WRONG {
        client.send_text(text).await?;
        let error = client.expect("error").await.map_err(|e| format!("{text}: {e}"))?;
        if !codes.contains(&error["code"].as_str().unwrap_or_default()) {
            return Err(format!("{text}: expected {codes:?}, got {error}"));
        }
    }
    client.run("still there?").await?.answered_by("echo")
}

#[tokio::test]
async fn each_wrong_frame_gets_its_code_and_the_socket_stays() {
    let host = Setup::echo().set("limits.messages_per_minute", "0").start();
    wrong_frames_are_answered(&host).await.unwrap();
}

#[test]
fn the_schema_refuses_what_the_host_refuses_for_its_form() {
    for (text, codes) in WRONG {
        let Ok(frame) = serde_json::from_str::<Value>(text) else { continue };
        let of_form = codes.iter().any(|code| code.starts_with("frame."));
        assert_eq!(judge(Side::Client, &frame).is_err(), of_form, "{text}");
    }
}

#[tokio::test]
async fn an_error_names_the_message_it_is_about() {
    let host = Setup::echo().start();
    ready(&host).await.unwrap();
    let mut client = Client::connect(&host, "alice").await.unwrap();
    let id = client.say("x", json!({ "agent": "nobody" })).await.unwrap();
    let error = client.expect_error("agent.unknown").await.unwrap();
    assert_eq!((&error["id"], &error["retryable"]), (&id.into(), &false.into()), "{error}");
}

#[tokio::test]
async fn unknown_fields_are_ignored() {
    let host = Setup::echo().start();
    ready(&host).await.unwrap();
    let mut client = Client::connect(&host, "alice").await.unwrap();
    let run = client.run_with("hello", json!({ "colour": "blue", "nested": { "deep": [1, 2] } })).await;
    run.unwrap().answered_by("echo").unwrap();
}

#[tokio::test]
async fn a_ping_is_answered() {
    let host = Setup::echo().start();
    let mut client = Client::connect(&host, "alice").await.unwrap();
    client.send(&json!({ "type": "ping" })).await.unwrap();
    client.expect("pong").await.unwrap();
}

#[tokio::test]
async fn the_same_message_again_is_the_same_run() {
    let host = Setup::echo().start();
    ready(&host).await.unwrap();
    let mut client = Client::connect(&host, "alice").await.unwrap();
    let frame = json!({ "type": "user_message", "id": "key-1", "content": "once" });
    client.send(&frame).await.unwrap();
    let first = client.gather("key-1").await.unwrap();
    client.send(&frame).await.unwrap();
    let again = client.expect("accepted").await.unwrap();
    assert_eq!(again["duplicate"], true, "{again}");
    for field in ["run_id", "thread_id", "seq", "epoch"] {
        assert_eq!(again[field], first.accepted[field], "{field}");
    }
    let other = json!({ "type": "user_message", "id": "key-1", "content": "something else" });
    client.send(&other).await.unwrap();
    let conflict = client.expect_error("idempotency.conflict").await.unwrap();
    assert_eq!(conflict["id"], "key-1", "{conflict}");
}

/// An id stands for one body: whichever part of it is another, nothing is taken and nothing is hidden.
async fn an_id_is_of_one_body(host: &Host) -> Result<(), String> {
    ready(host).await?;
    let mut client = Client::connect(host, "alice").await?;
    let frame = json!({ "type": "user_message", "id": "key-1", "content": "once", "metadata": { "a": 1 } });
    client.send(&frame).await?;
    client.gather("key-1").await?;
    for (part, other) in [
        ("content", json!("something else")),
        ("metadata", json!({ "a": 2 })),
        ("metadata", json!({})),
        ("agent", json!("echo")),
    ] {
        let mut again = frame.clone();
        again[part] = other;
        client.send(&again).await?;
        let said = loop {
            match client.next().await? {
                // How the service is may be told at any time.
                told if told["type"] == "service_status" => {}
                said => break said,
            }
        };
        if said["code"] != "idempotency.conflict" {
            return Err(format!("another {part} under the same id: {said}"));
        }
    }
    // And the same is still the same.
    client.send(&frame).await?;
    match client.expect("accepted").await? {
        again if again["duplicate"] == true => Ok(()),
        again => Err(format!("not known as the same: {again}")),
    }
}

twin! {
    one_body(an_id_is_of_one_body) on Setup::echo();
    faults ""; broken by "engine.body_hash=off", says "another content under the same id"
}

#[tokio::test]
async fn a_message_without_id_gets_one() {
    let host = Setup::echo().start();
    ready(&host).await.unwrap();
    let mut client = Client::connect(&host, "alice").await.unwrap();
    client.send(&json!({ "type": "user_message", "content": "anonymous" })).await.unwrap();
    let accepted = client.expect("accepted").await.unwrap();
    assert!(accepted["id"].as_str().is_some_and(|id| !id.is_empty()), "{accepted}");
    client.until("agent_completed").await.unwrap();
}

#[tokio::test]
async fn a_second_connection_replays_the_thread_without_gap() {
    let host = Setup::echo().start();
    ready(&host).await.unwrap();
    let mut first = Client::connect(&host, "alice").await.unwrap();
    let run = first.run("remember this").await.unwrap();
    let last = run.events.last().unwrap()["seq"].as_u64().unwrap();

    let mut second = Client::connect(&host, "alice").await.unwrap();
    for after in 0..=last {
        let epoch = &run.accepted["epoch"];
        let subscribe =
            json!({ "type": "subscribe", "thread_id": run.thread(), "after_seq": after, "epoch": epoch });
        second.send(&subscribe).await.unwrap();
        let subscribed = second.expect("subscribed").await.unwrap();
        assert_eq!(subscribed["recovered"], true, "{subscribed}");
        assert_eq!(subscribed["to_seq"].as_u64(), Some(last), "{subscribed}");
        for expected in &run.events[usize::try_from(after).unwrap()..] {
            assert_eq!(&second.next().await.unwrap(), expected, "replay after {after}");
        }
        second.send(&json!({ "type": "unsubscribe", "thread_id": run.thread() })).await.unwrap();
    }
}

#[tokio::test]
async fn another_epoch_is_not_recovered() {
    let host = Setup::echo().start();
    ready(&host).await.unwrap();
    let mut client = Client::connect(&host, "alice").await.unwrap();
    let run = client.run("hello").await.unwrap();
    let subscribe =
        json!({ "type": "subscribe", "thread_id": run.thread(), "after_seq": 1, "epoch": "another-life" });
    let mut second = Client::connect(&host, "alice").await.unwrap();
    second.send(&subscribe).await.unwrap();
    let subscribed = second.expect("subscribed").await.unwrap();
    assert_eq!((&subscribed["recovered"], &subscribed["reason"]), (&false.into(), &"epoch".into()));
}

#[tokio::test]
async fn too_large_a_frame_is_said_to_be_so_and_closes_with_1009() {
    let host = Setup::echo().start();
    let mut client = Client::connect(&host, "alice").await.unwrap();
    let limit = client.welcome["limits"]["frame_bytes"].as_u64().unwrap();
    let content = "x".repeat(usize::try_from(limit).unwrap() + 1);
    client.send(&json!({ "type": "user_message", "content": content })).await.unwrap();
    client.expect_error("frame.too_large").await.unwrap();
    assert_eq!(client.next().await, Err(End::Closed(1009)));
}

#[tokio::test]
async fn a_binary_frame_is_refused_in_order() {
    let host = Setup::echo().start();
    let mut client = Client::connect(&host, "alice").await.unwrap();
    client.send_message(Message::binary(vec![0, 159, 146, 150])).await.unwrap();
    match client.next().await {
        Ok(frame) => assert_eq!(frame["type"], "error", "{frame}"),
        Err(end) => assert_eq!(end, End::Closed(1003)),
    }
}

#[tokio::test]
async fn a_close_is_answered() {
    let host = Setup::echo().start();
    let client = Client::connect(&host, "alice").await.unwrap();
    let code = client.close().await.unwrap();
    assert!([1000, 1005].contains(&code), "closed with {code}");
}
