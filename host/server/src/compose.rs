//! Builds the host from its configuration, in order: ports, engine, doors.

use std::{
    io,
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use agent_host_config::{Config, Durability, StoreConfig};
use agent_host_core::{
    ports::{
        clock::{Clock, SystemClock},
        store::{Deletion, Store},
    },
    service::{ServiceName, ServiceState, ServiceTable},
};
use agent_host_engine::{Engine, Parts};
use agent_host_gateway::{Gateway, MetricsPage};
use agent_host_runtime::{InProcessRuntime, ProcessRuntime, Tuning, WorkerCommand};
use agent_host_services::{BuiltinTools, ServiceBoard, TcpNetwork};
use agent_host_store::{MemoryStore, Place, SqliteStore};
use agent_host_telemetry::happening::ThreadsExpired;

use crate::{settings, specs, withheld::Withheld};

/// The host, serving.
pub(crate) struct Host {
    pub(crate) engine: Engine,
    pub(crate) gateway: Gateway,
    store: Arc<dyn Store>,
    grace: Duration,
    /// Reports from services go here; it lives as long as the host.
    _services: Arc<ServiceBoard>,
}

impl Host {
    /// Starts everything. Plugins go on loading when it answers: the doors open first.
    ///
    /// # Errors
    /// If an address cannot be bound. A plugin that cannot be loaded is none: it is a fault in the registry.
    pub(crate) async fn start(config: &Config, metrics: MetricsPage) -> io::Result<Self> {
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let process = ProcessRuntime::new(WorkerCommand::this_program("worker"), Tuning::default())
            .confined(specs::confinement(config));
        let staged = config.store.path.join("staged");
        let in_process = InProcessRuntime::new(process.clone(), staged, Tuning::default());
        let board = Arc::new(services());
        if cfg!(feature = "failpoints") {
            tokio::spawn(recheck(Arc::clone(&board)));
        }
        let store = log_of(&config.store);
        retain(&store, config.store.retention, &clock);
        let parts = Parts {
            process: Arc::new(Withheld::of(config, process)),
            in_process: Some(Arc::new(Withheld::of(config, in_process))),
            store: Arc::clone(&store),
            tools: Arc::new(BuiltinTools::new(Arc::clone(&clock))),
            network: Arc::new(TcpNetwork::default()),
            clock: Arc::clone(&clock),
            services: board.watch(),
        };
        let engine = Engine::start(settings::engine(config), parts);
        let gateway = Gateway::start(settings::gateway(config), engine.clone(), clock, metrics).await?;
        Ok(Self { engine, gateway, store, grace: config.drain.grace, _services: board })
    }

    /// Drains: runs first, then sockets.
    pub(crate) async fn drain(&self) {
        // The engine itself keeps 2 s of the grace for what is left; the close handshakes get what it did not use.
        let end = Instant::now() + self.grace;
        self.engine.drain(self.grace).await;
        self.gateway.shutdown(end.saturating_duration_since(Instant::now()).max(CLOSING)).await;
        // What is in the log is safe without it; with it the next start need not look for what was cut off.
        let _ = tokio::time::timeout(CLOSING_LOG, self.store.close()).await;
    }
}

/// The least that the close handshakes get.
const CLOSING: Duration = Duration::from_millis(500);

/// How long the log may take to close.
const CLOSING_LOG: Duration = Duration::from_secs(1);

/// Never fails: a log that cannot be opened makes the level `basic`, and is tried again.
fn log_of(config: &StoreConfig) -> Arc<dyn Store> {
    match config.durability {
        Durability::Durable | Durability::Ephemeral => {
            Arc::new(SqliteStore::start(Place::within(&config.path)))
        }
        Durability::Memory => Arc::new(MemoryStore::new()),
    }
}

/// How often threads that are past their time are looked for.
const RETAIN_EVERY: Duration = Duration::from_secs(600);
/// Threads deleted together: messages wait for that.
const RETAIN_BATCH: usize = 20;
/// Between two batches.
const RETAIN_PAUSE: Duration = Duration::from_millis(200);

/// Deletes threads that were not used for `retention`, for as long as the host lives; zero keeps them.
fn retain(store: &Arc<dyn Store>, retention: Duration, clock: &Arc<dyn Clock>) {
    if retention.is_zero() {
        return;
    }
    let (store, clock) = (Arc::clone(store), Arc::clone(clock));
    tokio::spawn(async move {
        loop {
            let since = clock.now().checked_sub(retention).unwrap_or(SystemTime::UNIX_EPOCH);
            let deleted = store.delete(Deletion::Unused { since, limit: RETAIN_BATCH }).await;
            match deleted {
                Ok(threads) if threads > 0 => {
                    ThreadsExpired { threads }.emit();
                    tokio::time::sleep(RETAIN_PAUSE).await;
                }
                // Nothing is left, or the store does not work: whoever needs it says so.
                Ok(_) | Err(_) => tokio::time::sleep(RETAIN_EVERY).await,
            }
        }
    });
}

/// The services of this host. Models are not configured yet: a plugin that requires `llm` says so.
fn services() -> ServiceBoard {
    let own = [ServiceName::Threads, ServiceName::Tools, ServiceName::Delegate, ServiceName::Events];
    ServiceBoard::new(ServiceTable::new(own.map(|name| (name, ServiceState::Available))))
}

/// Injected faults come and go without a report: in a build that has them they are looked at regularly.
async fn recheck(board: Arc<ServiceBoard>) {
    let mut often = tokio::time::interval(Duration::from_millis(100));
    loop {
        often.tick().await;
        board.recheck();
    }
}
