//! A generation that takes calls: who is in it, and how orders reach it.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use agent_host_core::{
    identity::Scope,
    ports::instance::{InstanceCommand, InstanceHandle, KillReason, PluginSpec},
    routing::Target,
};
use agent_plugin_protocol::{CallId, Code, PluginKind, event::Responder};
use tokio::sync::{
    Notify,
    mpsc::{self, error::TrySendError},
};

use super::{
    gate::{Gate, Shut},
    places::{Place, Places, Slot},
};
use crate::{supervisor::Command, view::OpenCall};

/// A generation that takes calls.
pub(crate) struct Instance {
    /// How to talk to it.
    pub(crate) handle: InstanceHandle,
    /// Its deadlines, grants and limits.
    pub(crate) spec: Arc<PluginSpec>,
    /// What its breaker lets through.
    pub(crate) gate: Gate,
    /// Who is in it, and who waits to be.
    places: Places,
    /// A call in it ignored its cancellation: it is ended once no run is in it.
    deaf: AtomicBool,
    /// The calls in it. Held for an insertion or a removal, and once when it is gone.
    calls: Mutex<HashMap<CallId, OpenCall>>,
    /// Told when the last call leaves.
    pub(super) emptied: Notify,
    /// Told when there is no room to wait for that.
    hurried: Notify,
    /// Told of a trial run that begins or ends.
    supervisor: mpsc::Sender<Command>,
}

/// An order did not reach its instance.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Unreachable;

/// How long an order may wait for room. An instance reads its orders before anything else, so that this passes only
/// if it is wedged; its heartbeat will say so too.
const ORDER_WITHIN: Duration = Duration::from_secs(1);

impl Instance {
    /// Wraps a started generation.
    pub(crate) fn new(
        handle: InstanceHandle,
        spec: Arc<PluginSpec>,
        supervisor: mpsc::Sender<Command>,
    ) -> Self {
        Self {
            handle,
            places: Places::new(spec.limits),
            spec,
            gate: Gate::default(),
            deaf: AtomicBool::new(false),
            calls: Mutex::default(),
            emptied: Notify::new(),
            hurried: Notify::new(),
            supervisor,
        }
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

    /// The right to one more call: by the slot that was waited for, or by a free one.
    ///
    /// # Errors
    /// `plugin.overloaded` at its limit (0: none), `plugin.breaker_open` while its breaker lets nothing through.
    pub(crate) fn admit(
        self: &Arc<Self>,
        call: CallId,
        open: OpenCall,
        given: Option<Slot>,
    ) -> Result<Admitted, Code> {
        let slot = given.or_else(|| Slot::take(self)).ok_or(Code::PluginOverloaded)?;
        let mut admitted = Admitted { slot, call, trial: false, lost: false };
        admitted.trial = self.gate.pass().map_err(|Shut| Code::PluginBreakerOpen)?;
        if admitted.trial {
            // Full: the supervisor sees at its next look that the trial was taken.
            let _ = self.supervisor.try_send(Command::TrialBegan { target: self.target(), call });
        }
        self.open_calls().insert(call, open);
        Ok(admitted)
    }

    /// How many calls are in it.
    pub(crate) fn running(&self) -> u32 {
        self.places.running()
    }

    /// How many runs wait for a place.
    pub(crate) fn waiting(&self) -> usize {
        self.places.waiting()
    }

    /// Whether it has no place for another call now.
    pub(crate) fn is_full(&self) -> bool {
        self.places.is_full()
    }

    /// A place in the queue; `None` if there is none.
    pub(crate) fn wait(self: &Arc<Self>, whose: &Scope) -> Option<Place> {
        Place::take(self, whose)
    }

    /// Whether runs may wait for it: those that do are sent elsewhere when the routes name it no more.
    pub(crate) fn routed(&self, is: bool) {
        self.places.open(is);
    }

    pub(super) fn places(&self) -> &Places {
        &self.places
    }

    /// The last call left: one that is asked to end because a call ignored its cancellation can be ended now.
    pub(super) fn is_over(&self) -> bool {
        let deaf = self.deaf.load(Ordering::Relaxed);
        if deaf {
            // Full: the instance is wedged, and its heartbeat will end it.
            let _ = self.handle.commands.try_send(InstanceCommand::Kill(KillReason::Hung));
        }
        deaf
    }

    /// The calls that were in it when it ended; at most `most`.
    pub(crate) fn lost_calls(&self, most: usize) -> Vec<OpenCall> {
        self.open_calls().values().take(most).cloned().collect()
    }

    /// Waits until no call is in it. Cancel safe.
    pub(crate) async fn emptied(&self) {
        loop {
            let told = self.emptied.notified();
            tokio::pin!(told);
            // From here on nothing is missed.
            told.as_mut().enable();
            if self.running() == 0 {
                return;
            }
            told.await;
        }
    }

    /// Its last calls shall not be waited for any longer.
    pub(crate) fn hurry(&self) {
        // Kept for who waits later.
        self.hurried.notify_one();
    }

    /// Waits for [`Self::hurry`]. Cancel safe.
    pub(crate) async fn hurried(&self) {
        self.hurried.notified().await;
    }

    fn open_calls(&self) -> MutexGuard<'_, HashMap<CallId, OpenCall>> {
        // Nothing in the lock can panic half-way.
        self.calls.lock().unwrap_or_else(PoisonError::into_inner)
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

/// One call in an instance; given back when dropped.
pub(crate) struct Admitted {
    slot: Slot,
    call: CallId,
    /// It is the breaker's one trial.
    trial: bool,
    /// Its generation ended with it: the report of the crash names it.
    lost: bool,
}

impl Admitted {
    /// The generation ended while the call was open.
    pub(crate) fn lost(&mut self) {
        self.lost = true;
    }
}

impl Drop for Admitted {
    fn drop(&mut self) {
        let instance = self.slot.instance();
        if !self.lost {
            instance.open_calls().remove(&self.call);
        }
        if self.trial {
            instance.gate.trial_over();
            let over = Command::TrialEnded { target: instance.target(), call: self.call };
            // Full: the supervisor sees at its next look that nobody has the trial.
            let _ = instance.supervisor.try_send(over);
        }
    }
}
