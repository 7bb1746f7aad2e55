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

/// From the generator behind random UUIDs: cryptographic, seeded by the kernel, without a system call each time.
fn number() -> u64 {
    // A UUID has six fixed bits. Turned by half, none of them meets another: each bit of the result is random.
    let (high, low) = uuid::Uuid::new_v4().as_u64_pair();
    high ^ low.rotate_left(32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_bit_of_a_number_is_random() {
        let (mut ever, mut always) = (0, u64::MAX);
        for _ in 0..256 {
            let number = number();
            ever |= number;
            always &= number;
        }
        // A fair bit stays the same for 256 numbers once in 2^255.
        assert_eq!((ever, always), (u64::MAX, 0));
    }
}
