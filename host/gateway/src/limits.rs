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
#[derive(Debug, Clone)]
pub(crate) struct UserConnections {
    most: usize,
    open: Arc<Mutex<HashMap<Scope, usize>>>,
}

impl UserConnections {
    /// `most` of 0: no limit.
    pub(crate) fn new(most: usize) -> Self {
        Self { most, open: Arc::default() }
    }

    /// How many are open, of all users.
    pub(crate) fn open(&self) -> usize {
        self.open.lock().unwrap_or_else(PoisonError::into_inner).values().sum()
    }

    /// A place for one more, given back when it is dropped; `None`: the user has as many as allowed.
    pub(crate) fn admit(&self, scope: &Scope) -> Option<UserConnection> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let count = open.entry(scope.clone()).or_default();
        if self.most != 0 && *count >= self.most {
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
        let users = UserConnections::new(2);
        let (a, _b) = (users.admit(&scope("u")).unwrap(), users.admit(&scope("u")).unwrap());
        assert!(users.admit(&scope("u")).is_none());
        assert!(users.admit(&scope("v")).is_some());
        drop(a);
        assert!(users.admit(&scope("u")).is_some());
    }

    #[test]
    fn nothing_is_remembered_of_users_without_connections() {
        let users = UserConnections::new(0);
        drop((0..100).map(|i| users.admit(&scope(&i.to_string())).unwrap()).collect::<Vec<_>>());
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
    fn waiting_as_long_as_told_is_enough() {
        let now = Instant::now();
        let mut bucket = TokenBucket::new(1, Duration::from_secs(1), now).unwrap();
        bucket.take(now).unwrap();
        let wait = bucket.take(now).unwrap_err();
        assert!(bucket.take(now + wait + Duration::from_micros(1)).is_ok());
        assert!(TokenBucket::new(0, Duration::from_secs(1), now).is_none());
    }
}
