//! The twin of every scenario at once: a lawful conversation with one thing wrong must not pass.

use serde_json::{Value, json};

use super::Laws;

/// A welcome, an acceptance and a whole run.
fn lawful() -> Vec<Value> {
    let event = |seq: u64, kind: &str, payload: Value| {
        json!({
            "type": kind, "seq": seq, "thread_id": "t", "run_id": "r", "agent": "a", "time": "now", "payload": payload,
        })
    };
    vec![
        json!({ "type": "welcome" }),
        json!({ "type": "accepted", "id": "m", "thread_id": "t", "run_id": "r", "epoch": "e", "seq": 1, "duplicate": false }),
        event(1, "user_message", json!({})),
        event(2, "agent_started", json!({})),
        event(3, "tool_executing", json!({ "tool_call_id": "c" })),
        event(4, "tool_completed", json!({ "tool_call_id": "c" })),
        event(5, "agent_message_delta", json!({})),
        event(6, "agent_completed", json!({})),
    ]
}

fn judge(frames: &[Value]) -> Result<(), String> {
    let mut laws = Laws::default();
    frames.iter().try_for_each(|frame| laws.judge(&frame.to_string()).map(drop))
}

/// Gives the events dense positions again, so that only the order is wrong.
fn renumbered(mut frames: Vec<Value>) -> Vec<Value> {
    for (seq, frame) in (1..).zip(frames.iter_mut().filter(|frame| frame["payload"].is_object())) {
        frame["seq"] = u64::into(seq);
    }
    frames
}

#[test]
fn a_lawful_conversation_passes() {
    assert_eq!(judge(&lawful()), Ok(()));
}

#[test]
fn a_lost_event_is_seen() {
    for lost in 2..lawful().len() - 1 {
        let mut frames = lawful();
        frames.remove(lost);
        assert!(judge(&frames).is_err(), "without frame {lost}");
    }
}

#[test]
fn a_frame_that_comes_twice_is_seen() {
    for twice in 0..lawful().len() {
        let mut frames = lawful();
        frames.insert(twice, frames[twice].clone());
        assert!(judge(&frames).is_err(), "frame {twice} twice");
    }
}

#[test]
fn two_frames_the_wrong_way_round_are_seen_even_with_dense_positions() {
    // Deltas and tools may change places lawfully; starts and ends may not.
    for (one, other) in [(0, 1), (2, 3), (3, 4), (4, 5), (6, 7)] {
        let mut frames = lawful();
        frames.swap(one, other);
        assert!(judge(&renumbered(frames)).is_err(), "frames {one} and {other} swapped");
    }
}

#[test]
fn a_second_end_is_seen_even_with_a_dense_position() {
    let mut frames = lawful();
    frames.push(frames.last().unwrap().clone());
    assert!(judge(&renumbered(frames)).is_err());
}

#[test]
fn an_open_tool_at_the_end_is_seen() {
    let mut frames = lawful();
    frames.remove(5);
    assert!(judge(&renumbered(frames)).is_err());
}

#[test]
fn an_unknown_type_an_unknown_code_and_bad_json_are_seen() {
    for bad in [json!({ "type": "surprise" }), json!({ "type": "error", "code": "made.up", "message": "x" })]
    {
        let mut frames = lawful();
        frames.push(bad.clone());
        assert!(judge(&frames).is_err(), "{bad}");
    }
    let mut laws = Laws::default();
    assert!(laws.judge("{").is_err());
}
