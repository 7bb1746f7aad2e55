//! Random times, so that many clients do not act at once.

use std::{ops::RangeInclusive, time::Duration};

/// A random time in the range; its middle where there is no randomness to be had.
pub(crate) fn within(range: &RangeInclusive<Duration>) -> Duration {
    let random = getrandom::u32().unwrap_or(u32::MAX / 2);
    let span = range.end().saturating_sub(*range.start());
    range.start().saturating_add(span.mul_f64(f64::from(random) / f64::from(u32::MAX)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stays_in_its_range() {
        let range = Duration::from_millis(20)..=Duration::from_millis(25);
        assert!((0..1000).all(|_| range.contains(&within(&range))));
    }
}
