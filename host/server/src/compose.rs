//! Builds the host from its configuration, in order: ports, engine, doors.

use std::{io, sync::Arc, time::Duration};

use agent_host_config::Config;
use agent_host_core::ports::clock::{Clock, SystemClock};
use agent_host_engine::{Engine, Parts};
use agent_host_gateway::{Gateway, MetricsPage};
use agent_host_runtime::{InProcessRuntime, ProcessRuntime, Tuning, WorkerCommand};
use agent_host_services::BuiltinTools;
use agent_host_store::MemoryStore;

use crate::settings;

/// The host, serving.
pub(crate) struct Host {
    pub(crate) engine: Engine,
    pub(crate) gateway: Gateway,
    grace: Duration,
}

impl Host {
    /// Starts everything. Plugins go on loading when it answers: the doors open first.
    ///
    /// # Errors
    /// If an address cannot be bound. A plugin that cannot be loaded is none: it is a fault in the registry.
    pub(crate) async fn start(config: &Config, metrics: MetricsPage) -> io::Result<Self> {
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let process = ProcessRuntime::new(WorkerCommand::this_program("worker"), Tuning::default());
        let staged = config.store.path.join("staged");
        let in_process = InProcessRuntime::new(process.clone(), staged, Tuning::default());
        let parts = Parts {
            process: Arc::new(process),
            in_process: Some(Arc::new(in_process)),
            store: Arc::new(MemoryStore::new()),
            tools: Arc::new(BuiltinTools::new(Arc::clone(&clock))),
            clock: Arc::clone(&clock),
        };
        let engine = Engine::start(settings::engine(config), parts);
        let gateway = Gateway::start(settings::gateway(config), engine.clone(), clock, metrics).await?;
        Ok(Self { engine, gateway, grace: config.drain.grace })
    }

    /// Drains: runs first, then sockets.
    pub(crate) async fn drain(&self) {
        // 2 s of the grace are for the close handshakes, as the protocol has it.
        let closing = CLOSING.min(self.grace / 2);
        self.engine.drain(self.grace.saturating_sub(closing)).await;
        self.gateway.shutdown(closing).await;
    }
}

const CLOSING: Duration = Duration::from_secs(2);
