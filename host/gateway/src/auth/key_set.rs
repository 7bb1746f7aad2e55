//! The keys of another issuer: looked up for each token as they are now, fetched by one task, whatever tokens ask for.

mod now;
mod task;

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use agent_host_core::{
    failpoint,
    failpoint::Action,
    identity::{Principal, SignedBy},
    key_set::{Demand, KeySetPlan, KeySetPolicy},
    ports::keys::KeySource,
};
use tokio::{
    sync::{Notify, watch},
    time::{Instant, timeout},
};

pub(crate) use self::now::{KeySetView, Now};

/// How long a token waits for a fetch that may bring its key; then it is told to come back. Below what an upgrade may
/// take altogether.
const WAIT: Duration = Duration::from_millis(500);

/// A key set that is kept fetched while the gateway is open.
pub struct KeySet {
    source: Arc<dyn KeySource>,
    /// Its address, fit for a log.
    from: String,
    /// For one fetch.
    within: Duration,
    plan: Mutex<KeySetPlan>,
    /// A token asked. Holds one: a second one asks for the same.
    asked: Notify,
    /// Told anew at the end of each fetch. Whoever looks sees the newest only.
    now: watch::Sender<Arc<Now>>,
}

impl KeySet {
    /// A set that was not fetched yet. `from` is what logs call it; each fetch may take `within`.
    pub fn new(source: Arc<dyn KeySource>, from: String, within: Duration, policy: KeySetPolicy) -> Self {
        // For a broken twin: a host that asks its issuer as often as it is told to.
        let pace = if failpoint!("gateway.key_set.pace") == Some(Action::Off) {
            Duration::ZERO
        } else {
            policy.pace
        };
        let plan = KeySetPlan::new(KeySetPolicy { pace, ..policy }, moment());
        Self {
            source,
            from,
            within,
            plan: Mutex::new(plan),
            asked: Notify::new(),
            now: watch::Sender::new(Arc::default()),
        }
    }

    /// The keys as they are now.
    pub(crate) fn now(&self) -> Arc<Now> {
        self.now.borrow().clone()
    }

    /// For operators.
    pub(crate) fn view(&self) -> KeySetView {
        self.now().view(&self.from, moment())
    }

    /// Whether the issuer has withdrawn the key that verified this token.
    pub(crate) fn has_withdrawn(&self, principal: &Principal) -> bool {
        // For a broken twin: a host whose connections outlive their key.
        let asks = failpoint!("gateway.key_set.withdrawn") != Some(Action::Off);
        let SignedBy::Fetched(print) = principal.signed_by else { return false };
        let now = self.now.borrow();
        // Before the first fetch nothing is known of the issuer's keys, and nothing withdrawn.
        asks && now.fetched.is_some() && !now.has(print)
    }

    /// A token came whose key is not there. Answers when another look is worth it: at once, or after the fetch that goes
    /// on, if that ends in time; `false` if it does not. Cancel safe.
    pub(crate) async fn asked_for_more(&self) -> bool {
        // Before it is asked for: the end of that fetch is not missed.
        let mut next = self.now.subscribe();
        let demand = self.plan().demand(moment());
        match demand {
            Demand::Later(_) => {
                // The task waits for a time that may have become another.
                self.asked.notify_one();
                true
            }
            Demand::Coming => {
                self.asked.notify_one();
                timeout(WAIT, next.changed()).await.is_ok()
            }
        }
    }

    fn plan(&self) -> MutexGuard<'_, KeySetPlan> {
        // Each change is one operation of the plan: it is sound even if a holder panicked.
        self.plan.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl std::fmt::Debug for KeySet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("KeySet").field("from", &self.from).field("now", &self.now()).finish()
    }
}

/// By the clock that no operator sets.
fn moment() -> std::time::Instant {
    Instant::now().into_std()
}

#[cfg(test)]
mod tests;
