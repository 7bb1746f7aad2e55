//! Whether what runs is fit to serve: services that come and go, calls that fail, trials of breakers, self-tests.

use std::{sync::Arc, time::Duration};

use agent_host_core::{
    breaker::CallResult,
    canary::Side,
    routing::Target,
    service::{ServiceName, ServiceTable},
};
use agent_plugin_protocol::{CallId, Generation};
use tokio::time::Instant;

use super::Registry;

impl Registry {
    /// The services changed: running plugins lose or get back what they require; answers the slots that failed for
    /// want of a service, to be started again.
    pub(in super::super) fn services_changed(
        &mut self,
        services: Arc<ServiceTable>,
        now: Instant,
    ) -> Vec<usize> {
        let grew = ServiceName::ALL
            .into_iter()
            .any(|name| services.is_available(name) && !self.services.is_available(name));
        self.services = services;
        let (now, draining) = (self.times(now), self.draining);
        let mut again = Vec::new();
        for (index, slot) in self.slots.iter_mut().enumerate() {
            slot.services_changed(&self.services, now);
            if grew && !draining && slot.lacked_a_service() && slot.restart_due(now.wall) {
                again.push(index);
            }
        }
        again
    }

    /// Judges one slot by the services that are there.
    pub(in super::super) fn recheck_services(&mut self, slot: usize, now: Instant) {
        let now = self.times(now);
        if let Some(slot) = self.slots.get_mut(slot) {
            slot.services_changed(&self.services, now);
        }
    }

    /// How a call went: the slot whose breaker moved, or whose canary has its verdict, if one has.
    pub(in super::super) fn call_ended(
        &mut self,
        target: &Target,
        call: CallId,
        result: CallResult,
        now: Instant,
    ) -> Option<usize> {
        let now = self.times(now);
        let mut slots = self.slots.iter_mut().enumerate();
        if let Some((index, slot)) = slots
            .find(|(_, slot)| slot.settings.spec.id == target.plugin && slot.is_canary(target.generation))
        {
            return slot.counted(Side::Canary, result, now).then_some(index);
        }
        let (index, slot) = self.of(target)?;
        slot.call_ended(call, result, now).then_some(index)
    }

    pub(in super::super) fn trial_began(&mut self, target: &Target, call: CallId) {
        let now = self.now();
        if let Some((_, slot)) = self.of(target) {
            slot.trial_began(call, now);
        }
    }

    pub(in super::super) fn trial_ended(&mut self, target: &Target, call: CallId) {
        let now = self.now();
        if let Some((_, slot)) = self.of(target) {
            slot.trial_ended(call, now);
        }
    }

    pub(in super::super) fn offer_trial(&mut self, slot: usize, of: Generation) {
        let now = self.now();
        if let Some(slot) = self.current(slot, of) {
            slot.offer_trial(now);
        }
    }

    /// The generation of a slot whose breaker is open, and when its trial is due.
    pub(in super::super) fn trial_due(&self, slot: usize) -> Option<(Generation, Duration)> {
        let slot = self.slots.get(slot)?;
        Some((slot.generation, slot.trial_due_in(self.now())?))
    }

    pub(in super::super) fn probed(
        &mut self,
        slot: usize,
        of: Generation,
        result: Result<(), String>,
        now: Instant,
    ) {
        let now = self.times(now);
        let Some(slot) = self.slots.get_mut(slot) else { return };
        if slot.is_canary(of) {
            slot.canary_probed(result);
        } else if slot.generation == of && slot.instance.is_some() {
            slot.probed(result, now);
        }
    }
}
