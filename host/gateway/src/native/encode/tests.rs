use std::{sync::Arc, time::UNIX_EPOCH};

use agent_host_core::{
    identity::{Scope, SignedBy},
    ports::store::NewEvent,
};
use agent_plugin_protocol::EventKind;
use serde_json::Value;

use super::*;
use crate::tests::support;

fn at() -> SystemTime {
    UNIX_EPOCH + Duration::from_millis(1_800_000_000_042)
}

fn entry(agent: &str, payload: &'static [u8]) -> LogEntry {
    LogEntry {
        seq: Seq(42),
        thread: ThreadId::new("t\"1").unwrap(),
        event: NewEvent {
            run: RunId::new("r1").unwrap(),
            kind: EventKind::AgentThinking,
            agent: agent.into(),
            time: at(),
            payload: Bytes::from_static(payload),
        },
    }
}

#[test]
fn an_event_is_its_envelope_around_the_payload_s_own_bytes() {
    let bytes = event(&entry("echo", br#"{ "text":"a\u0041",  "step":1 }"#));
    insta::assert_snapshot!(String::from_utf8(bytes.to_vec()).unwrap(), @r#"{"type":"agent_thinking","seq":42,"thread_id":"t\"1","run_id":"r1","agent":"echo","time":"2027-01-15T08:00:00.042Z","payload":{ "text":"a\u0041",  "step":1 }}"#);
    assert!(serde_json::from_slice::<Value>(&bytes).is_ok());
}

#[test]
fn an_event_is_encoded_once_for_all_its_subscribers() {
    let delivery = Arc::new(agent_host_engine::session::Delivery::new(entry("echo", b"{}")));
    let first = delivery.native(event);
    let second = delivery.native(|_| panic!("encoded twice"));
    assert_eq!(first.as_ptr(), second.as_ptr());
}

#[test]
fn bytes_that_are_not_utf8_still_make_a_frame() {
    assert!(into_text(event(&entry("echo", b"{\"text\":\"\xff\"}"))).contains("agent_thinking"));
}

#[test]
fn the_welcome_is_as_documented() {
    let principal = Principal {
        scope: Scope { tenant: "t".into(), user: "u1".into() },
        permissions: Default::default(),
        expires_at: at() + Duration::from_secs(60),
        issued_at: None,
        token_id: None,
        signed_by: SignedBy::Host,
        issuer: None,
        audiences: [].into(),
    };
    let text = welcome("c1", &principal, &support::status(), &support::settings(), at());
    let pretty: Value = serde_json::from_str(&text).unwrap();
    insta::assert_snapshot!(serde_json::to_string_pretty(&pretty).unwrap());
}

#[test]
fn the_other_frames_are_as_documented() {
    let thread = ThreadId::new("t1").unwrap();
    let mut frames = vec![
        subscribed(&Subscribed {
            thread: thread.clone(),
            epoch: Epoch::new("e").unwrap(),
            from: Seq(42),
            to: Seq(57),
            recovered: false,
            reason: Some("too_old"),
        }),
        outgoing(&Outgoing::Status {
            status: Arc::new(support::status()),
            changed: vec!["billing".to_owned()],
        }),
        problem(&Problem {
            id: Some(MessageId::new("m").unwrap()),
            retry_after: Some(Duration::from_millis(800)),
            ..Problem::new(Code::LimitRate)
        }),
        ping(&[(thread, Seq(57))]),
        pong(),
        auth_expiring(at()),
        auth_refreshed(at()),
    ];
    frames.push(accepted(&Accepted {
        id: MessageId::new("m").unwrap(),
        thread: ThreadId::new("t1").unwrap(),
        run: RunId::new("r2").unwrap(),
        epoch: Epoch::new("e").unwrap(),
        seq: Seq(40),
        duplicate: true,
        resumes: Some(RunId::new("r1").unwrap()),
    }));
    let lines: Vec<&str> = frames.iter().map(|f| f.as_str()).collect();
    insta::assert_snapshot!(lines.join("\n"));
}
