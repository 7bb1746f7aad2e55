//! What others see of a slot: its entry in the route table, its view and its details.

use std::time::SystemTime;

use agent_host_core::{
    breaker::BreakerState,
    lifecycle::{PluginState, Verdict as Word},
    ports::instance::{Fault, Stage},
    routing::{RouteEntry, RouteHealth},
};
use agent_plugin_protocol::Code;

use super::Slot;
use crate::{
    details::{Detail, generations},
    view::{BreakerView, BudgetView, CandidateView, PluginDetail, PluginView, SparesView},
};

impl Slot {
    /// For the route table.
    pub(in super::super) fn route(&self) -> RouteEntry {
        let health = if self.takes_runs() {
            RouteHealth::Healthy
        } else {
            RouteHealth::Unhealthy {
                code: self.code(),
                reason: self.code().meaning().to_owned(),
                retry_after: self.retry.or(self.fitness.pause).map(|(_, pause)| pause),
            }
        };
        RouteEntry {
            id: self.settings.spec.id.clone(),
            generation: self.generation,
            health,
            canary: self.canary_route(),
            substitutes: self.settings.substitutes.clone(),
        }
    }

    /// Why it gets no runs, in one stable word.
    pub(in super::super) fn code(&self) -> Code {
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

    /// For the list; `served_by`: who gets its traffic meanwhile.
    pub(in super::super) fn view(&self, served_by: Option<String>) -> PluginView {
        let (version, description) = self.described.clone().unzip();
        PluginView {
            id: self.settings.spec.id.clone(),
            kind: self.settings.spec.kind,
            verdict: match self.state.verdict() {
                Word::Healthy => "healthy",
                Word::Failed => "failed",
                Word::Disabled => "disabled",
            },
            state: self.state.as_str(),
            since: self.since,
            generation: self.generation,
            version,
            description,
            isolation: self.settings.spec.isolation,
            digest: self.digest.clone(),
            fault: self.explained(),
            restarts: self.restarts,
            retry_at: self.retry.map(|(at, _)| at),
            served_by,
        }
    }

    /// Why it is not healthy: what failed last, or, of one that nothing is to be said against, how far its start is.
    fn explained(&self) -> Option<Fault> {
        if self.state == PluginState::Healthy {
            return None;
        }
        self.fault.clone().or_else(|| {
            let begun = self.is_starting().then(|| doing(self.stage))?;
            Some(Fault::new(self.stage, Code::PluginStarting, format!("it is being started: {begun}")))
        })
    }

    /// For those who look closely.
    pub(in super::super) fn detail(&mut self, view: PluginView, now: tokio::time::Instant) -> Detail {
        let (canary, canary_counts) = self.canary_view().unzip();
        let seen = PluginDetail {
            view,
            sandbox: self.sandbox.clone(),
            breaker: BreakerView {
                state: self.fitness.breaker().as_str(),
                since: self.fitness.since,
                retry_at: self.breaker_retry(),
                failures: 0,
                calls: 0,
            },
            in_flight: 0,
            waiting: 0,
            restarts: BudgetView {
                used: self.budget.spent(now.into_std()),
                max: self.settings.restarts,
                within: self.settings.restart_window,
            },
            spares: SparesView {
                wanted: self.spares_wanted(),
                ready: self.spare.ready(),
                fault: self.spare.fault.clone(),
            },
            candidate: self.candidate.as_ref().map(|candidate| CandidateView {
                generation: candidate.generation,
                since: candidate.since,
                fault: candidate.fault.clone(),
            }),
            canary,
            rolled_back: self.rolled_back.clone(),
            former: self.former().map(|former| former.handle.generation),
            // Known to the files task only.
            changed_file: None,
            retiring: generations(&self.retiring),
            history: self.record.changes(),
            last_crash: self.record.last_crash.clone(),
        };
        Detail {
            seen,
            state: self.state,
            enabled: self.settings.enabled,
            calls: self.fitness.counts.clone(),
            canary: canary_counts,
            instances: self.instances().cloned().collect(),
            probes: self.fitness.probes,
        }
    }

    fn breaker_retry(&self) -> Option<SystemTime> {
        let open = self.fitness.breaker() == BreakerState::Open;
        self.fitness.pause.filter(|_| open).map(|(at, _)| at)
    }
}

/// What a start does in that stage.
fn doing(stage: Stage) -> &'static str {
    match stage {
        Stage::Discover => "its turn has not come",
        Stage::Verify | Stage::Stage => "its file is read and judged",
        Stage::Load => "its library is being loaded",
        Stage::Init => "its `create` has not returned",
        Stage::Dependencies => "the services that it requires are looked for",
        Stage::Probe | Stage::Running => "it is asked for its first self-test",
    }
}
