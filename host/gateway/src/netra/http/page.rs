//! The pages: how the host is, in that platform's words with this host's beside them. Nobody needs a token for them, so
//! they say no more than `/ready?verbose` does.

use agent_host_core::{level::ServiceLevel, timestamp::rfc3339};
use agent_host_engine::view::{PluginView, Status};
use agent_plugin_protocol::PluginKind;
use axum::response::Response;
use http::StatusCode;
use serde_json::{Map, Value, json};

use super::{Paths, json, path::Path};
use crate::{host::Host, netra::names};

/// Shows a page; a path that takes a message is none.
pub(super) fn show<H: Host>(paths: &Paths<H>, path: &Path) -> Response {
    let status = &paths.door.host.status();
    let draining = status.draining || paths.door.host.is_draining();
    match path {
        Path::SocketConfig => json(StatusCode::OK, &socket_config(paths, status)),
        Path::Health => health(paths, status, draining),
        Path::Stats => {
            let open = paths.door.users.open().into();
            json(StatusCode::OK, &told(paths, status, [("active_connections", open)]))
        }
        Path::Live => json(StatusCode::OK, &told(paths, status, [("status", "alive".into())])),
        Path::Ready => {
            let (word, ready) = paths.health.readiness(status);
            let code = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
            json(code, &told(paths, status, [("status", word)]))
        }
        Path::Agents => json(StatusCode::OK, &agents(paths, status)),
        Path::Agent(name) => match status.plugins.iter().find(|plugin| plugin.id.as_str() == name) {
            Some(plugin) if plugin.verdict == "healthy" => json(StatusCode::OK, &agent(plugin)),
            Some(plugin) => json(StatusCode::SERVICE_UNAVAILABLE, &agent(plugin)),
            None => json(StatusCode::NOT_FOUND, &json!({ "status": "not_found", "name": name })),
        },
        Path::Services => json(StatusCode::OK, &services(status)),
        Path::McpConfig => {
            let message = "agents of this host use tools over its own interface: it has no MCP servers";
            json(StatusCode::OK, &json!({ "mcpServers": {}, "enabled": false, "message": message }))
        }
        Path::McpServers => json(StatusCode::OK, &json!({ "data": [], "count": 0 })),
        Path::Ask(_) => json(StatusCode::METHOD_NOT_ALLOWED, &json!({ "status": "takes POST" })),
    }
}

/// A page: what all of them say (the level, and what is missing by their names), and what it says itself.
fn told<H: Host, const N: usize>(paths: &Paths<H>, status: &Status, own: [(&str, Value); N]) -> Value {
    let missing: Vec<&str> = status.missing.iter().map(names::theirs).collect();
    let common = [
        ("service", "agent-host".into()),
        ("version", env!("CARGO_PKG_VERSION").into()),
        ("timestamp", rfc3339(paths.door.shared.clock.now()).into()),
        ("service_level", status.level.as_str().into()),
        ("missing_dependencies", missing.into()),
        ("fallback_active", (status.level != ServiceLevel::Full).into()),
        ("starting", status.starting.into()),
    ];
    let all: Map<String, Value> =
        common.into_iter().chain(own).map(|(name, value)| (name.to_owned(), value)).collect();
    all.into()
}

/// `status` says whether connections are served; what they get is `service_level`.
fn health<H: Host>(paths: &Paths<H>, status: &Status, draining: bool) -> Response {
    let (word, code) = match status.level {
        _ if draining => ("draining", StatusCode::SERVICE_UNAVAILABLE),
        ServiceLevel::Full | ServiceLevel::Partial | ServiceLevel::Fallback => ("healthy", StatusCode::OK),
        ServiceLevel::Basic => ("degraded", StatusCode::OK),
    };
    json(code, &told(paths, status, [("status", word.into())]))
}

fn socket_config<H: Host>(paths: &Paths<H>, status: &Status) -> Value {
    let rules = paths.door.shared.rules.now();
    let settings = &rules.settings;
    let socket = json!({
        "endpoint": "/ws",
        "authentication": "required",
        "subprotocols": ["agent-host.v1", "jwt-auth", "jwt", "bearer", "agent_chat"],
        "heartbeat_interval": settings.timing.ping.end().as_secs(),
        "max_message_size": settings.limits.frame_bytes,
        "max_connections_per_user": settings.limits.connections_per_user,
        "handshake": settings.netra_v2,
    });
    told(paths, status, [("websocket", socket)])
}

fn agents<H: Host>(paths: &Paths<H>, status: &Status) -> Value {
    let all: Map<String, Value> =
        status.plugins.iter().map(|plugin| (plugin.id.to_string(), agent(plugin))).collect();
    let healthy = status.plugins.iter().filter(|plugin| plugin.verdict == "healthy").count();
    told(paths, status, [("total", all.len().into()), ("healthy", healthy.into()), ("agents", all.into())])
}

/// An agent or a supervisor: both were agents to that platform.
fn agent(plugin: &PluginView) -> Value {
    let kind = match plugin.kind {
        PluginKind::Agent => "agent",
        PluginKind::Supervisor => "supervisor",
    };
    json!({
        "name": plugin.id, "kind": kind, "status": plugin.verdict, "state": plugin.state,
        "code": plugin.fault.as_ref().map(|fault| fault.code),
    })
}

fn services(status: &Status) -> Value {
    json!({ "services": {
        "websocket": { "path": "/ws", "status": "healthy" },
        "agents": { "path": "/api/agents/execute", "status": status.level },
        "threads": { "path": "/v1/threads" },
        "health": { "path": "/health" },
    } })
}
