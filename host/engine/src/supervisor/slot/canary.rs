//! A new generation on trial: it has a share of the threads beside the one that serves, until it is promoted or taken
//! back.
//!
//! Nothing of the slot's own changes meanwhile: its state, breaker, budget and spares are those of the generation that
//! serves, whose settings it keeps too. What is wanted is the canary's.

mod ending;

use std::{sync::Arc, time::Duration};

use agent_host_core::{
    breaker::{BreakerState, CallResult, CircuitBreaker},
    canary::{Canary, CanaryPolicy, Side},
    failpoint,
    failpoint::Action,
    lifecycle::PluginState,
    ports::instance::{Fault, Stage},
    routing::CanaryRoute,
    service::{ServiceName, ServiceTable},
    share::Share,
};
use agent_host_telemetry::{happening::CanaryBegan, series};
use agent_plugin_protocol::{Code, Generation};
use tokio::time::Instant;

use super::{Ready, Slot, Times, fitness::breaker};
use crate::{details::CallCounts, routes::Instance, settings::PluginSettings, view::CanaryView};

/// A new generation that has a share of the threads.
pub(super) struct OnTrial {
    /// What is wanted.
    pub(super) settings: PluginSettings,
    ready: Ready,
    judge: Canary,
    breaker: CircuitBreaker,
    /// What both sides have ended, for those who look.
    counts: CanaryCounts,
    /// Whether a service that it requires is gone: it gets no runs, and that is not its fault.
    lacks: bool,
    began: Times,
    /// Whether its end is waited for.
    awaited: bool,
    /// What is to become of it, once that is known.
    end: Option<End>,
}

/// Runs that ended since a canary began, on both sides; written by the supervisor task only.
#[derive(Debug, Clone, Default)]
pub(crate) struct CanaryCounts {
    pub(crate) canary: Arc<CallCounts>,
    pub(crate) serving: Arc<CallCounts>,
}

/// What becomes of a canary.
#[derive(Debug, Clone)]
pub(super) enum End {
    /// It serves, all of it.
    Promoted(&'static str),
    /// The one beside it goes on alone.
    TakenBack(Fault),
}

/// A canary whose end is to be waited for.
pub(in super::super) struct Awaited {
    pub(in super::super) generation: Generation,
    pub(in super::super) within: Duration,
}

impl OnTrial {
    pub(super) fn generation(&self) -> Generation {
        self.ready.instance.handle.generation
    }

    fn policy(&self) -> CanaryPolicy {
        self.judge.policy()
    }

    fn left(&self, now: Instant) -> Duration {
        (self.began.monotonic + self.policy().lasts).saturating_duration_since(now)
    }

    /// The first reason is the one that counts.
    fn is_over(&mut self, end: End) -> bool {
        let first = self.end.is_none();
        self.end.get_or_insert(end);
        first
    }
}

impl Slot {
    pub(super) fn canary(&self) -> Option<&Arc<Instance>> {
        self.canary.as_ref().map(|canary| &canary.ready.instance)
    }

    pub(in super::super) fn is_canary(&self, generation: Generation) -> bool {
        self.canary.as_ref().is_some_and(|canary| canary.generation() == generation)
    }

    /// The instance of a canary of that generation.
    pub(in super::super) fn canary_instance(&self, generation: Generation) -> Option<&Arc<Instance>> {
        self.canary().filter(|instance| instance.handle.generation == generation)
    }

    /// The settings that are wanted, whether or not the generation that serves has them.
    pub(super) fn wanted_settings(&self) -> &PluginSettings {
        let on_trial = self.canary.as_ref().map(|canary| &canary.settings);
        on_trial.or(self.rejected.as_ref()).unwrap_or(&self.settings)
    }

    /// Whether a generation with those settings begins with a share: only beside one that serves well. Where none does,
    /// a new version may be what mends it.
    pub(super) fn begins_with_a_share(&self, settings: &PluginSettings) -> bool {
        let serves = self.state == PluginState::Healthy && self.instance.is_some();
        settings.enabled && serves && !settings.canary.share.is_none()
    }

    /// It has its share of the threads from now on. Answers what has to end: one that was on trial before, and the one
    /// that was kept, as from now on it is the one that serves that is gone back to.
    pub(super) fn begin_canary(
        &mut self,
        ready: Ready,
        settings: PluginSettings,
        now: Times,
    ) -> Vec<Arc<Instance>> {
        self.candidate = None;
        self.rejected = None;
        let before = self.let_canary_go("another generation takes its place");
        let over = before.into_iter().chain(self.let_former_go()).collect();
        let policy = settings.canary;
        CanaryBegan {
            plugin: self.id(),
            from: self.generation.0,
            to: ready.instance.handle.generation.0,
            version: ready.instance.handle.descriptor.version.clone(),
            digest: ready.digest.clone(),
            share: policy.share.to_string(),
            for_ms: policy.lasts.as_millis(),
        }
        .emit();
        self.canary = Some(OnTrial {
            breaker: breaker(settings.breaker),
            judge: Canary::new(policy),
            counts: CanaryCounts::default(),
            lacks: false,
            began: now,
            awaited: false,
            end: None,
            settings,
            ready,
        });
        self.tell_share();
        over
    }

    /// Other terms for the one that is on trial: they hold from now on.
    pub(super) fn follow_terms(&mut self, settings: PluginSettings) {
        let Some(canary) = &mut self.canary else { return };
        let policy = settings.canary;
        canary.awaited &= policy.lasts == canary.policy().lasts;
        canary.judge.follow(policy);
        if settings.breaker != canary.settings.breaker {
            canary.breaker = breaker(settings.breaker);
        }
        canary.settings = settings;
        if policy.share.is_none() {
            let reason = "its share of the threads was set to 0%";
            canary.is_over(End::TakenBack(taken_back(reason)));
        }
        self.tell_share();
    }

    /// The instance that gets its runs.
    pub(in super::super) fn canary_for_runs(&self) -> Option<&Arc<Instance>> {
        self.canary_route().and_then(|route| self.canary_instance(route.generation))
    }

    /// For the route table.
    pub(super) fn canary_route(&self) -> Option<CanaryRoute> {
        let canary = self.canary.as_ref().filter(|canary| !canary.lacks && canary.end.is_none())?;
        // For a broken twin: a host that gives it everything.
        let all = failpoint!("engine.canary.share") == Some(Action::Off);
        let share = if all { Share::ALL } else { canary.policy().share };
        Some(CanaryRoute { generation: canary.generation(), share })
    }

    /// What it requires came or went.
    pub(super) fn canary_services_changed(&mut self, services: &ServiceTable) {
        let Some(canary) = &mut self.canary else { return };
        let own = &canary.ready.instance.handle.descriptor.requires;
        let mut required = canary.settings.spec.requires.iter().chain(own);
        canary.lacks =
            required.any(|word| !ServiceName::parse(word).is_some_and(|name| services.is_available(name)));
    }

    /// A run of either side ended; whether that decides about the canary.
    pub(in super::super) fn counted(&mut self, side: Side, result: CallResult, now: Times) -> bool {
        let plugin = self.settings.spec.id.as_str();
        let Some(canary) = self.canary.as_mut().filter(|canary| canary.end.is_none()) else { return false };
        let failed = result == CallResult::Failure;
        series::canary_run(plugin, side.as_str(), failed);
        let worse = canary.judge.ended(side, failed);
        let runs = canary.judge.runs(side);
        match side {
            Side::Canary => canary.counts.canary.set(runs.ended, runs.failed),
            Side::Serving => canary.counts.serving.set(runs.ended, runs.failed),
        }
        if side == Side::Canary {
            let now = now.monotonic.into_std();
            if let Ok(permit) = canary.breaker.admit(now) {
                canary.breaker.settle(permit, result, now);
            }
        }
        // For a broken twin: a host that does not look at how a new version fares.
        if failpoint!("engine.canary.judge") == Some(Action::Off) {
            return false;
        }
        if canary.breaker.state() != BreakerState::Closed {
            let fault =
                Fault::new(Stage::Running, Code::PluginBreakerOpen, Code::PluginBreakerOpen.meaning());
            return canary.is_over(End::TakenBack(fault));
        }
        match worse {
            Ok(()) => false,
            Err(worse) => canary.is_over(End::TakenBack(Fault::new(
                Stage::Running,
                Code::PluginCanaryWorse,
                worse.to_string(),
            ))),
        }
    }

    /// How its self-test went.
    pub(in super::super) fn canary_probed(&mut self, result: Result<(), String>) {
        if let (Some(canary), Err(reason)) = (&mut self.canary, result) {
            canary.is_over(End::TakenBack(Fault::new(Stage::Running, Code::PluginProbeFailed, reason)));
        }
    }

    /// Its time may be over.
    pub(in super::super) fn canary_due(&mut self, generation: Generation, now: Times) {
        // For a broken twin: a host that never comes to an end with it.
        if failpoint!("engine.canary.promote") == Some(Action::Off) {
            return;
        }
        let Some(canary) = self.canary.as_mut().filter(|canary| canary.generation() == generation) else {
            return;
        };
        // Its time was made longer meanwhile: another look is scheduled.
        if !canary.left(now.monotonic).is_zero() {
            return;
        }
        canary.is_over(match canary.judge.verdict() {
            Ok(()) => End::Promoted("its time is over, and it fared well"),
            Err(worse) => {
                End::TakenBack(Fault::new(Stage::Running, Code::PluginCanaryWorse, worse.to_string()))
            }
        });
    }

    /// The canary whose end is to be waited for from now on.
    pub(in super::super) fn awaits_canary(&mut self, now: Times) -> Option<Awaited> {
        let canary = self.canary.as_mut().filter(|canary| !canary.awaited)?;
        canary.awaited = true;
        Some(Awaited { generation: canary.generation(), within: canary.left(now.monotonic) })
    }

    pub(super) fn canary_view(&self) -> Option<(CanaryView, CanaryCounts)> {
        let canary = self.canary.as_ref()?;
        let policy = canary.policy();
        let view = CanaryView {
            generation: canary.generation(),
            version: canary.ready.instance.handle.descriptor.version.clone(),
            digest: canary.ready.digest.clone(),
            share: policy.share,
            since: canary.began.wall,
            until: canary.began.wall + policy.lasts,
            runs: canary.judge.runs(Side::Canary),
            beside: canary.judge.runs(Side::Serving),
        };
        Some((view, canary.counts.clone()))
    }

    fn tell_share(&self) {
        let share = self.canary.as_ref().map_or(Share::NONE, |canary| canary.policy().share);
        series::canary_share(self.settings.spec.id.as_str(), share.fraction());
    }
}

/// Not for what it did.
fn taken_back(reason: &str) -> Fault {
    Fault::new(Stage::Running, Code::PluginRolledBack, reason)
}
