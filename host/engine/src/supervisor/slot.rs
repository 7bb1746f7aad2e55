//! One plugin's slot: what the operator wants of it, the generation that serves it, and how it has fared.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use agent_host_core::{
    breaker::{BreakerPolicy, BreakerState, CallResult, CircuitBreaker},
    lifecycle::{PluginEvent, PluginState, Transition},
    outcome::{Exit, ExitReport},
    ports::instance::{Fault, Isolation, PluginRuntime, PluginSpec, Stage, Started},
    restart::{RestartBudget, RestartDecision, RestartPolicy},
    routing::{RouteEntry, RouteHealth},
    service::{ServiceName, ServiceTable},
};
use agent_host_telemetry::{
    happening::{
        BreakerMoved, PluginExited, PluginFailed, PluginHealthy, PluginQuarantined, PluginRestarted,
        PluginStateChanged,
    },
    series,
};
use agent_plugin_protocol::{Code, Generation};
use tokio::time::Instant;

use crate::{
    random,
    routes::Instance,
    settings::{Parts, PluginSettings},
};

/// What follows a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Nothing: quarantined, not worth another try, or not wanted.
    Leave,
    /// The next generation, after a pause.
    RestartAfter {
        /// How long.
        pause: Duration,
        /// The generation that failed.
        generation: Generation,
    },
}

/// The runtime of an isolation tier, where this host has one.
pub(super) fn runtime_of(parts: &Parts, isolation: Isolation) -> Option<&Arc<dyn PluginRuntime>> {
    match isolation {
        Isolation::Process => Some(&parts.process),
        Isolation::InProcess => parts.in_process.as_ref(),
        // The built-in fallback is no slot: it is linked, not loaded.
        Isolation::BuiltIn => None,
    }
}

pub(super) struct Slot {
    pub(super) settings: PluginSettings,
    pub(super) state: PluginState,
    pub(super) since: SystemTime,
    pub(super) generation: Generation,
    pub(super) instance: Option<Arc<Instance>>,
    pub(super) digest: Option<String>,
    pub(super) fault: Option<Fault>,
    pub(super) restarts: u32,
    /// When another try is due, and the pause that led to it.
    pub(super) retry: Option<(SystemTime, Duration)>,
    /// Version and description, as last verified.
    pub(super) described: Option<(String, String)>,
    /// Whether its first start has ended, in whatever way.
    pub(super) judged: bool,
    /// The required service that went away while it runs.
    lacks: Option<String>,
    budget: RestartBudget,
    breaker: CircuitBreaker,
}

impl Slot {
    pub(super) fn new(settings: PluginSettings, now: SystemTime) -> Self {
        let policy = RestartPolicy {
            max: settings.restarts,
            within: settings.restart_window,
            ..RestartPolicy::default()
        };
        let state = if settings.enabled { PluginState::Discovered } else { PluginState::Disabled };
        let states = PluginState::ALL.iter().map(|state| state.as_str());
        series::plugin_listed(settings.spec.id.as_str(), state.as_str(), states);
        Self {
            state,
            since: now,
            generation: Generation(0),
            instance: None,
            digest: None,
            fault: None,
            restarts: 0,
            retry: None,
            described: None,
            judged: !settings.enabled,
            lacks: None,
            budget: RestartBudget::new(policy),
            breaker: CircuitBreaker::new(BreakerPolicy::default()),
            settings,
        }
    }

    /// The next generation begins.
    pub(super) fn begin_start(&mut self) -> (Arc<PluginSpec>, Generation) {
        self.generation = Generation(self.generation.0 + 1);
        self.retry = None;
        (Arc::clone(&self.settings.spec), self.generation)
    }

    /// A generation answered its probe. False if it is not the one that is wanted.
    pub(super) fn healthy(&mut self, started: Started, took: Duration, now: SystemTime) -> bool {
        self.judged = true;
        if !self.state.is_starting() {
            return false;
        }
        // The runtime took it through the whole pipeline in one go.
        for event in [
            PluginEvent::VerifyPassed,
            PluginEvent::LoadPassed,
            PluginEvent::InitPassed,
            PluginEvent::ProbePassed,
        ] {
            self.apply(event, now);
        }
        let descriptor = &started.handle.descriptor;
        PluginHealthy {
            plugin: self.id(),
            kind: self.settings.spec.kind.to_string(),
            generation: self.generation.0,
            version: descriptor.version.clone(),
            digest: started.digest.clone(),
            isolation: started.handle.isolation.as_str().to_owned(),
            took_ms: took.as_millis(),
        }
        .emit();
        self.described = Some((descriptor.version.clone(), descriptor.description.clone()));
        self.digest = Some(started.digest);
        self.fault = None;
        self.lacks = None;
        let breaker = self.breaker.state();
        self.breaker.close();
        self.breaker_moved(breaker);
        self.instance = Some(Arc::new(Instance::new(started.handle, Arc::clone(&self.settings.spec))));
        true
    }

    /// A stage of its start failed.
    pub(super) fn start_failed(&mut self, fault: Fault, now: Times) -> Verdict {
        self.judged = true;
        PluginFailed {
            plugin: self.id(),
            kind: self.settings.spec.kind.to_string(),
            generation: self.generation.0,
            stage: fault.stage.as_str().to_owned(),
            code: fault.code.to_string(),
            reason: fault.reason.clone(),
            hint: fault.hint.clone(),
        }
        .emit();
        self.apply(PluginEvent::StageFailed, now.wall);
        // A file that cannot be loaded will not be mended by loading it again; a missing service comes back by itself.
        let another = fault.code.retryable() && fault.stage != Stage::Dependencies;
        self.fault = Some(fault);
        if another { self.fail(now) } else { Verdict::Leave }
    }

    /// Its process ended.
    pub(super) fn exited(&mut self, report: Option<&ExitReport>, now: Times) -> Verdict {
        self.instance = None;
        let wanted = self.state != PluginState::Draining;
        self.apply(PluginEvent::Exited, now.wall);
        if !wanted {
            return Verdict::Leave;
        }
        let (code, how) = report.map_or((Code::PluginExited, "without a report".to_owned()), |r| {
            (r.exit.code(), describe(&r.exit))
        });
        PluginExited {
            plugin: self.id(),
            generation: self.generation.0,
            code: code.to_string(),
            signal: report.map_or("unknown", |r| r.exit.label()),
            how: how.clone(),
            uptime_ms: report.map_or(0, |r| r.uptime.as_millis()),
            stderr: report.map(|r| r.stderr_tail.join(" | ")).unwrap_or_default(),
        }
        .emit();
        self.fault = Some(Fault::new(Stage::Running, code, format!("its process ended: {how}")));
        self.fail(now)
    }

    /// Whether the next generation shall begin now.
    pub(super) fn restart_due(&mut self, now: SystemTime) -> bool {
        self.apply(PluginEvent::RestartDue, now)
    }

    /// What it requires came or went. Without it a running plugin gets no runs, until it is back.
    pub(super) fn services_changed(&mut self, services: &ServiceTable, now: Times) {
        let Some(instance) = &self.instance else { return };
        let mut required = self.settings.spec.requires.iter().chain(&instance.handle.descriptor.requires);
        let available = |word: &str| ServiceName::parse(word).is_some_and(|name| services.is_available(name));
        let lacks = required.find(|word| !available(word)).cloned();
        match (lacks, self.lacks.is_some()) {
            (Some(service), _) => {
                self.apply(PluginEvent::ProbeFailed, now.wall);
                let reason = format!("requires the service `{service}`, which is not available");
                self.fault = Some(Fault::new(Stage::Dependencies, Code::PluginDependencyMissing, reason));
                self.lacks = Some(service);
            }
            (None, true) => {
                self.lacks = None;
                if self.apply(PluginEvent::ProbePassed, now.wall) {
                    self.fault = None;
                }
            }
            (None, false) => {}
        }
    }

    /// Whether its start failed for want of a service.
    pub(super) fn lacked_a_service(&self) -> bool {
        self.state == PluginState::Failed
            && self.fault.as_ref().is_some_and(|fault| fault.stage == Stage::Dependencies)
    }

    /// How a call went.
    pub(super) fn call_ended(&mut self, result: CallResult, now: Times) {
        let instant = now.monotonic.into_std();
        // Calls that were under way when it opened say nothing new.
        if self.breaker.state() != BreakerState::Closed {
            return;
        }
        if let Ok(permit) = self.breaker.admit(instant) {
            self.breaker.settle(permit, result, instant);
            self.breaker_moved(BreakerState::Closed);
        }
        if self.breaker.state() == BreakerState::Open {
            self.apply(PluginEvent::BreakerOpened, now.wall);
            self.fault =
                Some(Fault::new(Stage::Running, Code::PluginBreakerOpen, Code::PluginBreakerOpen.meaning()));
        }
    }

    /// How a health probe went. An open breaker takes it as its trial call, once its cool-down is over.
    pub(super) fn probed(&mut self, result: Result<(), String>, now: Times) {
        let instant = now.monotonic.into_std();
        let before = self.breaker.state();
        let was_open = before != BreakerState::Closed;
        if was_open {
            let Ok(permit) = self.breaker.admit(instant) else { return };
            let trial = if result.is_ok() { CallResult::Success } else { CallResult::Failure };
            self.breaker.settle(permit, trial, instant);
            self.breaker_moved(before);
        }
        match result {
            // It is well, and still lacks what it requires.
            Ok(()) if self.lacks.is_some() => {}
            Ok(()) => {
                let event = if was_open { PluginEvent::BreakerClosed } else { PluginEvent::ProbePassed };
                if self.apply(event, now.wall) {
                    self.fault = None;
                }
            }
            Err(reason) => {
                self.apply(PluginEvent::ProbeFailed, now.wall);
                self.fault = Some(Fault::new(Stage::Running, Code::PluginProbeFailed, reason));
            }
        }
    }

    /// It shall finish and not come back.
    pub(super) fn drain(&mut self, now: SystemTime) -> Option<Arc<Instance>> {
        self.apply(PluginEvent::DrainOrdered, now);
        self.retry = None;
        self.instance.clone()
    }

    /// For the route table.
    pub(super) fn route(&self) -> RouteEntry {
        let health = match self.state {
            PluginState::Healthy => RouteHealth::Healthy,
            _ => RouteHealth::Unhealthy {
                code: self.code(),
                reason: self.code().meaning().to_owned(),
                retry_after: self.retry.map(|(_, pause)| pause),
            },
        };
        RouteEntry {
            id: self.settings.spec.id.clone(),
            generation: self.generation,
            health,
            substitutes: self.settings.substitutes.clone(),
        }
    }

    /// Why it gets no runs, in one stable word.
    pub(super) fn code(&self) -> Code {
        match self.state {
            PluginState::Disabled => Code::PluginDisabled,
            PluginState::Quarantined => Code::PluginQuarantined,
            PluginState::Draining | PluginState::Unloaded => Code::PluginDraining,
            PluginState::Failed if self.is_crash_loop() => Code::PluginCrashLoop,
            PluginState::Discovered
            | PluginState::Verified
            | PluginState::Loaded
            | PluginState::Initialised
            | PluginState::Healthy
            | PluginState::Degraded
            | PluginState::Failed => self.fault.as_ref().map_or(Code::PluginStarting, |fault| fault.code),
        }
    }

    /// It started well and crashed, more than once. A start that fails keeps its own code, which says why.
    fn is_crash_loop(&self) -> bool {
        let crashed = self.fault.as_ref().is_some_and(|fault| fault.stage == Stage::Running);
        crashed && self.restarts > 1 && self.retry.is_some()
    }

    pub(super) fn id(&self) -> String {
        self.settings.spec.id.to_string()
    }

    fn fail(&mut self, now: Times) -> Verdict {
        match self.budget.failed(now.monotonic.into_std(), random::jitter()) {
            RestartDecision::After(pause) => {
                self.restarts += 1;
                self.retry = Some((now.wall + pause, pause));
                PluginRestarted {
                    plugin: self.id(),
                    generation: self.generation.0 + 1,
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

    /// Says so, if the breaker is not in this state any more.
    fn breaker_moved(&self, before: BreakerState) {
        let now = self.breaker.state();
        if now != before {
            BreakerMoved { plugin: self.id(), from: before.as_str(), to: now.as_str() }.emit();
        }
    }

    /// Applies an event; whether it changed anything.
    fn apply(&mut self, event: PluginEvent, now: SystemTime) -> bool {
        let to = match self.state.on(event) {
            Transition::Stay => return false,
            Transition::To(state) => state,
            Transition::NextGeneration => PluginState::Discovered,
        };
        PluginStateChanged { plugin: self.id(), from: self.state.to_string(), to: to.to_string() }.emit();
        self.state = to;
        self.since = now;
        true
    }
}

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
