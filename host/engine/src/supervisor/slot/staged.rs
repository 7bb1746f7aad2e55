//! What a new configuration makes of a slot: prepared beside what serves, then put in force, or forgotten.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use agent_host_core::{
    failpoint,
    failpoint::Action,
    outcome::ExitReport,
    ports::instance::{Fault, PluginSpec, Stage, Started},
    restart::{RestartBudget, RestartPolicy},
};
use agent_plugin_protocol::{Code, Generation};

use super::{Slot, Times, describe, understudy::Candidate};
use crate::{routes::Instance, settings::PluginSettings};

impl Slot {
    /// Whether those settings take another generation than the one that serves, starts or failed.
    pub(in super::super) fn needs_generation(&self, settings: &PluginSettings) -> bool {
        // What was taken back is not tried again for an edit that has nothing to do with it.
        let rejected = self.rejected.as_ref().is_some_and(|rejected| rejected.spec == settings.spec);
        settings.enabled
            && (!self.settings.enabled || (differ(&self.settings.spec, &settings.spec) && !rejected))
    }

    /// Begins to load a generation of that spec, which serves when the change is put in force.
    pub(in super::super) fn stage(&mut self, spec: &Arc<PluginSpec>, now: Times) -> Generation {
        let generation = self.issue();
        self.candidate = Some(Candidate {
            generation,
            since: now.wall,
            fault: None,
            spec: Arc::clone(spec),
            staged: true,
            held: None,
        });
        generation
    }

    /// Whether the generation that is loaded beside the serving one waits for the rest of its change.
    pub(in super::super) fn is_staged(&self) -> bool {
        self.candidate.as_ref().is_some_and(|candidate| candidate.staged)
    }

    /// The staged generation answered its probe; it waits.
    pub(in super::super) fn hold(&mut self, started: Started, took: Duration) {
        let Some(spec) = self.candidate.as_ref().map(|candidate| Arc::clone(&candidate.spec)) else { return };
        let ready = self.wrap(started, &spec, took);
        if let Some(candidate) = &mut self.candidate {
            candidate.held = Some(ready);
        }
    }

    /// How it fares; the inner `None`: it is being loaded; the outer: it was given up.
    #[allow(clippy::option_option, reason = "two different absences, each with its own meaning")]
    pub(in super::super) fn staged(&self, generation: Generation) -> Option<Option<Result<(), Fault>>> {
        let candidate = self.candidate.as_ref().filter(|one| one.staged && one.generation == generation)?;
        Some(match (&candidate.fault, &candidate.held) {
            (Some(fault), _) => Some(Err(fault.clone())),
            (None, Some(_)) => Some(Ok(())),
            (None, None) => None,
        })
    }

    /// The staged generation ended before its change was in force.
    pub(in super::super) fn held_exited(&mut self, report: Option<&ExitReport>, now: SystemTime) {
        let code = report.map_or(Code::PluginExited, |r| r.exit.code());
        let how = report.map_or_else(|| "without a report".to_owned(), |r| describe(&r.exit));
        self.candidate_failed(Fault::new(Stage::Running, code, format!("its process ended: {how}")), now);
    }

    /// The change is not taken: what it had loaded here is to be ended. One that is being loaded is ended when it comes.
    pub(in super::super) fn unstage(&mut self) -> Option<Arc<Instance>> {
        let candidate = self.candidate.as_mut().filter(|candidate| candidate.staged)?;
        candidate.staged = false;
        let held = candidate.held.take();
        // A fault stays to be read.
        if candidate.fault.is_none() {
            self.candidate = None;
        }
        held.map(|ready| ready.instance)
    }

    /// Those settings are in force, with the generation that was staged for them. Answers what has to end.
    pub(in super::super) fn commit(&mut self, settings: PluginSettings, now: Times) -> Vec<Arc<Instance>> {
        // For a broken twin: a host that takes new versions, and nothing else of what is said of a plugin.
        let settings = match failpoint!("engine.change.commits") {
            Some(Action::Off) => {
                PluginSettings { spec: settings.spec, enabled: settings.enabled, ..self.settings.clone() }
            }
            Some(_) | None => settings,
        };
        let held = self.candidate.as_mut().filter(|candidate| candidate.staged).and_then(|c| c.held.take());
        let waits = self.rejected.as_ref().is_some_and(|rejected| rejected.spec == settings.spec);
        let off = self.settings.enabled && !settings.enabled;
        let in_force = if settings.enabled && waits && held.is_none() {
            // What runs is what was gone back to; what was taken back stays what is wanted.
            let in_force = PluginSettings { spec: Arc::clone(&self.settings.spec), ..settings.clone() };
            self.rejected = Some(settings);
            in_force
        } else {
            settings
        };
        let former = std::mem::replace(&mut self.settings, in_force);
        self.keep_order(&former, now);
        if off {
            // The order's own way, which begins with what is switched on.
            self.settings.enabled = true;
            return self.disable(now).retire;
        }
        let idle = if self.spares_wanted() == 0 { self.dismiss_spare() } else { None };
        let over = held.map(|ready| self.take_over(ready, former, now.wall)).unwrap_or_default();
        // Nothing is gone back to any more, what was replaced before the change included.
        let kept = if self.settings.rollback_window.is_zero() { self.let_former_go() } else { None };
        over.into_iter().chain(idle).chain(kept).collect()
    }

    /// How it is kept in order, where that is another than before: its restarts, and its breaker.
    fn keep_order(&mut self, former: &PluginSettings, now: Times) {
        let policy = policy_of(&self.settings);
        if policy != policy_of(former) {
            self.budget = RestartBudget::new(policy);
            self.spare.regulate(policy);
        }
        if self.settings.breaker != former.breaker {
            self.switch_breaker(now);
        }
    }
}

/// Whether one of the two cannot stand for the other. What a plugin logs is decided when it starts, and no reason for one.
fn differ(one: &PluginSpec, other: &PluginSpec) -> bool {
    *one != PluginSpec { log_level: one.log_level.clone(), ..other.clone() }
}

/// How often it may be restarted.
pub(super) fn policy_of(settings: &PluginSettings) -> RestartPolicy {
    RestartPolicy { max: settings.restarts, within: settings.restart_window, ..RestartPolicy::default() }
}
