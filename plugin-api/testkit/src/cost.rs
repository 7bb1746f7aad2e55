//! What a call of a plugin costs, measured.

use std::time::{Duration, Instant};

use agent_plugin_api::protocol::call::{Completion, method};
use serde::Serialize;

use crate::{
    Subject,
    conformance::{Bench, Hospitality, Plan},
};

/// Medians, in microseconds, over what fitted into the budget.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Cost {
    /// One probe, there and back.
    pub round_trip_us: f64,
    /// Probes that were measured.
    pub round_trips: usize,
    /// One short message to its last word, with what the agent itself does for it.
    pub message_us: f64,
    /// Messages that were measured.
    pub messages: usize,
    /// Events of such a message, on average.
    pub events_per_message: f64,
    /// One event: a message's time divided by its events; `None` where it emits none.
    pub event_us: Option<f64>,
}

/// Measures a plugin for about twice the budget, at least one call of each kind.
///
/// `None` where a call did not end orderly: what is broken has no cost worth knowing.
pub async fn measure<S: Subject>(subject: &mut S, plan: &Plan, budget: Duration) -> Option<Cost> {
    let mut bench = Bench::new(subject, *plan);
    // The first calls fault pages in and grow buffers: they are no measure.
    for _ in 0..WARM_UP {
        probe(&mut bench).await?;
    }
    let mut trips = Vec::new();
    let began = Instant::now();
    while trips.is_empty() || (trips.len() < MOST_TRIPS && began.elapsed() < budget) {
        trips.push(probe(&mut bench).await?);
    }
    let (mut messages, mut events) = (Vec::new(), 0_u64);
    let began = Instant::now();
    while messages.is_empty() || (messages.len() < MOST_MESSAGES && began.elapsed() < budget) {
        let (took, emitted) = message(&mut bench).await?;
        messages.push(took);
        events += emitted;
    }
    let message_us = median_us(&mut messages);
    let events_per_message = events as f64 / messages.len() as f64;
    Some(Cost {
        round_trip_us: median_us(&mut trips),
        round_trips: trips.len(),
        message_us,
        messages: messages.len(),
        events_per_message,
        event_us: (events > 0).then(|| message_us / events_per_message),
    })
}

const WARM_UP: usize = 20;
const MOST_TRIPS: usize = 1000;
const MOST_MESSAGES: usize = 200;

async fn probe<S: Subject>(bench: &mut Bench<'_, S>) -> Option<Duration> {
    let began = Instant::now();
    let ended = bench.call(method::PROBE, b"{}".to_vec()).await;
    ended.completion().is_some().then(|| began.elapsed())
}

async fn message<S: Subject>(bench: &mut Bench<'_, S>) -> Option<(Duration, u64)> {
    let began = Instant::now();
    let ended = bench.message("What does a message cost?", Hospitality::Giving).await;
    match ended.completion()? {
        Completion::Ok { .. } | Completion::Error { .. } | Completion::Cancelled => {
            Some((began.elapsed(), ended.events))
        }
        Completion::Panicked { .. } => None,
    }
}

fn median_us(times: &mut [Duration]) -> f64 {
    times.sort_unstable();
    let median = times.get(times.len() / 2).copied().unwrap_or_default();
    (median.as_secs_f64() * 1e7).round() / 10.0
}
