//! What an operator's order does to a slot.

use std::sync::Arc;

use agent_host_core::{
    lifecycle::{PluginEvent, PluginState},
    ports::instance::{Fault, PluginSpec, Stage},
};
use agent_host_telemetry::happening::PluginOrdered;
use agent_plugin_protocol::Code;

use super::{super::Goal, Slot, Times};
use crate::{
    control::{ControlError, PluginOrder},
    files::ChangedFile,
    routes::Instance,
};

/// What follows an order that was taken.
#[derive(Default)]
pub(in super::super) struct Ordered {
    /// When it is carried out.
    pub(in super::super) goal: Goal,
    /// The current generation is to be started.
    pub(in super::super) start: bool,
    /// A candidate is to be started.
    pub(in super::super) candidate: Option<Arc<PluginSpec>>,
    /// Another generation serves now.
    pub(in super::super) serves: bool,
    /// A self-test is to be made.
    pub(in super::super) probe: bool,
    /// To finish their calls and end.
    pub(in super::super) retire: Vec<Arc<Instance>>,
}

impl Slot {
    /// Takes an order.
    ///
    /// # Errors
    /// [`ControlError`] if it makes no sense in the state that the slot is in.
    pub(in super::super) fn order(
        &mut self,
        order: PluginOrder,
        now: Times,
    ) -> Result<Ordered, ControlError> {
        let ordered = match order {
            PluginOrder::Enable => self.enable(now),
            PluginOrder::Disable => self.disable(now),
            PluginOrder::Drain => self.drain_now(now)?,
            PluginOrder::Reload => self.reload(now)?,
            PluginOrder::Reset => self.reset(now)?,
            PluginOrder::Probe => self.probe_now()?,
            PluginOrder::Promote => self.promote_now(now)?,
            PluginOrder::Rollback => self.roll_back_now(now)?,
        };
        PluginOrdered { plugin: self.id(), order: order.as_str(), state: self.state.to_string() }.emit();
        Ok(ordered)
    }

    fn enable(&mut self, now: Times) -> Ordered {
        let drained = matches!(self.state, PluginState::Draining | PluginState::Unloaded);
        if self.settings.enabled && !drained {
            return Ordered::default();
        }
        self.settings.enabled = true;
        let mut ordered = Ordered::default();
        if self.state == PluginState::Draining {
            // Disabled or drained a moment ago: that generation finishes its calls beside the next one.
            self.retiring.extend(self.instance.take());
            self.apply(PluginEvent::Drained, now.wall);
        }
        self.budget.reset();
        ordered.start = self.next_generation(PluginEvent::Enabled, now.wall);
        ordered.goal = Goal::Started(self.generation);
        ordered
    }

    pub(super) fn disable(&mut self, now: Times) -> Ordered {
        if !self.settings.enabled {
            return Ordered { goal: Goal::Off, ..Ordered::default() };
        }
        self.settings.enabled = false;
        self.fault = None;
        self.leave(PluginEvent::Disabled, now)
    }

    /// It is wanted all the same: what is said of it is that it was taken out, and how it comes back.
    fn drain_now(&mut self, now: Times) -> Result<Ordered, ControlError> {
        self.wanted()?;
        match self.state {
            // It is drained already, or about to be.
            PluginState::Draining | PluginState::Unloaded => {
                Ok(Ordered { goal: Goal::Off, ..Ordered::default() })
            }
            PluginState::Failed | PluginState::Quarantined | PluginState::Disabled => {
                let plugin = self.settings.spec.id.clone();
                Err(ControlError::NotRunning { plugin, code: self.code() })
            }
            PluginState::Discovered
            | PluginState::Verified
            | PluginState::Loaded
            | PluginState::Initialised
            | PluginState::Healthy
            | PluginState::Degraded => {
                let reason = "an operator took it out of rotation";
                let hint = format!("`agent-host plugins enable {}` brings it back", self.id());
                self.fault = Some(Fault { hint, ..Fault::new(Stage::Running, Code::PluginDraining, reason) });
                Ok(self.leave(PluginEvent::DrainOrdered, now))
            }
        }
    }

    /// Nothing comes back by itself; every generation finishes its calls and ends.
    fn leave(&mut self, event: PluginEvent, now: Times) -> Ordered {
        self.judged = true;
        self.retry = None;
        let held = self.unstage();
        self.candidate = None;
        self.apply(event, now.wall);
        let former = self.let_former_go();
        let canary = self.switch_canary_off();
        let others = self.dismiss_spare().into_iter().chain(held).chain(former).chain(canary);
        let retire = others.chain(self.instance.clone());
        let retire = retire.collect();
        Ordered { goal: Goal::Off, retire, ..Ordered::default() }
    }

    fn reload(&mut self, now: Times) -> Result<Ordered, ControlError> {
        self.wanted()?;
        self.budget.reset();
        match self.state {
            PluginState::Healthy | PluginState::Degraded => {
                let (spec, generation) = self.begin_candidate(now.wall);
                let candidate = Some(spec);
                Ok(Ordered { goal: Goal::Replaced(generation), candidate, ..Ordered::default() })
            }
            // The start that goes on is of the file as it was: another takes its place.
            PluginState::Discovered
            | PluginState::Verified
            | PluginState::Loaded
            | PluginState::Initialised => {
                self.generation = self.issue();
                Ok(Ordered { goal: Goal::Started(self.generation), start: true, ..Ordered::default() })
            }
            PluginState::Failed
            | PluginState::Quarantined
            | PluginState::Unloaded
            | PluginState::Draining
            | PluginState::Disabled => Ok(self.start_again(now)),
        }
    }

    fn reset(&mut self, now: Times) -> Result<Ordered, ControlError> {
        self.wanted()?;
        self.budget.reset();
        self.spare.reset();
        self.restarts = 0;
        if self.instance.is_some() {
            self.fresh_fitness(now.wall);
            self.judge(now);
            return Ok(Ordered::default());
        }
        Ok(self.start_again(now))
    }

    /// Its file is another. Whether it is started from that: only what has given up, and from each file once. What runs,
    /// or is tried again by itself, waits for an operator's word.
    pub(in super::super) fn take_new_file(&mut self, file: &ChangedFile, now: Times) -> bool {
        let given_up = match self.state {
            PluginState::Quarantined => true,
            PluginState::Failed => self.retry.is_none() && !self.lacked_a_service(),
            _ => false,
        };
        let digest = file.candidate.digest.as_ref().filter(|_| file.candidate.fault.is_none());
        if !self.settings.enabled || !given_up || digest.is_none() || self.tried.as_ref() == digest {
            return false;
        }
        self.tried = digest.cloned();
        self.budget.reset();
        self.restarts = 0;
        self.start_again(now).start
    }

    fn start_again(&mut self, now: Times) -> Ordered {
        let start = self.next_generation(PluginEvent::Reset, now.wall);
        Ordered { goal: Goal::Started(self.generation), start, ..Ordered::default() }
    }

    fn probe_now(&mut self) -> Result<Ordered, ControlError> {
        self.wanted()?;
        if self.instance.is_none() {
            let plugin = self.settings.spec.id.clone();
            return Err(ControlError::NotRunning { plugin, code: self.code() });
        }
        Ok(Ordered { goal: Goal::Probed(self.fitness.probes + 1), probe: true, ..Ordered::default() })
    }

    fn wanted(&self) -> Result<(), ControlError> {
        let wanted = self.settings.enabled;
        wanted.then_some(()).ok_or_else(|| ControlError::Disabled(self.settings.spec.id.clone()))
    }
}
