//! The details of all plugins, published by the supervisor task and read together with what changes by the call.

use std::sync::{
    Arc,
    atomic::{AtomicU32, Ordering},
};

use agent_host_core::{canary::Runs, lifecycle::PluginState, ports::instance::Fault};
use agent_plugin_protocol::{Generation, PluginId};

use crate::{
    routes::Instance,
    supervisor::{CanaryCounts, Goal},
    view::PluginDetail,
};

/// An immutable snapshot, in configured order.
#[derive(Default)]
pub(crate) struct Details(pub(crate) Vec<Detail>);

/// One plugin's.
pub(crate) struct Detail {
    /// As of the last change; what changes by the call is read anew.
    pub(crate) seen: PluginDetail,
    pub(crate) state: PluginState,
    /// Whether the operator wants it.
    pub(crate) enabled: bool,
    /// The breaker's window.
    pub(crate) calls: Arc<CallCounts>,
    /// What a canary and the one beside it have ended.
    pub(crate) canary: Option<CanaryCounts>,
    /// Every generation that may have calls.
    pub(crate) instances: Vec<Arc<Instance>>,
    /// Self-tests that ended, ever.
    pub(crate) probes: u64,
}

/// What a breaker counts; written by the supervisor task only.
#[derive(Debug, Default)]
pub(crate) struct CallCounts {
    calls: AtomicU32,
    failures: AtomicU32,
}

impl CallCounts {
    pub(crate) fn set(&self, calls: u32, failures: u32) {
        self.calls.store(calls, Ordering::Relaxed);
        self.failures.store(failures, Ordering::Relaxed);
    }

    fn runs(&self) -> Runs {
        let of = |count: &AtomicU32| count.load(Ordering::Relaxed);
        Runs { ended: of(&self.calls), failed: of(&self.failures) }
    }

    pub(crate) fn add_failure(&self) {
        self.calls.fetch_add(1, Ordering::Relaxed);
        self.failures.fetch_add(1, Ordering::Relaxed);
    }
}

impl Details {
    /// That plugin, as it is now.
    pub(crate) fn plugin(&self, id: &PluginId) -> Option<PluginDetail> {
        self.of(id).map(Detail::now)
    }

    /// Every plugin, as it is now.
    pub(crate) fn all(&self) -> Vec<PluginDetail> {
        self.0.iter().map(Detail::now).collect()
    }

    /// Whether what an order wanted is so, or cannot become so any more.
    pub(crate) fn reached(&self, id: &PluginId, goal: Goal) -> bool {
        let Some(detail) = self.of(id) else { return true };
        let current = detail.seen.view.generation;
        match goal {
            Goal::Now => true,
            Goal::Started(wanted) => current > wanted || (current == wanted && !detail.state.is_starting()),
            Goal::Replaced(wanted) => match &detail.seen.candidate {
                Some(candidate) if candidate.generation == wanted => candidate.fault.is_some(),
                // Taken over, or given up for another order.
                Some(_) | None => true,
            },
            Goal::Off => match detail.state {
                PluginState::Disabled | PluginState::Unloaded => true,
                PluginState::Draining => false,
                // Brought back meanwhile.
                _ => detail.enabled,
            },
            Goal::Probed(count) => detail.probes >= count || detail.instances.is_empty(),
        }
    }

    /// Why the generation of a reload did not take over.
    pub(crate) fn reload_failed(&self, id: &PluginId, goal: Goal) -> Option<Fault> {
        let Goal::Replaced(wanted) = goal else { return None };
        let candidate = self.of(id)?.seen.candidate.as_ref()?;
        candidate.fault.clone().filter(|_| candidate.generation == wanted)
    }

    fn of(&self, id: &PluginId) -> Option<&Detail> {
        self.0.iter().find(|detail| detail.seen.view.id == *id)
    }
}

impl Detail {
    fn now(&self) -> PluginDetail {
        let mut detail = self.seen.clone();
        detail.in_flight = self.instances.iter().map(|instance| instance.running()).sum();
        if let (Some(view), Some(counts)) = (&mut detail.canary, &self.canary) {
            (view.runs, view.beside) = (counts.canary.runs(), counts.serving.runs());
        }
        detail.waiting = self.instances.iter().map(|instance| instance.waiting()).sum();
        detail.breaker.calls = self.calls.calls.load(Ordering::Relaxed);
        detail.breaker.failures = self.calls.failures.load(Ordering::Relaxed);
        detail
    }
}

/// The generations among these, in order.
pub(crate) fn generations<'a>(instances: impl IntoIterator<Item = &'a Arc<Instance>>) -> Vec<Generation> {
    instances.into_iter().map(|instance| instance.handle.generation).collect()
}
