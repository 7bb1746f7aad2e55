//! Maps the configuration into the settings of each component. Values only: nothing is read or decided here.

use std::sync::Arc;

use agent_host_config::{Config, DefaultProtocol, PluginConfig, Secret};
use agent_host_engine::{
    Settings as Engine,
    settings::{DoubleTexting, PluginSettings},
};
use agent_host_gateway::{
    settings::{Auth, Limits, Settings as Gateway, Timing},
    surface::Surface,
};
use agent_plugin_protocol::PluginId;
use secrecy::SecretSlice;

use crate::specs;

/// The engine's.
pub(crate) fn engine(config: &Config) -> Engine {
    Engine {
        plugins: config.plugins.iter().map(|(id, plugin)| slot(config, id, plugin)).collect(),
        order: config.routing.order.clone(),
        wait: config.routing.wait,
        settle: config.service.settle,
        drain_grace: config.drain.grace,
        runs_at_once: config.limits.runs_at_once.unwrap_or(0),
        ..Engine::default()
    }
}

fn slot(config: &Config, id: &PluginId, plugin: &PluginConfig) -> PluginSettings {
    PluginSettings {
        spec: Arc::new(specs::spec(id, plugin, config)),
        enabled: plugin.enabled,
        restarts: plugin.restart.max,
        restart_window: plugin.restart.within,
        substitutes: plugin.substitutes.clone(),
        double_texting: match plugin.double_texting {
            agent_host_config::DoubleTexting::Enqueue => DoubleTexting::Enqueue,
            agent_host_config::DoubleTexting::Reject => DoubleTexting::Reject,
            agent_host_config::DoubleTexting::Interrupt => DoubleTexting::Interrupt,
        },
    }
}

/// The gateway's.
pub(crate) fn gateway(config: &Config) -> Gateway {
    let frame_bytes = config
        .limits
        .frame_bytes
        .map_or(UNBOUNDED_FRAME, |size| usize::try_from(size.0).unwrap_or(UNBOUNDED_FRAME));
    Gateway {
        listen: config.gateway.listen,
        admin_listen: config.admin.listen,
        default_protocol: match config.gateway.default_protocol {
            DefaultProtocol::Native => Surface::Native,
            // Its codec is not built yet; those clients get the native protocol meanwhile, and the welcome says so.
            DefaultProtocol::NetraV1 => Surface::Native,
        },
        auth: Auth {
            hs256_secrets: secrets(&config.auth.hs256_secrets),
            issuer: config.auth.issuer.clone().unwrap_or_default(),
            audience: config.auth.audience.clone().unwrap_or_default(),
            leeway: config.auth.leeway,
        },
        admin: Auth {
            hs256_secrets: secrets(&config.admin.hs256_secrets),
            issuer: String::new(),
            audience: config.admin.audience.clone(),
            leeway: config.auth.leeway,
        },
        limits: Limits {
            frame_bytes,
            connections: limit(config.limits.connections),
            connections_per_user: limit(config.limits.connections_per_user),
            messages_per_minute: config.limits.messages_per_minute.unwrap_or(0),
            runs_at_once: config.limits.runs_at_once.unwrap_or(0),
            ..Limits::default()
        },
        timing: Timing::default(),
        origins: config.gateway.origins.clone(),
        require: config.readiness.require.clone(),
    }
}

/// A frame limit that is switched off still has to fit into memory.
const UNBOUNDED_FRAME: usize = 64 * 1024 * 1024;

fn limit(configured: Option<u32>) -> usize {
    configured.map_or(0, |n| n as usize)
}

fn secrets(configured: &[Secret]) -> Vec<SecretSlice<u8>> {
    configured.iter().map(|secret| SecretSlice::from(secret.expose().as_bytes().to_vec())).collect()
}
