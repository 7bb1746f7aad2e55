//! Maps the configuration into the settings of each component. Values only: nothing is read or decided here.

use std::sync::Arc;

use agent_host_config::{Config, DefaultProtocol, PluginConfig, Secret};
use agent_host_core::{
    canary::CanaryPolicy,
    key_set::KeySetPolicy,
    ports::store::{Durability, Quota},
};
use agent_host_engine::{
    Settings as Engine,
    settings::{DoubleTexting, OnDisconnect, PluginSettings},
};
use agent_host_gateway::{
    auth::{KeySet, PublicKey},
    settings::{Auth, Limits, Settings as Gateway, Timing},
    surface::Surface,
};
use agent_host_services::{Authorities, WebKeys};
use agent_plugin_protocol::PluginId;
use secrecy::SecretSlice;

use crate::specs;

/// The engine's.
pub(crate) fn engine(config: &Config) -> Engine {
    Engine {
        plugins: slots(config),
        order: config.routing.order.clone(),
        required: config.readiness.require.iter().filter(|name| !is_of_the_doors(name)).cloned().collect(),
        wait: config.routing.wait,
        retry: config.routing.retry,
        settle: config.service.settle,
        drain_grace: config.drain.grace,
        runs_at_once: config.limits.runs_at_once.unwrap_or(0),
        behind_bytes: made_by_a_message(config),
        subscriptions: config.limits.subscriptions_per_user.unwrap_or(0),
        durability: match config.store.durability {
            agent_host_config::Durability::Durable => Durability::Durable,
            agent_host_config::Durability::Ephemeral => Durability::Ephemeral,
            agent_host_config::Durability::Memory => Durability::Memory,
        },
        quota: Quota {
            threads: config.limits.threads_per_user.map_or(0, u64::from),
            bytes: config.limits.storage_per_user.map_or(0, |size| size.0),
        },
        ..Engine::default()
    }
}

/// Whether the doors judge it: it says who is let in, and nothing of how capable the service is.
fn is_of_the_doors(name: &str) -> bool {
    matches!(name, "keys" | "self_check")
}

/// The supervisor that is named goes first: the engine asks the first enabled one.
fn slots(config: &Config) -> Vec<PluginSettings> {
    let named = |id: &PluginId| config.routing.supervisor.as_ref() == Some(id);
    let (first, others): (Vec<_>, Vec<_>) = config.plugins.iter().partition(|(id, _)| named(id));
    first.into_iter().chain(others).map(|(id, plugin)| slot(config, id, plugin)).collect()
}

fn slot(config: &Config, id: &PluginId, plugin: &PluginConfig) -> PluginSettings {
    PluginSettings {
        spec: Arc::new(specs::spec(id, plugin, config)),
        enabled: plugin.enabled,
        restarts: plugin.restart.max,
        restart_window: plugin.restart.within,
        spares: plugin.spares,
        breaker: plugin.breaker,
        canary: CanaryPolicy {
            share: plugin.canary.share,
            lasts: plugin.canary.lasts,
            min_runs: plugin.canary.min_runs,
            tolerance: plugin.canary.tolerance,
        },
        rollback_window: plugin.rollback_window,
        substitutes: plugin.substitutes.clone(),
        double_texting: match plugin.double_texting {
            agent_host_config::DoubleTexting::Enqueue => DoubleTexting::Enqueue,
            agent_host_config::DoubleTexting::Reject => DoubleTexting::Reject,
            agent_host_config::DoubleTexting::Interrupt => DoubleTexting::Interrupt,
        },
        on_disconnect: match plugin.on_disconnect {
            agent_host_config::OnDisconnect::Continue => OnDisconnect::Continue,
            agent_host_config::OnDisconnect::Cancel => OnDisconnect::Cancel,
        },
    }
}

/// Bytes of the events that one message may make: itself, its words once more if they are streamed back, an answer of
/// its own streamed and whole (1 MiB each), and twice that for tools.
fn made_by_a_message(config: &Config) -> usize {
    let surface = if config.gateway.netra.v2 { Surface::NetraV2 } else { Surface::Native };
    2 * surface.frame_bytes(frame_bytes(config)) + 4 * 1024 * 1024
}

fn frame_bytes(config: &Config) -> usize {
    let limit = config.limits.frame_bytes;
    limit.map_or(UNBOUNDED_FRAME, |size| usize::try_from(size.0).unwrap_or(UNBOUNDED_FRAME))
}

/// The gateway's.
pub(crate) fn gateway(config: &Config) -> Gateway {
    let frame_bytes = frame_bytes(config);
    Gateway {
        listen: config.gateway.listen,
        admin_listen: config.admin.listen,
        default_protocol: match config.gateway.default_protocol {
            DefaultProtocol::Native => Surface::Native,
            DefaultProtocol::NetraV1 => Surface::NetraV1,
        },
        netra_v2: config.gateway.netra.v2,
        auth: Auth {
            hs256_secrets: secrets(&config.auth.hs256_secrets),
            // Each was read once when the configuration was loaded.
            public_keys: config
                .auth
                .public_keys
                .iter()
                .filter_map(|key| PublicKey::from_pem(&key.pem).ok())
                .collect(),
            issuer: config.auth.issuer.clone().unwrap_or_default(),
            audience: config.auth.audience.clone().unwrap_or_default(),
            leeway: config.auth.leeway,
        },
        admin: Auth {
            hs256_secrets: secrets(&config.admin.hs256_secrets),
            issuer: String::new(),
            audience: config.admin.audience.clone(),
            leeway: config.auth.leeway,
            ..Auth::default()
        },
        limits: Limits {
            frame_bytes,
            connections: limit(config.limits.connections),
            connections_per_user: limit(config.limits.connections_per_user),
            messages_per_minute: config.limits.messages_per_minute.unwrap_or(0),
            runs_at_once: config.limits.runs_at_once.unwrap_or(0),
            auth_failures_per_minute: config.limits.auth_failures_per_minute.unwrap_or(0),
            ..Limits::default()
        },
        timing: Timing::default(),
        origins: config.gateway.origins.clone(),
        trusted_proxies: config.gateway.trusted_proxies.clone(),
        admin_hosts: config.admin.hosts.clone(),
        require: config.readiness.require.clone(),
        self_check: config.self_check.interval,
    }
}

/// The key set of another issuer, if there is one.
pub(crate) fn key_set(config: &Config) -> Option<KeySet> {
    let jwks = config.auth.jwks.as_ref()?;
    let authorities = match &jwks.authorities {
        // They were read once when the configuration was loaded. Nobody is believed rather than somebody else.
        Some(file) => Authorities::from_pem(&file.pem).unwrap_or(Authorities::Only(Vec::new())),
        None => Authorities::OfThisMachine,
    };
    let source = WebKeys::new(jwks.url.clone(), authorities);
    let policy = KeySetPolicy { refresh: jwks.refresh, stale: jwks.stale, ..KeySetPolicy::default() };
    Some(KeySet::new(Arc::new(source), jwks.url.to_string(), jwks.timeout, policy))
}

/// A frame limit that is switched off still has to fit into memory.
const UNBOUNDED_FRAME: usize = 64 * 1024 * 1024;

fn limit(configured: Option<u32>) -> usize {
    configured.map_or(0, |n| n as usize)
}

fn secrets(configured: &[Secret]) -> Vec<SecretSlice<u8>> {
    configured.iter().map(|secret| SecretSlice::from(secret.expose().as_bytes().to_vec())).collect()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use agent_host_config::{Sources, load};

    use super::*;

    fn config(overrides: &[(&str, &str)]) -> Config {
        let dir = std::env::temp_dir().join(format!("agent-host-settings-{}", uuid::Uuid::new_v4()));
        std::fs::create_dir_all(&dir).unwrap();
        let plugin = |id: &str, kind: &str| format!("[plugins.{id}]\nkind = \"{kind}\"\npath = \"l.so\"\n");
        let plugins =
            [plugin("able", "supervisor"), plugin("answers", "agent"), plugin("best", "supervisor")].concat();
        std::fs::write(dir.join("host.toml"), plugins).unwrap();
        let key = ("auth.hs256_secret".to_owned(), "k".repeat(32));
        let set = overrides.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
        let sources =
            Sources { dir: Some(dir.clone()), overrides: set.chain([key]).collect(), ..Sources::default() };
        let loaded = load(sources);
        std::fs::remove_dir_all(dir).unwrap();
        loaded.unwrap_or_else(|errors| panic!("{errors}")).config
    }

    #[test]
    fn the_named_supervisor_is_the_one_that_is_asked() {
        let first = |config: &Config| engine(config).plugins[0].spec.id.to_string();
        assert_eq!(first(&config(&[])), "able");
        assert_eq!(first(&config(&[("routing.supervisor", "best")])), "best");
    }

    #[test]
    fn what_is_written_0_is_off() {
        let names =
            ["connections", "connections_per_user", "messages_per_minute", "runs_at_once", "frame_bytes"];
        let keys: Vec<String> = names.iter().map(|name| format!("limits.{name}")).collect();
        let off: Vec<(&str, &str)> = keys.iter().map(|key| (key.as_str(), "0")).collect();
        let config = config(&off);
        let limits = gateway(&config).limits;
        assert_eq!((limits.connections, limits.connections_per_user, limits.messages_per_minute), (0, 0, 0));
        assert_eq!((limits.runs_at_once, engine(&config).runs_at_once), (0, 0));
        assert_eq!(limits.frame_bytes, UNBOUNDED_FRAME, "a frame still has to fit into memory");
    }

    #[test]
    fn what_is_configured_arrives() {
        let set = [
            ("routing.wait", "3s"),
            ("routing.order", "answers"),
            ("drain.grace", "7s"),
            ("service.settle", "4s"),
            ("plugins.answers.double_texting", "reject"),
            ("plugins.answers.on_disconnect", "cancel"),
            ("plugins.answers.restart.max", "9"),
            ("auth.leeway", "5s"),
            ("readiness.require", "agent, keys"),
            ("gateway.origins", "https://a.example"),
            ("gateway.trusted_proxies", "10.0.0.0/8"),
            ("admin.hosts", "Admin.Example"),
            ("limits.auth_failures_per_minute", "7"),
        ];
        let config = config(&set);
        let engine = engine(&config);
        assert_eq!((engine.wait, engine.settle), (Duration::from_secs(3), Duration::from_secs(4)));
        assert_eq!((engine.drain_grace, engine.order[0].as_str()), (Duration::from_secs(7), "answers"));
        let agent = engine.plugins.iter().find(|plugin| plugin.spec.id.as_str() == "answers").unwrap();
        assert_eq!((agent.double_texting, agent.restarts), (DoubleTexting::Reject, 9));
        assert_eq!(agent.on_disconnect, OnDisconnect::Cancel);
        let gateway = gateway(&config);
        assert_eq!(
            (gateway.auth.leeway, gateway.require),
            (Duration::from_secs(5), vec!["agent".to_owned(), "keys".to_owned()])
        );
        assert_eq!(engine.required, ["agent"], "the doors judge the others");
        assert_eq!(gateway.origins, ["https://a.example"]);
        assert_eq!(gateway.trusted_proxies, ["10.0.0.0/8".parse().unwrap()]);
        assert_eq!(gateway.admin_hosts, ["admin.example"]);
        assert_eq!(gateway.limits.auth_failures_per_minute, 7);
    }
}
