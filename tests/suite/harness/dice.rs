//! Chance that can be had again: everything that a scenario does at random comes from one seed, which it prints.

use std::{
    ops::Range,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

/// A small generator.
#[derive(Debug, Clone)]
pub(crate) struct Dice(u64);

impl Dice {
    /// Of this seed.
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// A number below `below`.
    pub(crate) fn roll(&mut self, below: u64) -> u64 {
        // Splitmix64.
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut x = self.0;
        x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (x ^ (x >> 31)) % below
    }

    /// A time in this range, of milliseconds.
    pub(crate) fn millis(&mut self, range: &Range<u64>) -> Duration {
        Duration::from_millis(range.start + self.roll((range.end - range.start).max(1)))
    }

    /// Another one, whose rolls do not depend on how often this one is rolled from now on.
    pub(crate) fn another(&mut self) -> Self {
        Self(self.roll(u64::MAX))
    }
}

/// The scenario's seed: `SEED` of the environment, or a new one. It is printed.
pub(crate) fn seed() -> u64 {
    let given = std::env::var("SEED").ok().and_then(|seed| seed.parse().ok());
    let seed = given.unwrap_or_else(|| {
        SystemTime::now().duration_since(UNIX_EPOCH).map_or(1, |since| u64::from(since.subsec_nanos()))
    });
    println!("SEED={seed}");
    seed
}
