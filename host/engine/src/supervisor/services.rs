//! What the host itself offers: the plugins' services, the store and the fallback; what failed is looked at until it is back.

use std::{sync::Arc, time::Duration};

use agent_host_core::{failpoint, failpoint::Action, service::ServiceTable};
use futures_util::FutureExt as _;
use tokio::time::{Instant, sleep, timeout};

use super::{Event, Supervisor};
use crate::{fallback, recovery};

/// A look at what the host itself offers.
pub(super) enum ServiceCheck {
    Store(bool),
    Fallback(bool),
}

/// How often a service that failed is looked at again: it shall be back within 5 s of its recovery.
const CHECK_EVERY: Duration = Duration::from_secs(1);
/// How long a look at the store may take.
const CHECK_WITHIN: Duration = Duration::from_secs(5);

impl Supervisor {
    pub(super) fn services(&mut self, table: Arc<ServiceTable>) {
        // For a broken twin: a host that does not look at what it offers.
        if failpoint!("engine.services") == Some(Action::Off) {
            return;
        }
        for slot in self.registry.services_changed(table, Instant::now()) {
            self.start(slot);
        }
    }

    pub(super) fn store(&mut self, works: bool) {
        // For a broken twin: a host that says nothing of a store that does not work.
        if failpoint!("engine.store_level") == Some(Action::Off) {
            return;
        }
        self.registry.store_works = works;
        self.registry.store_damage = self.shared.parts.store.damage();
        if works && !self.recovered {
            recovery::begin(&self.shared);
        }
        // What the store did not answer in time may be in the log: looked for again when it is back.
        self.recovered = works;
        // For a broken twin: a host that waits for somebody who writes.
        if !works && failpoint!("engine.store_check") != Some(Action::Off) {
            self.check_store(CHECK_EVERY);
        }
    }

    pub(super) fn check_store(&mut self, after: Duration) {
        let shared = Arc::clone(&self.shared);
        self.pending.push(
            async move {
                sleep(after).await;
                let checked = timeout(CHECK_WITHIN, shared.parts.store.check()).await;
                Event::ServicesChanged(ServiceCheck::Store(matches!(checked, Ok(Ok(())))))
            }
            .boxed(),
        );
    }

    pub(super) fn fallback(&mut self, works: bool) {
        self.registry.fallback_works = works;
        if !works {
            self.pending.push(
                async move {
                    sleep(CHECK_EVERY).await;
                    Event::ServicesChanged(ServiceCheck::Fallback(fallback::self_test().is_ok()))
                }
                .boxed(),
            );
        }
    }
}
