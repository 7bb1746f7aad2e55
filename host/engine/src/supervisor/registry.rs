//! All slots, by place and name: what is asked and ordered of one, and the routes that they make together.

mod canary;
mod change;
mod fitness;
mod lives;
mod told;

use std::{collections::HashMap, sync::Arc, time::SystemTime};

use agent_host_core::{
    failpoint,
    failpoint::Action,
    lifecycle::PluginState,
    ports::{instance::PluginSpec, store::Durability},
    routing::{RouteEntry, RouteHealth, RouteTable, Target},
    service::ServiceTable,
};
use agent_plugin_protocol::{Code, Generation, PluginId, PluginKind};
use tokio::time::Instant;

pub(super) use self::lives::{Began, Spare};
use super::slot::{Ordered, Slot, Times};
use crate::{
    control::{ControlError, PluginOrder},
    routes::{Instance, Routes},
    settings::{PluginSettings, Settings},
    shared::Shared,
};

/// The owner of the slots: the supervisor task alone holds it.
pub(super) struct Registry {
    /// Every slot that ever was: one that is configured no more keeps its place, and its numbers if it comes back.
    slots: Vec<Slot>,
    /// Those that are configured, in configured order.
    listed: Vec<usize>,
    order: Vec<PluginId>,
    /// What the operator insists on.
    required: Vec<String>,
    host: Arc<str>,
    durability: Durability,
    /// The wall clock against the monotonic one, as of the start: views show times of day.
    epoch: (SystemTime, Instant),
    /// What the host offers plugins.
    services: Arc<ServiceTable>,
    pub(super) store_works: bool,
    /// What is amiss with a store that works.
    pub(super) store_damage: Option<Code>,
    pub(super) fallback_works: bool,
    pub(super) draining: bool,
}

impl Registry {
    pub(super) fn new(shared: &Shared, services: Arc<ServiceTable>) -> Self {
        let settings = shared.settings();
        let now = shared.parts.clock.now();
        let slot = |plugin: &PluginSettings| Slot::new(plugin.clone(), shared.supervisor.clone(), now);
        Self {
            slots: settings.plugins.iter().map(slot).collect(),
            listed: (0..settings.plugins.len()).collect(),
            order: settings.order.clone(),
            required: required(&settings),
            host: settings.host.as_str().into(),
            durability: settings.durability,
            epoch: (now, Instant::now()),
            services,
            store_works: true,
            store_damage: None,
            fallback_works: true,
            draining: false,
        }
    }

    /// Slots that are to be started.
    pub(super) fn enabled(&self) -> Vec<usize> {
        let enabled = self.slots.iter().enumerate().filter(|(_, slot)| slot.settings.enabled);
        enabled.map(|(index, _)| index).collect()
    }

    /// The services that plugins can use.
    pub(super) fn available(&self) -> Arc<[String]> {
        self.services.available().into()
    }

    /// Takes an operator's order; also which slot it is of.
    pub(super) fn order(
        &mut self,
        plugin: &PluginId,
        order: PluginOrder,
    ) -> Result<(usize, Ordered), ControlError> {
        let now = self.now();
        let unknown = || ControlError::Unknown(plugin.clone());
        let index = self.index_of(plugin).filter(|index| self.listed.contains(index)).ok_or_else(unknown)?;
        if self.draining {
            return Err(ControlError::Draining);
        }
        let slot = self.slots.get_mut(index).ok_or_else(unknown)?;
        Ok((index, slot.order(order, now)?))
    }

    pub(super) fn spec(&self, slot: usize) -> Option<Arc<PluginSpec>> {
        self.slots.get(slot).map(|slot| Arc::clone(&slot.settings.spec))
    }

    /// The state of a generation that runs and is wanted; one on trial is healthy, or is taken back.
    pub(super) fn serving_state(&self, slot: usize, of: Generation) -> Option<PluginState> {
        if self.slots.get(slot)?.is_canary(of) {
            return Some(PluginState::Healthy);
        }
        let slot = self.slots.get(slot).filter(|slot| slot.generation == of && slot.instance.is_some())?;
        matches!(slot.state, PluginState::Healthy | PluginState::Degraded).then_some(slot.state)
    }

    pub(super) fn instance(&self, slot: usize, of: Generation) -> Option<Arc<Instance>> {
        self.serving_state(slot, of)?;
        let slot = self.slots.get(slot)?;
        slot.canary_instance(of).or(slot.instance.as_ref()).cloned()
    }

    /// The instance that serves in a slot, if one does.
    pub(super) fn serving(&self, slot: usize) -> Option<(Generation, Arc<Instance>)> {
        let of = self.slots.get(slot)?.generation;
        Some((of, self.instance(slot, of)?))
    }

    /// The route table with its instances.
    pub(super) fn routes(&self, starting: bool) -> Routes {
        let serving = self.slots.iter().filter(|slot| slot.takes_runs());
        let serving = serving.filter_map(|slot| slot.instance.clone());
        let on_trial = self.slots.iter().filter_map(Slot::canary_for_runs);
        let instances: HashMap<_, _> =
            serving.chain(on_trial.clone().cloned()).map(|i| (i.target(), i)).collect();
        Routes {
            table: RouteTable {
                agents: self.agents().map(Slot::route).collect(),
                supervisor: self.kind(PluginKind::Supervisor).find(|s| s.settings.enabled).map(Slot::route),
                starting,
            },
            on_trial: on_trial.map(|instance| instance.target()).collect(),
            instances,
        }
    }

    /// The agents in the operator's order; those not named there follow as they are configured.
    fn agents(&self) -> impl Iterator<Item = &Slot> {
        let mut agents: Vec<&Slot> = self.kind(PluginKind::Agent).collect();
        let place = |slot: &&Slot| {
            let named = self.order.iter().position(|id| *id == slot.settings.spec.id);
            named.unwrap_or(self.order.len())
        };
        agents.sort_by_key(place);
        agents.into_iter()
    }

    fn kind(&self, kind: PluginKind) -> impl Iterator<Item = &Slot> {
        self.listed().filter(move |slot| slot.settings.spec.kind == kind)
    }

    /// What is configured, in that order.
    fn listed(&self) -> impl Iterator<Item = &Slot> {
        self.listed.iter().filter_map(|index| self.slots.get(*index))
    }

    fn index_of(&self, plugin: &PluginId) -> Option<usize> {
        self.slots.iter().position(|slot| slot.settings.spec.id == *plugin)
    }

    /// The slot, if that generation is its current one: what comes of an earlier one is late.
    fn current(&mut self, slot: usize, of: Generation) -> Option<&mut Slot> {
        self.slots.get_mut(slot).filter(|slot| slot.generation == of)
    }

    /// The slot of a generation that serves.
    fn of(&mut self, target: &Target) -> Option<(usize, &mut Slot)> {
        let mut slots = self.slots.iter_mut().enumerate();
        slots.find(|(_, slot)| {
            slot.settings.spec.id == target.plugin
                && slot.generation == target.generation
                && slot.instance.is_some()
        })
    }

    fn now(&self) -> Times {
        self.times(Instant::now())
    }

    fn times(&self, now: Instant) -> Times {
        Times { wall: self.epoch.0 + now.saturating_duration_since(self.epoch.1), monotonic: now }
    }
}

/// What those settings insist on.
fn required(settings: &Settings) -> Vec<String> {
    // Off for a broken twin: a level that knows nothing of it.
    let ignored = failpoint!("engine.requirements") == Some(Action::Off);
    if ignored { Vec::new() } else { settings.required.clone() }
}

fn is_healthy(entry: &RouteEntry) -> bool {
    entry.health == RouteHealth::Healthy
}
