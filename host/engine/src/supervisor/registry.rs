//! All slots, and what is published of them: the route table and the status.

mod canary;
mod change;

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, SystemTime},
};

use agent_host_core::{
    breaker::CallResult,
    canary::Side,
    level::{LevelFacts, Missing as CoreMissing, MissingKind, ServiceStatus},
    lifecycle::PluginState,
    outcome::ExitReport,
    ports::{
        instance::{Fault, InstanceHandle, PluginSpec, Started},
        store::Durability,
    },
    routing::{RouteEntry, RouteHealth, RouteTable, Target},
    service::{ServiceName, ServiceState, ServiceTable},
};
use agent_plugin_protocol::{CallId, Code, Generation, PluginId, PluginKind};
use tokio::time::Instant;

use super::slot::{Ordered, Role, Slot, Times, Verdict};
use crate::{
    control::{ControlError, PluginOrder},
    details::Details,
    files::ChangedFiles,
    routes::{Instance, Routes},
    settings::PluginSettings,
    shared::Shared,
    view::{Missing, ServiceView, Status},
};

pub(super) struct Registry {
    /// Every slot that ever was: one that is configured no more keeps its place, and its numbers if it comes back.
    slots: Vec<Slot>,
    /// Those that are configured, in configured order.
    listed: Vec<usize>,
    order: Vec<PluginId>,
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

    /// The services changed: running plugins lose or get back what they require; answers the slots that failed for
    /// want of a service, to be started again.
    pub(super) fn services_changed(&mut self, services: Arc<ServiceTable>, now: Instant) -> Vec<usize> {
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
    pub(super) fn recheck_services(&mut self, slot: usize, now: Instant) {
        let now = self.times(now);
        if let Some(slot) = self.slots.get_mut(slot) {
            slot.services_changed(&self.services, now);
        }
    }

    pub(super) fn begin_start(&mut self, slot: usize) -> Option<(Arc<PluginSpec>, Generation)> {
        if self.draining {
            return None;
        }
        self.slots.get_mut(slot).map(Slot::begin_start)
    }

    /// A generation answered its probe; what follows from that.
    pub(super) fn healthy(&mut self, slot: usize, of: Generation, started: Started, took: Duration) -> Began {
        let now = self.now();
        let draining = self.draining;
        let Some(slot) = self.slots.get_mut(slot).filter(|_| !draining) else {
            return Began::Unwanted(started);
        };
        match slot.role(of) {
            Role::Current if slot.is_starting() => {
                slot.healthy(started, took, now.wall);
                Began::Serves(Vec::new())
            }
            Role::Candidate if slot.is_staged() => {
                slot.hold(started, took);
                Began::Held
            }
            Role::Candidate => {
                let over = slot.candidate_healthy(started, took, now);
                if slot.generation == of { Began::Serves(over) } else { Began::OnTrial(over) }
            }
            Role::Spare => {
                slot.spare_ready(started, took);
                Began::Spare
            }
            Role::Current | Role::Canary | Role::Former | Role::Retiring | Role::None => {
                Began::Unwanted(started)
            }
        }
    }

    pub(super) fn start_failed(
        &mut self,
        slot: usize,
        of: Generation,
        fault: Fault,
        now: Instant,
    ) -> Verdict {
        let now = self.times(now);
        let Some(slot) = self.slots.get_mut(slot) else { return Verdict::Leave };
        match slot.role(of) {
            Role::Current if slot.is_starting() => slot.start_failed(fault, now),
            Role::Candidate => {
                slot.candidate_failed(fault, now.wall);
                Verdict::Leave
            }
            Role::Spare => slot.spare_lost(fault, now),
            Role::Current | Role::Canary | Role::Former | Role::Retiring | Role::None => Verdict::Leave,
        }
    }

    pub(super) fn exited(
        &mut self,
        slot: usize,
        of: Generation,
        report: Option<Arc<ExitReport>>,
        now: Instant,
    ) -> Verdict {
        let now = self.times(now);
        let Some(slot) = self.slots.get_mut(slot) else { return Verdict::Leave };
        match slot.role(of) {
            Role::Current => slot.exited(report, now),
            Role::Spare => slot.spare_exited(report.as_deref(), now),
            Role::Retiring => {
                slot.retired(of, report, now.wall);
                Verdict::Leave
            }
            Role::Canary => {
                slot.canary_exited(report, now);
                Verdict::Leave
            }
            Role::Former => {
                slot.former_exited(report, now.wall);
                Verdict::Leave
            }
            Role::Candidate => {
                slot.held_exited(report.as_deref(), now.wall);
                Verdict::Leave
            }
            Role::None => Verdict::Leave,
        }
    }

    pub(super) fn restart_due(&mut self, slot: usize, failed: Generation) -> bool {
        let now = self.now().wall;
        let draining = self.draining;
        self.current(slot, failed).is_some_and(|slot| !draining && slot.restart_due(now))
    }

    /// Slots that have given up and whose file is another by now: to be started from it.
    pub(super) fn take_new_files(&mut self, files: &ChangedFiles) -> Vec<usize> {
        if self.draining || files.is_empty() {
            return Vec::new();
        }
        let now = self.now();
        let slots = self.slots.iter_mut().enumerate();
        let taken = slots.filter_map(|(index, slot)| {
            let file = files.get(&slot.settings.spec.id)?;
            slot.take_new_file(file, now).then_some(index)
        });
        taken.collect()
    }

    /// The pause before the next spare is over.
    pub(super) fn spare_due(&mut self, slot: usize) {
        if let Some(slot) = self.slots.get_mut(slot) {
            slot.spare_due();
        }
    }

    /// The spares that are to be loaded now, and the idle ones that are to be ended.
    pub(super) fn tend_spares(&mut self) -> (Vec<Spare>, Vec<Arc<Instance>>) {
        let dismissed = self.slots.iter_mut().filter_map(Slot::dismiss_idle_spare).collect();
        if self.draining {
            return (Vec::new(), dismissed);
        }
        let slots = self.slots.iter_mut().enumerate();
        let wanted = slots.filter_map(|(index, slot)| {
            slot.begin_spare().map(|(spec, generation)| Spare { slot: index, spec, generation })
        });
        (wanted.collect(), dismissed)
    }

    /// How a call went: the slot whose breaker moved, or whose canary has its verdict, if one has.
    pub(super) fn call_ended(
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

    pub(super) fn trial_began(&mut self, target: &Target, call: CallId) {
        let now = self.now();
        if let Some((_, slot)) = self.of(target) {
            slot.trial_began(call, now);
        }
    }

    pub(super) fn trial_ended(&mut self, target: &Target, call: CallId) {
        let now = self.now();
        if let Some((_, slot)) = self.of(target) {
            slot.trial_ended(call, now);
        }
    }

    pub(super) fn offer_trial(&mut self, slot: usize, of: Generation) {
        let now = self.now();
        if let Some(slot) = self.current(slot, of) {
            slot.offer_trial(now);
        }
    }

    /// The generation of a slot whose breaker is open, and when its trial is due.
    pub(super) fn trial_due(&self, slot: usize) -> Option<(Generation, Duration)> {
        let slot = self.slots.get(slot)?;
        Some((slot.generation, slot.trial_due_in(self.now())?))
    }

    pub(super) fn probed(&mut self, slot: usize, of: Generation, result: Result<(), String>, now: Instant) {
        let now = self.times(now);
        let Some(slot) = self.slots.get_mut(slot) else { return };
        if slot.is_canary(of) {
            slot.canary_probed(result);
        } else if slot.generation == of && slot.instance.is_some() {
            slot.probed(result, now);
        }
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

    /// Replaced generations of a slot that pile up.
    pub(super) fn too_many_retiring(&self, slot: usize) -> Vec<Arc<Instance>> {
        self.slots.get(slot).map(|slot| slot.too_many_retiring().cloned().collect()).unwrap_or_default()
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

    /// Nothing comes back from here; the running instances, to be ended.
    pub(super) fn drain_all(&mut self) -> Vec<InstanceHandle> {
        let now = self.now().wall;
        self.slots.iter_mut().flat_map(|slot| slot.drain(now)).map(|i| i.handle.clone()).collect()
    }

    /// Every plugin in detail, as shown in that status.
    pub(super) fn details(&mut self, status: &Status) -> Details {
        let now = Instant::now();
        let mut details = Vec::with_capacity(self.listed.len());
        for (index, view) in self.listed.iter().zip(&status.plugins) {
            if let Some(slot) = self.slots.get_mut(*index) {
                details.push(slot.detail(view.clone(), now));
            }
        }
        Details(details)
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

    /// The status, as it is now.
    pub(super) fn status(&self, leaving: bool) -> Arc<Status> {
        let starting = self.slots.iter().any(|slot| !slot.judged);
        let plugins = self.slots.iter().filter(|s| s.settings.enabled && s.state != PluginState::Healthy);
        let services = self.services.iter().filter_map(|(name, state)| missing_service(name, state));
        let service = ServiceStatus::of(&LevelFacts {
            store_appends: self.store_works,
            fallback_works: self.fallback_works,
            healthy_agents: self.agents().filter(|slot| slot.state == PluginState::Healthy).count(),
            starting,
            missing: plugins.map(missing_of).chain(services).chain(self.missing_history()).collect(),
        });
        Arc::new(Status {
            host: Arc::clone(&self.host),
            level: service.level,
            reason: service.reason,
            missing: service.missing.into_iter().map(told).collect(),
            plugins: self.listed().map(|slot| slot.view(self.served_by(slot))).collect(),
            services: self.service_views(),
            durability: self.durability,
            starting,
            draining: leaving || self.draining,
        })
    }

    /// A store that works, but not with everything that it had.
    fn missing_history(&self) -> Option<CoreMissing> {
        let code = self.store_damage.filter(|_| self.store_works)?;
        let reason = code.meaning().to_owned();
        Some(CoreMissing {
            name: "store".to_owned(),
            kind: MissingKind::Store,
            code,
            reason,
            retry_after: None,
        })
    }

    fn service_views(&self) -> Vec<ServiceView> {
        let offered = self.services.iter().map(|(name, state)| {
            let (verdict, code, reason) = match state {
                ServiceState::Available => ("healthy", None, None),
                ServiceState::NotConfigured => ("disabled", None, None),
                ServiceState::Unavailable { code, reason } => ("failed", Some(*code), Some(reason.clone())),
            };
            ServiceView { name: name.as_str(), verdict, code, reason }
        });
        let store = (!self.store_works).then_some(Code::StoreUnavailable).or(self.store_damage);
        let fallback = (!self.fallback_works).then_some(Code::HostInternal);
        let own = [("store", store), ("fallback", fallback)].map(|(name, code)| ServiceView {
            name,
            verdict: if code.is_none() { "healthy" } else { "failed" },
            code,
            reason: None,
        });
        offered.chain(own).collect()
    }

    /// Who gets an agent's traffic while it gets none.
    fn served_by(&self, slot: &Slot) -> Option<String> {
        if slot.state == PluginState::Healthy || slot.settings.spec.kind == PluginKind::Supervisor {
            return None;
        }
        let healthy =
            |id: &&PluginId| self.agents().any(|s| s.settings.spec.id == **id && is_healthy(&s.route()));
        let substitute = slot.settings.substitutes.iter().find(healthy).cloned();
        let other = || self.agents().map(Slot::route).find(is_healthy).map(|entry| entry.id);
        let name = substitute.or_else(other).map(|id| id.to_string());
        Some(name.unwrap_or_else(|| "fallback".to_owned()))
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

/// A spare to be loaded.
pub(super) struct Spare {
    pub(super) slot: usize,
    pub(super) spec: Arc<PluginSpec>,
    pub(super) generation: Generation,
}

/// What a generation that answered its probe is to its slot.
pub(super) enum Began {
    /// It serves; these, which served before, end.
    Serves(Vec<Arc<Instance>>),
    /// It has a share of the threads; these end.
    OnTrial(Vec<Arc<Instance>>),
    /// It is there in case the other dies.
    Spare,
    /// It waits for the rest of its change.
    Held,
    /// Nothing: it came too late.
    Unwanted(Started),
}

fn is_healthy(entry: &RouteEntry) -> bool {
    entry.health == RouteHealth::Healthy
}

/// A service that should be there and is not. One that the operator did not ask for is missing to nobody but a plugin
/// that requires it, which says so itself.
fn missing_service(name: ServiceName, state: &ServiceState) -> Option<CoreMissing> {
    match state {
        ServiceState::Available | ServiceState::NotConfigured => None,
        ServiceState::Unavailable { code, .. } => Some(CoreMissing {
            name: name.as_str().to_owned(),
            kind: MissingKind::Service,
            code: *code,
            // The code's own words: the reason may name addresses, and is the operator's.
            reason: code.meaning().to_owned(),
            retry_after: None,
        }),
    }
}

fn missing_of(slot: &Slot) -> CoreMissing {
    let code = slot.code();
    CoreMissing {
        name: slot.id(),
        kind: match slot.settings.spec.kind {
            PluginKind::Agent => MissingKind::Agent,
            PluginKind::Supervisor => MissingKind::Supervisor,
        },
        code,
        // The code's own words: a fault's reason may name paths, and is the operator's.
        reason: code.meaning().to_owned(),
        retry_after: slot.retry.map(|(_, pause)| pause),
    }
}

fn told(missing: CoreMissing) -> Missing {
    Missing {
        name: missing.name,
        kind: match missing.kind {
            MissingKind::Agent => "agent",
            MissingKind::Supervisor => "supervisor",
            MissingKind::Service => "service",
            MissingKind::Store => "store",
            MissingKind::Bus => "bus",
            MissingKind::Fallback => "fallback",
        },
        code: missing.code,
        reason: missing.reason,
        retry_after_ms: missing.retry_after.map(|after| u64::try_from(after.as_millis()).unwrap_or(u64::MAX)),
    }
}
