//! Events of a run as that platform's frames: the superset of what its clients read, nested and flat.

use std::time::SystemTime;

use agent_host_core::{ports::store::LogEntry, timestamp::rfc3339};
use agent_plugin_protocol::{EventKind, RunId, ThreadId};
use serde_json::{Map, Value, json};
use tokio_tungstenite::tungstenite::Utf8Bytes;

/// The frames of one event. The person's own message and streamed pieces of an answer have none: that wire knows
/// neither, and the answer is whole in `agent_completed`.
pub(super) fn frames(entry: &LogEntry, user: &str) -> Vec<Utf8Bytes> {
    let event = &entry.event;
    let own: &Value = &serde_json::from_slice(&event.payload).unwrap_or_default();
    let frame = |kind: &str, payload: Value| flat(envelope(kind, entry, user), payload);
    match event.kind {
        EventKind::UserMessage | EventKind::AgentMessageDelta => Vec::new(),
        EventKind::AgentStarted => vec![frame(
            "agent_started",
            json!({
                "status": "started", "message": field(own, "message"),
                "context": { "service_level": field(own, "level"), "responder": field(own, "responder") },
            }),
        )],
        EventKind::AgentThinking => vec![frame("agent_thinking", thinking(own))],
        EventKind::ToolExecuting => vec![frame(
            "tool_executing",
            json!({
                "tool_name": field(own, "tool"), "parameters": field(own, "arguments"), "status": "executing",
                "message": said("running", field(own, "tool")), "tool_call_id": field(own, "tool_call_id"),
            }),
        )],
        EventKind::ToolCompleted => vec![frame("tool_completed", tool_completed(own))],
        EventKind::AgentDelegated => vec![frame("agent_thinking", step(said("asking", field(own, "agent"))))],
        EventKind::AgentReturned => {
            vec![frame("agent_thinking", step(said("heard from", field(own, "agent"))))]
        }
        EventKind::RunDegraded => vec![frame("agent_thinking", step(moved(own)))],
        EventKind::AgentCompleted => completed(own).into_iter().map(|(kind, p)| frame(kind, p)).collect(),
    }
}

/// The last frame of a run, for who asks over HTTP: what the WebSocket's clients get, with the answer by one name more.
pub(super) fn ended(entry: &LogEntry, user: &str) -> Value {
    let event = &entry.event;
    let own: Value = serde_json::from_slice(&event.payload).unwrap_or_default();
    let (kind, payload) = last(&own);
    let mut frame = superset(envelope(kind, entry, user), payload);
    if let Some(fields) = frame.as_object_mut() {
        fields.insert("response".to_owned(), field(&own, "text").clone());
        fields.insert("error".to_owned(), field(&own, "error").clone());
    }
    frame
}

/// A message to an agent that does not exist.
pub(super) fn no_agent(name: &str, user: &str, now: SystemTime) -> Utf8Bytes {
    let message = format!("there is no agent named {name:?}");
    let envelope = json!({
        "type": "agent_error", "event": "agent_error", "run_id": null, "thread_id": null, "agent_name": name,
        "timestamp": rfc3339(now), "user_id": user, "error_code": "AGENT_ERROR",
    });
    flat(envelope, error(&message, json!({ "code": "agent.unknown" })))
}

fn envelope(kind: &str, entry: &LogEntry, user: &str) -> Value {
    let event = &entry.event;
    json!({
        "type": kind, "event": kind, "run_id": event.run, "thread_id": entry.thread, "seq": entry.seq,
        "agent_name": &*event.agent, "timestamp": rfc3339(event.time), "user_id": user,
    })
}

/// A run that goes on and has said nothing for so many seconds: the host's own word, so without a `seq`.
pub(super) fn at_work(
    (run, thread): (&RunId, &ThreadId),
    agent: &str,
    silent_for: u64,
    user: &str,
    now: SystemTime,
) -> Utf8Bytes {
    let envelope = json!({
        "type": "agent_thinking", "event": "agent_thinking", "run_id": run, "thread_id": thread,
        "agent_name": agent, "timestamp": rfc3339(now), "user_id": user, "from_host": true,
    });
    flat(envelope, step(format!("{agent} is still at work: nothing new for {silent_for} s")))
}

fn thinking(own: &Value) -> Value {
    json!({
        "reasoning": field(own, "text"), "step_number": field(own, "step"), "status": "thinking",
        "progress_percentage": field(own, "progress").as_f64().map(|part| part * 100.0),
    })
}

/// Something of the host's own that they have no event for.
fn step(reasoning: String) -> Value {
    json!({ "reasoning": reasoning, "step_number": null, "progress_percentage": null, "status": "thinking" })
}

fn tool_completed(own: &Value) -> Value {
    // Their sender says `result`, their validator wants `results`.
    let result = if field(own, "error").is_null() { field(own, "result") } else { field(own, "error") };
    let failed = *field(own, "status") == "failed";
    json!({
        "tool_name": field(own, "tool"), "result": result, "results": result,
        "execution_time_ms": field(own, "duration_ms"), "status": if failed { "failed" } else { "completed" },
        "message": said(if failed { "failed:" } else { "finished" }, field(own, "tool")),
        "tool_call_id": field(own, "tool_call_id"),
    })
}

/// The last word of a run; an error of it before that.
fn completed(own: &Value) -> Vec<(&'static str, Value)> {
    let trouble = (!answered(own)).then(|| ("agent_error", error(why(own), field(own, "error").clone())));
    trouble.into_iter().chain([last(own)]).collect()
}

fn answered(own: &Value) -> bool {
    matches!(field(own, "status").as_str(), Some("ok" | "degraded" | "input_required"))
}

/// Why there is no answer.
fn why(own: &Value) -> &str {
    field(field(own, "error"), "message").as_str().unwrap_or("the run ended without an answer")
}

fn last(own: &Value) -> (&'static str, Value) {
    let said = field(own, "text");
    // Their client may show nothing but this text: without an answer it has the reason, and people do not meet silence.
    let silent = !answered(own) && said.as_str().is_none_or(str::is_empty);
    let text = if silent { json!(why(own)) } else { said.clone() };
    let payload = json!({
        // Theirs knows one word for an answer; ours is beside it, and an unanswered run never says `completed`.
        "status": if answered(own) { json!("completed") } else { field(own, "status").clone() },
        "run_status": field(own, "status"), "result": text, "final_response": text,
        "execution_time_ms": field(own, "duration_ms"), "message": text, "details": own,
    });
    ("agent_completed", payload)
}

fn error(message: &str, context: Value) -> Value {
    json!({ "status": "error", "error_message": message, "error_context": context, "message": message })
}

fn moved(own: &Value) -> String {
    let word = |name: &str| field(own, name).as_str().unwrap_or("?");
    format!("{} answers instead of {}: {}", word("to"), word("from"), word("reason"))
}

fn said(what: &str, of: &Value) -> String {
    format!("{what} {}", of.as_str().unwrap_or("?"))
}

/// A field of a payload; null where it has none.
fn field<'a>(of: &'a Value, name: &str) -> &'a Value {
    of.get(name).unwrap_or(&Value::Null)
}

fn flat(envelope: Value, payload: Value) -> Utf8Bytes {
    superset(envelope, payload).to_string().into()
}

/// The payload nested, and its fields beside the envelope's, which win.
fn superset(envelope: Value, payload: Value) -> Value {
    let mut frame: Map<String, Value> = payload.as_object().cloned().unwrap_or_default();
    frame.extend(envelope.as_object().cloned().unwrap_or_default());
    frame.insert("payload".to_owned(), payload);
    Value::Object(frame)
}

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use agent_host_core::ports::store::NewEvent;
    use agent_plugin_protocol::Seq;

    use super::*;

    fn told(kind: EventKind, payload: &Value) -> Vec<Value> {
        let event = NewEvent {
            run: RunId::random(),
            kind,
            agent: "echo".into(),
            time: UNIX_EPOCH,
            payload: payload.to_string().into(),
        };
        let entry = LogEntry { seq: Seq::START, thread: ThreadId::random(), event };
        frames(&entry, "alice").iter().map(|frame| serde_json::from_str(frame).unwrap()).collect()
    }

    #[test]
    fn a_tool_s_result_has_both_of_its_names_nested_and_flat() {
        let own = json!({ "tool": "clock", "status": "ok", "result": { "now": 1 }, "duration_ms": 5 });
        let frame = &told(EventKind::ToolCompleted, &own)[0];
        for place in [frame, &frame["payload"]] {
            assert_eq!((&place["result"], &place["results"]), (&own["result"], &own["result"]));
            assert_eq!((&place["tool_name"], &place["status"]), (&json!("clock"), &json!("completed")));
            assert_eq!(place["execution_time_ms"], 5);
        }
        assert_eq!(frame["timestamp"], "1970-01-01T00:00:00.000Z", "theirs is ISO in events");
    }

    #[test]
    fn a_run_that_nobody_answered_is_never_called_completed() {
        for status in ["failed", "cancelled", "interrupted"] {
            let own =
                json!({ "status": status, "text": "", "error": { "message": "why" }, "duration_ms": 1 });
            let frames = told(EventKind::AgentCompleted, &own);
            assert_eq!(frames.len(), 2, "{frames:?}");
            assert_eq!(
                (&frames[0]["type"], &frames[0]["error_message"]),
                (&json!("agent_error"), &json!("why"))
            );
            assert_eq!(
                (&frames[1]["type"], &frames[1]["status"]),
                (&json!("agent_completed"), &json!(status))
            );
            assert_eq!(frames[1]["final_response"], "why", "there is something to read");
        }
        let own = json!({ "status": "degraded", "text": "sorry", "duration_ms": 1 });
        let frames = told(EventKind::AgentCompleted, &own);
        assert_eq!((frames.len(), &frames[0]["status"]), (1, &json!("completed")));
        assert_eq!(
            (&frames[0]["run_status"], &frames[0]["final_response"]),
            (&json!("degraded"), &json!("sorry"))
        );
    }
}
