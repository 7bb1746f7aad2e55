//! How a trial ends: the canary serves, or is taken back, or makes room for another order.

use std::sync::Arc;

use agent_host_core::{
    canary::Side,
    failpoint,
    failpoint::Action,
    lifecycle::PluginState,
    outcome::ExitReport,
    ports::instance::{Fault, Stage},
};
use agent_host_telemetry::happening::{CanaryEnded, PluginRolledBack};
use agent_plugin_protocol::Code;

use super::{End, OnTrial, taken_back};
use crate::{
    control::ControlError,
    routes::Instance,
    settings::PluginSettings,
    supervisor::slot::{Ordered, Slot, Times, describe, understudy::Candidate},
    view::RolledBack,
};

/// What a trial that ended leaves to do.
pub(in super::super::super) struct Ended {
    /// Whether another generation serves now.
    pub(in super::super::super) serves: bool,
    /// What has to end.
    pub(in super::super::super) over: Vec<Arc<Instance>>,
}

impl Slot {
    /// Ends a trial that has its verdict. The one beside it may have decided it too: where that has given up, the canary
    /// is what works.
    pub(in super::super::super) fn end_canary(&mut self, now: Times) -> Option<Ended> {
        let given_up = match self.state {
            PluginState::Quarantined => true,
            PluginState::Failed => self.retry.is_none(),
            _ => false,
        };
        let canary = self.canary.as_mut()?;
        if given_up && !canary.lacks {
            canary.is_over(End::Promoted("the generation beside it has given up"));
        }
        match canary.end.clone()? {
            End::Promoted(reason) => {
                let over = self.promote(reason, now)?;
                Some(Ended { serves: true, over })
            }
            // For a broken twin: a host that stays with what fails.
            End::TakenBack(_) if failpoint!("engine.rollback") == Some(Action::Off) => None,
            End::TakenBack(fault) => {
                let over = vec![self.take_back(fault, now)?];
                Some(Ended { serves: false, over })
            }
        }
    }

    /// Its process ended: what it had goes to the one beside it.
    pub(in super::super::super) fn canary_exited(&mut self, report: Option<Arc<ExitReport>>, now: Times) {
        let Some(canary) = self.canary.take() else { return };
        let (code, how) = report.as_ref().map_or((Code::PluginExited, "without a report".to_owned()), |r| {
            (r.exit.code(), describe(&r.exit))
        });
        let instance = &canary.ready.instance;
        self.ended_unasked(canary.generation(), Some(instance), report, now.wall);
        let fault = Fault::new(Stage::Running, code, format!("its process ended: {how}"));
        self.reject(&canary, fault, now);
    }

    /// An operator has seen enough of it.
    ///
    /// # Errors
    /// [`ControlError::NoCanary`] if none is on trial.
    pub(in super::super) fn promote_now(&mut self, now: Times) -> Result<Ordered, ControlError> {
        let plugin = self.settings.spec.id.clone();
        let retire = self.promote("an operator promoted it", now).ok_or(ControlError::NoCanary(plugin))?;
        Ok(Ordered { retire, serves: true, ..Ordered::default() })
    }

    /// An operator takes it back; `None`: none is on trial.
    pub(in super::super) fn take_back_now(&mut self, now: Times) -> Option<Ordered> {
        let over = self.take_back(taken_back("an operator took it back"), now)?;
        Some(Ordered { retire: vec![over], ..Ordered::default() })
    }

    /// It makes room for another order. Nothing is held against it. The instance to be ended.
    pub(in super::super) fn let_canary_go(&mut self, reason: &str) -> Option<Arc<Instance>> {
        let canary = self.canary.take()?;
        self.told_end(&canary, "withdrawn", reason);
        let instance = canary.ready.instance;
        self.retiring.push(Arc::clone(&instance));
        Some(instance)
    }

    /// The plugin is switched off: what is wanted of it stays wanted.
    pub(in super::super) fn switch_canary_off(&mut self) -> Option<Arc<Instance>> {
        let wanted = Arc::clone(&self.canary.as_ref()?.settings.spec);
        self.settings.spec = wanted;
        self.let_canary_go("the plugin was switched off")
    }

    /// It serves, all of it. Answers what has to end.
    fn promote(&mut self, reason: &str, now: Times) -> Option<Vec<Arc<Instance>>> {
        let canary = self.canary.take()?;
        self.told_end(&canary, "promoted", reason);
        let OnTrial { settings, ready, .. } = canary;
        let waits = self.candidate.take();
        let former = std::mem::replace(&mut self.settings, settings);
        let over = self.take_over(ready, former, now.wall);
        // One that is being loaded is of a later order.
        self.candidate = waits.filter(|candidate| candidate.fault.is_none());
        Some(over)
    }

    /// The one beside it goes on alone; the instance to be ended.
    fn take_back(&mut self, fault: Fault, now: Times) -> Option<Arc<Instance>> {
        let canary = self.canary.take()?;
        self.retiring.push(Arc::clone(&canary.ready.instance));
        self.reject(&canary, fault, now);
        Some(canary.ready.instance)
    }

    /// It is not tried again until it is asked for by name, or is another.
    fn reject(&mut self, canary: &OnTrial, fault: Fault, now: Times) {
        let (from, to) = (canary.generation(), self.generation);
        self.told_end(canary, "rolled_back", &fault.reason);
        PluginRolledBack {
            plugin: self.id(),
            from: from.0,
            to: to.0,
            code: fault.code.to_string(),
            reason: fault.reason.clone(),
        }
        .emit();
        // One that is being loaded is of a later order.
        if self.candidate_is_quiet() {
            self.candidate = Some(Candidate {
                generation: from,
                since: now.wall,
                fault: Some(fault.clone()),
                spec: Arc::clone(&canary.settings.spec),
                staged: false,
                held: None,
            });
        }
        self.rejected = Some(PluginSettings::clone(&canary.settings));
        let Fault { code, reason, .. } = fault;
        self.rolled_back = Some(RolledBack { at: now.wall, from, to, code, reason });
    }

    fn told_end(&self, canary: &OnTrial, end: &'static str, reason: &str) {
        let (runs, beside) = (canary.judge.runs(Side::Canary), canary.judge.runs(Side::Serving));
        CanaryEnded {
            plugin: self.id(),
            generation: canary.generation().0,
            end,
            reason: reason.to_owned(),
            runs: runs.ended,
            failed: runs.failed,
            runs_beside: beside.ended,
            failed_beside: beside.failed,
        }
        .emit();
        self.tell_share();
    }
}
