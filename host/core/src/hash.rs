//! The digest of a message's body: the same idempotency key with another digest is a conflict.

use agent_plugin_protocol::{PluginId, ThreadId};
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

/// Digests what the client sent; the order of metadata's keys does not matter, an absent field differs from an
/// empty one.
pub fn body_hash(
    thread: Option<&ThreadId>,
    agent: Option<&PluginId>,
    content: &str,
    metadata: &Map<String, Value>,
) -> [u8; 32] {
    let mut digest = Sha256::new();
    digest.update(b"agent-host.message.v1");
    field(&mut digest, thread.map(ThreadId::as_str));
    field(&mut digest, agent.map(PluginId::as_str));
    field(&mut digest, Some(content));
    object(&mut digest, metadata);
    digest.finalize().into()
}

/// Digests bytes as they are.
pub fn bytes_hash(bytes: &[u8]) -> [u8; 32] {
    Sha256::digest(bytes).into()
}

/// Length first, so that no two lists of fields read the same.
fn field(digest: &mut Sha256, text: Option<&str>) {
    match text {
        None => digest.update([0]),
        Some(text) => {
            digest.update([1]);
            digest.update((text.len() as u64).to_le_bytes());
            digest.update(text);
        }
    }
}

fn object(digest: &mut Sha256, map: &Map<String, Value>) {
    // The map's own order depends on a feature of serde_json that any crate may switch on.
    let mut entries: Vec<_> = map.iter().collect();
    entries.sort_by(|a, b| a.0.cmp(b.0));
    digest.update(b"{");
    digest.update((entries.len() as u64).to_le_bytes());
    for (key, value) in entries {
        field(digest, Some(key));
        any(digest, value);
    }
}

/// Recursion is bounded by serde_json's own depth limit of 128.
fn any(digest: &mut Sha256, value: &Value) {
    match value {
        Value::Object(map) => object(digest, map),
        Value::Array(items) => {
            digest.update(b"[");
            digest.update((items.len() as u64).to_le_bytes());
            items.iter().for_each(|item| any(digest, item));
        }
        Value::String(text) => {
            digest.update(b"s");
            field(digest, Some(text));
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => {
            digest.update(b"v");
            field(digest, Some(&value.to_string()));
        }
    }
}

#[cfg(test)]
mod tests;
