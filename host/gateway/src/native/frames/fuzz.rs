//! Fuzzes the decoding of clients' frames: total, bounded, and what is accepted can be written down and read again.

use agent_host_fuzz::{Target, Trace};
use serde_json::json;

use super::*;

/// An error quotes at most so much; see [`shortened`].
const LONGEST_ERROR: usize = 4096;
/// The codes that a frame can be refused with here.
const CODES: [Code; 5] = [
    Code::FrameInvalidJson,
    Code::FrameInvalid,
    Code::FrameUnknownType,
    Code::FrameEmptyContent,
    Code::AgentUnknown,
];

fn judge(input: &[u8], write: impl Fn(&ClientFrame) -> Value) -> Result<Trace, String> {
    let mut trace = Trace::default();
    // What is not UTF-8 does not get here: the socket has closed with 1007.
    let Ok(text) = std::str::from_utf8(input) else { return Ok(trace) };
    match ClientFrame::decode(text) {
        Err(error) => {
            refused(text, &error)?;
            // Up to where it quotes the client.
            let words = error.message.split(['"', '`']).next().unwrap_or_default();
            let words: String = words.chars().filter(|c| c.is_ascii_lowercase()).collect();
            trace.saw((error.code.as_str(), words, error.id.is_some()));
        }
        Ok(frame) => {
            accepted(text, &frame)?;
            let written = write(&frame).to_string();
            let again = ClientFrame::decode(&written).map_err(|error| {
                format!("what was accepted is refused once written down: {error:?}: {written}")
            })?;
            let (first, again) = (format!("{frame:?}"), format!("{again:?}"));
            if first != again {
                return Err(format!("it is read as {first}, and once written down as {again}"));
            }
            saw(&frame, &mut trace);
        }
    }
    Ok(trace)
}

fn refused(text: &str, error: &FrameError) -> Result<(), String> {
    if !CODES.contains(&error.code) {
        return Err(format!("refused with {}", error.code));
    }
    if error.message.chars().count() > LONGEST_ERROR || error.message.chars().any(char::is_control) {
        return Err(format!("an error that is long or unsafe: {:?}", error.message));
    }
    let is_json = serde_json::from_str::<IgnoredAny>(text).is_ok();
    if !is_json && error.code != Code::FrameInvalidJson && error.code != Code::FrameInvalid {
        return Err(format!("no JSON, but refused with {}", error.code));
    }
    Ok(())
}

/// What is accepted is an object with that type, and not more than it says.
fn accepted(text: &str, frame: &ClientFrame) -> Result<(), String> {
    if serde_json::from_str::<IgnoredAny>(text).is_err() {
        return Err(format!("no JSON, and accepted: {frame:?}"));
    }
    if !text.trim_start().starts_with('{') {
        return Err(format!("no object, and accepted: {frame:?}"));
    }
    let ClientFrame::Ask(Incoming::Message(message)) = frame else { return Ok(()) };
    if message.content.trim().is_empty() || message.content.len() > text.len() {
        return Err(format!("a message of {:?}", message.content));
    }
    Ok(())
}

/// The frame as a client would write it.
fn written(frame: &ClientFrame) -> Value {
    match frame {
        ClientFrame::Ask(Incoming::Message(message)) => json!({
            "type": "user_message", "id": message.id, "thread_id": message.thread, "agent": message.agent,
            "content": message.content, "metadata": message.metadata,
        }),
        ClientFrame::Ask(Incoming::Subscribe { thread, after, epoch }) => {
            json!({ "type": "subscribe", "thread_id": thread, "after_seq": after, "epoch": epoch })
        }
        ClientFrame::Ask(Incoming::Unsubscribe { thread }) => {
            json!({ "type": "unsubscribe", "thread_id": thread })
        }
        ClientFrame::Ask(Incoming::Cancel { run }) => json!({ "type": "cancel", "run_id": run }),
        ClientFrame::Ask(Incoming::Answer { id, run, interrupt, response }) => json!({
            "type": "interrupt_response", "id": id, "run_id": run, "interrupt_id": interrupt, "response": response,
        }),
        ClientFrame::Ask(Incoming::Ack { thread, seq }) => {
            json!({ "type": "ack", "thread_id": thread, "seq": seq })
        }
        ClientFrame::AuthRefresh(_) => json!({ "type": "auth_refresh", "token": "another" }),
        ClientFrame::Ping => json!({ "type": "ping" }),
        ClientFrame::Pong => json!({ "type": "pong" }),
    }
}

fn saw(frame: &ClientFrame, trace: &mut Trace) {
    match frame {
        ClientFrame::Ask(Incoming::Message(message)) => {
            trace.saw(("message", message.thread.is_some(), message.agent.is_some()));
            trace.counted("metadata", message.metadata.len());
            trace.counted("content", message.content.len());
        }
        ClientFrame::Ask(Incoming::Subscribe { after, epoch, .. }) => {
            trace.saw(("subscribe", after.0.checked_ilog2(), epoch.is_some()));
        }
        ClientFrame::Ask(Incoming::Answer { response, .. }) => {
            trace.saw(("answer", std::mem::discriminant(response)));
        }
        other => trace.saw(std::mem::discriminant(other)),
    }
}

fn target<R>(run: impl FnOnce(Target<'_>) -> R) -> R {
    let seeds = [
        r#"{"type":"user_message","id":"m1","thread_id":"t1","agent":"echo","content":" hi ","metadata":{"k":[1,{}]}}"#,
        r#"{"type":"subscribe","thread_id":"t","after_seq":41,"epoch":"e"}"#,
        r#"{"type":"unsubscribe","thread_id":"t"}"#,
        r#"{"type":"cancel","run_id":"r"}"#,
        r#"{"type":"interrupt_response","id":"i","run_id":"r","interrupt_id":"q","response":{"a":[1e3,null]}}"#,
        r#"{"type":"ack","thread_id":"t","seq":18446744073709551615}"#,
        r#"{"type":"auth_refresh","token":"a.b.c"}"#,
        r#"{"type":"ping"}"#,
        r#"["ping",null]"#,
        r#"{"type":"user_message","content":"\ud83d\ude00 \u0000 \ud800"}"#,
    ];
    let seeds = seeds.map(|seed| seed.as_bytes().to_vec());
    let words: &[&[u8]] = &[
        b"{",
        b"}",
        b"[",
        b"]",
        b",",
        b":",
        b"\"",
        b"null",
        b"true",
        b"1e400",
        b"-0",
        b"0.1",
        b"\\u0000",
        b"\\ud800",
        b"\\ud83d\\ude00",
        b"\"type\":",
        b"\"id\":",
        b"\"content\":",
        b"\"metadata\":",
        b"\"thread_id\":",
        b"\"after_seq\":",
        b"\"epoch\":",
        b"\"agent\":",
        b"\"response\":",
        b"\"user_message\"",
        b"\"subscribe\"",
        b"\"ack\"",
        b"[[[[[[[[",
        b"{\"a\":{\"a\":",
        b"\xef\xbb\xbf",
        b"\xe2\x80\xae",
        b" ",
        b"\n",
    ];
    run(Target { name: "client_frames", seeds: &seeds, words, longest: 4096 })
}

#[test]
fn fuzz_client_frames_are_decoded_or_refused_by_code() {
    target(|target| target.survives(|input| judge(input, written)));
}

/// A writer that forgets the epoch of a subscription: the two readings differ.
#[test]
fn fuzz_client_frames_finds_a_forgotten_field() {
    let forgetful = |frame: &ClientFrame| {
        let mut value = written(frame);
        value.as_object_mut().and_then(|object| object.remove("epoch"));
        value
    };
    let found = target(|target| target.finds(|input| judge(input, forgetful)));
    assert!(found.objection.contains("once written down as"), "{found:?}");
}
