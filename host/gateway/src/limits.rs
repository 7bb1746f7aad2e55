//! Limits that the gateway keeps itself: connections per user, and the rate of one connection.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use agent_host_core::identity::Scope;
use tokio::time::Instant;

/// Counts the open connections of each user.
///
/// The lock is held for a map operation, at the begin and the end of a connection only.
#[derive(Debug, Clone, Default)]
pub(crate) struct UserConnections {
    open: Arc<Mutex<HashMap<Scope, usize>>>,
}

impl UserConnections {
    /// How many are open, of all users.
    pub(crate) fn open(&self) -> usize {
        self.open.lock().unwrap_or_else(PoisonError::into_inner).values().sum()
    }

    /// A place for one more, given back when it is dropped; `None`: the user has as many as allowed. `most` of 0: no limit.
    pub(crate) fn admit(&self, scope: &Scope, most: usize) -> Option<UserConnection> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let count = open.entry(scope.clone()).or_default();
        if most != 0 && *count >= most {
            return None;
        }
        *count += 1;
        Some(UserConnection { scope: scope.clone(), open: Arc::clone(&self.open) })
    }
}

/// One of a user's places.
#[derive(Debug)]
pub(crate) struct UserConnection {
    scope: Scope,
    open: Arc<Mutex<HashMap<Scope, usize>>>,
}

impl Drop for UserConnection {
    fn drop(&mut self) {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = open.get_mut(&self.scope) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                open.remove(&self.scope);
            }
        }
    }
}

/// A token bucket: a burst, refilled evenly. Time is given.
#[derive(Debug, Clone)]
pub(crate) struct TokenBucket {
    burst: f64,
    per_second: f64,
    left: f64,
    at: Instant,
}

impl TokenBucket {
    /// `None` (no limit) if `burst` is 0. Full at `now`.
    pub(crate) fn new(burst: u32, refilled_within: Duration, now: Instant) -> Option<Self> {
        let burst = f64::from(burst);
        let per_second = burst / refilled_within.as_secs_f64();
        (burst > 0.0 && per_second.is_finite()).then_some(Self { burst, per_second, left: burst, at: now })
    }

    /// The new one, as empty as the old one was: who had used up what was allowed is given nothing by a change.
    pub(crate) fn in_place_of(old: Option<Self>, new: Option<Self>) -> Option<Self> {
        match (old, new) {
            (Some(old), Some(new)) => {
                let left = new.burst - (old.burst - old.left).min(new.burst);
                Some(Self { left, at: old.at, ..new })
            }
            (None, new) => new,
            (Some(_), None) => None,
        }
    }

    /// The most that it holds.
    pub(crate) fn burst(&self) -> f64 {
        self.burst
    }

    /// When one was asked for last.
    pub(crate) fn last_taken(&self) -> Instant {
        self.at
    }

    /// Takes one.
    ///
    /// # Errors
    /// How long until there is one.
    pub(crate) fn take(&mut self, now: Instant) -> Result<(), Duration> {
        let passed = now.saturating_duration_since(self.at).as_secs_f64();
        self.at = self.at.max(now);
        self.left = (self.left + passed * self.per_second).min(self.burst);
        if self.left >= 1.0 {
            self.left -= 1.0;
            Ok(())
        } else {
            Err(Duration::from_secs_f64((1.0 - self.left) / self.per_second))
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn scope(user: &str) -> Scope {
        Scope { tenant: "t".into(), user: user.into() }
    }

    #[test]
    fn a_user_s_places_are_their_own_and_come_back() {
        let users = UserConnections::default();
        let (a, _b) = (users.admit(&scope("u"), 2).unwrap(), users.admit(&scope("u"), 2).unwrap());
        assert!(users.admit(&scope("u"), 2).is_none());
        assert!(users.admit(&scope("v"), 2).is_some());
        drop(a);
        assert!(users.admit(&scope("u"), 1).is_none(), "the limit is what it is now");
        assert!(users.admit(&scope("u"), 2).is_some());
    }

    #[test]
    fn nothing_is_remembered_of_users_without_connections() {
        let users = UserConnections::default();
        drop((0..100).map(|i| users.admit(&scope(&i.to_string()), 0).unwrap()).collect::<Vec<_>>());
        assert!(users.open.lock().unwrap().is_empty());
    }

    proptest! {
        #[test]
        fn no_more_than_burst_plus_refill_pass(gaps in proptest::collection::vec(0u64..2000, 1..200)) {
            let start = Instant::now();
            let mut bucket = TokenBucket::new(10, Duration::from_secs(10), start).unwrap();
            let (mut now, mut passed) = (start, 0u64);
            for gap in gaps {
                now += Duration::from_millis(gap);
                if let Err(wait) = bucket.take(now) {
                    prop_assert!(wait <= Duration::from_secs(1));
                } else {
                    passed += 1;
                }
                prop_assert!(passed <= 11 + now.duration_since(start).as_secs());
            }
        }
    }

    #[test]
    fn a_new_bucket_is_as_empty_as_the_old_one() {
        let now = Instant::now();
        let bucket = |burst| TokenBucket::new(burst, Duration::from_secs(60), now);
        let mut old = bucket(3).unwrap();
        (0..3).for_each(|_| old.take(now).unwrap());
        let passing = |of: &Option<TokenBucket>| {
            let mut of = of.clone().unwrap();
            (0..100).take_while(|_| of.take(now).is_ok()).count()
        };
        assert_eq!(passing(&TokenBucket::in_place_of(Some(old.clone()), bucket(10))), 7);
        assert_eq!(passing(&TokenBucket::in_place_of(Some(old.clone()), bucket(2))), 0);
        assert_eq!(passing(&TokenBucket::in_place_of(None, bucket(2))), 2);
        assert!(TokenBucket::in_place_of(Some(old), bucket(0)).is_none());
    }

    #[test]
    fn waiting_as_long_as_told_is_enough() {
        let now = Instant::now();
        let mut bucket = TokenBucket::new(1, Duration::from_secs(1), now).unwrap();
        bucket.take(now).unwrap();
        let wait = bucket.take(now).unwrap_err();
        assert!(bucket.take(now + wait + Duration::from_micros(1)).is_ok());
        assert!(TokenBucket::new(0, Duration::from_secs(1), now).is_none());
    }
}
