//! Lays one layer over another: tables merge key by key, everything else is replaced.

use agent_plugin_protocol::Code;

use crate::{
    error::ConfigError,
    node::{Entry, Kind, Table},
};

/// Lays `layer` over `base`.
pub(crate) fn merge(base: &mut Table, layer: Table) {
    for section in SIGNING_SECTIONS {
        if layer.table(section).is_some_and(|keys| SIGNING_KEYS.iter().any(|key| keys.get(key).is_some())) {
            forget_signing_keys(base, section);
        }
    }
    merge_below(base, layer, &mut Vec::new());
}

/// Both spellings of the signing keys in one layer: which one signs would be a guess.
pub(crate) fn check_layer(layer: &Table, errors: &mut Vec<ConfigError>) {
    // A later layer would be laid over it, and nobody would see it.
    if let Some(entry) = layer.get("plugins").filter(|entry| !matches!(entry.node.kind, Kind::Table(_))) {
        errors.push(ConfigError {
            code: Code::ConfigType,
            key: "plugins".to_owned(),
            origin: entry.node.origin.clone(),
            reason: format!("`plugins` should be a table, not {}", entry.node.found()),
            hint: Some("write [plugins.NAME] for each".to_owned()),
        });
    }
    for section in SIGNING_SECTIONS {
        let [one, many] = SIGNING_KEYS.map(|key| layer.table(section).and_then(|keys| keys.get(key)));
        if let (Some(one), Some(many)) = (one, many) {
            errors.push(ConfigError {
                code: Code::ConfigDuplicate,
                key: format!("{section}.hs256_secrets"),
                origin: many.key.clone(),
                reason: format!("`{section}` has both hs256_secret ({}) and hs256_secrets", one.key),
                hint: Some("keep `hs256_secrets`, a list; its first signs".to_owned()),
            });
        }
    }
}

fn merge_below(base: &mut Table, layer: Table, path: &mut Vec<String>) {
    for (key, entry) in layer.0 {
        path.push(key.clone());
        match (base.0.get_mut(&key), entry) {
            (
                Some(Entry { key: old_key, node: old }),
                Entry { key: new_key, node: crate::node::Node { origin, kind: Kind::Table(new) } },
            ) if matches!(old.kind, Kind::Table(_)) && !is_one_value(path) => {
                *old_key = new_key;
                old.origin = origin;
                if let Kind::Table(below) = &mut old.kind {
                    merge_below(below, new, path);
                }
            }
            (_, entry) => {
                base.0.insert(key, entry);
            }
        }
        path.pop();
    }
}

/// Whether a table at that path is one value, written as `{ env = "…" }`, and so is replaced whole.
fn is_one_value(path: &[String]) -> bool {
    let path: Vec<&str> = path.iter().map(String::as_str).collect();
    matches!(path.as_slice(), ["auth" | "admin", "hs256_secret"] | ["plugins", _, "secrets", _])
}

/// `hs256_secret` and `hs256_secrets` are one thing: a later layer's either replaces both.
fn forget_signing_keys(base: &mut Table, section: &str) {
    if let Some(Entry { node, .. }) = base.0.get_mut(section)
        && let Kind::Table(keys) = &mut node.kind
    {
        keys.0.retain(|key, _| !SIGNING_KEYS.contains(&key.as_str()));
    }
}

const SIGNING_SECTIONS: [&str; 2] = ["auth", "admin"];
const SIGNING_KEYS: [&str; 2] = ["hs256_secret", "hs256_secrets"];
