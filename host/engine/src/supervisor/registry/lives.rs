//! What becomes of the generations of all slots: their starts and ends, and the spares beside them.

use std::{sync::Arc, time::Duration};

use agent_host_core::{
    outcome::ExitReport,
    ports::instance::{Fault, InstanceHandle, PluginSpec, Stage, Started},
};
use agent_plugin_protocol::{Generation, PluginId};
use tokio::time::Instant;

use super::Registry;
use crate::{
    files::ChangedFiles,
    routes::Instance,
    supervisor::slot::{Role, Slot, Verdict},
};

/// A spare to be loaded.
pub(in super::super) struct Spare {
    pub(in super::super) slot: usize,
    pub(in super::super) spec: Arc<PluginSpec>,
    pub(in super::super) generation: Generation,
}

/// What a generation that answered its probe is to its slot.
pub(in super::super) enum Began {
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

impl Registry {
    pub(in super::super) fn begin_start(&mut self, slot: usize) -> Option<(Arc<PluginSpec>, Generation)> {
        if self.draining {
            return None;
        }
        self.slots.get_mut(slot).map(Slot::begin_start)
    }

    /// The start of a generation is in that stage; one beside what serves is told by its end.
    pub(in super::super) fn stage_begun(&mut self, slot: usize, of: Generation, stage: Stage) {
        let now = self.now().wall;
        if let Some(slot) = self.current(slot, of) {
            slot.stage_begun(stage, now);
        }
    }

    /// A generation answered its probe; what follows from that.
    pub(in super::super) fn healthy(
        &mut self,
        slot: usize,
        of: Generation,
        started: Started,
        took: Duration,
    ) -> Began {
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

    pub(in super::super) fn start_failed(
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

    pub(in super::super) fn exited(
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

    pub(in super::super) fn restart_due(&mut self, slot: usize, failed: Generation) -> bool {
        let now = self.now().wall;
        let draining = self.draining;
        self.current(slot, failed).is_some_and(|slot| !draining && slot.restart_due(now))
    }

    /// Slots that have given up and whose file is another by now: to be started from it.
    pub(in super::super) fn take_new_files(&mut self, files: &ChangedFiles) -> Vec<usize> {
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

    /// What lies at that plugin's path is what it runs from, again.
    pub(in super::super) fn same_file(&mut self, plugin: &PluginId) {
        if let Some(slot) = self.index_of(plugin).and_then(|index| self.slots.get_mut(index)) {
            slot.same_file();
        }
    }

    /// The pause before the next spare is over.
    pub(in super::super) fn spare_due(&mut self, slot: usize) {
        if let Some(slot) = self.slots.get_mut(slot) {
            slot.spare_due();
        }
    }

    /// The spares that are to be loaded now, and the idle ones that are to be ended.
    pub(in super::super) fn tend_spares(&mut self) -> (Vec<Spare>, Vec<Arc<Instance>>) {
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

    /// Replaced generations of a slot that pile up.
    pub(in super::super) fn too_many_retiring(&self, slot: usize) -> Vec<Arc<Instance>> {
        self.slots.get(slot).map(|slot| slot.too_many_retiring().cloned().collect()).unwrap_or_default()
    }

    /// Nothing comes back from here; the running instances, to be ended.
    pub(in super::super) fn drain_all(&mut self) -> Vec<InstanceHandle> {
        let now = self.now().wall;
        self.slots.iter_mut().flat_map(|slot| slot.drain(now)).map(|i| i.handle.clone()).collect()
    }
}
