//! What new settings make of the slots: what has to be loaded for them, and how they are put in force at once.

use std::sync::Arc;

use agent_host_core::{
    lifecycle::PluginState,
    ports::instance::{Fault, PluginSpec},
};
use agent_host_telemetry::series;
use agent_plugin_protocol::{Generation, PluginId};

use super::{Registry, Slot};
use crate::{
    routes::Instance,
    settings::{PluginSettings, Settings},
    shared::Shared,
};

/// A generation that a change needs.
pub(in super::super) struct Needed {
    pub(in super::super) slot: usize,
    pub(in super::super) spec: Arc<PluginSpec>,
    pub(in super::super) generation: Generation,
    /// The slot was off: what an operator switches on is the file as it is now.
    pub(in super::super) reread: bool,
}

/// What a change that was put in force leaves to do.
#[derive(Default)]
pub(in super::super) struct Committed {
    /// Slots where another generation serves now.
    pub(in super::super) serve: Vec<(usize, Generation)>,
    /// What has to end, by slot.
    pub(in super::super) over: Vec<(usize, Vec<Arc<Instance>>)>,
}

impl Registry {
    /// Begins what those settings take. Nothing that serves is touched.
    pub(in super::super) fn stage(&mut self, settings: &Settings, shared: &Shared) -> Vec<Needed> {
        let now = self.now();
        let mut needed = Vec::new();
        for plugin in &settings.plugins {
            let slot = self.slot_for(plugin, shared);
            if !self.listed.contains(&slot) {
                // What is told of it from here on is seen.
                series::plugin_unlisted(plugin.spec.id.as_str(), states());
            }
            let Some(one) = self.slots.get_mut(slot).filter(|one| one.needs_generation(plugin)) else {
                continue;
            };
            let generation = one.stage(&plugin.spec, now);
            let reread = !one.settings.enabled;
            needed.push(Needed { slot, spec: Arc::clone(&plugin.spec), generation, reread });
        }
        needed
    }

    /// The place of a plugin; one that never was gets one, off and unlisted.
    fn slot_for(&mut self, plugin: &PluginSettings, shared: &Shared) -> usize {
        if let Some(index) = self.index_of(&plugin.spec.id) {
            return index;
        }
        let off = PluginSettings { enabled: false, ..plugin.clone() };
        self.slots.push(Slot::new(off, shared.supervisor.clone(), self.now().wall));
        series::plugin_unlisted(plugin.spec.id.as_str(), states());
        self.slots.len() - 1
    }

    /// How a staged generation fares: `None` while it is being loaded.
    pub(in super::super) fn staged(&self, slot: usize, generation: Generation) -> Option<Result<(), Fault>> {
        let gone = || {
            Fault::new(
                agent_host_core::ports::instance::Stage::Load,
                agent_plugin_protocol::Code::PluginDraining,
                "it was given up for another order",
            )
        };
        let Some(slot) = self.slots.get(slot) else { return Some(Err(gone())) };
        slot.staged(generation).unwrap_or_else(|| Some(Err(gone())))
    }

    /// The change is not taken: what it loaded is to be ended.
    pub(in super::super) fn unstage(&mut self, slots: impl IntoIterator<Item = usize>) -> Vec<Arc<Instance>> {
        slots.into_iter().filter_map(|slot| self.slots.get_mut(slot)?.unstage()).collect()
    }

    /// Those settings are in force from now on, all at once.
    pub(in super::super) fn commit(&mut self, settings: &Settings, shared: &Shared) -> Committed {
        let now = self.now();
        let mut done = Committed::default();
        let before = std::mem::take(&mut self.listed);
        for plugin in &settings.plugins {
            let index = self.slot_for(plugin, shared);
            let new = !before.contains(&index);
            let Some(slot) = self.slots.get_mut(index) else { continue };
            let generation = slot.generation;
            let over = slot.commit(plugin.clone(), now);
            if slot.generation != generation {
                done.serve.push((index, slot.generation));
            }
            if new {
                series::plugin_listed(plugin.spec.id.as_str(), slot.state.as_str(), states());
            }
            done.over.push((index, over));
            self.listed.push(index);
        }
        for index in before.into_iter().filter(|index| !self.listed.contains(index)).collect::<Vec<_>>() {
            let Some(slot) = self.slots.get_mut(index) else { continue };
            let off = PluginSettings { enabled: false, ..slot.settings.clone() };
            done.over.push((index, slot.commit(off, now)));
            series::plugin_unlisted(slot.settings.spec.id.as_str(), states());
        }
        for (index, slot) in self.slots.iter().enumerate() {
            if slot.never_was() && !self.listed.contains(&index) {
                series::plugin_never_was(slot.settings.spec.id.as_str());
            }
        }
        self.order.clone_from(&settings.order);
        self.required = super::required(settings);
        done
    }

    /// Slots whose new generation has failed while the one before is kept.
    pub(in super::super) fn failed_trials(&self) -> Vec<usize> {
        let slots = self.slots.iter().enumerate();
        slots.filter(|(_, slot)| slot.has_failed_its_trial()).map(|(index, _)| index).collect()
    }

    /// Goes back to the generation before; what serves then, and what has to end.
    pub(in super::super) fn roll_back(&mut self, slot: usize) -> Option<(Generation, Vec<Arc<Instance>>)> {
        let now = self.now();
        let slot = self.slots.get_mut(slot)?;
        let over = slot.roll_back(now)?;
        Some((slot.generation, over))
    }

    /// How long what serves in a slot may be taken back; `None`: it cannot.
    pub(in super::super) fn trial(&self, slot: usize) -> Option<(Generation, std::time::Duration)> {
        self.slots.get(slot)?.trial()
    }

    /// That generation needs no other to go back to any more; the one that was kept, to be ended.
    pub(in super::super) fn proved(&mut self, slot: usize, generation: Generation) -> Option<Arc<Instance>> {
        self.slots.get_mut(slot)?.proved(generation)
    }

    /// The name of a slot, for what is told of it.
    pub(in super::super) fn name(&self, slot: usize) -> Option<PluginId> {
        self.slots.get(slot).map(|slot| slot.settings.spec.id.clone())
    }
}

fn states() -> impl Iterator<Item = &'static str> {
    PluginState::ALL.iter().map(|state| state.as_str())
}
