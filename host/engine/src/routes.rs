//! Who can be called now: the route table with its instances, published whole by the supervisor task.

mod gate;
mod instance;
mod places;

use std::{collections::HashMap, sync::Arc};

use agent_host_core::routing::{RouteTable, Target};
use agent_plugin_protocol::call::RosterEntry;

pub(crate) use self::{
    instance::{Admitted, Instance},
    places::{Place, Slot},
};

/// An immutable snapshot.
#[derive(Default)]
pub(crate) struct Routes {
    /// For `core::routing`.
    pub(crate) table: RouteTable,
    /// The generations that the table names as healthy.
    pub(crate) instances: HashMap<Target, Arc<Instance>>,
}

impl Routes {
    /// These routes follow `before`: whoever waits for an instance that they do not name finds its way anew.
    pub(crate) fn follow(&self, before: &Self) {
        for instance in self.instances.values() {
            instance.routed(true);
        }
        let gone = before.instances.iter().filter(|(target, _)| !self.instances.contains_key(target));
        gone.for_each(|(_, instance)| instance.routed(false));
    }

    /// The healthy agents, as a supervisor plugin sees them.
    pub(crate) fn roster(&self) -> Vec<RosterEntry> {
        let healthy = self.table.healthy_agents();
        let described = healthy.filter_map(|entry| {
            let target = Target { plugin: entry.id.clone(), generation: entry.generation };
            let instance = self.instances.get(&target)?;
            Some(RosterEntry {
                name: entry.id.clone(),
                description: instance.handle.descriptor.description.clone(),
            })
        });
        described.collect()
    }
}
