//! What the engine is built from: its settings (values), and the ports it acts through.

use std::{sync::Arc, time::Duration};

use agent_host_core::{
    canary::CanaryPolicy,
    ports::{
        clock::Clock,
        instance::{Isolation, PluginRuntime, PluginSpec},
        network::Network,
        store::{Durability, Quota, Store},
        tools::ToolHost,
    },
    service::ServiceTable,
};
use agent_plugin_protocol::PluginId;
use tokio::sync::watch;

/// Values from the configuration.
#[derive(Debug, Clone, PartialEq)]
pub struct Settings {
    /// This host's name in frames.
    pub host: String,
    /// The enabled plugins.
    pub plugins: Vec<PluginSettings>,
    /// Agents to try, in order; those not named follow in the configuration's order.
    pub order: Vec<PluginId>,
    /// What the service is not whole without though nobody enabled it: `agent`, `supervisor`, names of plugins, of services,
    /// `store`, `fallback`.
    pub required: Vec<String>,
    /// How long a message waits for its agent while the host is starting.
    pub wait: Duration,
    /// Whether a message whose agent failed before it said anything is tried again.
    pub retry: bool,
    /// How long a level must hold before clients are told.
    pub settle: Duration,
    /// How long a drain may take.
    pub drain_grace: Duration,
    /// Runs at once for one user; 0: no limit.
    pub runs_at_once: u32,
    /// Threads that one user may follow, counted once for each connection; 0: no limit.
    pub subscriptions: u32,
    /// How long the log lasts: for what clients and operators are told.
    pub durability: Durability,
    /// What one user may have stored.
    pub quota: Quota,
    /// Outbound bytes that one connection may have unread before it is closed as a slow consumer.
    pub outbox_bytes: usize,
    /// Bytes of events that may wait in the log for one connection whose outbox is full, before it is closed as that: as
    /// much as one message may make.
    pub behind_bytes: usize,
    /// Messages that may wait in one thread while a run is going on.
    pub queued_messages: usize,
    /// The self-test's interval for healthy plugins.
    pub probe_every: Duration,
    /// The supervisor's time to choose; then the configured order decides.
    pub route_within: Duration,
}

/// One plugin's slot.
#[derive(Debug, Clone, PartialEq)]
pub struct PluginSettings {
    /// What is to run.
    pub spec: Arc<PluginSpec>,
    /// The switch. A disabled slot is shown, not loaded.
    pub enabled: bool,
    /// Restarts within the window before quarantine.
    pub restarts: u32,
    /// The window.
    pub restart_window: Duration,
    /// Warm spares: workers that are loaded and idle, to take over when the serving one dies; 0 or 1.
    pub spares: u32,
    /// Whether it gets no runs while it keeps failing them.
    pub breaker: bool,
    /// How a new generation is tried before it serves.
    pub canary: CanaryPolicy,
    /// How long a replaced generation is kept warm, to go back to if the new one fails; 0: not at all.
    pub rollback_window: Duration,
    /// Agents that may answer in its place when it is named and not healthy.
    pub substitutes: Vec<PluginId>,
    /// What a message does that comes while this plugin answers an earlier one of the same thread.
    pub double_texting: DoubleTexting,
    /// What becomes of its run when whoever followed that is lost.
    pub on_disconnect: OnDisconnect,
}

/// What becomes of a message that comes while its thread has a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum DoubleTexting {
    /// It waits for its turn.
    #[default]
    Enqueue,
    /// It is refused with `run.busy`.
    Reject,
    /// The running run is cancelled, and the message follows it.
    Interrupt,
}

/// What becomes of a run whose last follower's connection was lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OnDisconnect {
    /// It goes on: its thread has what comes of it.
    #[default]
    Continue,
    /// It is cancelled, and with it what waits behind it in its thread.
    Cancel,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            host: "agent-host".to_owned(),
            plugins: Vec::new(),
            order: Vec::new(),
            required: Vec::new(),
            wait: Duration::from_secs(2),
            retry: true,
            settle: Duration::from_secs(1),
            // 8 s: Cloud Run kills 10 s after SIGTERM.
            drain_grace: Duration::from_secs(8),
            runs_at_once: 4,
            subscriptions: 10_000,
            durability: Durability::Durable,
            quota: Quota::default(),
            outbox_bytes: 1024 * 1024,
            behind_bytes: 4 * 1024 * 1024,
            queued_messages: 32,
            probe_every: Duration::from_secs(10),
            route_within: Duration::from_secs(2),
        }
    }
}

/// The ports.
#[derive(Clone)]
pub struct Parts {
    /// Starts plugins in worker processes.
    pub process: Arc<dyn PluginRuntime>,
    /// Starts trusted plugins in this process.
    pub in_process: Option<Arc<dyn PluginRuntime>>,
    /// The log.
    pub store: Arc<dyn Store>,
    /// The tools.
    pub tools: Arc<dyn ToolHost>,
    /// The way out to the peers that operators allow.
    pub network: Arc<dyn Network>,
    /// The time of day.
    pub clock: Arc<dyn Clock>,
    /// Which services plugins can use; its sender lives as long as the host.
    pub services: watch::Receiver<Arc<ServiceTable>>,
}

impl Parts {
    /// The runtime of an isolation tier, where this host has one.
    pub(crate) fn runtime_of(&self, isolation: Isolation) -> Option<&Arc<dyn PluginRuntime>> {
        match isolation {
            Isolation::Process => Some(&self.process),
            Isolation::InProcess => self.in_process.as_ref(),
            // The built-in fallback is no slot: it is linked, not loaded.
            Isolation::BuiltIn => None,
        }
    }
}
