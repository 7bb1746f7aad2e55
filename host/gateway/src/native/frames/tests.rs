use proptest::prelude::*;

use super::*;

fn refused(text: &str) -> (Code, String, Option<String>) {
    let error = ClientFrame::decode(text).unwrap_err();
    (error.code, error.message, error.id.map(|id| id.to_string()))
}

fn asked(text: &str) -> Incoming {
    match ClientFrame::decode(text).unwrap() {
        ClientFrame::Ask(incoming) => incoming,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_message_is_decoded_and_what_is_unknown_is_ignored() {
    let Incoming::Message(message) = asked(
        r#"{"type":"user_message","id":"m1","thread_id":"t1","agent":"echo","content":" hi ","metadata":{"k":1},"new":{}}"#,
    ) else {
        panic!()
    };
    assert_eq!((message.id.as_str(), message.content.as_str()), ("m1", " hi "));
    assert_eq!(message.thread.unwrap().as_str(), "t1");
    assert_eq!(message.agent.unwrap().as_str(), "echo");
    assert_eq!(message.metadata["k"], 1);
}

#[test]
fn what_may_be_left_out_may_be_null() {
    for text in [
        r#"{"type":"user_message","content":"x"}"#,
        r#"{"type":"user_message","content":"x","id":null,"thread_id":null,"agent":null,"metadata":null}"#,
    ] {
        let Incoming::Message(message) = asked(text) else { panic!() };
        assert!(message.thread.is_none() && message.agent.is_none() && message.metadata.is_empty());
        assert!(!message.id.as_str().is_empty());
    }
}

#[test]
fn the_other_frames_are_decoded() {
    assert!(matches!(
        asked(r#"{"type":"subscribe","thread_id":"t","after_seq":41,"epoch":"e"}"#),
        Incoming::Subscribe { after: Seq(41), epoch: Some(_), .. }
    ));
    assert!(matches!(
        asked(r#"{"type":"subscribe","thread_id":"t"}"#),
        Incoming::Subscribe { after: Seq(0), epoch: None, .. }
    ));
    assert!(matches!(asked(r#"{"type":"unsubscribe","thread_id":"t"}"#), Incoming::Unsubscribe { .. }));
    assert!(matches!(asked(r#"{"type":"cancel","run_id":"r"}"#), Incoming::Cancel { .. }));
    assert!(matches!(asked(r#"{"type":"ack","thread_id":"t","seq":5}"#), Incoming::Ack { seq: Seq(5), .. }));
    assert!(matches!(
        asked(r#"{"type":"interrupt_response","id":"i","run_id":"r","interrupt_id":"q","response":[1]}"#),
        Incoming::Answer { response: Value::Array(_), .. }
    ));
    assert!(matches!(ClientFrame::decode(r#"{"type":"ping"}"#), Ok(ClientFrame::Ping)));
    assert!(matches!(ClientFrame::decode(r#"{"type":"pong"}"#), Ok(ClientFrame::Pong)));
}

#[test]
fn a_refresh_keeps_its_token_secret() {
    let frame = ClientFrame::decode(r#"{"type":"auth_refresh","token":"top.secret.jwt"}"#).unwrap();
    assert!(!format!("{frame:?}").contains("top.secret"));
}

#[test]
fn each_malformed_frame_has_its_code() {
    let deep = format!(
        r#"{{"type":"user_message","content":"x","metadata":{}1{}}}"#,
        "[".repeat(9000),
        "]".repeat(9000)
    );
    let deep_field = format!(
        r#"{{"type":"user_message","content":"x","metadata":{{"a":{}1{}}}}}"#,
        "[".repeat(500),
        "]".repeat(500)
    );
    for (text, code) in [
        ("", Code::FrameInvalidJson),
        ("hello", Code::FrameInvalidJson),
        (r#"{"type":"ping""#, Code::FrameInvalidJson),
        (r#"{"type":"ping"} trailing"#, Code::FrameInvalidJson),
        (r#"{"type":"user_message","content":"\ud800"}"#, Code::FrameInvalidJson),
        ("[]", Code::FrameInvalid),
        ("null", Code::FrameInvalid),
        ("42", Code::FrameInvalid),
        ("{}", Code::FrameInvalid),
        (r#"{"type":7}"#, Code::FrameInvalid),
        (r#"{"type":"ping","type":"pong"}"#, Code::FrameInvalid),
        (r#"{"type":"dance"}"#, Code::FrameUnknownType),
        (r#"{"type":""}"#, Code::FrameUnknownType),
        (r#"{"type":"user_message"}"#, Code::FrameEmptyContent),
        (r#"{"type":"user_message","content":""}"#, Code::FrameEmptyContent),
        (r#"{"type":"user_message","content":" \n\t"}"#, Code::FrameEmptyContent),
        (r#"{"type":"user_message","content":5}"#, Code::FrameInvalid),
        (r#"{"type":"user_message","content":"x","id":""}"#, Code::FrameInvalid),
        (r#"{"type":"user_message","content":"x","id":5}"#, Code::FrameInvalid),
        (r#"{"type":"user_message","content":"x","metadata":[]}"#, Code::FrameInvalid),
        (r#"{"type":"user_message","content":"x","content":"y"}"#, Code::FrameInvalid),
        (r#"{"type":"user_message","content":"x","agent":"No Such"}"#, Code::AgentUnknown),
        (r#"{"type":"subscribe"}"#, Code::FrameInvalid),
        (r#"{"type":"subscribe","thread_id":"t","after_seq":-1}"#, Code::FrameInvalid),
        (r#"{"type":"subscribe","thread_id":"t","after_seq":1e999}"#, Code::FrameInvalidJson),
        (r#"{"type":"subscribe","thread_id":"t","after_seq":99999999999999999999}"#, Code::FrameInvalid),
        (r#"{"type":"cancel","run_id":{}}"#, Code::FrameInvalid),
        (r#"{"type":"auth_refresh"}"#, Code::FrameInvalid),
        (&deep, Code::FrameInvalid),
        (&deep_field, Code::FrameInvalidJson),
    ] {
        let (got, message, _) = refused(text);
        assert_eq!(got, code, "{} → {message}", &text[..text.len().min(80)]);
        assert!(!message.is_empty() && message.len() < 1000);
    }
}

#[test]
fn the_field_and_the_client_s_id_are_named() {
    let (_, message, id) = refused(r#"{"type":"user_message","id":"m1","content":5}"#);
    assert!(message.contains("`content`"), "{message}");
    assert_eq!(id.as_deref(), Some("m1"));
    let (_, message, _) = refused(r#"{"type":"subscribe","thread_id":"t","after_seq":"x"}"#);
    assert!(message.contains("`after_seq`"), "{message}");
    let (_, message, _) = refused(r#"{"type":"ack","thread_id":"t"}"#);
    assert!(message.contains("`seq`"), "{message}");
    let (_, message, _) = refused(r#"{"type":"dance"}"#);
    assert!(message.contains("dance") && message.contains("user_message"), "{message}");
}

proptest! {
    #[test]
    fn no_text_makes_it_panic(text in ".{0,200}") {
        let _ = ClientFrame::decode(&text);
    }

    #[test]
    fn no_value_of_any_field_makes_it_panic(
        kind in proptest::sample::select(TYPES.to_vec()),
        field in proptest::sample::select(vec!["id", "thread_id", "content", "after_seq", "epoch", "run_id", "metadata", "seq"]),
        value in proptest::sample::select(vec!["null", "true", "-1", "1e308", "\"\"", "\"\\u0000\"", "[[]]", "{\"a\":{}}"]),
    ) {
        let _ = ClientFrame::decode(&format!(r#"{{"type":"{kind}","{field}":{value}}}"#));
    }
}
