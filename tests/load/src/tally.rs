//! Latencies of one round.

use std::time::Duration;

use hdrhistogram::Histogram;

/// How long answers took.
#[derive(Debug, Clone)]
pub struct Latencies(Histogram<u64>);

impl Default for Latencies {
    fn default() -> Self {
        // One microsecond to one minute, three digits.
        Self(Histogram::new_with_bounds(1, 60_000_000, 3).expect("the bounds are in order"))
    }
}

impl Latencies {
    /// Adds one; what is longer than a minute counts as one.
    pub fn add(&mut self, latency: Duration) {
        self.0.saturating_record(latency.as_micros() as u64);
    }

    /// In milliseconds; `at` is between 0 and 1.
    pub fn quantile(&self, at: f64) -> f64 {
        self.0.value_at_quantile(at) as f64 / 1000.0
    }

    /// The longest, in milliseconds.
    pub fn max(&self) -> f64 {
        self.0.max() as f64 / 1000.0
    }

    /// How many there are.
    pub fn count(&self) -> u64 {
        self.0.len()
    }
}
