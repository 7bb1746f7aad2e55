//! The one owner of the plugins' slots: starts, probes, restarts and stops them, and publishes what is so.
//!
//! Lifecycle, restart budget and breaker are pure machines of `core`; they meet only here. Whatever takes time is a
//! future that ends as an [`Event`], so that a stuck plugin costs only itself.

mod canary;
mod change;
mod ends;
mod probe;
mod registry;
mod slot;
mod starts;

use std::{sync::Arc, time::Duration};

use agent_host_core::{
    breaker::CallResult,
    failpoint,
    failpoint::Action,
    lifecycle::PluginState,
    outcome::ExitReport,
    ports::instance::{Fault, Started},
    routing::Target,
    service::ServiceTable,
};
use agent_host_telemetry::{happening::ServiceLevelChanged, series};
use agent_plugin_protocol::{CallId, Generation, PluginId};
use futures_util::{FutureExt as _, StreamExt as _, future::BoxFuture, stream::FuturesUnordered};
use tokio::{
    sync::{mpsc, oneshot, watch},
    time::{Instant, sleep, sleep_until},
};

pub(crate) use self::slot::CanaryCounts;
use self::{
    change::{Change, Changed},
    registry::Registry,
};
use crate::{
    change::ChangeError,
    control::{ControlError, PluginOrder},
    details::Details,
    fallback,
    files::ChangedFiles,
    recovery,
    routes::Instance,
    settings::Settings,
    shared::Shared,
    view::Status,
};

/// What others tell the supervisor. Its channel is bounded; what is lost when it is full is said at each sender.
pub(crate) enum Command {
    /// A call into a plugin ended.
    CallEnded {
        /// Whose.
        target: Target,
        /// Which.
        call: CallId,
        /// How.
        result: CallResult,
    },
    /// A run took an open breaker's trial.
    TrialBegan {
        /// Whose.
        target: Target,
        /// Its call.
        call: CallId,
    },
    /// The run that had the trial is over; its result, if it has one, was told before.
    TrialEnded {
        /// Whose.
        target: Target,
        /// Its call.
        call: CallId,
    },
    /// An operator wants something of a plugin.
    Order {
        /// Which.
        plugin: PluginId,
        /// What.
        order: PluginOrder,
        /// Where to say that it was taken, and when it is so.
        taken: Taken,
    },
    /// Other settings are to be in force.
    Configure {
        /// Which.
        settings: Arc<Settings>,
        /// Where to say that they are, or why not.
        changed: Changed,
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

/// Where an order is answered.
pub(crate) type Taken = oneshot::Sender<Result<Goal, ControlError>>;

/// When an order is carried out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Goal {
    /// It is.
    #[default]
    Now,
    /// Once that generation has its verdict.
    Started(Generation),
    /// Once that generation serves, or has failed to.
    Replaced(Generation),
    /// Once nothing runs any more.
    Off,
    /// Once so many self-tests have ended.
    Probed(u64),
}

/// Who wants a self-test.
#[derive(Debug, Clone, Copy)]
enum Asked {
    ByInterval,
    ByOperator,
}

/// Whatever can happen to the slots.
enum Event {
    StartFinished { slot: usize, generation: Generation, result: Box<Result<Started, Fault>>, took: Duration },
    InstanceExited { slot: usize, generation: Generation, report: Option<Arc<ExitReport>> },
    ProbeDue { slot: usize, generation: Generation },
    ProbeFinished { slot: usize, generation: Generation, result: Result<(), String>, asked: Asked },
    RestartDue { slot: usize, generation: Generation },
    SpareDue { slot: usize },
    TrialDue { slot: usize, generation: Generation },
    TrialEnded { slot: usize, generation: Generation },
    CanaryDue { slot: usize, generation: Generation },
    Retired,
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
    pub(crate) details: watch::Sender<Arc<Details>>,
}

/// How often a service that failed is looked at again: it shall be back within 5 s of its recovery.
const CHECK_EVERY: Duration = Duration::from_secs(1);
/// How long a look at the store may take.
const CHECK_WITHIN: Duration = Duration::from_secs(5);

/// The supervisor task.
pub(crate) struct Supervisor {
    shared: Arc<Shared>,
    registry: Registry,
    pending: FuturesUnordered<BoxFuture<'static, Event>>,
    outlets: Outlets,
    /// Orders that were taken, to be answered once that is published.
    answers: Vec<(Taken, Result<Goal, ControlError>)>,
    /// The change that is going on.
    change: Option<Change>,
    /// Changes that ended, to be answered once that is published.
    changed: Vec<(Changed, Result<(), ChangeError>)>,
    /// Orders that wait for the change to end; bounded.
    waiting: Vec<(PluginId, PluginOrder, Taken)>,
    /// When the status is settled, if it changed.
    settle_at: Option<Instant>,
    /// Whether runs that were cut off have been looked for since the store came back.
    recovered: bool,
    /// The end of the start before, for a broken twin only.
    last_start: Option<oneshot::Receiver<()>>,
}

impl Supervisor {
    /// The status before the task runs: so that there is one at once.
    pub(crate) fn new(shared: Arc<Shared>, outlets: Outlets) -> Self {
        let services = Arc::clone(&shared.parts.services.borrow());
        let registry = Registry::new(&shared, services);
        let mut this = Self {
            shared,
            registry,
            pending: FuturesUnordered::new(),
            outlets,
            answers: Vec::new(),
            change: None,
            changed: Vec::new(),
            waiting: Vec::new(),
            settle_at: None,
            recovered: false,
            last_start: None,
        };
        this.publish();
        this.settle();
        series::service_level(this.outlets.settled.borrow().level.as_str());
        this
    }

    /// Serves until every handle of the engine is gone.
    pub(crate) async fn run(
        mut self,
        mut commands: mpsc::Receiver<Command>,
        mut files: watch::Receiver<Arc<ChangedFiles>>,
    ) {
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
                    // Told for every call: there is something to publish only if a breaker moved, or a trial ended.
                    Some(Command::CallEnded { target, call, result }) => {
                        if !self.call_ended(&target, call, result) {
                            continue;
                        }
                    }
                    Some(command) => self.obey(command),
                    None => return,
                },
                Ok(()) = services.changed() => {
                    let table = Arc::clone(&services.borrow_and_update());
                    self.services(table);
                }
                // An error: the watch is over, as at the end of the host.
                Ok(()) = files.changed() => {}
                () = async { sleep_until(settle_at.unwrap_or_else(Instant::now)).await }, if settle_at.is_some() => {
                    self.settle();
                }
            }
            self.take_new_files(&files.borrow_and_update().clone());
            self.tend_change();
            self.tend_trials();
            self.tend_canaries();
            self.tend_spares();
            self.publish();
        }
    }

    fn call_ended(&mut self, target: &Target, call: CallId, result: CallResult) -> bool {
        let moved = self.registry.call_ended(target, call, result, Instant::now());
        if let Some(slot) = moved {
            self.schedule_trial(slot);
        }
        moved.is_some()
    }

    fn on(&mut self, event: Event) {
        match event {
            Event::StartFinished { slot, generation, result, took } => {
                self.started(slot, generation, *result, took);
            }
            Event::InstanceExited { slot, generation, report } => {
                let verdict = self.registry.exited(slot, generation, report, Instant::now());
                self.follow(slot, verdict);
                // A spare may have taken over.
                self.tell_who_serves(slot);
            }
            Event::ProbeDue { slot, generation } => self.probe(slot, generation),
            Event::ProbeFinished { slot, generation, result, asked } => {
                self.registry.probed(slot, generation, result, Instant::now());
                match asked {
                    Asked::ByInterval => self.schedule_probe(slot, generation),
                    Asked::ByOperator => {}
                }
            }
            Event::RestartDue { slot, generation } => {
                if self.registry.restart_due(slot, generation) {
                    self.start(slot);
                }
            }
            Event::SpareDue { slot } => self.registry.spare_due(slot),
            Event::TrialDue { slot, generation } => self.registry.offer_trial(slot, generation),
            Event::TrialEnded { slot, generation } => self.trial_ended(slot, generation),
            Event::CanaryDue { slot, generation } => self.registry.canary_due(slot, generation),
            // Its exit has told the rest.
            Event::Retired => {}
            Event::ServicesChanged(ServiceCheck::Store(works)) => self.store(works),
            Event::ServicesChanged(ServiceCheck::Fallback(works)) => self.fallback(works),
        }
    }

    fn obey(&mut self, command: Command) {
        match command {
            Command::CallEnded { target, call, result } => {
                self.call_ended(&target, call, result);
            }
            Command::TrialBegan { target, call } => self.registry.trial_began(&target, call),
            Command::TrialEnded { target, call } => self.registry.trial_ended(&target, call),
            Command::Order { plugin, order, taken } => self.order(&plugin, order, taken),
            Command::Configure { settings, changed } => self.configure(settings, changed),
            Command::Store { works } => self.store(works),
            Command::FallbackFailed => self.fallback(false),
            Command::Drain => self.registry.draining = true,
            Command::Stop { grace, done } => self.stop(grace, done),
        }
    }

    /// Takes an operator's order. It is answered once what it changed at once is published.
    fn order(&mut self, plugin: &PluginId, order: PluginOrder, taken: Taken) {
        let Some(taken) = self.waits(plugin, order, taken) else { return };
        let ordered = self.registry.order(plugin, order);
        let answer = ordered.map(|(slot, ordered)| {
            if ordered.start || ordered.candidate.is_some() {
                self.reread(slot);
            }
            if ordered.start {
                self.start(slot);
            }
            if let (Some(spec), Goal::Replaced(generation)) = (ordered.candidate, ordered.goal) {
                self.launch(slot, spec, generation);
            }
            if ordered.serves && order == PluginOrder::Promote {
                self.serves_on(slot);
            } else if ordered.serves
                && let Some((generation, _)) = self.registry.serving(slot)
            {
                self.serves(slot, generation);
            }
            if let (true, Some((generation, instance))) = (ordered.probe, self.registry.serving(slot)) {
                self.ask(slot, generation, instance, Asked::ByOperator);
            }
            self.retire(slot, ordered.retire);
            ordered.goal
        });
        self.answers.push((taken, answer));
    }

    /// What an operator starts is the file as it is now; what starts by itself is what ran before.
    fn reread(&self, slot: usize) {
        if let Some(spec) = self.registry.spec(slot)
            && let Some(runtime) = self.shared.parts.runtime_of(spec.isolation)
        {
            runtime.reread(&spec.id);
        }
    }

    /// What has given up gets another chance with another file.
    fn take_new_files(&mut self, files: &ChangedFiles) {
        // Off for a broken twin: a host that needs an operator for it.
        if failpoint!("engine.new_files") == Some(Action::Off) {
            return;
        }
        for slot in self.registry.take_new_files(files) {
            self.reread(slot);
            self.start(slot);
        }
    }

    /// When a breaker has opened: the next run may try it after its pause.
    fn schedule_trial(&mut self, slot: usize) {
        let Some((generation, pause)) = self.registry.trial_due(slot) else { return };
        self.pending.push(
            async move {
                sleep(pause).await;
                Event::TrialDue { slot, generation }
            }
            .boxed(),
        );
    }

    fn schedule_probe(&mut self, slot: usize, generation: Generation) {
        let Some(state) = self.registry.serving_state(slot, generation) else { return };
        // A degraded plugin is asked sooner: it gets no runs until it answers.
        let every = match state {
            PluginState::Degraded => self.shared.settings().probe_every.min(Duration::from_secs(2)),
            _ => self.shared.settings().probe_every,
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
        if let Some(instance) = self.registry.instance(slot, generation) {
            self.ask(slot, generation, instance, Asked::ByInterval);
        }
    }

    fn ask(&mut self, slot: usize, generation: Generation, instance: Arc<Instance>, asked: Asked) {
        self.pending.push(
            async move {
                let result = probe::probe(&instance).await;
                Event::ProbeFinished { slot, generation, result, asked }
            }
            .boxed(),
        );
    }

    fn services(&mut self, table: Arc<ServiceTable>) {
        // For a broken twin: a host that does not look at what it offers.
        if failpoint!("engine.services") == Some(Action::Off) {
            return;
        }
        for slot in self.registry.services_changed(table, Instant::now()) {
            self.start(slot);
        }
    }

    fn store(&mut self, works: bool) {
        // For a broken twin: a host that says nothing of a store that does not work.
        if failpoint!("engine.store_level") == Some(Action::Off) {
            return;
        }
        self.registry.store_works = works;
        self.registry.store_damage = self.shared.parts.store.damage();
        if works && !self.recovered {
            recovery::begin(&self.shared);
        }
        // What the store did not answer in time may be in the log: looked for again when it is back.
        self.recovered = works;
        // For a broken twin: a host that waits for somebody who writes.
        if !works && failpoint!("engine.store_check") != Some(Action::Off) {
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

    /// Publishes what is so. Readers see the new routes before the new status.
    fn publish(&mut self) {
        let status = self.registry.status(self.shared.is_draining());
        let routes = Arc::new(self.registry.routes(status.starting));
        let before = self.shared.routes.swap(Arc::clone(&routes));
        routes.follow(&before);
        self.outlets.details.send_replace(Arc::new(self.registry.details(&status)));
        for (taken, answer) in self.answers.drain(..) {
            // Whoever gave the order may be gone; it is carried out all the same.
            let _ = taken.send(answer);
        }
        for (changed, outcome) in self.changed.drain(..) {
            // As above.
            let _ = changed.send(outcome);
        }
        if *status == **self.outlets.status.borrow() {
            return;
        }
        self.outlets.status.send_replace(status);
        self.settle_at = Some(Instant::now() + self.shared.settings().settle);
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
