//! Randomness: call ids that a plugin cannot guess, and jitter.

use agent_plugin_protocol::CallId;

/// A new call id.
pub(crate) fn call_id() -> CallId {
    CallId(number())
}

/// A number from 0 to 1.
pub(crate) fn jitter() -> f64 {
    // 53 bits: what an f64 holds exactly.
    (number() >> 11) as f64 / (1_u64 << 53) as f64
}

fn number() -> u64 {
    getrandom::u64().unwrap_or_else(|_| {
        // Without the kernel's randomness ids would still have to be unique: UUIDs fall back by themselves.
        let (high, low) = uuid::Uuid::now_v7().as_u64_pair();
        high.rotate_left(32) ^ low
    })
}
