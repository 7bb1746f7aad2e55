//! What is seen for each frame.

use serde_json::json;

use super::{super::frame::Frame, *};

fn event(kind: &str, payload: Value) -> Event {
    let frame =
        json!({"type": kind, "seq": 1, "thread_id": "t", "run_id": "r", "agent": "a", "payload": payload});
    let Frame::Event(event) = Frame::read(&frame).unwrap() else { panic!("it is an event") };
    event
}

fn screen_of(events: &[(&str, Value)]) -> String {
    let mut screen = Screen::new(false);
    events.iter().map(|(kind, payload)| screen.event(&event(kind, payload.clone()))).collect()
}

#[test]
fn a_run_is_seen_as_it_happens() {
    let seen = screen_of(&[
        (
            "agent_started",
            json!({"message": "m", "responder": {"plugin": "echo", "version": "1.0", "built_in": false}}),
        ),
        ("agent_thinking", json!({"text": "let me see"})),
        ("tool_executing", json!({"tool": "clock", "arguments": {"zone": "UTC"}})),
        ("tool_completed", json!({"tool": "clock", "status": "ok", "result": "12:00", "duration_ms": 3})),
        ("agent_message_delta", json!({"text": "It is "})),
        ("agent_message_delta", json!({"text": "noon"})),
        ("agent_completed", json!({"status": "ok", "text": "It is noon."})),
    ]);
    let expected =
        "echo 1.0\n· let me see\n→ clock({\"zone\":\"UTC\"})\n← clock: 12:00 (3 ms)\nIt is noon.\n";
    assert_eq!(seen, expected);
}

#[test]
fn a_degraded_answer_says_why_and_what_to_do() {
    let seen = screen_of(&[
        ("agent_message_delta", json!({"text": "half an"})),
        (
            "run_degraded",
            json!({"from": "echo", "to": "fallback", "code": "plugin.crashed", "reason": "SIGSEGV"}),
        ),
        (
            "agent_completed",
            json!({"status": "degraded", "text": "sorry", "error": {"code": "plugin.crashed", "message": "it crashed"}}),
        ),
    ]);
    let remedy = Code::PluginCrashed.remedy();
    let expected = format!(
        "half an\n! echo → fallback: plugin.crashed: SIGSEGV\n\nsorry\n! degraded: plugin.crashed: it crashed\n  what to do: {remedy}\n"
    );
    assert_eq!(seen, expected);
}

#[test]
fn nothing_that_others_wrote_acts_on_the_terminal() {
    let evil = "\u{1b}]0;owned\u{7}\u{9b}2J\u{202e}x";
    let seen = screen_of(&[
        ("user_message", json!({"content": evil})),
        (
            "agent_started",
            json!({"message": evil, "responder": {"plugin": evil, "version": evil, "built_in": true}}),
        ),
        ("agent_thinking", json!({"text": evil})),
        ("tool_executing", json!({"tool": evil, "arguments": {"a": evil}})),
        (
            "tool_completed",
            json!({"tool": evil, "status": "failed", "error": {"code": evil, "message": evil}}),
        ),
        ("agent_message_delta", json!({"text": evil})),
        ("run_degraded", json!({"from": evil, "to": evil, "code": evil, "reason": evil})),
        ("agent_completed", json!({"status": evil, "text": evil, "error": {"code": evil, "message": evil}})),
    ]);
    assert!(!seen.contains(['\u{1b}', '\u{7}', '\u{9b}', '\u{202e}']), "{seen:?}");
    let line = json_line(&json!({ "text": evil }));
    assert!(!line.contains(['\u{1b}', '\u{7}', '\u{9b}', '\u{202e}']), "{line:?}");
    assert_eq!(serde_json::from_str::<Value>(&line).unwrap()["text"], evil);
}

#[test]
fn the_welcome_names_what_is_missing() {
    let welcome = json!({
        "type": "welcome", "host": "h", "user_id": "u", "limits": {"frame_bytes": 1},
        "service": {"level": "fallback", "reason": "no agent", "missing": [
            {"name": "echo", "kind": "agent", "code": "plugin.not_found", "reason": "no file"}]},
        "agents": [{"name": "echo", "state": "failed"}],
    });
    let Frame::Welcome(welcome) = Frame::read(&welcome).unwrap() else { panic!("it is a welcome") };
    let expected = "connected to h as u; agents: echo (failed)\nservice: fallback: no agent\n\
                    missing: echo (agent), plugin.not_found: no file\n";
    assert_eq!(Screen::new(false).welcome(&welcome), expected);
    assert!(Screen::new(true).welcome(&welcome).contains("\u{1b}[33mmissing"));
}
