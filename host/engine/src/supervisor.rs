//! The one owner of the plugins' slots: starts, probes, restarts and stops them, and publishes what is so.
//!
//! Lifecycle, restart budget and breaker are pure machines of `core`; they meet only here. Whatever takes time is a
//! future that ends as an [`Event`], so that a stuck plugin costs only itself.

mod canary;
mod change;
mod command;
mod ends;
mod outlets;
mod probe;
mod registry;
mod services;
mod slot;
mod starts;

use std::{sync::Arc, time::Duration};

use agent_host_core::{
    breaker::CallResult,
    failpoint,
    failpoint::Action,
    outcome::ExitReport,
    ports::instance::{Fault, Stage, Started},
    routing::Target,
    settling::Settling,
};
use agent_host_telemetry::series;
use agent_plugin_protocol::{CallId, Generation, PluginId};
use futures_util::{FutureExt as _, StreamExt as _, future::BoxFuture, stream::FuturesUnordered};
use tokio::{
    sync::{mpsc, oneshot, watch},
    time::{Instant, sleep, sleep_until},
};

use self::{
    change::{Change, Changed},
    probe::Asked,
    registry::Registry,
    services::ServiceCheck,
};
pub(crate) use self::{
    command::{Command, Goal, Taken},
    outlets::Outlets,
    slot::CanaryCounts,
};
use crate::{
    change::ChangeError,
    control::{ControlError, PluginOrder},
    files::ChangedFiles,
    shared::Shared,
};

/// Whatever can happen to the slots.
enum Event {
    StartFinished { slot: usize, generation: Generation, result: Box<Result<Started, Fault>>, took: Duration },
    StageBegun { slot: usize, generation: Generation, stages: watch::Receiver<Stage> },
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
    /// What clients are not told yet.
    settling: Settling,
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
        let settling = Settling::new(outlets.settled.borrow().level);
        let mut this = Self {
            shared,
            registry,
            pending: FuturesUnordered::new(),
            outlets,
            answers: Vec::new(),
            change: None,
            changed: Vec::new(),
            waiting: Vec::new(),
            settling,
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
            let settle_at = self.settles_at();
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
            Event::StageBegun { slot, generation, stages } => self.stage_begun(slot, generation, stages),
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
            // Its exit, or the end of its start, has told the rest.
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
            Command::SameFile { plugin } => self.registry.same_file(&plugin),
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
}
