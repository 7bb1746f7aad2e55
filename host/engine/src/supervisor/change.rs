//! Puts new settings in force as one change: what they take is loaded beside what serves, and either all of it serves
//! from one moment on, or nothing is changed.

use std::sync::Arc;

use agent_host_core::{failpoint, failpoint::Action, ports::instance::InstanceCommand};
use agent_plugin_protocol::{Generation, PluginId};
use futures_util::FutureExt as _;
use tokio::{
    sync::oneshot,
    time::{Instant, sleep},
};

use super::{Event, Supervisor, Taken};
use crate::{
    change::{ChangeError, Refusal},
    control::{ControlError, PluginOrder},
    routes::Instance,
    settings::Settings,
};

/// Where a change is answered.
pub(crate) type Changed = oneshot::Sender<Result<(), ChangeError>>;

/// A change whose generations are being loaded.
pub(super) struct Change {
    settings: Arc<Settings>,
    /// What it needs, by slot.
    needs: Vec<(usize, Generation)>,
    changed: Changed,
}

/// Orders that wait for a change to end. Further ones are refused.
const WAITING: usize = 64;

impl Supervisor {
    /// Begins a change. One at a time: a second one is refused.
    pub(super) fn configure(&mut self, settings: Arc<Settings>, changed: Changed) {
        let refused = if self.registry.draining {
            Some(ChangeError::Draining)
        } else if self.change.is_some() {
            Some(ChangeError::Busy)
        } else {
            None
        };
        if let Some(error) = refused {
            self.changed.push((changed, Err(error)));
            return;
        }
        let needed = self.registry.stage(&settings, &self.shared);
        let needs = needed.iter().map(|one| (one.slot, one.generation)).collect();
        self.change = Some(Change { settings, needs, changed });
        for one in needed {
            if one.reread
                && let Some(runtime) = self.shared.parts.runtime_of(one.spec.isolation)
            {
                runtime.reread(&one.spec.id);
            }
            self.launch(one.slot, one.spec, one.generation);
        }
    }

    /// Ends the change that is going on, if everything it needs has its verdict. To be asked after each event.
    pub(super) fn tend_change(&mut self) {
        let Some(change) = self.change.take() else { return };
        let verdicts: Vec<_> =
            change.needs.iter().map(|(slot, of)| (*slot, self.registry.staged(*slot, *of))).collect();
        let leaving = self.registry.draining;
        if !leaving && verdicts.iter().any(|(_, verdict)| verdict.is_none()) {
            self.change = Some(change);
            return;
        }
        let refusals: Vec<Refusal> = verdicts
            .into_iter()
            .filter_map(|(slot, verdict)| {
                let fault = verdict?.err()?;
                Some(Refusal { plugin: self.registry.name(slot)?, fault })
            })
            .collect();
        // For a broken twin: a host that takes what it could not load.
        let takes_all = failpoint!("engine.change.refuses") == Some(Action::Off);
        let outcome = if leaving {
            Err(ChangeError::Draining)
        } else if refusals.is_empty() || takes_all {
            Ok(())
        } else {
            Err(ChangeError::Refused(refusals))
        };
        // For a broken twin: a host that says that what takes no new generation is in force, and goes on as before.
        let forgets = change.needs.is_empty() && failpoint!("engine.change.commits") == Some(Action::Off);
        match &outcome {
            Ok(()) if forgets => {}
            Ok(()) => self.commit(change.settings),
            Err(_) => {
                let held = self.registry.unstage(change.needs.iter().map(|(slot, _)| *slot));
                held.iter().for_each(stop);
            }
        }
        self.changed.push((change.changed, outcome));
        for (plugin, order, taken) in std::mem::take(&mut self.waiting) {
            self.order(&plugin, order, taken);
        }
    }

    fn commit(&mut self, settings: Arc<Settings>) {
        let done = self.registry.commit(&settings, &self.shared);
        self.shared.replace_settings(settings);
        for (slot, generation) in done.serve {
            self.serves(slot, generation);
        }
        for (slot, over) in done.over {
            self.retire(slot, over);
        }
    }

    /// An order to a slot may have to wait for the change that is going on; it is given back if not.
    pub(super) fn waits(&mut self, plugin: &PluginId, order: PluginOrder, taken: Taken) -> Option<Taken> {
        if self.change.is_none() || order == PluginOrder::Probe {
            return Some(taken);
        }
        if self.waiting.len() < WAITING {
            self.waiting.push((plugin.clone(), order, taken));
        } else {
            self.answers.push((taken, Err(ControlError::Unanswered)));
        }
        None
    }

    /// What has to follow when a generation serves that replaced another.
    pub(super) fn serves(&mut self, slot: usize, generation: Generation) {
        let now = Instant::now();
        // What it requires may have gone while it started.
        self.registry.recheck_services(slot, now);
        self.schedule_probe(slot, generation);
        self.schedule_trial_end(slot);
        self.tell_who_serves(slot);
    }

    /// The runtime knows which bytes a restart takes.
    pub(super) fn tell_who_serves(&self, slot: usize) {
        let Some((generation, instance)) = self.registry.serving(slot) else { return };
        if let Some(runtime) = self.shared.parts.runtime_of(instance.spec.isolation) {
            runtime.serves(&instance.spec.id, generation);
        }
    }

    /// The generation before is let go when the new one has proved itself.
    fn schedule_trial_end(&mut self, slot: usize) {
        let Some((generation, window)) = self.registry.trial(slot) else { return };
        self.pending.push(
            async move {
                sleep(window).await;
                Event::TrialEnded { slot, generation }
            }
            .boxed(),
        );
    }

    pub(super) fn trial_ended(&mut self, slot: usize, generation: Generation) {
        if let Some(former) = self.registry.proved(slot, generation) {
            self.retire(slot, vec![former]);
        }
    }

    /// Takes back what has failed while the generation before is kept.
    pub(super) fn tend_trials(&mut self) {
        for slot in self.registry.failed_trials() {
            self.roll_back(slot);
        }
    }

    pub(super) fn roll_back(&mut self, slot: usize) {
        // For a broken twin: a host that stays with what fails.
        if failpoint!("engine.rollback") == Some(Action::Off) {
            return;
        }
        if let Some((generation, over)) = self.registry.roll_back(slot) {
            self.serves(slot, generation);
            self.retire(slot, over);
        }
    }
}

/// Ends what never served.
pub(super) fn stop(instance: &Arc<Instance>) {
    let grace = instance.spec.timeouts.grace;
    // Full or closed: it ends with its handle.
    let _ = instance.handle.commands.try_send(InstanceCommand::Stop { grace });
}
