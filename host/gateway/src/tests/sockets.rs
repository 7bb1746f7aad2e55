use std::time::Duration;

use agent_host_engine::Incoming;
use futures_util::{SinkExt, StreamExt};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_tungstenite::tungstenite::Message;

use super::support::*;
use crate::rules::Keys;

#[tokio::test]
async fn the_welcome_is_first_and_says_what_is_missing() {
    let doors = open(|_| {}).await;
    let mut client = Client::connect(&doors, &token()).await.unwrap();
    let welcome = client.frame().await;
    assert_eq!(welcome["type"], "welcome");
    assert_eq!(welcome["protocol"], "agent-host.v1");
    assert_eq!(welcome["user_id"], "u1");
    assert_eq!(welcome["service"]["level"], "partial");
    assert_eq!(welcome["service"]["missing"][0]["code"], "plugin.crash_loop");
    assert_eq!(welcome["agents"][0]["name"], "echo");
    assert_eq!(
        welcome["limits"],
        json!({"frame_bytes": 65536, "messages_per_minute": 120, "runs_at_once": 4})
    );
}

#[tokio::test]
async fn a_message_is_accepted_and_its_events_follow_in_order() {
    let doors = open(|_| {}).await;
    let mut client = Client::welcomed(&doors).await;
    client.send(r#"{"type":"user_message","id":"m1","content":"hello"}"#).await;
    let accepted = client.frame().await;
    assert_eq!(
        accepted,
        json!({"type":"accepted","id":"m1","thread_id":"t1","run_id":"r1","epoch":"e1","seq":1,"duplicate":false})
    );
    for (seq, kind) in [(1, "user_message"), (2, "agent_started"), (3, "agent_completed")] {
        let event = client.frame().await;
        assert_eq!((&event["type"], &event["seq"]), (&json!(kind), &json!(seq)));
        assert_eq!(event["payload"], json!({"text":"hi"}));
    }
}

#[tokio::test]
async fn malformed_frames_are_answered_and_the_socket_stays() {
    let doors = open(|_| {}).await;
    let mut client = Client::welcomed(&doors).await;
    for (frame, code) in [
        ("nonsense", "frame.invalid_json"),
        ("[]", "frame.invalid"),
        (r#"{"type":"dance"}"#, "frame.unknown_type"),
        (r#"{"type":"user_message","content":" "}"#, "frame.empty_content"),
        (r#"{"type":"subscribe"}"#, "frame.invalid"),
    ] {
        client.send(frame).await;
        let error = client.frame().await;
        assert_eq!((&error["type"], &error["code"]), (&json!("error"), &json!(code)), "{frame}");
    }
    client.send(r#"{"type":"ping"}"#).await;
    assert_eq!(client.frame().await, json!({"type":"pong"}));
}

#[tokio::test]
async fn what_is_for_the_engine_gets_there() {
    let doors = open(|_| {}).await;
    let mut client = Client::welcomed(&doors).await;
    for frame in [
        r#"{"type":"subscribe","thread_id":"t","after_seq":1}"#,
        r#"{"type":"unsubscribe","thread_id":"t"}"#,
        r#"{"type":"cancel","run_id":"r"}"#,
        r#"{"type":"interrupt_response","id":"i","run_id":"r","interrupt_id":"q","response":{}}"#,
        r#"{"type":"ack","thread_id":"t","seq":1}"#,
        r#"{"type":"ping"}"#,
    ] {
        client.send(frame).await;
    }
    assert_eq!(client.frame().await["type"], "pong");
    let heard = doors.script.heard.lock().unwrap();
    assert!(matches!(
        heard.as_slice(),
        [
            Incoming::Subscribe { .. },
            Incoming::Unsubscribe { .. },
            Incoming::Cancel { .. },
            Incoming::Answer { .. },
            Incoming::Ack { .. }
        ]
    ));
}

#[tokio::test]
async fn a_frame_above_the_limit_is_an_error_then_1009() {
    let doors = open(|_| {}).await;
    let mut client = Client::welcomed(&doors).await;
    // Much more than the socket's buffers hold: the client is still sending when the host answers.
    let mut huge = client.0.send(Message::text("x".repeat(20_000_000))).await;
    if huge.is_ok() {
        huge = client.0.flush().await;
    }
    drop(huge);
    assert_eq!(client.frame().await["code"], "frame.too_large");
    assert_eq!(client.close_code().await, Some(1009));
}

#[tokio::test]
async fn a_frame_at_the_limit_passes() {
    let doors = open(|s| s.limits.frame_bytes = 1024).await;
    let mut client = Client::welcomed(&doors).await;
    let frame = format!(r#"{{"type":"ping","pad":"{}"}}"#, "x".repeat(1024 - 24));
    assert!(frame.len() <= 1024);
    client.send(&frame).await;
    assert_eq!(client.frame().await["type"], "pong");
}

#[tokio::test]
async fn what_is_not_our_protocol_is_closed_with_its_code() {
    let doors = open(|_| {}).await;
    let mut client = Client::welcomed(&doors).await;
    client.0.send(Message::binary(vec![1, 2, 3])).await.unwrap();
    assert_eq!(client.close_code().await, Some(1003));

    let line = format!("Authorization: Bearer {}", token());
    // Masked with zeros: text that is no UTF-8; a continuation of nothing; reserved bits; an unmasked frame; a
    // fragmented ping; a close code that may not be sent.
    for (bytes, code) in [
        (&b"\x81\x82\0\0\0\0\xff\xfe"[..], 1007u16),
        (b"\x80\x81\0\0\0\0x", 1002),
        (b"\xc1\x81\0\0\0\0x", 1002),
        (b"\x81\x01x", 1002),
        (b"\x09\x81\0\0\0\0x", 1002),
        (b"\x83\x81\0\0\0\0x", 1002),
        (b"\x88\x82\0\0\0\0\x03\xed", 1002),
    ] {
        let mut stream = tokio::net::TcpStream::connect(doors.gateway.public_addr()).await.unwrap();
        stream.write_all(upgrade(&[&line]).as_bytes()).await.unwrap();
        stream.write_all(bytes).await.unwrap();
        let mut all = Vec::new();
        stream.read_to_end(&mut all).await.unwrap();
        let close = all.windows(4).rev().find(|w| w[0] == 0x88 && w[2..4] == code.to_be_bytes());
        assert!(close.is_some(), "{bytes:?} was not closed with {code}");
    }
}

#[tokio::test]
async fn the_reply_to_a_client_s_close_is_flushed() {
    let doors = open(|_| {}).await;
    let mut client = Client::welcomed(&doors).await;
    client.0.close(None).await.unwrap();
    // The reply, then the end of the stream; no reset.
    assert!(matches!(client.0.next().await, Some(Ok(Message::Close(_)))));
    assert!(client.0.next().await.is_none());
}

#[tokio::test]
async fn too_many_messages_are_told_when_to_come_back() {
    let doors = open(|s| s.limits.messages_per_minute = 1).await;
    let mut client = Client::welcomed(&doors).await;
    client.send(r#"{"type":"user_message","id":"a","content":"x"}"#).await;
    client.send(r#"{"type":"user_message","id":"b","content":"x"}"#).await;
    let refused = loop {
        let frame = client.frame().await;
        if frame["type"] == "error" {
            break frame;
        }
    };
    assert_eq!(
        (&refused["code"], &refused["id"], &refused["retryable"]),
        (&json!("limit.rate"), &json!("b"), &json!(true))
    );
    assert!((1..=60_000).contains(&refused["retry_after_ms"].as_u64().unwrap()));
}

#[tokio::test]
async fn a_flood_of_frames_is_closed_4405() {
    let doors = open(|s| s.limits.frames_per_second = 2).await;
    let mut client = Client::welcomed(&doors).await;
    for _ in 0..11 {
        let _ = client.0.feed(Message::text("x")).await;
    }
    let _ = client.0.flush().await;
    assert_eq!(client.close_code().await, Some(4405));
}

#[tokio::test]
async fn a_panic_in_the_host_closes_1011_and_the_next_connection_is_well() {
    let doors = open(|_| {}).await;
    let mut client = Client::welcomed(&doors).await;
    client.send(r#"{"type":"user_message","content":"panic"}"#).await;
    assert_eq!(client.close_code().await, Some(1011));
    Client::welcomed(&doors).await;
}

#[tokio::test]
async fn a_hanging_engine_is_an_error_frame_and_the_socket_stays() {
    let doors = open(|s| s.timing.handle = Duration::from_millis(20)).await;
    let mut client = Client::welcomed(&doors).await;
    client.send(r#"{"type":"user_message","id":"m","content":"hang"}"#).await;
    let error = client.frame().await;
    assert_eq!((&error["code"], &error["id"]), (&json!("host.internal"), &json!("m")));
    client.send(r#"{"type":"ping"}"#).await;
    assert_eq!(client.frame().await["type"], "pong");
}

#[tokio::test]
async fn a_client_that_fell_behind_is_closed_4404() {
    let doors = open(|_| {}).await;
    let mut client = Client::welcomed(&doors).await;
    doors.script.tell(None);
    assert_eq!(client.close_code().await, Some(4404));
}

#[tokio::test]
async fn a_token_can_be_refreshed_by_its_own_user_only() {
    let doors = open(|_| {}).await;
    let mut client = Client::welcomed(&doors).await;
    for (token, answer) in [
        (token_of("u1", Duration::from_secs(7200)), ("auth_refreshed", None)),
        (token_of("u2", Duration::from_secs(7200)), ("error", Some("permission.denied"))),
        ("garbage".to_owned(), ("error", Some("auth.malformed"))),
    ] {
        client.send(&json!({"type":"auth_refresh","token":token}).to_string()).await;
        let frame = client.frame().await;
        assert_eq!((frame["type"].as_str().unwrap(), frame["code"].as_str()), answer);
    }
    let refreshed = doors.script.refreshed.lock().unwrap();
    assert_eq!(
        refreshed.iter().map(|p| &*p.scope.user).collect::<Vec<_>>(),
        ["u1"],
        "what it permits counts"
    );
}

#[tokio::test]
async fn an_expired_token_ends_the_connection_4401_after_a_warning() {
    let doors = open(|s| {
        s.timing.ping = Duration::from_millis(20)..=Duration::from_millis(25);
        s.limits.frames_per_second = 0;
    })
    .await;
    let mut client = Client::welcomed(&doors).await;
    doors.clock.forward(Duration::from_secs(3590));
    loop {
        match client.frame().await["type"].as_str().unwrap() {
            "ping" => {}
            other => break assert_eq!(other, "auth_expiring"),
        }
    }
    doors.clock.forward(Duration::from_secs(80));
    assert_eq!(client.close_code().await, Some(4401));
}

#[tokio::test]
async fn an_open_connection_is_judged_by_what_holds_now() {
    const OTHER: &[u8] = b"the users' next secret, of 32 or more";
    let doors = open(|_| {}).await;
    let mut client = Client::welcomed(&doors).await;
    let with = |secrets: &[&[u8]]| {
        let mut settings = settings();
        settings.auth.hs256_secrets = secrets.iter().map(|secret| secret.to_vec().into()).collect();
        settings
    };
    doors.rules.put(with(&[OTHER, SECRET]), Keys::AsBefore);
    client.send(r#"{"type":"ping"}"#).await;
    assert_eq!(client.frame().await["type"], "pong");
    doors.rules.put(with(&[OTHER]), Keys::AsBefore);
    assert_eq!(u16::from(client.closed().await.unwrap().code), 4401);
    assert!(Client::connect(&doors, &token()).await.is_err());
}
