//! Turns the configuration of a plugin into what the runtime is told: [`PluginSpec`].

use std::collections::BTreeMap;

use agent_host_config::{Config, PluginConfig, PluginIsolation};
use agent_host_core::{
    failpoint,
    failpoint::Action,
    ports::{
        instance::{Isolation, Limits, PluginSpec, Timeouts},
        library::Trust,
    },
};
use agent_host_runtime::Confinement;
use agent_plugin_protocol::{PluginId, Secret};

/// The spec of one plugin.
pub(crate) fn spec(id: &PluginId, plugin: &PluginConfig, config: &Config) -> PluginSpec {
    PluginSpec {
        id: id.clone(),
        kind: plugin.kind,
        path: plugin.path.clone(),
        isolation: match plugin.isolation {
            PluginIsolation::Process => Isolation::Process,
            PluginIsolation::InProcess => Isolation::InProcess,
        },
        sha256: plugin.sha256.clone(),
        trust: Trust {
            require_pin: config.trust.require_pin,
            require_signature: config.trust.require_signature,
            keys: config.trust.keys.clone(),
        },
        config: plugin.config.clone(),
        secrets: secrets(id, config),
        network: plugin.network.clone(),
        requires: plugin.requires.clone(),
        timeouts: Timeouts {
            init: plugin.timeouts.init,
            tool: plugin.timeouts.tool,
            idle: plugin.timeouts.idle,
            run: plugin.timeouts.run,
            grace: plugin.timeouts.grace,
            queue: plugin.timeouts.queue,
        },
        limits: Limits {
            memory: plugin.limits.memory.map_or(0, |size| size.0),
            concurrent_runs: plugin.limits.concurrent_runs,
            queued_runs: plugin.limits.queued_runs,
            library: plugin.limits.library.0,
            open_files: plugin.limits.open_files,
            cpu_percent: plugin.limits.cpu_percent,
        },
        tools: plugin.tools.clone(),
        threads: plugin.threads,
        data_dir: Some(config.store.path.join("plugins").join(id.as_str())),
        log_level: config.log.level.as_str().to_owned(),
    }
}

/// The plugin's own, and nobody else's. Those that are missing keep it from starting; see `withheld`.
fn secrets(id: &PluginId, config: &Config) -> BTreeMap<String, Secret> {
    // Off for a broken twin: a host whose plugins share their secrets.
    let shared = failpoint!("server.secrets") == Some(Action::Off);
    let own = config.plugins.iter().filter(|(plugin, _)| shared || *plugin == id);
    own.flat_map(|(_, plugin)| &plugin.secrets)
        .filter_map(|(name, secret)| Some((name.clone(), Secret::new(secret.as_ref()?.expose()))))
        .collect()
}

/// What `[isolation]` demands of every worker's sandbox.
pub(crate) fn confinement(config: &Config) -> Confinement {
    Confinement {
        require: config.isolation.require.clone(),
        users: config.isolation.uid_range.map(|range| range.first..=range.last),
    }
}

#[cfg(test)]
mod tests {
    use std::{path::Path, time::Duration};

    use agent_host_config::{Sources, load};
    use serde_json::json;

    use super::*;

    fn of(overrides: &[(&str, &str)]) -> PluginSpec {
        let shipped = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../../config"));
        let set = overrides.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
        let secret = ("AGENT_HOST_SECRET".to_owned(), "s".repeat(32));
        let sources = Sources {
            dir: Some(shipped.to_owned()),
            env: vec![secret],
            overrides: set.collect(),
            ..Sources::default()
        };
        let config = load(sources).unwrap_or_else(|errors| panic!("{errors}")).config;
        let (id, echo) = config.plugins.iter().find(|(id, _)| id.as_str() == "echo").unwrap();
        spec(id, echo, &config)
    }

    #[test]
    fn the_shipped_echo_has_the_defaults_and_its_tool() {
        let spec = of(&[]);
        assert_eq!((spec.isolation, spec.threads), (Isolation::Process, 2));
        assert_eq!(spec.limits.memory, 512 << 20);
        assert_eq!(spec.timeouts.run, Duration::from_secs(600));
        assert_eq!(spec.tools, ["clock"]);
        assert_eq!(spec.config, json!({}));
        assert_eq!(spec.log_level, "info");
        assert!(spec.path.ends_with("plugins/libecho.so"), "{:?}", spec.path);
        assert!(spec.data_dir.unwrap().ends_with(".agent-host/plugins/echo"));
    }

    #[test]
    fn what_is_configured_arrives() {
        let spec = of(&[
            ("plugins.echo.isolation", "in-process"),
            ("plugins.echo.limits.memory", "0"),
            ("plugins.echo.timeouts.idle", "7s"),
            ("plugins.echo.config.prefix", "You said: "),
            ("plugins.echo.requires", "llm,threads"),
            ("log.level", "debug"),
        ]);
        assert_eq!((spec.isolation, spec.limits.memory), (Isolation::InProcess, 0));
        assert_eq!(spec.timeouts.idle, Duration::from_secs(7));
        assert_eq!(spec.config, json!({"prefix": "You said: "}));
        assert_eq!(spec.requires, ["llm", "threads"]);
        assert_eq!(spec.log_level, "debug");
    }
}
