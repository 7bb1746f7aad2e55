//! The protocol as a document for machines: AsyncAPI 3.0, at `/asyncapi.json`. Made from the types, once.

use std::sync::OnceLock;

use axum::response::Response;
use http::HeaderMap;
use serde_json::{Map, Value, json};

use crate::{
    document::Page,
    native::{Frame, Frames},
    surface::Surface,
};

/// Answers `GET /asyncapi.json`.
pub(crate) async fn answer(headers: HeaderMap) -> Response {
    static PAGE: OnceLock<Page> = OnceLock::new();
    PAGE.get_or_init(|| Page::new(&document())).answer(&headers)
}

/// The whole document.
fn document() -> Value {
    let Frames { server, client, definitions } = Frames::describe();
    let mut messages = Map::new();
    messages.extend(server.iter().map(|frame| (key("server", frame), message("server", frame))));
    messages.extend(client.iter().map(|frame| (key("client", frame), message("client", frame))));
    let mut schemas = definitions;
    schemas.extend(server.iter().map(|frame| (key("server", frame), frame.schema.clone().to_value())));
    schemas.extend(client.iter().map(|frame| (key("client", frame), frame.schema.clone().to_value())));
    let in_channel: Map<String, Value> = messages
        .keys()
        .map(|key| (key.clone(), json!({ "$ref": format!("#/components/messages/{key}") })))
        .collect();
    json!({
        "asyncapi": "3.0.0",
        "info": {
            "title": "agent-host",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "Conversations with agents: one JSON object for each text frame of a WebSocket of the \
                subprotocol `agent-host.v1`. Ignore fields and types of frames that you do not know.",
        },
        "defaultContentType": "application/json",
        "channels": {
            "ws": {
                "address": "/ws",
                "title": Surface::Native.name(),
                "description": "A token goes into `Authorization: Bearer …`, or into a second subprotocol, `bearer.…`.",
                "messages": in_channel,
                "bindings": { "ws": { "method": "GET", "bindingVersion": "0.1.0" } },
            },
        },
        "operations": {
            "server": operation("send", "server", &server),
            "client": operation("receive", "client", &client),
        },
        "components": { "messages": messages, "schemas": schemas },
    })
}

/// A name for a frame of one side: some types are said by both.
fn key(side: &str, frame: &Frame) -> String {
    format!("{side}.{}", frame.kind)
}

fn message(side: &str, frame: &Frame) -> Value {
    let mut message = json!({
        "name": frame.kind,
        "payload": { "$ref": format!("#/components/schemas/{}", key(side, frame)) },
    });
    if let (Some(text), Some(message)) = (frame.schema.get("description"), message.as_object_mut()) {
        message.insert("summary".to_owned(), text.clone());
    }
    message
}

fn operation(action: &str, side: &str, frames: &[Frame]) -> Value {
    let messages: Vec<Value> = frames
        .iter()
        .map(|frame| json!({ "$ref": format!("#/channels/ws/messages/{}", key(side, frame)) }))
        .collect();
    json!({ "action": action, "channel": { "$ref": "#/channels/ws" }, "messages": messages })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reference_of_the_document_leads_somewhere() {
        fn walk(at: &Value, whole: &Value) {
            if let Some(to) = at.get("$ref").and_then(Value::as_str) {
                assert!(whole.pointer(to.trim_start_matches('#')).is_some(), "{to}");
            }
            at.as_object().into_iter().flat_map(Map::values).for_each(|inner| walk(inner, whole));
            at.as_array().into_iter().flatten().for_each(|inner| walk(inner, whole));
        }
        let whole = document();
        walk(&whole, &whole);
        assert!(whole["components"]["messages"]["server.welcome"].is_object());
    }
}
