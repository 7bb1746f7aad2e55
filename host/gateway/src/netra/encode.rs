//! What a client is told that is no event of a run: that platform's envelopes.

use std::time::{SystemTime, UNIX_EPOCH};

use agent_host_core::{level::ServiceLevel, timestamp::rfc3339};
use agent_host_engine::{session::Problem, view::Status};
use agent_plugin_protocol::Code;
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::Utf8Bytes;

use super::names;
use crate::settings::Settings;

/// A frame of any type, in the envelope that all but events and errors have.
pub(super) fn frame(kind: &str, data: Value, now: SystemTime) -> Utf8Bytes {
    let frame = json!({
        "type": kind, "data": data, "timestamp": seconds(now), "server_id": null, "correlation_id": null,
    });
    frame.to_string().into()
}

/// `system_message`, with the event that it tells.
pub(super) fn system(event: &str, mut data: Value, now: SystemTime) -> Utf8Bytes {
    if let Some(data) = data.as_object_mut() {
        data.insert("event".to_owned(), event.into());
    }
    frame("system_message", data, now)
}

/// The welcome, after which everything is ready whatever may be missing.
pub(super) fn established(
    connection: &str,
    user: &str,
    status: &Status,
    settings: &Settings,
    now: SystemTime,
) -> Utf8Bytes {
    let data = json!({
        "connection_id": connection,
        "user_id": user,
        "server_time": rfc3339(now),
        "connection_ready": true,
        // A label of theirs. This host knows no environments; its own name tells the hosts apart.
        "environment": &*status.host,
        "startup_complete": !status.starting,
        "service_level": status.level,
        "config": {
            "heartbeat_interval": settings.timing.ping.end().as_secs(),
            "max_message_size": settings.limits.frame_bytes,
        },
    });
    system("connection_established", data, now)
}

/// What is missing, by their names and by ours; `None` if nothing is.
pub(super) fn service_info(status: &Status, now: SystemTime) -> Option<Utf8Bytes> {
    if status.level == ServiceLevel::Full {
        return None;
    }
    let missing: Vec<&str> = status.missing.iter().map(names::theirs).collect();
    let data = json!({
        "message": format!("the service is {}: {}", status.level.as_str(), status.reason),
        "missing_dependencies": missing,
        "missing": status.missing,
        "fallback_active": true,
        "service_level": status.level,
    });
    Some(system("service_info", data, now))
}

/// The connection's own ping.
pub(super) fn ping(now: SystemTime) -> Utf8Bytes {
    frame("ping", json!({ "timestamp": seconds(now) }), now)
}

/// Answers a client's ping, or heartbeat.
pub(super) fn alive(kind: &str, user: &str, now: SystemTime) -> Utf8Bytes {
    frame(kind, json!({ "timestamp": seconds(now), "user_id": user }), now)
}

/// Says that a frame arrived. `more` is what became of it.
pub(super) fn ack(received: Option<&str>, user: &str, more: &Value, now: SystemTime) -> Utf8Bytes {
    let mut frame = json!({
        "type": "ack", "received_type": received, "timestamp": seconds(now), "user_id": user,
        "status": "acknowledged",
    });
    if let (Some(frame), Some(more)) = (frame.as_object_mut(), more.as_object()) {
        frame.extend(more.clone());
    }
    frame.to_string().into()
}

/// An error; the connection stays.
pub(super) fn error(code: &str, message: &str, details: Value, now: SystemTime) -> Utf8Bytes {
    let frame = json!({
        "type": "error_message", "error_code": code, "error_message": message, "details": details,
        "timestamp": seconds(now), "recovery_suggestions": null,
    });
    frame.to_string().into()
}

/// A refusal of the engine or of the connection, in their words; ours are in `details`.
pub(super) fn problem(problem: &Problem, now: SystemTime) -> Utf8Bytes {
    let retry_after_ms =
        problem.retry_after.map(|after| u64::try_from(after.as_millis()).unwrap_or(u64::MAX));
    let details = json!({
        "code": problem.code,
        "message_id": problem.id,
        "retryable": problem.code.retryable(),
        "retry_after_ms": retry_after_ms,
    });
    error(their_code(problem.code), &problem.message, details, now)
}

/// Which of their few codes it is.
fn their_code(code: Code) -> &'static str {
    let code = code.as_str();
    let of = |area: &str| code.starts_with(area);
    match () {
        () if of("auth.") => "AUTH_FAILED",
        () if of("frame.") => "FORMAT_ERROR",
        () if of("agent.") || of("plugin.") => "AGENT_ERROR",
        () if of("limit.") || of("thread.") || of("run.") || of("interrupt.") => "AGENT_REQUEST_ERROR",
        () => "INTERNAL_ERROR",
    }
}

/// Seconds since 1970, as they write time outside of events.
pub(super) fn seconds(at: SystemTime) -> f64 {
    at.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_codes_become_theirs() {
        for (code, expected) in [
            (Code::AuthExpired, "AUTH_FAILED"),
            (Code::FrameTooLarge, "FORMAT_ERROR"),
            (Code::AgentUnknown, "AGENT_ERROR"),
            (Code::LimitRate, "AGENT_REQUEST_ERROR"),
            (Code::ThreadNotFound, "AGENT_REQUEST_ERROR"),
            (Code::HostInternal, "INTERNAL_ERROR"),
            (Code::StoreUnavailable, "INTERNAL_ERROR"),
        ] {
            let frame: Value = serde_json::from_str(&problem(&Problem::new(code), UNIX_EPOCH)).unwrap();
            assert_eq!(frame["error_code"], expected);
            assert_eq!(frame["details"]["code"], code.as_str());
        }
    }
}
