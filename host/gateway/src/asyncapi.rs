//! The protocol as a document for machines: AsyncAPI 3.0, at `/asyncapi.json`. Made from the types, once.

use std::{fmt::Write as _, sync::OnceLock};

use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, StatusCode, header};
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

use crate::{
    native::{Frame, Frames},
    surface::Surface,
};

/// The document with its name for caches.
struct Page {
    body: Bytes,
    etag: HeaderValue,
}

/// Answers `GET /asyncapi.json`.
pub(crate) async fn answer(headers: HeaderMap) -> Response {
    static PAGE: OnceLock<Page> = OnceLock::new();
    let page = PAGE.get_or_init(page);
    let cached = headers.get_all(header::IF_NONE_MATCH).iter().any(|known| names(known, &page.etag));
    let always = [
        (header::ETAG, page.etag.clone()),
        // It changes with the host's version: ask, but do not fetch again.
        (header::CACHE_CONTROL, HeaderValue::from_static("no-cache")),
    ];
    if cached {
        return (StatusCode::NOT_MODIFIED, always).into_response();
    }
    let json = [(header::CONTENT_TYPE, HeaderValue::from_static("application/json"))];
    (always, json, page.body.clone()).into_response()
}

fn names(known: &HeaderValue, etag: &HeaderValue) -> bool {
    let (Ok(known), Ok(etag)) = (known.to_str(), etag.to_str()) else { return false };
    known.split(',').map(|one| one.trim().trim_start_matches("W/")).any(|one| one == "*" || one == etag)
}

fn page() -> Page {
    let mut body = serde_json::to_string_pretty(&document()).unwrap_or_default();
    body.push('\n');
    let mut etag = String::from("\"");
    for byte in Sha256::digest(body.as_bytes()).iter().take(16) {
        // Writing to a String does not fail.
        let _ = write!(etag, "{byte:02x}");
    }
    etag.push('"');
    let etag = HeaderValue::from_str(&etag).unwrap_or_else(|_| HeaderValue::from_static("\"0\""));
    Page { body: body.into(), etag }
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

    async fn get(if_none_match: Option<&HeaderValue>) -> Response {
        let mut headers = HeaderMap::new();
        headers.extend(if_none_match.map(|etag| (header::IF_NONE_MATCH, etag.clone())));
        answer(headers).await
    }

    #[tokio::test]
    async fn who_has_it_need_not_fetch_it_again() {
        let first = get(None).await;
        assert_eq!(first.status(), StatusCode::OK);
        let etag = first.headers()[header::ETAG].clone();
        assert_eq!(get(Some(&etag)).await.status(), StatusCode::NOT_MODIFIED);
        let weak = HeaderValue::from_str(&format!("\"x\", W/{}", etag.to_str().unwrap())).unwrap();
        assert_eq!(get(Some(&weak)).await.status(), StatusCode::NOT_MODIFIED);
        assert_eq!(get(Some(&HeaderValue::from_static("\"x\""))).await.status(), StatusCode::OK);
    }

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
