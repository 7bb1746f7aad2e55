//! What a client is told: every server frame as bytes. Event payloads are spliced in as they are, never read again.

use std::time::{Duration, SystemTime};

use agent_host_core::{
    identity::Principal,
    level::ServiceLevel,
    ports::store::{Durability, LogEntry},
    timestamp::{rfc3339, rfc3339_bytes},
};
use agent_host_engine::{
    Outgoing,
    session::{Accepted, Problem, Subscribed},
    view::{Missing, PluginView, Status},
};
use agent_plugin_protocol::{Code, Epoch, MessageId, PluginKind, RunId, Seq, ThreadId};
use bytes::Bytes;
use schemars::JsonSchema;
use serde::{Serialize, Serializer, ser::SerializeMap};
use tokio_tungstenite::tungstenite::Utf8Bytes;

use super::frames::FrameError;
use crate::{settings::Settings, surface::Surface};

/// A frame of the host, events apart.
#[derive(Serialize, JsonSchema)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(crate) enum ServerFrame<'a> {
    /// The first frame, at once after the upgrade, whatever the state of the service.
    Welcome(Box<Welcome<'a>>),
    /// The message is durable. What follows is its run; `seq` is the position of its `user_message`.
    Accepted {
        id: &'a MessageId,
        thread_id: &'a ThreadId,
        run_id: &'a RunId,
        epoch: &'a Epoch,
        seq: Seq,
        /// Whether it was accepted before: then this is what was said then.
        duplicate: bool,
        /// The run that asked, where this is the answer to a question.
        #[serde(skip_serializing_if = "Option::is_none")]
        resumes: Option<&'a RunId>,
    },
    /// Answer to `subscribe`: what follows is replayed from `from_seq`, then live. Where `recovered` is false, the
    /// history does not join what the client has, for that reason.
    Subscribed {
        thread_id: &'a ThreadId,
        epoch: &'a Epoch,
        from_seq: Seq,
        to_seq: Seq,
        recovered: bool,
        #[serde(skip_serializing_if = "Option::is_none")]
        #[schemars(extend("enum" = ["epoch", "too_old", "limit"]))]
        reason: Option<&'static str>,
    },
    /// The level of the service, or what is missing, changed.
    ServiceStatus {
        #[serde(flatten)]
        service: Service<'a>,
        /// The names of what changed.
        changed: &'a [String],
    },
    /// Something the client asked was refused. The connection stays.
    Error {
        code: Code,
        message: &'a str,
        #[serde(skip_serializing_if = "Option::is_none")]
        id: Option<&'a MessageId>,
        retryable: bool,
        #[serde(skip_serializing_if = "Option::is_none")]
        retry_after_ms: Option<u64>,
    },
    /// Wants any sign of life. `positions` is the last `seq` sent of each subscribed thread, or of the 256 that were
    /// heard of last where there are more: a client that has less subscribes again.
    Ping {
        #[serde(serialize_with = "as_map")]
        #[schemars(with = "std::collections::BTreeMap<ThreadId, Seq>")]
        positions: &'a [(ThreadId, Seq)],
    },
    /// Answer to `ping`.
    Pong,
    /// The token expires soon: send another by `auth_refresh`.
    AuthExpiring {
        #[schemars(extend("format" = "date-time"))]
        expires_at: String,
    },
    /// The new token was taken.
    AuthRefreshed {
        #[schemars(extend("format" = "date-time"))]
        expires_at: String,
    },
    /// The host is going away: connect again after about `reconnect_after_ms`, and resume.
    GoingAway {
        #[schemars(extend("enum" = ["draining"]))]
        reason: &'static str,
        reconnect_after_ms: u64,
        deadline_ms: u64,
    },
}

#[derive(Serialize, JsonSchema)]
#[schemars(inline)]
pub(crate) struct Welcome<'a> {
    protocol: &'static str,
    connection_id: &'a str,
    host: &'a str,
    user_id: &'a str,
    #[schemars(extend("format" = "date-time"))]
    server_time: String,
    #[schemars(extend("format" = "date-time"))]
    expires_at: String,
    ping_interval_ms: u64,
    limits: WelcomeLimits,
    service: Service<'a>,
    agents: Vec<Agent<'a>>,
}

#[derive(Serialize, JsonSchema)]
struct WelcomeLimits {
    frame_bytes: usize,
    messages_per_minute: u32,
    runs_at_once: u32,
}

#[derive(Serialize, JsonSchema)]
pub(crate) struct Service<'a> {
    level: ServiceLevel,
    reason: &'a str,
    missing: &'a [Missing],
    /// Said where conversations do not outlive the machine, or not even the host.
    #[serde(skip_serializing_if = "Durability::is_durable")]
    durability: Durability,
}

#[derive(Serialize, JsonSchema)]
struct Agent<'a> {
    name: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    description: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    version: Option<&'a str>,
    state: &'static str,
}

/// The first frame of a connection.
pub(crate) fn welcome(
    connection: &str,
    principal: &Principal,
    status: &Status,
    settings: &Settings,
    now: SystemTime,
) -> Utf8Bytes {
    text(&ServerFrame::Welcome(Box::new(Welcome {
        protocol: Surface::Native.name(),
        connection_id: connection,
        host: &status.host,
        user_id: &principal.scope.user,
        server_time: rfc3339(now),
        expires_at: rfc3339(principal.expires_at),
        ping_interval_ms: millis(*settings.timing.ping.end()),
        limits: WelcomeLimits {
            frame_bytes: settings.limits.frame_bytes,
            messages_per_minute: settings.limits.messages_per_minute,
            runs_at_once: settings.limits.runs_at_once,
        },
        service: service(status),
        agents: status.plugins.iter().filter(|p| is_offered(p)).map(agent).collect(),
    })))
}

fn is_offered(plugin: &PluginView) -> bool {
    plugin.kind == PluginKind::Agent && plugin.verdict != "disabled"
}

fn agent(plugin: &PluginView) -> Agent<'_> {
    Agent {
        name: plugin.id.as_str(),
        description: plugin.description.as_deref(),
        version: plugin.version.as_deref(),
        state: plugin.state,
    }
}

fn service(status: &Status) -> Service<'_> {
    Service {
        level: status.level,
        reason: &status.reason,
        missing: &status.missing,
        durability: status.durability,
    }
}

/// What the engine has to say.
pub(crate) fn outgoing(told: &Outgoing) -> Utf8Bytes {
    match told {
        Outgoing::Event(delivery) => into_text(delivery.native(event)),
        Outgoing::Accepted(it) => accepted(it),
        Outgoing::Subscribed(it) => subscribed(it),
        Outgoing::Status { status, changed } => {
            text(&ServerFrame::ServiceStatus { service: service(status), changed })
        }
        Outgoing::Problem(it) => problem(it),
        Outgoing::GoingAway { reconnect_after, deadline } => text(&ServerFrame::GoingAway {
            reason: "draining",
            reconnect_after_ms: millis(*reconnect_after),
            deadline_ms: millis(*deadline),
        }),
    }
}

fn accepted(it: &Accepted) -> Utf8Bytes {
    text(&ServerFrame::Accepted {
        id: &it.id,
        thread_id: &it.thread,
        run_id: &it.run,
        epoch: &it.epoch,
        seq: it.seq,
        duplicate: it.duplicate,
        resumes: it.resumes.as_ref(),
    })
}

fn subscribed(it: &Subscribed) -> Utf8Bytes {
    text(&ServerFrame::Subscribed {
        thread_id: &it.thread,
        epoch: &it.epoch,
        from_seq: it.from,
        to_seq: it.to,
        recovered: it.recovered,
        reason: it.reason,
    })
}

/// A refusal; the connection stays.
pub(crate) fn problem(it: &Problem) -> Utf8Bytes {
    text(&ServerFrame::Error {
        code: it.code,
        message: &it.message,
        id: it.id.as_ref(),
        retryable: it.code.retryable(),
        retry_after_ms: it.retry_after.map(millis),
    })
}

/// A frame of the client's that could not be decoded.
pub(crate) fn frame_error(error: FrameError) -> Utf8Bytes {
    problem(&Problem { code: error.code, message: error.message, id: error.id, retry_after: None })
}

pub(crate) fn ping(positions: &[(ThreadId, Seq)]) -> Utf8Bytes {
    text(&ServerFrame::Ping { positions })
}

pub(crate) fn pong() -> Utf8Bytes {
    text(&ServerFrame::Pong)
}

pub(crate) fn auth_expiring(expires_at: SystemTime) -> Utf8Bytes {
    text(&ServerFrame::AuthExpiring { expires_at: rfc3339(expires_at) })
}

pub(crate) fn auth_refreshed(expires_at: SystemTime) -> Utf8Bytes {
    text(&ServerFrame::AuthRefreshed { expires_at: rfc3339(expires_at) })
}

/// An event's frame: the payload's bytes between the envelope's.
pub(crate) fn event(entry: &LogEntry) -> Bytes {
    let event = &entry.event;
    let mut out = Vec::with_capacity(192 + event.payload.len());
    out.extend_from_slice(b"{\"type\":\"");
    out.extend_from_slice(event.kind.as_str().as_bytes());
    out.extend_from_slice(b"\",\"seq\":");
    out.extend_from_slice(entry.seq.to_string().as_bytes());
    out.extend_from_slice(b",\"thread_id\":");
    json_string(&mut out, entry.thread.as_str());
    out.extend_from_slice(b",\"run_id\":");
    json_string(&mut out, event.run.as_str());
    out.extend_from_slice(b",\"agent\":");
    json_string(&mut out, &event.agent);
    out.extend_from_slice(b",\"time\":\"");
    out.extend_from_slice(&rfc3339_bytes(event.time));
    out.extend_from_slice(b"\",\"payload\":");
    out.extend_from_slice(&event.payload);
    out.push(b'}');
    out.into()
}

fn json_string(out: &mut Vec<u8>, value: &str) {
    // Writing a string into memory does not fail.
    let _ = serde_json::to_writer(out, value);
}

/// A frame as text. The types above serialise without fail; if one ever did not, the client would still be told.
fn text(frame: &ServerFrame<'_>) -> Utf8Bytes {
    serde_json::to_string(frame).map_or_else(|_| Utf8Bytes::from_static(UNSAYABLE), Utf8Bytes::from)
}

const UNSAYABLE: &str =
    r#"{"type":"error","code":"host.internal","message":"a frame could not be written","retryable":true}"#;

/// Event bytes as a text frame: a look for UTF-8, which the store's contract promises.
fn into_text(bytes: Bytes) -> Utf8Bytes {
    Utf8Bytes::try_from(bytes.clone()).unwrap_or_else(|_| String::from_utf8_lossy(&bytes).into_owned().into())
}

fn as_map<S: Serializer>(positions: &[(ThreadId, Seq)], to: S) -> Result<S::Ok, S::Error> {
    let mut map = to.serialize_map(Some(positions.len()))?;
    for (thread, seq) in positions {
        map.serialize_entry(thread.as_str(), seq)?;
    }
    map.end()
}

fn millis(of: Duration) -> u64 {
    u64::try_from(of.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
