//! Builds the host from its configuration, in order: ports, engine, doors.

use std::{
    future::Future,
    io,
    panic::{AssertUnwindSafe, resume_unwind},
    sync::Arc,
    time::{Duration, Instant},
};

use agent_host_config::{Config, Durability, Loaded, Sources, StoreConfig};
use agent_host_core::{
    ports::{
        chaos::Chaos,
        clock::{Clock, SystemClock},
        store::{Store, StoreError},
    },
    service::{ServiceName, ServiceState, ServiceTable},
};
use agent_host_engine::{Engine, Parts};
use agent_host_gateway::{Gateway, MetricsPage, admin::Operated, rules::Rules};
use agent_host_runtime::{InProcessRuntime, ProcessRuntime, Tuning, WorkerCommand};
use agent_host_services::{BuiltinTools, ServiceBoard, TcpNetwork};
use agent_host_store::{Contained, MemoryStore, Place, SqliteStore};
use agent_plugin_protocol::Code;
use futures_util::FutureExt as _;

use crate::{
    chaos,
    live::Live,
    notify::Manager,
    retention, revocations, settings, specs,
    steps::{self, Step, StepFailed},
    withheld::Withheld,
};

/// The host, serving.
pub(crate) struct Host {
    pub(crate) engine: Engine,
    pub(crate) gateway: Gateway,
    store: Arc<dyn Store>,
    chaos: Option<Arc<dyn Chaos>>,
    grace: Duration,
    /// Reports from services go here; it lives as long as the host.
    _services: Arc<ServiceBoard>,
}

impl Host {
    /// Starts everything. Plugins go on loading when it answers: the doors open first.
    ///
    /// # Errors
    /// If there is no engine or an address cannot be bound. A plugin that cannot be loaded is none: it is a fault in the
    /// registry. Neither is a store or a service that is not there: it is asked for again.
    pub(crate) async fn start(
        loaded: &Loaded,
        sources: Sources,
        metrics: MetricsPage,
        manager: Manager,
    ) -> Result<Self, StepFailed> {
        let config = &loaded.config;
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let revoked = steps::take(Step::Revocations, || revocations::load(&config.store.path, clock.now()))?;
        let process = ProcessRuntime::new(WorkerCommand::this_program("worker"), Tuning::default())
            .confined(specs::confinement(config));
        let staged = config.store.path.join("staged");
        let in_process = InProcessRuntime::new(process.clone(), staged, Tuning::default());
        let board = board();
        let mut parts = Parts {
            process: Arc::new(Withheld::of(config, process)),
            in_process: Some(Arc::new(Withheld::of(config, in_process))),
            store: log_of(&config.store),
            tools: Arc::new(BuiltinTools::new(Arc::clone(&clock))),
            network: Arc::new(TcpNetwork::default()),
            clock: Arc::clone(&clock),
            services: board.watch(),
        };
        let chaos = config.chaos.enabled.then(|| chaos::before(&mut parts));
        let store = Arc::clone(&parts.store);
        retention::keep_to(&config.store, &store, &clock);
        let engine =
            steps::take(Step::Engine, || Ok::<_, String>(Engine::start(settings::engine(config), parts)))?;
        let keys = settings::key_set(config).map(Arc::new);
        let rules =
            Arc::new(Rules::new(settings::gateway(config), keys, Arc::new(revoked), Arc::clone(&clock)));
        let (live, owner) = Live::new(loaded, sources, clock, manager);
        tokio::spawn(owner.run(engine.clone(), Arc::clone(&rules)));
        let gateway = Gateway::start(
            rules,
            engine.clone(),
            metrics,
            Operated { configuration: Some(Arc::new(live)), chaos: chaos.clone() },
        );
        let gateway = listening(config, gateway).await?;
        Ok(Self { engine, gateway, store, chaos, grace: config.drain.grace, _services: board })
    }

    /// Says of what is injected on purpose that it ends with the host.
    pub(crate) fn end_faults(&self) {
        if let Some(chaos) = &self.chaos {
            chaos.close();
        }
    }

    /// Drains: runs first, then sockets.
    pub(crate) async fn drain(&self) {
        // The engine itself keeps 2 s of its time for what is left; the close handshakes get what it did not use, and more
        // where there are thousands.
        let end = Instant::now() + self.grace;
        let sockets = u32::try_from(self.gateway.connections()).unwrap_or(u32::MAX);
        let closing = CLOSING_EACH.saturating_mul(sockets).min(self.grace / 2);
        self.engine.drain(self.grace - closing).await;
        self.gateway.shutdown(end.saturating_duration_since(Instant::now()).max(CLOSING)).await;
        // What is in the log is safe without it; with it the next start need not look for what was cut off.
        let _ = tokio::time::timeout(CLOSING_LOG, self.store.close()).await;
    }
}

/// The least that the close handshakes get.
const CLOSING: Duration = Duration::from_millis(500);

/// What a socket's close takes of a slow core, about, beside all the others.
const CLOSING_EACH: Duration = Duration::from_micros(200);

/// How long the log may take to close.
const CLOSING_LOG: Duration = Duration::from_secs(1);

/// Never fails: a log that cannot be had makes the level `basic`, and is tried again.
fn log_of(config: &StoreConfig) -> Arc<dyn Store> {
    let config = config.clone();
    Arc::new(Contained::new(move || {
        let made = steps::take(Step::Store, || {
            Ok::<Arc<dyn Store>, String>(match config.durability {
                Durability::Durable | Durability::Ephemeral => {
                    Arc::new(SqliteStore::start(Place::within(&config.path), config.patience))
                }
                Durability::Memory => Arc::new(MemoryStore::new()),
            })
        });
        made.map_err(|failed| StoreError::unavailable(failed.to_string()))
    }))
}

/// Opens the doors.
async fn listening(
    config: &Config,
    opening: impl Future<Output = io::Result<Gateway>>,
) -> Result<Gateway, StepFailed> {
    // A fault of this step comes before its work, which waits and so cannot be done inside of it.
    steps::take(Step::Listen, || Ok::<_, String>(()))?;
    let opened = AssertUnwindSafe(opening).catch_unwind().await;
    steps::take(Step::Listen, || match opened {
        Ok(opened) => opened.map_err(|error| {
            let (public, admin) = (config.gateway.listen, config.admin.listen);
            format!("cannot listen on {public} (gateway.listen) and {admin} (admin.listen): {error}")
        }),
        Err(panic) => resume_unwind(panic),
    })
}

/// The services of this host. Models are not configured yet: a plugin that requires `llm` says so.
const SERVICES: [ServiceName; 4] =
    [ServiceName::Threads, ServiceName::Tools, ServiceName::Delegate, ServiceName::Events];
/// Between two tries to have them.
const SERVICES_AGAIN: Duration = Duration::from_secs(1);

/// The board of services. What cannot be had is absent, by name, and asked for until it is there.
fn board() -> Arc<ServiceBoard> {
    let state = services().unwrap_or_else(|failed| {
        let reason = failed.to_string();
        failed.done_without();
        ServiceState::Unavailable { code: Code::ServiceUnavailable, reason }
    });
    let missing = state != ServiceState::Available;
    let board = Arc::new(ServiceBoard::new(ServiceTable::new(SERVICES.map(|name| (name, state.clone())))));
    if missing {
        tokio::spawn(ask_again(Arc::clone(&board)));
    }
    if cfg!(feature = "failpoints") {
        tokio::spawn(recheck(Arc::clone(&board)));
    }
    board
}

fn services() -> Result<ServiceState, StepFailed> {
    steps::take(Step::Services, || Ok::<_, String>(ServiceState::Available))
}

async fn ask_again(board: Arc<ServiceBoard>) {
    while services().is_err() {
        tokio::time::sleep(SERVICES_AGAIN).await;
    }
    SERVICES.iter().for_each(|name| board.report(*name, ServiceState::Available));
}

/// Injected faults come and go without a report: in a build that has them they are looked at regularly.
async fn recheck(board: Arc<ServiceBoard>) {
    let mut often = tokio::time::interval(Duration::from_millis(100));
    loop {
        often.tick().await;
        board.recheck();
    }
}
