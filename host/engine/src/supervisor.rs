//! The one owner of the plugins' slots: starts, probes, restarts and stops them, and publishes what is so.
//!
//! Lifecycle, restart budget and breaker are pure machines of `core`; they meet only here. Whatever takes time is a
//! future that ends as an [`Event`], so that a stuck plugin costs only itself.

mod probe;
mod registry;
mod slot;

use std::{sync::Arc, time::Duration};

use agent_host_core::{
    breaker::CallResult,
    failpoint,
    failpoint::Action,
    lifecycle::PluginState,
    outcome::ExitReport,
    ports::instance::{Fault, InstanceCommand, InstanceHandle, Stage, Started},
    routing::Target,
    service::ServiceTable,
};
use agent_host_telemetry::{happening::ServiceLevelChanged, series};
use agent_plugin_protocol::{Code, Generation};
use futures_util::{FutureExt as _, StreamExt as _, future::BoxFuture, stream::FuturesUnordered};
use tokio::{
    sync::{mpsc, oneshot, watch},
    time::{Instant, sleep, sleep_until},
};

use self::{registry::Registry, slot::Verdict};
use crate::{fallback, shared::Shared, view::Status};

/// What others tell the supervisor. Its channel is bounded; what is lost when it is full is said at each sender.
pub(crate) enum Command {
    /// A call into a plugin ended.
    CallEnded {
        /// Whose.
        target: Target,
        /// How.
        result: CallResult,
    },
    /// The store began or ceased to work.
    Store {
        /// Which.
        works: bool,
    },
    /// The built-in fallback could not answer.
    FallbackFailed,
    /// The host goes away: nothing is restarted any more.
    Drain,
    /// End every plugin in order; answered when all are gone.
    Stop {
        /// For each.
        grace: Duration,
        /// Where to say so.
        done: oneshot::Sender<()>,
    },
}

/// Whatever can happen to the slots.
enum Event {
    StartFinished { slot: usize, generation: Generation, result: Box<Result<Started, Fault>>, took: Duration },
    InstanceExited { slot: usize, generation: Generation, report: Option<Arc<ExitReport>> },
    ProbeDue { slot: usize, generation: Generation },
    ProbeFinished { slot: usize, generation: Generation, result: Result<(), String> },
    RestartDue { slot: usize, generation: Generation },
    ServicesChanged(ServiceCheck),
}

/// A look at what the host itself offers.
enum ServiceCheck {
    Store(bool),
    Fallback(bool),
}

/// Where the supervisor publishes.
pub(crate) struct Outlets {
    pub(crate) status: watch::Sender<Arc<Status>>,
    pub(crate) settled: watch::Sender<Arc<Status>>,
}

/// How often a service that failed is looked at again: it shall be back within 5 s of its recovery.
const CHECK_EVERY: Duration = Duration::from_secs(1);
/// How long a look at the store may take.
const CHECK_WITHIN: Duration = Duration::from_secs(5);
/// Beyond the runtime's own deadlines, which it promises to keep.
const START_MARGIN: Duration = Duration::from_secs(5);

/// The supervisor task.
pub(crate) struct Supervisor {
    shared: Arc<Shared>,
    registry: Registry,
    pending: FuturesUnordered<BoxFuture<'static, Event>>,
    outlets: Outlets,
    /// When the status is settled, if it changed.
    settle_at: Option<Instant>,
    /// The end of the start before, for a broken twin only.
    last_start: Option<oneshot::Receiver<()>>,
}

impl Supervisor {
    /// The status before the task runs: so that there is one at once.
    pub(crate) fn new(shared: Arc<Shared>, outlets: Outlets) -> Self {
        let services = Arc::clone(&shared.parts.services.borrow());
        let registry = Registry::new(&shared.settings, shared.parts.clock.as_ref(), services);
        let mut this = Self {
            shared,
            registry,
            pending: FuturesUnordered::new(),
            outlets,
            settle_at: None,
            last_start: None,
        };
        this.publish();
        this.settle();
        series::service_level(this.outlets.settled.borrow().level.as_str());
        this
    }

    /// Serves until every handle of the engine is gone.
    pub(crate) async fn run(mut self, mut commands: mpsc::Receiver<Command>) {
        self.check_store(Duration::ZERO);
        for slot in self.registry.enabled() {
            self.start(slot);
        }
        let mut services = self.shared.parts.services.clone();
        loop {
            let settle_at = self.settle_at;
            tokio::select! {
                Some(event) = self.pending.next() => self.on(event),
                command = commands.recv() => match command {
                    Some(command) => self.obey(command),
                    None => return,
                },
                Ok(()) = services.changed() => {
                    let table = Arc::clone(&services.borrow_and_update());
                    self.services(table);
                }
                () = async { sleep_until(settle_at.unwrap_or_else(Instant::now)).await }, if settle_at.is_some() => {
                    self.settle();
                }
            }
            self.publish();
        }
    }

    fn on(&mut self, event: Event) {
        match event {
            Event::StartFinished { slot, generation, result, took } => {
                self.started(slot, generation, *result, took);
            }
            Event::InstanceExited { slot, generation, report } => {
                let verdict = self.registry.exited(slot, generation, report, Instant::now());
                self.follow(slot, verdict);
            }
            Event::ProbeDue { slot, generation } => self.probe(slot, generation),
            Event::ProbeFinished { slot, generation, result } => {
                self.registry.probed(slot, generation, result, Instant::now());
                self.schedule_probe(slot, generation);
            }
            Event::RestartDue { slot, generation } => {
                if self.registry.restart_due(slot, generation) {
                    self.start(slot);
                }
            }
            Event::ServicesChanged(ServiceCheck::Store(works)) => self.store(works),
            Event::ServicesChanged(ServiceCheck::Fallback(works)) => self.fallback(works),
        }
    }

    fn obey(&mut self, command: Command) {
        match command {
            Command::CallEnded { target, result } => {
                self.registry.call_ended(&target, result, Instant::now())
            }
            Command::Store { works } => self.store(works),
            Command::FallbackFailed => self.fallback(false),
            Command::Drain => self.registry.draining = true,
            Command::Stop { grace, done } => self.stop(grace, done),
        }
    }

    fn start(&mut self, slot: usize) {
        let Some((spec, generation)) = self.registry.begin_start(slot) else { return };
        let available = self.registry.available();
        let Some(runtime) = slot::runtime_of(&self.shared.parts, spec.isolation) else {
            let fault = Fault::new(
                Stage::Load,
                Code::PluginSandboxUnavailable,
                format!("this host has no runtime for isolation \"{}\"", spec.isolation.as_str()),
            );
            self.started(slot, generation, Err(fault), Duration::ZERO);
            return;
        };
        let within = spec.timeouts.init * 3 + START_MARGIN;
        let begun = Instant::now();
        let start = runtime.start(spec, generation, available);
        // For a broken twin: a host that starts its plugins one after another.
        let serial = failpoint!("engine.parallel_starts") == Some(Action::Off);
        let (turn, ended) = oneshot::channel::<()>();
        let before = if serial { self.last_start.replace(ended) } else { None };
        let start = async move {
            if let Some(before) = before {
                // An error is its end too: it was dropped.
                let _ = before.await;
            }
            let _turn = turn;
            start.await
        };
        // A task of its own: loading may do work, and a panic in it is that plugin's fault only.
        let start = tokio::spawn(tokio::time::timeout(within, start));
        self.pending.push(
            async move {
                let result = match start.await {
                    Ok(Ok(result)) => result,
                    Ok(Err(_)) => Err(Fault::new(
                        Stage::Load,
                        Code::PluginLoadTimeout,
                        format!("no verdict within {} s", within.as_secs()),
                    )),
                    Err(_) => {
                        Err(Fault::new(Stage::Load, Code::PluginLoadFailed, "the host's loader panicked"))
                    }
                };
                Event::StartFinished { slot, generation, result: Box::new(result), took: begun.elapsed() }
            }
            .boxed(),
        );
    }

    fn started(
        &mut self,
        slot: usize,
        generation: Generation,
        result: Result<Started, Fault>,
        took: Duration,
    ) {
        let now = Instant::now();
        match result {
            Ok(started) => {
                let handle = started.handle.clone();
                if self.registry.healthy(slot, generation, started, took) {
                    // What it requires may have gone while it started.
                    self.registry.recheck_services(slot, now);
                    self.watch_exit(slot, generation, &handle);
                    self.schedule_probe(slot, generation);
                } else {
                    // Not wanted any more. A full channel ends with the handle all the same.
                    let _ = handle.commands.try_send(InstanceCommand::Stop { grace: Duration::ZERO });
                }
            }
            Err(fault) => {
                let verdict = self.registry.start_failed(slot, generation, fault, now);
                self.follow(slot, verdict);
            }
        }
    }

    fn follow(&mut self, slot: usize, verdict: Verdict) {
        match verdict {
            Verdict::Leave => {}
            Verdict::RestartAfter { pause, generation } => self.pending.push(
                async move {
                    sleep(pause).await;
                    Event::RestartDue { slot, generation }
                }
                .boxed(),
            ),
        }
    }

    fn watch_exit(&mut self, slot: usize, generation: Generation, handle: &InstanceHandle) {
        let mut exit = handle.exit.clone();
        self.pending.push(
            async move {
                // An error: the runtime dropped the instance without a report.
                let report = exit.wait_for(Option::is_some).await.ok().and_then(|r| r.clone());
                Event::InstanceExited { slot, generation, report }
            }
            .boxed(),
        );
    }

    fn schedule_probe(&mut self, slot: usize, generation: Generation) {
        let Some(state) = self.registry.serving_state(slot, generation) else { return };
        // A degraded plugin is asked sooner: it gets no runs until it answers.
        let every = match state {
            PluginState::Degraded => self.shared.settings.probe_every.min(Duration::from_secs(2)),
            _ => self.shared.settings.probe_every,
        };
        self.pending.push(
            async move {
                sleep(every).await;
                Event::ProbeDue { slot, generation }
            }
            .boxed(),
        );
    }

    fn probe(&mut self, slot: usize, generation: Generation) {
        let Some(instance) = self.registry.instance(slot, generation) else { return };
        self.pending.push(
            async move { Event::ProbeFinished { slot, generation, result: probe::probe(&instance).await } }
                .boxed(),
        );
    }

    fn services(&mut self, table: Arc<ServiceTable>) {
        for slot in self.registry.services_changed(table, Instant::now()) {
            self.start(slot);
        }
    }

    fn store(&mut self, works: bool) {
        self.registry.store_works = works;
        if !works {
            self.check_store(CHECK_EVERY);
        }
    }

    fn check_store(&mut self, after: Duration) {
        let shared = Arc::clone(&self.shared);
        self.pending.push(
            async move {
                sleep(after).await;
                let checked = tokio::time::timeout(CHECK_WITHIN, shared.parts.store.check()).await;
                Event::ServicesChanged(ServiceCheck::Store(matches!(checked, Ok(Ok(())))))
            }
            .boxed(),
        );
    }

    fn fallback(&mut self, works: bool) {
        self.registry.fallback_works = works;
        if !works {
            self.pending.push(
                async move {
                    sleep(CHECK_EVERY).await;
                    Event::ServicesChanged(ServiceCheck::Fallback(fallback::self_test().is_ok()))
                }
                .boxed(),
            );
        }
    }

    fn stop(&mut self, grace: Duration, done: oneshot::Sender<()>) {
        self.registry.draining = true;
        let handles = self.registry.drain_all();
        crate::task::spawn(&self.shared.tasks, "supervisor.stop", async move {
            let ends = handles.into_iter().map(|handle| end(handle, grace));
            futures_util::future::join_all(ends).await;
            // The drain may have been given up; then nobody waits.
            let _ = done.send(());
        });
    }

    /// Publishes, if anything changed. Readers see the new routes before the new status.
    fn publish(&mut self) {
        let status = self.registry.status(self.shared.is_draining());
        if *status == **self.outlets.status.borrow() {
            return;
        }
        self.shared.routes.store(Arc::new(self.registry.routes(status.starting)));
        self.outlets.status.send_replace(status);
        self.settle_at = Some(Instant::now() + self.shared.settings.settle);
    }

    /// The status has held long enough: clients are told.
    fn settle(&mut self) {
        self.settle_at = None;
        let status = Arc::clone(&self.outlets.status.borrow());
        let before = self.outlets.settled.send_replace(Arc::clone(&status));
        if before.level != status.level {
            let missing: Vec<&str> = status.missing.iter().map(|m| m.name.as_str()).collect();
            ServiceLevelChanged {
                from: before.level.to_string(),
                to: status.level.to_string(),
                missing: missing.join(","),
            }
            .emit();
        }
    }
}

/// Ends one instance: in order within `grace`, else at once.
async fn end(mut handle: InstanceHandle, grace: Duration) {
    let gone = |exit: &mut watch::Receiver<Option<Arc<ExitReport>>>| {
        let mut exit = exit.clone();
        async move { exit.wait_for(Option::is_some).await.map(|_| ()) }
    };
    let _ = handle.commands.try_send(InstanceCommand::Stop { grace });
    // The margin is the runtime's: it kills by itself at the end of the grace.
    if tokio::time::timeout(grace + Duration::from_millis(500), gone(&mut handle.exit)).await.is_err() {
        let kill = InstanceCommand::Kill(agent_host_core::ports::instance::KillReason::Stopped);
        let _ = handle.commands.try_send(kill);
    }
}
