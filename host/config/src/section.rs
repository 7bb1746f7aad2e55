//! The configuration that holds: one struct for each component, and how each is read.

mod auth;
mod canary;
mod gateway;
mod host;
mod key_set;
mod limits;
mod plugin;
mod routing;
mod security;

use std::collections::BTreeMap;

use agent_plugin_protocol::{Code, PluginId};

#[cfg(test)]
pub(crate) use self::security::UID_RANGE_PATTERN;
pub use self::{
    auth::{AdminConfig, AuthConfig, PublicKeyFile},
    canary::CanaryConfig,
    gateway::{DefaultProtocol, GatewayConfig, NetraConfig},
    host::{
        ChaosConfig, DrainConfig, Durability, LogConfig, LogFormat, LogLevel, ReadinessConfig,
        SelfCheckConfig, ServiceConfig, StoreConfig,
    },
    key_set::{AuthoritiesFile, KeySetConfig},
    limits::LimitsConfig,
    plugin::{
        DoubleTexting, OnDisconnect, PluginConfig, PluginIsolation, PluginLimits, PluginTimeouts,
        RestartConfig,
    },
    routing::RoutingConfig,
    security::{IsolationConfig, TrustConfig, UidRange},
};
use crate::{
    node::Table,
    origin::Origin,
    reader::{Context, Key, Reader},
};

/// A configuration that was checked as a whole.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// The public listener.
    pub gateway: GatewayConfig,
    /// The operators' listener.
    pub admin: AdminConfig,
    /// How users' tokens are verified.
    pub auth: AuthConfig,
    /// Where threads and events are kept.
    pub store: StoreConfig,
    /// Which agent answers a message that names none.
    pub routing: RoutingConfig,
    /// How the host ends.
    pub drain: DrainConfig,
    /// How the service level is announced.
    pub service: ServiceConfig,
    /// What one user may use.
    pub limits: LimitsConfig,
    /// Which libraries are trusted.
    pub trust: TrustConfig,
    /// What of the sandbox must be in force.
    pub isolation: IsolationConfig,
    /// What `/ready` asks for.
    pub readiness: ReadinessConfig,
    /// The host's look at itself.
    pub self_check: SelfCheckConfig,
    /// Fault injection by operators.
    pub chaos: ChaosConfig,
    /// The host's log.
    pub log: LogConfig,
    /// The plugins, by id; the disabled ones too.
    pub plugins: BTreeMap<PluginId, PluginConfig>,
}

/// Which plugins are configured: what a reference may name.
pub(crate) struct Roster {
    pub(crate) ids: Vec<String>,
    pub(crate) supervisors: Vec<PluginId>,
}

/// Reads the whole tree; what is wrong is in the context afterwards.
pub(crate) fn read(cx: &Context<'_>, tree: &Table) -> Config {
    let root = Reader::root(cx, tree);
    let version = root.or("version", VERSION);
    if version != VERSION {
        root.error(
            Code::ConfigRange,
            "version",
            format!("is {version}; this host knows version {VERSION}"),
            None,
        );
    }
    let ids = tree.table("plugins").map(|plugins| plugins.0.keys().cloned().collect()).unwrap_or_default();
    let mut roster = Roster { ids, supervisors: Vec::new() };
    let plugins = plugin::read_all(&root.section("plugins"), &roster);
    let supervisors = plugins.iter().filter(|(_, plugin)| plugin.is_supervisor());
    roster.supervisors = supervisors.map(|(id, _)| id.clone()).collect();
    let auth = AuthConfig::read(&root.section("auth"));
    let admin = AdminConfig::read(&root.section("admin"), &auth);
    Config {
        gateway: GatewayConfig::read(&root.section("gateway")),
        admin,
        auth,
        store: StoreConfig::read(&root.section("store")),
        routing: RoutingConfig::read(&root.section("routing"), &roster),
        drain: DrainConfig::read(&root.section("drain")),
        service: ServiceConfig::read(&root.section("service")),
        limits: LimitsConfig::read(&root.section("limits")),
        trust: TrustConfig::read(&root.section("trust")),
        isolation: IsolationConfig::read(&root.section("isolation")),
        readiness: ReadinessConfig::read(&root.section("readiness"), &roster),
        self_check: SelfCheckConfig::read(&root.section("self_check")),
        chaos: ChaosConfig::read(&root.section("chaos")),
        log: LogConfig::read(&root.section("log")),
        plugins,
    }
}

/// Every key that a configuration may have, found by reading an empty one.
pub fn known_keys() -> Vec<Key> {
    let cx = Context::new(&[]);
    let nothing = Table::default();
    read(&cx, &nothing);
    let nobody = Roster { ids: Vec::new(), supervisors: Vec::new() };
    plugin::read_one(&Reader::new(&cx, None, Origin::Default, "plugins.<id>".to_owned()), &nobody, None);
    cx.keys.into_inner()
}

/// Where a key belongs that was written in a section that lacks it.
pub(crate) fn elsewhere(key: &str) -> Option<String> {
    let keys = known_keys();
    let mut paths =
        keys.iter().map(|key| key.path.as_str()).filter(|path| path.rsplit('.').next() == Some(key));
    match (paths.next(), paths.next()) {
        (Some(path), None) => Some(format!("did you mean `{path}`?")),
        (None, _) | (Some(_), Some(_)) => None,
    }
}

/// The version of the format that this host knows.
const VERSION: u64 = 1;
