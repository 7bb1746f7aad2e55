//! Which generation of each plugin serves, and the way to its process.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use agent_host_core::ports::instance::{InstanceCommand, InstanceHandle, Isolation};
use agent_plugin_protocol::{Generation, PluginId};
use tokio::sync::mpsc;

/// The plugins that were started.
#[derive(Debug, Default)]
pub(crate) struct Targets(Mutex<HashMap<PluginId, Slot>>);

#[derive(Debug, Default)]
struct Slot {
    /// Those that may still live, oldest first.
    started: Vec<Started>,
    /// The one that serves, once that was said; until then the newest does.
    serving: Option<Generation>,
}

#[derive(Debug)]
struct Started {
    generation: Generation,
    isolation: Isolation,
    /// Not a sender: who keeps one keeps the instance.
    orders: mpsc::WeakSender<InstanceCommand>,
}

impl Targets {
    /// A generation was started.
    pub(crate) fn started(&self, handle: &InstanceHandle) {
        let mut slots = self.slots();
        let slot = slots.entry(handle.plugin.clone()).or_default();
        slot.started.retain(|one| one.orders.upgrade().is_some_and(|orders| !orders.is_closed()));
        slot.started.push(Started {
            generation: handle.generation,
            isolation: handle.isolation,
            orders: handle.commands.downgrade(),
        });
    }

    /// That generation serves.
    pub(crate) fn serves(&self, plugin: &PluginId, generation: Generation) {
        self.slots().entry(plugin.clone()).or_default().serving = Some(generation);
    }

    /// Whether it was ever started.
    pub(crate) fn knows(&self, plugin: &PluginId) -> bool {
        self.slots().contains_key(plugin)
    }

    /// The way to the process of the generation that serves.
    ///
    /// # Errors
    /// Why there is none.
    pub(crate) fn process(&self, plugin: &PluginId) -> Result<mpsc::WeakSender<InstanceCommand>, String> {
        let slots = self.slots();
        let slot = slots.get(plugin).ok_or_else(|| format!("no plugin {plugin} was started"))?;
        let serving =
            slot.started.iter().rev().find(|one| slot.serving.is_none_or(|at| one.generation == at));
        match serving {
            Some(one) if one.isolation != Isolation::Process => {
                Err(format!("{plugin} has no process of its own: it is {}", one.isolation.as_str()))
            }
            Some(one) if one.orders.upgrade().is_some_and(|orders| !orders.is_closed()) => {
                Ok(one.orders.clone())
            }
            Some(_) | None => Err(format!("no worker of {plugin} serves now")),
        }
    }

    fn slots(&self) -> MutexGuard<'_, HashMap<PluginId, Slot>> {
        // Each change is one insertion: a panic in between leaves a whole map.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
