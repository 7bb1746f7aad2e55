//! Who can be called now: the route table with its instances, published whole by the supervisor task.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    time::Duration,
};

use agent_host_core::{
    ports::instance::{InstanceCommand, InstanceHandle, KillReason, PluginSpec},
    routing::{RouteTable, Target},
};
use agent_plugin_protocol::{PluginKind, call::RosterEntry, event::Responder};
use tokio::sync::mpsc::error::TrySendError;

/// An immutable snapshot.
#[derive(Default)]
pub(crate) struct Routes {
    /// For `core::routing`.
    pub(crate) table: RouteTable,
    /// The generations that the table names as healthy.
    pub(crate) instances: HashMap<Target, Arc<Instance>>,
}

impl Routes {
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

/// A generation that takes calls.
pub(crate) struct Instance {
    /// How to talk to it.
    pub(crate) handle: InstanceHandle,
    /// Its deadlines, grants and limits.
    pub(crate) spec: Arc<PluginSpec>,
    running: AtomicU32,
    /// A call in it ignored its cancellation: it is ended once no run is in it.
    deaf: AtomicBool,
}

/// An order did not reach its instance.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Unreachable;

/// How long an order may wait for room. An instance reads its orders before anything else, so that this passes only
/// if it is wedged; its heartbeat will say so too.
const ORDER_WITHIN: Duration = Duration::from_secs(1);

impl Instance {
    /// Wraps a started generation.
    pub(crate) fn new(handle: InstanceHandle, spec: Arc<PluginSpec>) -> Self {
        Self { handle, spec, running: AtomicU32::new(0), deaf: AtomicBool::new(false) }
    }

    /// Which generation it is.
    pub(crate) fn target(&self) -> Target {
        Target { plugin: self.handle.plugin.clone(), generation: self.handle.generation }
    }

    /// How events name it.
    pub(crate) fn responder(&self) -> Responder {
        Responder {
            plugin: self.handle.plugin.to_string(),
            version: self.handle.descriptor.version.clone(),
            generation: self.handle.generation.0,
            built_in: false,
        }
    }

    /// Whether it chooses among agents.
    pub(crate) fn is_supervisor(&self) -> bool {
        self.spec.kind == PluginKind::Supervisor
    }

    /// The right to one more run, unless it has its limit already (0: none).
    pub(crate) fn admit(self: &Arc<Self>) -> Option<Admitted> {
        let most = self.spec.limits.concurrent_runs;
        let before = self.running.fetch_add(1, Ordering::Relaxed);
        let admitted = Admitted(Arc::clone(self));
        // Dropping gives it back.
        (most == 0 || before < most).then_some(admitted)
    }

    /// A call in it ignored its cancellation. Its run is over; the code runs on, and is ended with the generation as
    /// soon as no other run is in it.
    pub(crate) fn deaf(&self) {
        self.deaf.store(true, Ordering::Relaxed);
    }

    /// Sends an order.
    ///
    /// # Errors
    /// [`Unreachable`] if the instance is gone or does not read its orders.
    pub(crate) async fn order(&self, order: InstanceCommand) -> Result<(), Unreachable> {
        let order = match self.handle.commands.try_send(order) {
            Ok(()) => return Ok(()),
            Err(TrySendError::Closed(_)) => return Err(Unreachable),
            Err(TrySendError::Full(order)) => order,
        };
        // Boxed: this hardly happens, and every run would keep the room for it.
        match Box::pin(tokio::time::timeout(ORDER_WITHIN, self.handle.commands.send(order))).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) | Err(_) => Err(Unreachable),
        }
    }
}

/// One run in an instance; given back when dropped.
pub(crate) struct Admitted(Arc<Instance>);

impl Drop for Admitted {
    fn drop(&mut self) {
        let last = self.0.running.fetch_sub(1, Ordering::AcqRel) == 1;
        if last && self.0.deaf.load(Ordering::Relaxed) {
            // Full: the instance is wedged, and its heartbeat will end it.
            let _ = self.0.handle.commands.try_send(InstanceCommand::Kill(KillReason::Hung));
        }
    }
}
