//! A warm spare serves when the one that served dies; and nothing of either outlives the host.

use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::json;

use super::{metric, served};
use crate::{
    client::Client,
    harness::{Host, Plugin, Setup, eventually},
    scenario::ready,
};

fn setup() -> Setup {
    let bad = Plugin::misbehaving("bad").key("spares", "1").key("restart", "{ max = 100, within = \"1s\" }");
    Setup::new().plugin(bad).set("limits.messages_per_minute", "0")
}

async fn spare_is_ready(host: &Host) -> Result<(), String> {
    eventually("a spare is ready", async || {
        match metric(host, "agent_host_plugin_spares_ready{plugin=\"bad\"}").await? {
            1.0 => Ok(()),
            ready => Err(format!("{ready} spares are ready")),
        }
    })
    .await
}

async fn a_spare_takes_over(host: &Host) -> Result<(), String> {
    ready(host).await?;
    spare_is_ready(host).await?;
    if host.workers() != 2 {
        return Err(format!("{} workers: one serves, one is its spare", host.workers()));
    }
    let mut client = Client::connect(host, "alice").await?;
    let first = served(&mut client, "bad").await?;
    // Before its first event: the message itself is tried again, on the spare. It crashes that one too; nobody is
    // given a third.
    client.run_with("!segv", json!({ "agent": "bad" })).await?.answered_by_fallback("!segv")?;
    let after = served(&mut client, "bad").await?;
    let takeovers = metric(host, "agent_host_plugin_spare_takeovers_total{plugin=\"bad\"}").await?;
    if after <= first || takeovers < 1.0 {
        return Err(format!("generation {after} after {first}, {takeovers} times by the spare"));
    }
    spare_is_ready(host).await
}

twin! {
    takeover(a_spare_takes_over) on setup();
    faults ""; broken by "engine.spares=off", says "0 spares are ready"
}

/// kill -9: whether the spare, too, notices that nobody wants it is asserted where the host is dropped.
#[tokio::test]
async fn a_host_that_is_killed_leaves_no_spare_behind() {
    let mut host = setup().start();
    ready(&host).await.unwrap();
    spare_is_ready(&host).await.unwrap();
    host.signal(Signal::KILL);
    host.ended(crate::harness::PATIENCE).await.unwrap();
}

#[tokio::test]
async fn a_host_that_goes_away_in_order_ends_the_spare_too() {
    let mut host = setup().start();
    ready(&host).await.unwrap();
    spare_is_ready(&host).await.unwrap();
    host.signal(Signal::TERM);
    let status = host.ended(crate::harness::PATIENCE).await.unwrap();
    assert_eq!(status.code(), Some(0), "{}", host.said());
}

/// How long people are without their plugin after a crash: printed, not asserted.
#[tokio::test]
#[ignore = "long: prints how fast a crash is healed, with and without a spare"]
async fn how_fast_a_crash_is_healed() {
    for spares in ["0", "1"] {
        let bad =
            Plugin::misbehaving("bad").key("spares", spares).key("restart", "{ max = 100, within = \"1s\" }");
        let host = Setup::new().plugin(bad).set("limits.messages_per_minute", "0").start();
        ready(&host).await.unwrap();
        let mut client = Client::connect(&host, "alice").await.unwrap();
        let mut gaps = Vec::new();
        for _ in 0..20 {
            // The window of the budget passes, so that each restart is a first one.
            tokio::time::sleep(Duration::from_millis(1200)).await;
            served(&mut client, "bad").await.unwrap();
            if spares == "1" {
                spare_is_ready(&host).await.unwrap();
            }
            client.run_with("!think-segv", json!({ "agent": "bad" })).await.unwrap();
            let died = Instant::now();
            loop {
                let run = client.run_with("back?", json!({ "agent": "bad" })).await.unwrap();
                if run.status() == "ok" {
                    break;
                }
                assert!(died.elapsed() < crate::harness::PATIENCE, "never came back");
            }
            gaps.push(died.elapsed());
        }
        gaps.sort();
        println!("spares = {spares}: median {:?}, worst {:?}", gaps[gaps.len() / 2], gaps[gaps.len() - 1]);
    }
}
