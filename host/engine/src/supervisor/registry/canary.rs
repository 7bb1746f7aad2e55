//! Generations on trial, over all slots.

use std::sync::Arc;

use agent_plugin_protocol::Generation;
use tokio::time::Instant;

use super::Registry;
use crate::{routes::Instance, supervisor::slot::Awaited};

/// A trial that ended.
pub(in super::super) struct EndedTrial {
    pub(in super::super) slot: usize,
    /// Another generation serves now.
    pub(in super::super) serves: bool,
    /// What has to end.
    pub(in super::super) over: Vec<Arc<Instance>>,
}

impl Registry {
    /// Ends the trials that have their verdict.
    pub(in super::super) fn end_canaries(&mut self) -> Vec<EndedTrial> {
        if self.draining {
            return Vec::new();
        }
        let now = self.now();
        let slots = self.slots.iter_mut().enumerate();
        let ended = slots.filter_map(|(index, slot)| {
            let ended = slot.end_canary(now)?;
            Some(EndedTrial { slot: index, serves: ended.serves, over: ended.over })
        });
        ended.collect()
    }

    /// Trials whose end is to be waited for from now on, by slot.
    pub(in super::super) fn await_canaries(&mut self) -> Vec<(usize, Awaited)> {
        let now = self.now();
        let slots = self.slots.iter_mut().enumerate();
        slots.filter_map(|(index, slot)| Some((index, slot.awaits_canary(now)?))).collect()
    }

    /// The time of a trial may be over.
    pub(in super::super) fn canary_due(&mut self, slot: usize, generation: Generation) {
        let now = self.times(Instant::now());
        if let Some(slot) = self.slots.get_mut(slot) {
            slot.canary_due(generation, now);
        }
    }
}
