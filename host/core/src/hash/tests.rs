use std::collections::HashSet;

use serde_json::json;

use super::*;

fn hash(thread: Option<&str>, agent: Option<&str>, content: &str, metadata: Value) -> [u8; 32] {
    let thread = thread.map(|t| ThreadId::new(t).unwrap());
    let agent = agent.map(|a| PluginId::new(a).unwrap());
    body_hash(thread.as_ref(), agent.as_ref(), content, metadata.as_object().unwrap())
}

#[test]
fn every_difference_of_the_body_is_a_difference_of_the_digest() {
    let digests = [
        hash(None, None, "a", json!({})),
        hash(Some("a"), None, "a", json!({})),
        hash(None, Some("a"), "a", json!({})),
        hash(None, None, "", json!({})),
        hash(None, None, "aa", json!({})),
        hash(None, None, "a", json!({"k": "v"})),
        hash(None, None, "a", json!({"kv": ""})),
        hash(None, None, "a", json!({"k": ["v"]})),
        hash(None, None, "a", json!({"k": [["v"]]})),
        hash(None, None, "a", json!({"k": {"v": null}})),
        hash(None, None, "a", json!({"k": null})),
        hash(None, None, "a", json!({"k": "null"})),
        hash(None, None, "a", json!({"k": 1})),
        hash(None, None, "a", json!({"k": "1"})),
        hash(None, None, "a", json!({"k": true})),
        hash(None, None, "a", json!({"k": [1, 2]})),
        hash(None, None, "a", json!({"k": [2, 1]})),
        hash(None, None, "a", json!({"k": [12]})),
    ];
    assert_eq!(digests.iter().collect::<HashSet<_>>().len(), digests.len());
}

#[test]
fn the_order_of_keys_is_no_difference() {
    let one: Value = serde_json::from_str(r#"{"a":{"x":1,"y":2},"b":3}"#).unwrap();
    let two: Value = serde_json::from_str(r#"{"b":3,"a":{"y":2,"x":1}}"#).unwrap();
    assert_eq!(hash(None, None, "t", one), hash(None, None, "t", two));
}

/// Stored digests must mean the same after an upgrade of the host.
#[test]
fn the_digest_is_stable() {
    let digest = hash(Some("t1"), Some("echo"), "hello", json!({"k": [1, "x", null]}));
    let hex: String = digest.iter().map(|b| format!("{b:02x}")).collect();
    insta::assert_snapshot!("stable", hex);
}
