//! Generations on trial: their self-tests, the end of their time, and what follows their verdict.

use futures_util::FutureExt as _;
use tokio::time::{Instant, sleep};

use super::{Event, Supervisor, slot::Awaited};

impl Supervisor {
    /// Follows the verdicts that there are, and waits for those of trials that began. To be asked after each event.
    pub(super) fn tend_canaries(&mut self) {
        for ended in self.registry.end_canaries() {
            if ended.serves {
                self.serves_on(ended.slot);
            }
            self.retire(ended.slot, ended.over);
        }
        for (slot, Awaited { generation, within }) in self.registry.await_canaries() {
            self.registry.recheck_services(slot, Instant::now());
            self.schedule_probe(slot, generation);
            self.pending.push(
                async move {
                    sleep(within).await;
                    Event::CanaryDue { slot, generation }
                }
                .boxed(),
            );
        }
    }
}
