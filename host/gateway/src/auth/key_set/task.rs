//! Keeps a key set fetched: the only writer of what tokens are judged by.

use std::{panic::AssertUnwindSafe, sync::Arc, time::Duration};

use agent_host_core::{failpoint, failpoint::Action, key_set::Fetched};
use agent_host_telemetry::{
    happening::{KeyPassedOver, KeySetChanged, KeySetFailed, KeysUnavailable},
    series,
};
use futures_util::FutureExt as _;
use tokio::time::{Instant, sleep_until, timeout};
use tokio_util::sync::CancellationToken;

use super::{KeySet, Now, moment};
use crate::{
    auth::jwk::{self, ReadSet},
    jitter,
    revoked::RevokedTokens,
    upgrade::panic_message,
};

impl KeySet {
    /// Fetches whenever the plan says so, until `stop`. Tells the connections through `revoked` when a key is withdrawn.
    pub(crate) async fn keep(self: Arc<Self>, revoked: Arc<RevokedTokens>, stop: CancellationToken) {
        loop {
            let wake = self.plan().wake_at(moment());
            // There is always one: no fetch goes on here.
            let wake = wake.map_or_else(Instant::now, Instant::from_std);
            tokio::select! {
                () = stop.cancelled() => return,
                () = sleep_until(wake) => {}
                () = self.asked.notified() => {}
            }
            if !self.plan().begin(moment()) {
                self.judge_again();
                continue;
            }
            let fetched = tokio::select! {
                () = stop.cancelled() => return,
                fetched = self.fetched() => fetched,
            };
            self.take(fetched, &revoked);
        }
    }

    /// One fetch with its end, whatever it is: an answer, an error, a panic, or none in time.
    async fn fetched(&self) -> Result<ReadSet, String> {
        let fetching = async { jwk::read(&self.source.fetch().await.map_err(|error| error.to_string())?) };
        // Unwind safe: what a fetch made is dropped with it.
        let contained = AssertUnwindSafe(fetching).catch_unwind();
        // For a broken twin: a host that waits for its issuer as long as that likes.
        let patient = failpoint!("gateway.key_set.deadline") == Some(Action::Off);
        let within = if patient { Duration::from_secs(24 * 3600) } else { self.within };
        match timeout(within, contained).await {
            Ok(Ok(read)) => read,
            Ok(Err(panic)) => Err(format!("the fetch panicked: {}", panic_message(&*panic))),
            Err(_) => Err(format!("no answer within {} ms (`auth.jwks_timeout`)", within.as_millis())),
        }
    }

    /// Puts what was fetched in the place of what was there.
    fn take(&self, fetched: Result<ReadSet, String>, revoked: &RevokedTokens) {
        let before = self.now();
        let ending = match &fetched {
            Ok(set) if set.keys.is_empty() => Fetched::NoKey,
            Ok(_) => Fetched::Keys,
            Err(_) => Fetched::Failed,
        };
        let spread = jitter::within(&(Duration::ZERO..=Duration::from_secs(1))).as_secs_f64();
        let (after, next) = {
            // Both in one: whoever asks meanwhile sees neither a fetch that is over without its keys, nor keys without it.
            let mut plan = self.plan();
            let now = moment();
            let next = plan.settle(ending, now, spread);
            let (keys, passed_over, reason) = match fetched {
                Ok(set) if ending == Fetched::NoKey => {
                    let reason = "the set has no key that this host could use".to_owned();
                    (set.keys.into(), set.passed_over, Some(reason))
                }
                Ok(set) => (set.keys.into(), set.passed_over, None),
                // For a broken twin: a host that forgets its keys with its issuer.
                Err(reason) if failpoint!("gateway.key_set.kept") == Some(Action::Off) => {
                    ([].into(), Vec::new(), Some(reason))
                }
                Err(reason) => (Arc::clone(&before.keys), before.passed_over.clone(), Some(reason)),
            };
            let fetched = plan.age(now).and_then(|age| now.checked_sub(age));
            let (standing, failures) = (plan.standing(now), plan.failures());
            let after = Arc::new(Now { standing, keys, passed_over, fetched, failures, reason });
            self.now.send_replace(Arc::clone(&after));
            (after, next)
        };
        let first = before.fetched.is_none() && after.fetched.is_some();
        if first || before.keys.iter().any(|key| !after.has(key.print)) {
            revoked.look_again();
        }
        self.tell(&before, &after, next);
    }

    /// Stale keys may have expired by now.
    fn judge_again(&self) {
        let before = self.now();
        let (standing, reason) = (self.plan().standing(moment()), before.reason.clone());
        if standing == before.standing {
            return;
        }
        let after = Arc::new(Now {
            standing,
            keys: Arc::clone(&before.keys),
            passed_over: before.passed_over.clone(),
            fetched: before.fetched,
            failures: before.failures,
            reason,
        });
        self.now.send_replace(Arc::clone(&after));
        self.tell_worth(&before, &after);
    }

    fn tell(&self, before: &Now, after: &Now, next: Duration) {
        series::key_set_fetched(after.reason.is_none());
        if let Some(reason) = &after.reason {
            KeySetFailed {
                from: self.from.clone(),
                reason: reason.clone(),
                failures: after.failures,
                state: after.standing.as_str(),
                retry_ms: next.as_millis(),
            }
            .emit();
        }
        let gone = |of: &Now, other: &Now| of.keys.iter().filter(|key| !other.has(key.print)).count();
        let (added, removed) = (gone(after, before), gone(before, after));
        let healed = before.failures > 0 && after.failures == 0;
        if added > 0 || removed > 0 || healed {
            KeySetChanged { from: self.from.clone(), keys: after.keys.len(), added, removed }.emit();
        }
        if after.passed_over != before.passed_over {
            for key in &after.passed_over {
                KeyPassedOver { from: self.from.clone(), kid: key.name.clone(), reason: key.why.to_string() }
                    .emit();
            }
        }
        self.tell_worth(before, after);
    }

    /// What the keys are worth now, and aloud if they have become worth nothing.
    fn tell_worth(&self, before: &Now, after: &Now) {
        series::key_set(if after.standing.holds() { after.keys.len() } else { 0 });
        let first = before.failures == 0 && before.fetched.is_none();
        if !after.standing.holds() && (before.standing.holds() || first) {
            KeysUnavailable {
                from: self.from.clone(),
                state: after.standing.as_str(),
                reason: after.reason.clone().unwrap_or_default(),
            }
            .emit();
        }
    }
}
