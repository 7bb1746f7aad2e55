//! `[limits]`: what one user may use. Written 0, a limit is off.

use crate::{reader::Reader, value::ByteSize};

/// What one user, connection or address may use; `None` is no limit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LimitsConfig {
    /// Connections of all users together.
    pub connections: Option<u32>,
    /// Connections of one user.
    pub connections_per_user: Option<u32>,
    /// Messages of one connection in a minute.
    pub messages_per_minute: Option<u32>,
    /// The largest frame that a client may send.
    pub frame_bytes: Option<ByteSize>,
    /// Runs of one user at once.
    pub runs_at_once: Option<u32>,
    /// Threads that one user may follow, over all connections.
    pub subscriptions_per_user: Option<u32>,
    /// Failed tokens of one address in a minute.
    pub auth_failures_per_minute: Option<u32>,
    /// Threads of one user.
    pub threads_per_user: Option<u32>,
    /// Stored bytes of one user.
    pub storage_per_user: Option<ByteSize>,
}

impl LimitsConfig {
    pub(crate) fn read(r: &Reader<'_>) -> Self {
        Self {
            connections: r.limit("connections", 10_000, 1..=10_000_000),
            // At least 7 must work: the replaced platform's own tests open so many.
            connections_per_user: r.limit("connections_per_user", 64, 1..=1_000_000),
            messages_per_minute: r.limit("messages_per_minute", 120, 1..=1_000_000),
            frame_bytes: r.limit("frame_bytes", ByteSize::kib(64), ByteSize::kib(1)..=ByteSize::mib(64)),
            runs_at_once: r.limit("runs_at_once", 4, 1..=100_000),
            subscriptions_per_user: r.limit("subscriptions_per_user", 10_000, 1..=100_000_000),
            auth_failures_per_minute: r.limit("auth_failures_per_minute", 60, 1..=1_000_000),
            threads_per_user: r.limit("threads_per_user", 10_000, 1..=100_000_000),
            storage_per_user: r.limit(
                "storage_per_user",
                ByteSize::gib(1),
                ByteSize::mib(1)..=ByteSize::gib(1024),
            ),
        }
    }
}
