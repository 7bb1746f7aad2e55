//! How long a message id stands for its message: the same rule in every store.

use std::time::{Duration, SystemTime};

/// How long a key is kept.
const KEPT: Duration = Duration::from_secs(24 * 3600);

/// Whether a key of `since` is over. A clock that went back makes nothing older.
pub(crate) fn is_expired(since: SystemTime, now: SystemTime) -> bool {
    now.duration_since(since).is_ok_and(|age| age >= KEPT)
}
