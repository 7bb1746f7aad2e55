//! Where the supervisor publishes: what is so at once, and what has held for a while.

use std::sync::Arc;

use agent_host_core::{failpoint, failpoint::Action, settling::Settling};
use agent_host_telemetry::happening::ServiceLevelChanged;
use tokio::{sync::watch, time::Instant};

use super::Supervisor;
use crate::{details::Details, view::Status};

/// Where the supervisor publishes.
pub(crate) struct Outlets {
    pub(crate) status: watch::Sender<Arc<Status>>,
    pub(crate) settled: watch::Sender<Arc<Status>>,
    pub(crate) details: watch::Sender<Arc<Details>>,
}

impl Supervisor {
    /// Publishes what is so. Readers see the new routes before the new status.
    pub(super) fn publish(&mut self) {
        let status = self.registry.status(self.shared.is_draining());
        let routes = Arc::new(self.registry.routes(status.starting));
        let before = self.shared.routes.swap(Arc::clone(&routes));
        routes.follow(&before);
        self.outlets.details.send_replace(Arc::new(self.registry.details(&status)));
        for (taken, answer) in self.answers.drain(..) {
            // Whoever gave the order may be gone; it is carried out all the same.
            let _ = taken.send(answer);
        }
        for (changed, outcome) in self.changed.drain(..) {
            // As above.
            let _ = changed.send(outcome);
        }
        if *status == **self.outlets.status.borrow() {
            return;
        }
        let level = status.level;
        self.outlets.status.send_replace(status);
        // Off for a broken twin: a level that is held back for as long as the list of what is missing keeps changing.
        if failpoint!("engine.settle_level") == Some(Action::Off) {
            self.settling = Settling::new(self.outlets.settled.borrow().level);
        }
        self.settling.changed(level, Instant::now().into_std());
    }

    /// When the status has held long enough, if it changed.
    pub(super) fn settles_at(&self) -> Option<Instant> {
        self.settling.due(self.shared.settings().settle).map(Instant::from_std)
    }

    /// The status has held long enough: clients are told.
    pub(super) fn settle(&mut self) {
        self.settling.told();
        let status = Arc::clone(&self.outlets.status.borrow());
        let before = self.outlets.settled.send_replace(Arc::clone(&status));
        if before.level != status.level {
            let missing: Vec<&str> = status.missing.iter().map(|m| m.name.as_str()).collect();
            ServiceLevelChanged {
                from: before.level.to_string(),
                to: status.level.to_string(),
                missing: missing.join(","),
            }
            .emit();
        }
    }
}
