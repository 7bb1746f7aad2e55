//! The generation that served before: kept warm until the one that replaced it has proved itself, and put back if that
//! one fails.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use agent_host_core::{
    lifecycle::PluginState,
    outcome::ExitReport,
    ports::instance::{Fault, Stage},
};
use agent_host_telemetry::happening::PluginRolledBack;
use agent_plugin_protocol::{Code, Generation};

use super::{Ready, Slot, Times, understudy::Candidate};
use crate::{control::ControlError, routes::Instance, settings::PluginSettings, view::RolledBack};

/// A generation that was replaced while it served well.
pub(super) struct Former {
    settings: PluginSettings,
    ready: Ready,
}

impl Slot {
    pub(super) fn former(&self) -> Option<&Arc<Instance>> {
        self.former.as_ref().map(|former| &former.ready.instance)
    }

    pub(super) fn is_former(&self, generation: Generation) -> bool {
        self.former().is_some_and(|former| former.handle.generation == generation)
    }

    /// How long what serves may be taken back; `None`: it replaced nothing that could.
    pub(in super::super) fn trial(&self) -> Option<(Generation, Duration)> {
        self.former.as_ref().map(|_| (self.generation, self.settings.rollback_window))
    }

    /// What served until now is kept, if it served well and may be needed again. Answers what has to end.
    pub(super) fn keep_former(&mut self, settings: PluginSettings) -> Vec<Arc<Instance>> {
        // One replaced generation is enough to go back to.
        let mut over: Vec<_> = self.former.take().map(|former| former.ready.instance).into_iter().collect();
        let Some(instance) = self.instance.take() else {
            self.retiring.extend(over.iter().cloned());
            return over;
        };
        let wanted = self.state == PluginState::Healthy && !self.settings.rollback_window.is_zero();
        match (wanted, self.digest.clone()) {
            (true, Some(digest)) => {
                let ready = Ready { instance, digest, sandbox: self.sandbox.clone() };
                self.former = Some(Former { settings, ready });
            }
            (true, None) | (false, _) => over.push(instance),
        }
        self.retiring.extend(over.iter().cloned());
        over
    }

    /// The time in which it could be taken back is over: the one before is to be ended.
    pub(in super::super) fn proved(&mut self, generation: Generation) -> Option<Arc<Instance>> {
        if self.generation != generation {
            return None;
        }
        self.let_former_go()
    }

    /// Nothing is gone back to any more; the instance to be ended.
    pub(super) fn let_former_go(&mut self) -> Option<Arc<Instance>> {
        let instance = self.former.take()?.ready.instance;
        self.retiring.push(Arc::clone(&instance));
        Some(instance)
    }

    /// The one that was kept ended by itself.
    pub(in super::super) fn former_exited(&mut self, report: Option<Arc<ExitReport>>, now: SystemTime) {
        let Some(former) = self.former.take() else { return };
        let instance = former.ready.instance;
        self.ended_unasked(instance.handle.generation, Some(&instance), report, now);
    }

    /// Whether what serves has failed while it can be taken back: its breaker is open, or it does not answer its
    /// self-test. That a service is gone is not its fault.
    pub(in super::super) fn has_failed_its_trial(&self) -> bool {
        let failed = |code| matches!(code, Code::PluginBreakerOpen | Code::PluginProbeFailed);
        self.former.is_some()
            && self.state == PluginState::Degraded
            && self.fault.as_ref().is_some_and(|fault| failed(fault.code))
    }

    /// Goes back to the one that was kept, if there is one; answers what has to end.
    pub(in super::super) fn roll_back(&mut self, now: Times) -> Option<Vec<Arc<Instance>>> {
        let Former { settings, ready } = self.former.take()?;
        let (from, before) = (self.generation, self.state);
        let ordered = || Fault::new(Stage::Running, Code::PluginRolledBack, "an operator took it back");
        let fault = self.fault.clone().unwrap_or_else(ordered);
        let mut over: Vec<_> = self.dismiss_spare().into_iter().collect();
        self.spare.reset();
        if let Some(failed) = self.instance.take() {
            self.retiring.push(Arc::clone(&failed));
            over.push(failed);
        }
        let rejected = std::mem::replace(&mut self.settings, settings);
        let to = ready.instance.handle.generation;
        PluginRolledBack {
            plugin: self.id(),
            from: from.0,
            to: to.0,
            code: fault.code.to_string(),
            reason: fault.reason.clone(),
        }
        .emit();
        self.candidate = Some(Candidate {
            generation: from,
            since: now.wall,
            fault: Some(fault.clone()),
            spec: Arc::clone(&rejected.spec),
            staged: false,
            held: None,
        });
        self.rejected = Some(rejected);
        self.rolled_back =
            Some(RolledBack { at: now.wall, from, to, code: fault.code, reason: fault.reason });
        self.retry = None;
        self.budget.reset();
        self.serve_from_now(ready, before, now.wall);
        Some(over)
    }

    /// An operator takes it back.
    ///
    /// # Errors
    /// [`ControlError::NothingBefore`] if there is nothing to go back to.
    pub(super) fn roll_back_now(&mut self, now: Times) -> Result<super::Ordered, ControlError> {
        self.fault = None;
        let plugin = self.settings.spec.id.clone();
        let retire = self.roll_back(now).ok_or(ControlError::NothingBefore(plugin))?;
        Ok(super::Ordered { retire, ..super::Ordered::default() })
    }
}
