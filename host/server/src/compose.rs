//! Builds the host from its configuration, in order: ports, engine, doors.

use std::{
    io,
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use agent_host_config::{Config, Durability, Loaded, StoreConfig};
use agent_host_core::{
    failpoint,
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
use agent_host_telemetry::happening::{StepDoneWithout, ThreadsExpired};
use agent_plugin_protocol::Code;

use crate::{
    settings, specs,
    steps::{StepFailed, take, take_async},
    withheld::Withheld,
};

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
    /// If an address cannot be bound, or a part that no host can be without cannot be made. A plugin that cannot be loaded
    /// is none: it is a fault in the registry.
    pub(crate) async fn start(loaded: &Loaded, metrics: MetricsPage) -> Result<Self, StepFailed> {
        let config = &loaded.config;
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let process = ProcessRuntime::new(WorkerCommand::this_program("worker"), Tuning::default())
            .confined(specs::confinement(config));
        let staged = config.store.path.join("staged");
        let in_process = InProcessRuntime::new(process.clone(), staged, Tuning::default());
        let board = match take("services", || failpoint!("start.services"), || Ok::<_, String>(services())) {
            Ok(board) => Arc::new(board),
            Err(without) => {
                let board = Arc::new(no_services(&without));
                tokio::spawn(services_again(Arc::clone(&board)));
                board
            }
        };
        if cfg!(feature = "failpoints") {
            tokio::spawn(recheck(Arc::clone(&board)));
        }
        let store = take("store", || failpoint!("start.store"), || Ok::<_, String>(log_of(&config.store)))?;
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
        let begin = || Ok::<_, String>(Engine::start(settings::engine(config), parts));
        let engine = take("engine", || failpoint!("start.engine"), begin)?;
        let open = Gateway::start(settings::gateway(config), engine.clone(), clock, metrics);
        let open = async { open.await.map_err(|error| describe(config, &error)) };
        let gateway = take_async("listen", || failpoint!("start.listen"), open).await?;
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

fn describe(config: &Config, error: &io::Error) -> String {
    let (public, admin) = (config.gateway.listen, config.admin.listen);
    format!("cannot listen on {public} (gateway.listen) and {admin} (admin.listen): {error}")
}

/// Without what looks after them, every service is absent: agents that need one say so, the others serve.
fn no_services(without: &StepFailed) -> ServiceBoard {
    StepDoneWithout { step: "services", reason: without.to_string() }.emit();
    let absent = |name| {
        let reason = without.to_string();
        (name, ServiceState::Unavailable { code: Code::ServiceUnavailable, reason })
    };
    ServiceBoard::new(ServiceTable::new(OWN_SERVICES.map(absent)))
}

/// Tries the step again until it succeeds: what the services need may come back.
async fn services_again(board: Arc<ServiceBoard>) {
    loop {
        tokio::time::sleep(SERVICES_AGAIN).await;
        if let Ok(again) = take("services", || failpoint!("start.services"), || Ok::<_, String>(services())) {
            for (name, state) in again.table().iter() {
                board.report(name, state.clone());
            }
            return;
        }
    }
}

/// Between two tries.
const SERVICES_AGAIN: Duration = Duration::from_secs(1);

/// The services of this host. Models are not configured yet: a plugin that requires `llm` says so.
fn services() -> ServiceBoard {
    ServiceBoard::new(ServiceTable::new(OWN_SERVICES.map(|name| (name, ServiceState::Available))))
}

const OWN_SERVICES: [ServiceName; 4] =
    [ServiceName::Threads, ServiceName::Tools, ServiceName::Delegate, ServiceName::Events];

/// Injected faults come and go without a report: in a build that has them they are looked at regularly.
async fn recheck(board: Arc<ServiceBoard>) {
    let mut often = tokio::time::interval(Duration::from_millis(100));
    loop {
        often.tick().await;
        board.recheck();
    }
}
