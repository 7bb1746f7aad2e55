//! Measures both tiers; asserts nothing. `cargo test --release -p agent-host-runtime -- --ignored --nocapture speed`

use std::time::Instant;

use agent_host_core::ports::instance::{CallOutput, PluginSpec};
use serde_json::json;

use crate::support::{misbehaving, say, start, trusted};

#[tokio::test(flavor = "multi_thread")]
#[ignore = "a measurement"]
async fn round_trip_and_events() {
    for spec in [misbehaving(json!({})), trusted(misbehaving(json!({})))] {
        measure(spec).await;
    }
}

/// With `--features agent-host-runtime/failpoints` and `AGENT_HOST_FAILPOINTS="sandbox.namespace=off;…"` a layer's cost.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "a measurement"]
async fn starts() {
    let mut took = Vec::new();
    for _ in 0..60 {
        let begun = Instant::now();
        let started = start(misbehaving(json!({}))).await.unwrap();
        took.push(begun.elapsed());
        drop(started);
    }
    took.sort();
    println!("start: p50 {:?}, p90 {:?}", took[took.len() / 2], took[took.len() * 9 / 10]);
}

async fn measure(spec: PluginSpec) {
    println!("{}", spec.isolation.as_str());
    let begun = Instant::now();
    let started = start(spec).await.unwrap();
    println!("start: {:?}", begun.elapsed());
    let mut trips = Vec::new();
    for _ in 0..20_000 {
        let begun = Instant::now();
        let mut call = say(&started.handle, "!empty").await;
        assert!(matches!(call.next().await, CallOutput::Completed(_)));
        trips.push(begun.elapsed());
    }
    trips.sort();
    println!("round trip: p50 {:?}, p99 {:?}", trips[trips.len() / 2], trips[trips.len() * 99 / 100]);
    let begun = Instant::now();
    let (events, _) = say(&started.handle, "!many 300000").await.ended().await;
    println!("{:.0} events/s", events as f64 / begun.elapsed().as_secs_f64());
}
