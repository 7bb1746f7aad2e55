//! One plugin's slot: what the operator wants of it, the generation that serves it, and how it has fared.

mod canary;
mod fitness;
mod orders;
mod record;
mod rollback;
mod shown;
mod staged;
mod understudy;

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use agent_host_core::{
    isolation::SandboxReport,
    lifecycle::{PluginEvent, PluginState, Transition},
    outcome::{Exit, ExitReport},
    ports::instance::{Fault, PluginSpec, Stage, Started},
    restart::{RestartBudget, RestartDecision, start_again},
};
use agent_host_telemetry::{
    happening::{
        PluginExited, PluginFailed, PluginHealthy, PluginQuarantined, PluginRestarted, PluginStateChanged,
    },
    series,
};
use agent_plugin_protocol::{Code, Generation};
use tokio::{sync::mpsc, time::Instant};

pub(crate) use self::canary::CanaryCounts;
pub(super) use self::{canary::Awaited, orders::Ordered, understudy::Role};
use self::{
    canary::OnTrial,
    fitness::Fitness,
    record::Record,
    rollback::Former,
    staged::policy_of,
    understudy::{Candidate, Spare},
};
use super::Command;
use crate::{random, routes::Instance, settings::PluginSettings, view::RolledBack};

/// What follows a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Nothing: quarantined, not worth another try, or not wanted; or another generation has taken over.
    Leave,
    /// The next generation, after a pause.
    RestartAfter {
        /// How long.
        pause: Duration,
        /// The generation that failed.
        generation: Generation,
    },
    /// The generation that served before serves again.
    RollBack,
    /// The next spare, after a pause.
    SpareAfter(Duration),
}

pub(super) struct Slot {
    pub(super) settings: PluginSettings,
    pub(super) state: PluginState,
    pub(super) since: SystemTime,
    /// The generation that serves, starts or failed last.
    pub(super) generation: Generation,
    /// The last number given out: spares and candidates have theirs before they serve.
    issued: Generation,
    pub(super) instance: Option<Arc<Instance>>,
    sandbox: SandboxReport,
    digest: Option<String>,
    pub(super) fault: Option<Fault>,
    /// Where its start is, while it is starting.
    stage: Stage,
    restarts: u32,
    /// When another try is due, and the pause that led to it.
    pub(super) retry: Option<(SystemTime, Duration)>,
    /// Version and description, as last verified.
    described: Option<(String, String)>,
    /// Whether its first start has ended, in whatever way.
    pub(super) judged: bool,
    fitness: Fitness,
    budget: RestartBudget,
    /// The digest of the last new file that it was started from by itself.
    tried: Option<String>,
    candidate: Option<Candidate>,
    /// What has a share of the threads, beside what serves.
    canary: Option<OnTrial>,
    /// What served before, for as long as it may have to again.
    former: Option<Former>,
    /// What was asked for and taken back: not tried again until it is asked for by name, or is another.
    rejected: Option<PluginSettings>,
    rolled_back: Option<RolledBack>,
    spare: Spare,
    /// Replaced generations that finish their last calls, oldest first.
    retiring: Vec<Arc<Instance>>,
    record: Record,
    supervisor: mpsc::Sender<Command>,
}

impl Slot {
    pub(super) fn new(settings: PluginSettings, supervisor: mpsc::Sender<Command>, now: SystemTime) -> Self {
        let policy = policy_of(&settings);
        let state = if settings.enabled { PluginState::Discovered } else { PluginState::Disabled };
        let states = PluginState::ALL.iter().map(|state| state.as_str());
        series::plugin_listed(settings.spec.id.as_str(), state.as_str(), states);
        Self {
            state,
            since: now,
            generation: Generation(0),
            issued: Generation(0),
            instance: None,
            sandbox: SandboxReport::default(),
            digest: None,
            fault: None,
            stage: Stage::Discover,
            restarts: 0,
            retry: None,
            described: None,
            judged: !settings.enabled,
            fitness: Fitness::new(now, settings.breaker),
            budget: RestartBudget::new(policy),
            tried: None,
            candidate: None,
            canary: None,
            former: None,
            rejected: None,
            rolled_back: None,
            spare: Spare::new(policy),
            retiring: Vec::new(),
            record: Record::default(),
            supervisor,
            settings,
        }
    }

    /// What is to be started as the current generation.
    pub(super) fn begin_start(&mut self) -> (Arc<PluginSpec>, Generation) {
        if self.generation == Generation(0) {
            self.generation = self.issue();
        }
        self.retry = None;
        self.stage = Stage::Discover;
        (Arc::clone(&self.settings.spec), self.generation)
    }

    /// Whether no generation of it was ever to serve: it was off all the time, or each edit that wanted it was refused.
    pub(super) fn never_was(&self) -> bool {
        self.generation == Generation(0)
    }

    /// Whether the current generation is on its way.
    pub(super) fn is_starting(&self) -> bool {
        self.state.is_starting()
    }

    /// Its start is in that stage: those before it passed.
    pub(super) fn stage_begun(&mut self, stage: Stage, now: SystemTime) {
        // Late: it has its verdict.
        if !self.is_starting() {
            return;
        }
        self.stage = stage;
        let passed = match stage {
            Stage::Discover | Stage::Verify | Stage::Stage => 0,
            Stage::Load => 1,
            Stage::Init | Stage::Dependencies => 2,
            Stage::Probe | Stage::Running => 3,
        };
        for event in PIPELINE.into_iter().take(passed) {
            self.apply(event, now);
        }
    }

    /// The current generation, which was on its way, answered its probe.
    pub(super) fn healthy(&mut self, started: Started, took: Duration, now: SystemTime) {
        self.judged = true;
        let spec = Arc::clone(&self.settings.spec);
        let instance = self.wrap(started, &spec, took);
        self.install(instance, now);
        // What of the pipeline the runtime did not tell of came as one.
        self.apply_all(&PIPELINE, None, now);
    }

    /// A stage of its start failed.
    pub(super) fn start_failed(&mut self, fault: Fault, now: Times) -> Verdict {
        self.judged = true;
        self.failed_to_start(self.generation, &fault);
        let another = start_again(fault.stage, fault.code);
        self.fault = Some(fault);
        self.apply(PluginEvent::StageFailed, now.wall);
        if another { self.fail(now) } else { Verdict::Leave }
    }

    /// Its process ended.
    pub(super) fn exited(&mut self, report: Option<Arc<ExitReport>>, now: Times) -> Verdict {
        let instance = self.instance.take();
        if self.state == PluginState::Draining {
            self.apply(PluginEvent::Drained, now.wall);
            if !self.settings.enabled {
                self.apply(PluginEvent::Disabled, now.wall);
            }
            return Verdict::Leave;
        }
        let (code, how) = report.as_ref().map_or((Code::PluginExited, "without a report".to_owned()), |r| {
            (r.exit.code(), describe(&r.exit))
        });
        self.fault = Some(Fault::new(Stage::Running, code, format!("its process ended: {how}")));
        self.ended_unasked(self.generation, instance.as_deref(), report, now.wall);
        self.apply(PluginEvent::Exited, now.wall);
        if self.former.is_some() {
            return Verdict::RollBack;
        }
        let verdict = self.fail(now);
        self.understudy_takes_over(verdict, now.wall)
    }

    /// Whether the next generation shall begin now.
    pub(super) fn restart_due(&mut self, now: SystemTime) -> bool {
        self.next_generation(PluginEvent::RestartDue, now)
    }

    /// It shall finish and not come back; every instance there is.
    pub(super) fn drain(&mut self, now: SystemTime) -> Vec<Arc<Instance>> {
        self.apply(PluginEvent::DrainOrdered, now);
        self.retry = None;
        let held = self.unstage();
        self.candidate = None;
        let spare = self.dismiss_spare();
        self.instances().cloned().chain(spare).chain(held).collect()
    }

    /// Every generation that may have calls.
    pub(super) fn instances(&self) -> impl Iterator<Item = &Arc<Instance>> {
        self.instance.iter().chain(self.canary()).chain(self.former()).chain(&self.retiring)
    }

    pub(super) fn id(&self) -> String {
        self.settings.spec.id.to_string()
    }

    fn issue(&mut self) -> Generation {
        self.issued = Generation(self.issued.0 + 1);
        self.issued
    }

    fn wrap(&self, started: Started, spec: &Arc<PluginSpec>, took: Duration) -> Ready {
        PluginHealthy {
            plugin: self.id(),
            kind: spec.kind.to_string(),
            generation: started.handle.generation.0,
            version: started.handle.descriptor.version.clone(),
            digest: started.digest.clone(),
            isolation: started.handle.isolation.as_str().to_owned(),
            took_ms: took.as_millis(),
        }
        .emit();
        let (spec, supervisor) = (Arc::clone(spec), self.supervisor.clone());
        Ready {
            instance: Arc::new(Instance::new(started.handle, spec, supervisor)),
            digest: started.digest,
            sandbox: started.sandbox,
        }
    }

    /// It is the one that serves from now on.
    fn install(&mut self, ready: Ready, now: SystemTime) {
        let descriptor = &ready.instance.handle.descriptor;
        self.described = Some((descriptor.version.clone(), descriptor.description.clone()));
        self.digest = Some(ready.digest);
        self.sandbox = ready.sandbox;
        self.fault = None;
        self.instance = Some(ready.instance);
        self.fresh_fitness(now);
    }

    fn failed_to_start(&self, generation: Generation, fault: &Fault) {
        PluginFailed {
            plugin: self.id(),
            kind: self.settings.spec.kind.to_string(),
            generation: generation.0,
            stage: fault.stage.as_str().to_owned(),
            code: fault.code.to_string(),
            reason: fault.reason.clone(),
            hint: fault.hint.clone(),
        }
        .emit();
    }

    /// A generation that served, or was to, ended by itself.
    fn ended_unasked(
        &mut self,
        generation: Generation,
        instance: Option<&Instance>,
        report: Option<Arc<ExitReport>>,
        now: SystemTime,
    ) {
        let exit = report.as_ref().map(|r| &r.exit);
        PluginExited {
            plugin: self.id(),
            generation: generation.0,
            code: exit.map_or(Code::PluginExited, Exit::code).to_string(),
            signal: exit.map_or("unknown", Exit::label),
            how: exit.map_or_else(|| "without a report".to_owned(), describe),
            uptime_ms: report.as_ref().map_or(0, |r| r.uptime.as_millis()),
            stderr: report.as_ref().map(|r| r.stderr_tail.join(" | ")).unwrap_or_default(),
        }
        .emit();
        self.record.crashed(generation, instance, report, now);
    }

    fn fail(&mut self, now: Times) -> Verdict {
        match self.budget.failed(now.monotonic.into_std(), random::jitter()) {
            RestartDecision::After(pause) => {
                self.restarts += 1;
                self.retry = Some((now.wall + pause, pause));
                PluginRestarted {
                    plugin: self.id(),
                    generation: self.spare.successor().map_or(self.issued.0 + 1, |spare| spare.0),
                    attempt: self.restarts,
                    after_ms: pause.as_millis(),
                }
                .emit();
                Verdict::RestartAfter { pause, generation: self.generation }
            }
            RestartDecision::Quarantine => {
                self.apply(PluginEvent::BudgetSpent, now.wall);
                self.retry = None;
                let fault = self.fault.as_ref();
                PluginQuarantined {
                    plugin: self.id(),
                    restarts: self.restarts,
                    within_ms: self.settings.restart_window.as_millis(),
                    code: fault.map(|f| f.code.to_string()).unwrap_or_default(),
                    reason: fault.map(|f| f.reason.clone()).unwrap_or_default(),
                }
                .emit();
                Verdict::Leave
            }
        }
    }

    /// Begins the next generation, if the event does that in this state.
    fn next_generation(&mut self, event: PluginEvent, now: SystemTime) -> bool {
        if self.state.on(event) != Transition::NextGeneration {
            return false;
        }
        let generation = self.issue();
        self.apply_all(&[event], Some(generation), now)
    }

    /// Applies an event; whether it changed anything.
    fn apply(&mut self, event: PluginEvent, now: SystemTime) -> bool {
        self.apply_all(&[event], None, now)
    }

    /// Applies events that came as one; whether they changed anything. `generation`: the one that begins.
    fn apply_all(&mut self, events: &[PluginEvent], generation: Option<Generation>, now: SystemTime) -> bool {
        let from = self.state;
        let mut moved = false;
        for event in events {
            match self.state.on(*event) {
                Transition::Stay => continue,
                Transition::To(state) => self.state = state,
                Transition::NextGeneration => self.state = PluginState::Discovered,
            }
            moved = true;
        }
        if moved {
            self.generation = generation.unwrap_or(self.generation);
            self.entered(from, now);
        }
        moved
    }

    /// Tells and notes that it is in another state than before, or in the same as another generation.
    fn entered(&mut self, from: PluginState, now: SystemTime) {
        PluginStateChanged { plugin: self.id(), from: from.to_string(), to: self.state.to_string() }.emit();
        self.since = now;
        self.record.moved(self.generation, from, self.state, self.fault.as_ref(), now);
    }
}

/// A generation that answered its probe.
struct Ready {
    instance: Arc<Instance>,
    digest: String,
    sandbox: SandboxReport,
}

/// What a generation goes through from its file to its first run.
const PIPELINE: [PluginEvent; 4] =
    [PluginEvent::VerifyPassed, PluginEvent::LoadPassed, PluginEvent::InitPassed, PluginEvent::ProbePassed];

/// One moment, on both clocks.
#[derive(Debug, Clone, Copy)]
pub(super) struct Times {
    pub(super) wall: SystemTime,
    pub(super) monotonic: Instant,
}

fn describe(exit: &Exit) -> String {
    match exit {
        Exit::Signal(signal) => format!("signal {signal}"),
        Exit::Status(status) => format!("exit {status}"),
        Exit::Hung => "killed: it hung".to_owned(),
        Exit::Stopped => "stopped by the host".to_owned(),
        Exit::Memory => "at its memory limit".to_owned(),
        Exit::Flood => "killed: it flooded the host".to_owned(),
        Exit::Protocol(what) => format!("broke the worker protocol: {what}"),
    }
}
