//! Generations that are loaded beside the serving one: the candidate of a reload, and the warm spare.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use agent_host_core::{
    lifecycle::{PluginEvent, PluginState, Transition},
    outcome::{Exit, ExitReport},
    ports::instance::{Fault, Isolation, PluginSpec, Stage, Started},
    restart::{RestartBudget, RestartDecision, RestartPolicy},
};
use agent_host_telemetry::{
    happening::{PluginReplaced, ReloadFailed, SpareFailed, SpareTookOver},
    series,
};
use agent_plugin_protocol::{Code, Generation};

use super::{PIPELINE, Ready, Slot, Times, Verdict, describe};
use crate::{random, routes::Instance, settings::PluginSettings};

/// The generation of a reload, or of a new configuration.
pub(super) struct Candidate {
    pub(super) generation: Generation,
    pub(super) since: SystemTime,
    /// Why it did not take over; `None`: it is being loaded, or waits.
    pub(super) fault: Option<Fault>,
    pub(super) spec: Arc<PluginSpec>,
    /// Whether it serves only with the rest of a change.
    pub(super) staged: bool,
    /// It answered its probe, and waits for that.
    pub(super) held: Option<Ready>,
}

/// A second worker of the same library, loaded, probed and idle.
pub(super) struct Spare {
    place: Place,
    /// Its own: a spare that dies says nothing about the one that serves.
    budget: RestartBudget,
    window: Duration,
    pub(super) fault: Option<Fault>,
}

enum Place {
    Empty,
    /// The last one failed: the next one has to wait.
    Pausing,
    Loading(Generation),
    Ready(Ready),
}

impl Spare {
    pub(super) fn new(policy: RestartPolicy) -> Self {
        Self { place: Place::Empty, budget: RestartBudget::new(policy), window: policy.within, fault: None }
    }

    /// It may be loaded again as often as this says, from now on.
    pub(super) fn regulate(&mut self, policy: RestartPolicy) {
        (self.budget, self.window) = (RestartBudget::new(policy), policy.within);
    }

    pub(super) fn ready(&self) -> u32 {
        u32::from(matches!(self.place, Place::Ready(_)))
    }

    /// It is not wanted any more; the instance to be ended. One that is being loaded is ended when it comes.
    fn dismiss(&mut self) -> Option<Arc<Instance>> {
        match std::mem::replace(&mut self.place, Place::Empty) {
            Place::Ready(ready) => Some(ready.instance),
            Place::Empty | Place::Pausing | Place::Loading(_) => None,
        }
    }

    /// Who takes over if the one that serves dies.
    pub(super) fn successor(&self) -> Option<Generation> {
        match &self.place {
            Place::Ready(ready) => Some(ready.instance.handle.generation),
            Place::Loading(generation) => Some(*generation),
            Place::Empty | Place::Pausing => None,
        }
    }

    pub(super) fn reset(&mut self) {
        self.budget.reset();
        if matches!(self.place, Place::Pausing) {
            self.place = Place::Empty;
        }
    }
}

/// Whose news of a generation are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in super::super) enum Role {
    /// The one that serves, starts or failed last.
    Current,
    /// A reload's.
    Candidate,
    /// The spare.
    Spare,
    /// It has a share of the threads.
    Canary,
    /// It served before, and may have to again.
    Former,
    /// It finishes its last calls.
    Retiring,
    /// Nobody's: it came too late.
    None,
}

impl Slot {
    pub(in super::super) fn role(&self, generation: Generation) -> Role {
        let loading =
            self.candidate.as_ref().is_some_and(|c| c.generation == generation && c.fault.is_none());
        let spare = self.spare.successor() == Some(generation);
        if self.generation == generation {
            Role::Current
        } else if loading {
            Role::Candidate
        } else if spare {
            Role::Spare
        } else if self.is_canary(generation) {
            Role::Canary
        } else if self.is_former(generation) {
            Role::Former
        } else if self.retiring.iter().any(|old| old.handle.generation == generation) {
            Role::Retiring
        } else {
            Role::None
        }
    }

    /// Begins to load the file anew, beside what serves. What was rolled back gets another chance.
    pub(super) fn begin_candidate(&mut self, now: SystemTime) -> (Arc<PluginSpec>, Generation) {
        let generation = self.issue();
        let spec = Arc::clone(&self.wanted_settings().spec);
        self.candidate = Some(Candidate {
            generation,
            since: now,
            fault: None,
            spec: Arc::clone(&spec),
            staged: false,
            held: None,
        });
        (spec, generation)
    }

    /// The candidate answered its probe: it serves from now on, or has its share. Answers what has to end.
    pub(in super::super) fn candidate_healthy(
        &mut self,
        started: Started,
        took: Duration,
        now: Times,
    ) -> Vec<Arc<Instance>> {
        let Some(spec) = self.candidate.as_ref().map(|candidate| Arc::clone(&candidate.spec)) else {
            return Vec::new();
        };
        let ready = self.wrap(started, &spec, took);
        let wanted = Some(self.wanted_settings()).filter(|wanted| wanted.spec == spec);
        let wanted = wanted.unwrap_or(&self.settings).clone();
        if self.begins_with_a_share(&wanted) {
            return self.begin_canary(ready, wanted, now);
        }
        let former = std::mem::replace(&mut self.settings, wanted);
        self.replace(ready, former, now)
    }

    /// A generation serves from now on, whatever was on trial. Answers what has to end.
    pub(super) fn replace(&mut self, ready: Ready, former: PluginSettings, now: Times) -> Vec<Arc<Instance>> {
        let canary = self.let_canary_go("another generation takes its place");
        let over = self.take_over(ready, former, now.wall);
        over.into_iter().chain(canary).collect()
    }

    /// Another generation serves from now on; the settings are its own already, `former` those of before. Answers what
    /// has to end.
    pub(super) fn take_over(
        &mut self,
        ready: Ready,
        former: PluginSettings,
        now: SystemTime,
    ) -> Vec<Arc<Instance>> {
        self.candidate = None;
        self.rejected = None;
        self.judged = true;
        self.retry = None;
        self.budget.reset();
        let (from, before) = (self.generation, self.state);
        let generation = ready.instance.handle.generation;
        // The spare is of the old file.
        let mut over: Vec<_> = self.dismiss_spare().into_iter().collect();
        self.spare.reset();
        over.extend(self.keep_former(former));
        PluginReplaced {
            plugin: self.id(),
            from: from.0,
            to: generation.0,
            version: ready.instance.handle.descriptor.version.clone(),
            digest: ready.digest.clone(),
        }
        .emit();
        self.serve_from_now(ready, before, now);
        over
    }

    /// That generation serves, whatever served before.
    pub(super) fn serve_from_now(&mut self, ready: Ready, before: PluginState, now: SystemTime) {
        let generation = ready.instance.handle.generation;
        self.install(ready, now);
        // Another generation, through its own pipeline; the old one ends as what retires.
        self.state = PluginState::Discovered;
        for event in PIPELINE {
            if let Transition::To(state) = self.state.on(event) {
                self.state = state;
            }
        }
        self.generation = generation;
        self.entered(before, now);
    }

    /// The candidate did not get healthy: what serves goes on.
    pub(in super::super) fn candidate_failed(&mut self, fault: Fault, now: SystemTime) {
        let Some(candidate) = &mut self.candidate else { return };
        let generation = candidate.generation;
        candidate.since = now;
        candidate.held = None;
        candidate.fault = Some(fault.clone());
        ReloadFailed {
            plugin: self.id(),
            generation: generation.0,
            stage: fault.stage.as_str().to_owned(),
            code: fault.code.to_string(),
            reason: fault.reason,
            hint: fault.hint,
        }
        .emit();
    }

    /// Its file is what it runs from, again: why another file did not take over is no matter any more. A candidate of other
    /// settings failed by these.
    pub(in super::super) fn same_file(&mut self) {
        let spec = Arc::clone(&self.settings.spec);
        let over = |candidate: &mut Candidate| {
            candidate.fault.is_some() && !candidate.staged && candidate.spec == spec
        };
        self.candidate.take_if(over);
    }

    /// The spare to be loaded now, if one is wanted. Only beside one that serves: it must not take the machine from it.
    pub(in super::super) fn begin_spare(&mut self) -> Option<(Arc<PluginSpec>, Generation)> {
        let serves = matches!(self.state, PluginState::Healthy | PluginState::Degraded);
        let wanted = self.spares_wanted() > 0 && self.settings.enabled && self.candidate_is_quiet();
        if !serves || !wanted || !matches!(self.spare.place, Place::Empty) {
            return None;
        }
        let generation = self.issue();
        self.spare.place = Place::Loading(generation);
        Some((Arc::clone(&self.settings.spec), generation))
    }

    /// A library in the host's own process has no worker to be spared.
    pub(super) fn spares_wanted(&self) -> u32 {
        match self.settings.spec.isolation {
            Isolation::Process => self.settings.spares,
            Isolation::InProcess | Isolation::BuiltIn => 0,
        }
    }

    /// A candidate that takes over makes a spare of the old file useless.
    pub(super) fn candidate_is_quiet(&self) -> bool {
        self.candidate.as_ref().is_none_or(|candidate| candidate.fault.is_some())
    }

    pub(in super::super) fn spare_ready(&mut self, started: Started, took: Duration) {
        let spec = Arc::clone(&self.settings.spec);
        let ready = self.wrap(started, &spec, took);
        self.spare.place = Place::Ready(ready);
        self.spare.fault = None;
        self.tell_spares();
    }

    /// The spare could not be loaded, or died before it was needed. The next one has to wait, as a restart would; one
    /// whose budget is spent waits for the whole window.
    pub(in super::super) fn spare_lost(&mut self, fault: Fault, now: Times) -> Verdict {
        self.spare.place = Place::Pausing;
        let pause = match self.spare.budget.failed(now.monotonic.into_std(), random::jitter()) {
            RestartDecision::After(pause) => pause,
            RestartDecision::Quarantine => self.spare.window,
        };
        SpareFailed {
            plugin: self.id(),
            code: fault.code.to_string(),
            reason: fault.reason.clone(),
            retry_ms: pause.as_millis(),
        }
        .emit();
        self.spare.fault = Some(fault);
        self.tell_spares();
        Verdict::SpareAfter(pause)
    }

    pub(in super::super) fn spare_exited(&mut self, report: Option<&ExitReport>, now: Times) -> Verdict {
        let code = report.map_or(Code::PluginExited, |r| r.exit.code());
        let how = report.map_or_else(|| "without a report".to_owned(), |r| describe(&r.exit));
        self.spare_lost(
            Fault::new(Stage::Running, code, format!("the idle spare's process ended: {how}")),
            now,
        )
    }

    /// The pause before the next spare is over.
    pub(in super::super) fn spare_due(&mut self) {
        if matches!(self.spare.place, Place::Pausing) {
            self.spare.place = Place::Empty;
        }
    }

    /// The one that served died: the spare serves, at once if it is ready, else as soon as it is.
    pub(super) fn understudy_takes_over(&mut self, verdict: Verdict, now: SystemTime) -> Verdict {
        let Verdict::RestartAfter { pause, generation } = verdict else { return verdict };
        match std::mem::replace(&mut self.spare.place, Place::Pausing) {
            Place::Ready(ready) => {
                let successor = ready.instance.handle.generation;
                SpareTookOver { plugin: self.id(), from: generation.0, to: successor.0 }.emit();
                self.retry = None;
                self.install(ready, now);
                let [verify, load, init, probe] = PIPELINE;
                let events = [PluginEvent::RestartDue, verify, load, init, probe];
                self.apply_all(&events, Some(successor), now);
                self.tell_spares();
                // The pause that a restart would have waited: a crash loop must not be faster for having spares.
                Verdict::SpareAfter(pause)
            }
            Place::Loading(successor) => {
                self.spare.place = Place::Empty;
                self.retry = None;
                self.apply_all(&[PluginEvent::RestartDue], Some(successor), now);
                Verdict::Leave
            }
            place @ (Place::Empty | Place::Pausing) => {
                self.spare.place = place;
                verdict
            }
        }
    }

    /// What is not wanted beside a slot that does not serve: the spare, to be ended.
    pub(in super::super) fn dismiss_idle_spare(&mut self) -> Option<Arc<Instance>> {
        let useless =
            matches!(self.state, PluginState::Quarantined | PluginState::Disabled | PluginState::Draining);
        if useless { self.dismiss_spare() } else { None }
    }

    /// It is not wanted any more; the instance to be ended.
    pub(super) fn dismiss_spare(&mut self) -> Option<Arc<Instance>> {
        let dismissed = self.spare.dismiss();
        if dismissed.is_some() {
            self.tell_spares();
        }
        dismissed
    }

    /// A replaced generation is gone.
    pub(in super::super) fn retired(
        &mut self,
        generation: Generation,
        report: Option<Arc<ExitReport>>,
        now: SystemTime,
    ) {
        let Some(at) = self.retiring.iter().position(|old| old.handle.generation == generation) else {
            return;
        };
        let old = self.retiring.remove(at);
        let asked = report.as_ref().is_none_or(|r| r.exit == Exit::Stopped);
        if !asked {
            self.ended_unasked(generation, Some(&old), report, now);
        }
    }

    /// Replaced generations beyond what may pile up, oldest first.
    pub(in super::super) fn too_many_retiring(&self) -> impl Iterator<Item = &Arc<Instance>> {
        self.retiring.iter().take(self.retiring.len().saturating_sub(RETIRING))
    }

    fn tell_spares(&self) {
        series::spares_ready(self.settings.spec.id.as_str(), self.spare.ready());
    }
}

/// Replaced generations of one slot that may finish their calls side by side: a worker each.
const RETIRING: usize = 3;
