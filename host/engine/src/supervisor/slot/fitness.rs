//! Whether a running generation gets runs: what it requires, its self-test, and its breaker.
//!
//! Each of the three can make it `degraded`; it is `healthy` when none does. A breaker is tried by one run, not by the
//! self-test: a plugin that fails every message may well answer that.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use agent_host_core::{
    breaker::{BreakerPolicy, BreakerState, CallResult, CircuitBreaker, Permit},
    failpoint,
    failpoint::Action,
    lifecycle::{PluginEvent, PluginState},
    ports::instance::{Fault, Stage},
    service::{ServiceName, ServiceTable},
};
use agent_host_telemetry::happening::{BreakerMoved, PluginDegraded, PluginRecovered};
use agent_plugin_protocol::{CallId, Code};

use super::{Slot, Times};
use crate::details::CallCounts;

pub(super) struct Fitness {
    /// The required service that went away while it runs.
    lacks: Option<String>,
    /// Why it did not answer its last self-test.
    unanswered: Option<String>,
    breaker: CircuitBreaker,
    trial: Trial,
    /// Since when the breaker is where it is.
    pub(super) since: SystemTime,
    /// How long it stays open, as of when it opened.
    pub(super) pause: Option<(SystemTime, Duration)>,
    pub(super) counts: Arc<CallCounts>,
    /// Self-tests that ended.
    pub(super) probes: u64,
}

/// The one run that decides about an open breaker.
enum Trial {
    /// It is not time yet.
    None,
    /// The next run is it.
    Offered,
    /// It is under way.
    Running { call: CallId, permit: Permit },
}

impl Fitness {
    /// Of a new generation, of a plugin with a breaker or without.
    pub(super) fn new(now: SystemTime, breaks: bool) -> Self {
        Self {
            lacks: None,
            unanswered: None,
            breaker: breaker(breaks),
            trial: Trial::None,
            since: now,
            pause: None,
            counts: Arc::default(),
            probes: 0,
        }
    }

    pub(super) fn breaker(&self) -> BreakerState {
        self.breaker.state()
    }

    fn offers_trial(&self) -> bool {
        // For a broken twin: a breaker that lets everybody try at once.
        let many = failpoint!("engine.breaker.one_trial") == Some(Action::Off);
        match self.trial {
            Trial::Offered => true,
            Trial::Running { .. } => many,
            Trial::None => false,
        }
    }

    fn fault(&self) -> Option<(PluginEvent, Fault)> {
        if let Some(service) = &self.lacks {
            let reason = format!("requires the service `{service}`, which is not available");
            let fault = Fault::new(Stage::Dependencies, Code::PluginDependencyMissing, reason);
            return Some((PluginEvent::ProbeFailed, fault));
        }
        if let Some(reason) = &self.unanswered {
            let fault = Fault::new(Stage::Running, Code::PluginProbeFailed, reason.clone());
            return Some((PluginEvent::ProbeFailed, fault));
        }
        if self.breaker.state() == BreakerState::Closed {
            return None;
        }
        let fault = Fault::new(Stage::Running, Code::PluginBreakerOpen, Code::PluginBreakerOpen.meaning());
        Some((PluginEvent::BreakerOpened, fault))
    }
}

impl Slot {
    /// What it requires came or went. Without it a running plugin gets no runs, until it is back.
    pub(in super::super) fn services_changed(&mut self, services: &ServiceTable, now: Times) {
        let Some(instance) = &self.instance else { return };
        let mut required = self.settings.spec.requires.iter().chain(&instance.handle.descriptor.requires);
        let available = |word: &str| ServiceName::parse(word).is_some_and(|name| services.is_available(name));
        self.fitness.lacks = required.find(|word| !available(word)).cloned();
        self.judge(now);
    }

    /// Whether its start failed for want of a service.
    pub(in super::super) fn lacked_a_service(&self) -> bool {
        self.state == PluginState::Failed
            && self.fault.as_ref().is_some_and(|fault| fault.stage == Stage::Dependencies)
    }

    /// How a call went; whether that changed more than a count.
    pub(in super::super) fn call_ended(&mut self, call: CallId, result: CallResult, now: Times) -> bool {
        let fitness = &mut self.fitness;
        let (before, instant) = (fitness.breaker.state(), now.monotonic.into_std());
        let permit = match std::mem::replace(&mut fitness.trial, Trial::None) {
            Trial::Running { call: trial, permit } if trial == call => permit,
            // Calls that were under way when it opened say nothing new.
            other @ (Trial::Offered | Trial::Running { .. }) => {
                fitness.trial = other;
                return false;
            }
            Trial::None => match before {
                BreakerState::Closed => match fitness.breaker.admit(instant) {
                    Ok(permit) => permit,
                    Err(_) => return false,
                },
                BreakerState::Open | BreakerState::HalfOpen => return false,
            },
        };
        fitness.breaker.settle(permit, result, instant);
        if fitness.breaker.state() == BreakerState::Closed {
            let window = fitness.breaker.window();
            fitness.counts.set(window.calls, window.failures);
        } else if before == BreakerState::Closed && result == CallResult::Failure {
            // It opened: what it had counted, and this call, are why, and stay to be read.
            fitness.counts.add_failure();
        }
        self.breaker_moved(before, now)
    }

    /// A run took the trial.
    pub(in super::super) fn trial_began(&mut self, call: CallId, now: Times) {
        let fitness = &mut self.fitness;
        if !matches!(fitness.trial, Trial::Offered) {
            return;
        }
        let before = fitness.breaker.state();
        if let Ok(permit) = fitness.breaker.admit(now.monotonic.into_std()) {
            fitness.trial = Trial::Running { call, permit };
            self.breaker_moved(before, now);
        }
    }

    /// The run that had the trial is over. If it told nothing, the next one may be it.
    pub(in super::super) fn trial_ended(&mut self, call: CallId, now: Times) {
        match std::mem::replace(&mut self.fitness.trial, Trial::None) {
            Trial::Running { call: trial, permit } if trial == call => self.trial_told_nothing(permit, now),
            other @ (Trial::None | Trial::Offered | Trial::Running { .. }) => {
                self.fitness.trial = other;
                self.offer_trial(now);
            }
        }
    }

    fn trial_told_nothing(&mut self, permit: Permit, now: Times) {
        let before = self.fitness.breaker.state();
        self.fitness.breaker.settle(permit, CallResult::Neutral, now.monotonic.into_std());
        self.breaker_moved(before, now);
        self.offer_trial(now);
    }

    /// Offers the trial, if the breaker's pause is over and nothing else speaks against runs. Idempotent.
    pub(in super::super) fn offer_trial(&mut self, now: Times) {
        let Some(instance) = &self.instance else { return };
        let fitness = &mut self.fitness;
        match std::mem::replace(&mut fitness.trial, Trial::None) {
            // Its end was not told: the supervisor's queue was full.
            Trial::Running { permit, .. } if !instance.gate.is_tried() => {
                self.trial_told_nothing(permit, now);
            }
            running @ Trial::Running { .. } => fitness.trial = running,
            Trial::None | Trial::Offered => {
                let waits = fitness.breaker.state() == BreakerState::Open
                    && fitness.breaker.retry_after(now.monotonic.into_std()).is_none();
                let fit = fitness.lacks.is_none() && fitness.unanswered.is_none();
                // One whose begin was not told, or that did not heed its cancellation, keeps it until its end.
                if waits && fit && !instance.gate.is_tried() {
                    instance.gate.offer_trial();
                    fitness.trial = Trial::Offered;
                }
            }
        }
    }

    /// How long until the trial is worth offering; `None`: there is none to offer.
    pub(in super::super) fn trial_due_in(&self, now: Times) -> Option<Duration> {
        let open = self.fitness.breaker.state() == BreakerState::Open;
        let due = || self.fitness.breaker.retry_after(now.monotonic.into_std()).unwrap_or_default();
        open.then(due)
    }

    /// How a health probe went.
    pub(in super::super) fn probed(&mut self, result: Result<(), String>, now: Times) {
        self.fitness.probes += 1;
        self.fitness.unanswered = result.err();
        self.judge(now);
        self.offer_trial(now);
    }

    /// Whether it gets runs, the breaker's one trial included.
    pub(in super::super) fn takes_runs(&self) -> bool {
        self.state == PluginState::Healthy
            || (self.state == PluginState::Degraded && self.fitness.offers_trial())
    }

    /// A new generation, or an operator's reset: nothing is held against it.
    pub(super) fn fresh_fitness(&mut self, now: SystemTime) {
        let fitness = &mut self.fitness;
        let before = fitness.breaker.state();
        (fitness.lacks, fitness.unanswered, fitness.trial) = (None, None, Trial::None);
        fitness.breaker.close();
        fitness.counts.set(0, 0);
        self.told_breaker(before, now);
    }

    /// Its breaker was switched on or off. Either way it is closed, and has counted nothing.
    pub(super) fn switch_breaker(&mut self, now: Times) {
        let fitness = &mut self.fitness;
        let before = fitness.breaker.state();
        (fitness.breaker, fitness.trial) = (breaker(self.settings.breaker), Trial::None);
        fitness.counts.set(0, 0);
        self.breaker_moved(before, now);
    }

    /// Says and follows it, if the breaker is not where it was; whether that is so.
    fn breaker_moved(&mut self, before: BreakerState, now: Times) -> bool {
        let moved = self.told_breaker(before, now.wall);
        if moved {
            self.fitness.pause = self.trial_due_in(now).map(|pause| (now.wall + pause, pause));
            self.judge(now);
        }
        moved
    }

    fn told_breaker(&mut self, before: BreakerState, now: SystemTime) -> bool {
        let state = self.fitness.breaker.state();
        if let Some(instance) = &self.instance {
            match state {
                BreakerState::Closed => instance.gate.open(),
                // A trial that runs keeps its place.
                BreakerState::Open | BreakerState::HalfOpen if instance.gate.is_tried() => {}
                BreakerState::Open | BreakerState::HalfOpen => instance.gate.shut(),
            }
        }
        if state == before {
            return false;
        }
        self.fitness.since = now;
        BreakerMoved { plugin: self.id(), from: before.as_str(), to: state.as_str() }.emit();
        true
    }

    /// Healthy if nothing speaks against it, else degraded. Only the change is told.
    pub(super) fn judge(&mut self, now: Times) {
        let gets_runs = match self.state {
            PluginState::Healthy => true,
            PluginState::Degraded => false,
            _ => return,
        };
        match self.fitness.fault() {
            Some((event, fault)) => {
                self.fault = Some(fault.clone());
                if gets_runs {
                    self.apply(event, now.wall);
                    PluginDegraded {
                        plugin: self.id(),
                        generation: self.generation.0,
                        code: fault.code.to_string(),
                        reason: fault.reason,
                    }
                    .emit();
                }
            }
            None if gets_runs => {}
            None => {
                self.fault = None;
                self.apply(PluginEvent::ProbePassed, now.wall);
                PluginRecovered { plugin: self.id(), generation: self.generation.0 }.emit();
            }
        }
    }
}

/// A closed one; one of a plugin without a breaker never opens.
fn breaker(breaks: bool) -> CircuitBreaker {
    CircuitBreaker::new(if breaks { BreakerPolicy::default() } else { BreakerPolicy::never() })
}
