//! What differs between two configurations, key by key, and what of it can hold without a restart. Pure.

use agent_host_config::{Loaded, Values};
use agent_host_gateway::admin::view::KeyChangePart;
use serde_json::{Value, json};

/// Keys that the components take up while they serve. Whatever else changes holds from the next start on, and is named.
const LIVE: [&str; 11] = [
    "plugins.",
    "trust.",
    "routing.",
    "service.",
    "log.level",
    "limits.",
    "auth.",
    "admin.",
    "gateway.",
    "readiness.",
    "self_check.",
];
/// Keys among those that are taken up at the start only: what is bound, and what was counted when it was.
const AT_START: [&str; 3] = ["gateway.listen", "admin.listen", "limits.connections"];

/// Keys that may be set through the API. Path, isolation, trust, keys, commands and listeners are not among them: who
/// may set those decides what runs, and as whom.
const BY_API: [&str; 4] = ["limits.", "routing.", "service.", "log.level"];
/// The same, below a plugin's name.
const OF_PLUGIN_BY_API: [&str; 9] = [
    "enabled",
    "limits.",
    "config.",
    "restart.",
    "canary.",
    "spares",
    "breaker",
    "rollback_window",
    "substitutes",
];

/// Whether a key holds without a restart.
pub(super) fn is_live(key: &str) -> bool {
    LIVE.iter().any(|live| key.starts_with(live)) && !AT_START.contains(&key)
}

/// Whether a key may be set through the API.
pub(super) fn may_be_set(key: &str) -> bool {
    let begins =
        |with: &str| key == with.trim_end_matches('.') || (with.ends_with('.') && key.starts_with(with));
    if BY_API.iter().any(|with| begins(with)) {
        return true;
    }
    let of_plugin = key.strip_prefix("plugins.").and_then(|rest| rest.split_once('.'));
    of_plugin.is_some_and(|(_, key)| {
        OF_PLUGIN_BY_API.iter().any(|with| key == *with || (with.ends_with('.') && key.starts_with(with)))
    })
}

/// Every key that differs.
pub(super) fn changes(from: &Values, to: &Values) -> Vec<KeyChangePart> {
    let value = |of: &Values, key: &str| of.get(key).cloned().unwrap_or(Value::Null);
    let mut keys: Vec<&String> = from.keys().chain(to.keys()).collect();
    keys.sort_unstable();
    keys.dedup();
    let changes = keys.into_iter().filter_map(|key| {
        let (from, to) = (value(from, key), value(to, key));
        (from != to).then(|| KeyChangePart { key: key.clone(), from, to, live: is_live(key) })
    });
    changes.collect()
}

/// Every key that differs between two configurations, and those whose text is the same while what it refers to is not: a
/// file of a secret, or of a public key, that has another content by now. Neither content is told.
pub(crate) fn differences(from: &Loaded, to: &Loaded) -> Vec<KeyChangePart> {
    let mut all = changes(&from.values, &to.values);
    let (one, other) = (&from.config, &to.config);
    for (key, differ) in [
        ("auth.hs256_secret", one.auth.hs256_secrets != other.auth.hs256_secrets),
        ("auth.public_keys", one.auth.public_keys != other.auth.public_keys),
        ("admin.hs256_secret", one.admin.hs256_secrets != other.admin.hs256_secrets),
    ] {
        // `…secret` and `…secrets` are the same key, written in two ways.
        if differ && !all.iter().any(|change| change.key.starts_with(key)) {
            let (from, to) = (json!("[as it was]"), json!("[another content]"));
            all.push(KeyChangePart { key: key.to_owned(), from, to, live: true });
        }
    }
    all
}

/// Keys whose new value waits for a restart, against what the host was started with.
pub(super) fn pending(started: &Values, now: &Values) -> Vec<String> {
    changes(started, now).into_iter().filter(|change| !change.live).map(|change| change.key).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values(of: &[(&str, Value)]) -> Values {
        of.iter().map(|(key, value)| ((*key).to_owned(), value.clone())).collect()
    }

    #[test]
    fn what_differs_is_told_and_what_waits_is_named() {
        let from =
            values(&[("routing.wait", json!("2s")), ("gateway.listen", json!("a")), ("same", json!(1))]);
        let to =
            values(&[("plugins.a.path", json!("l.so")), ("gateway.listen", json!("b")), ("same", json!(1))]);
        let told: Vec<_> = changes(&from, &to).into_iter().map(|c| (c.key, c.from, c.to, c.live)).collect();
        let expected = [
            ("gateway.listen".to_owned(), json!("a"), json!("b"), false),
            ("plugins.a.path".to_owned(), json!(null), json!("l.so"), true),
            ("routing.wait".to_owned(), json!("2s"), json!(null), true),
        ];
        assert_eq!(told, expected);
        assert_eq!(pending(&from, &to), ["gateway.listen"]);
    }

    #[test]
    fn keys_and_limits_hold_at_once_and_listeners_with_the_next_start() {
        for key in [
            "auth.hs256_secrets",
            "auth.issuer",
            "auth.jwks_url",
            "admin.hs256_secret",
            "admin.hosts",
            "gateway.origins",
            "gateway.trusted_proxies",
            "limits.messages_per_minute",
            "limits.connections_per_user",
            "readiness.require",
        ] {
            assert!(is_live(key), "{key}");
        }
        for key in ["gateway.listen", "admin.listen", "limits.connections", "store.path", "drain.grace"] {
            assert!(!is_live(key), "{key}");
        }
    }

    #[test]
    fn what_decides_what_runs_is_not_set_through_the_api() {
        for key in [
            "plugins.echo.path",
            "plugins.echo.isolation",
            "plugins.echo.sha256",
            "plugins.echo.network",
            "plugins.echo.tools",
            "plugins.echo.secrets.key",
            "plugins.echo.kind",
            "plugins.echo",
            "plugins.enabled",
            "auth.hs256_secret",
            "admin.hs256_secrets",
            "gateway.listen",
            "admin.listen",
            "trust.require_pin",
            "isolation.require",
            "store.path",
            "limitsx",
            "log.format",
            "chaos.enabled",
        ] {
            assert!(!may_be_set(key), "{key}");
        }
        for key in [
            "plugins.echo.enabled",
            "plugins.echo.limits.concurrent_runs",
            "plugins.echo.config.model.name",
            "plugins.echo.canary.share",
            "limits.runs_at_once",
            "routing.order",
            "log.level",
        ] {
            assert!(may_be_set(key), "{key}");
        }
    }
}
