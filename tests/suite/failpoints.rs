//! Every step of the upgrade made to panic, to fail, to be slow and to hang: never 500, never silence (law 1).
//!
//! The steps are found in the source, so that a new one is covered from the day it is written.

use std::{collections::BTreeSet, path::Path, time::Instant};

use crate::{
    client::Client,
    harness::{
        Host, Setup, artifacts, eventually,
        http::{self, UPGRADE_WITHIN},
        tokens,
    },
    scenario::ready,
};

/// The faults of the upgrade path: every `failpoint!("gateway.upgrade.…")` in the gateway.
fn upgrade_points() -> BTreeSet<String> {
    let mut points = BTreeSet::new();
    gather(&artifacts::root().join("host/gateway/src"), &mut points);
    points
}

fn gather(dir: &Path, points: &mut BTreeSet<String>) {
    for entry in std::fs::read_dir(dir).unwrap().map(Result::unwrap) {
        let path = entry.path();
        if path.is_dir() {
            gather(&path, points);
        } else if path.extension().is_some_and(|e| e == "rs") {
            let source = std::fs::read_to_string(&path).unwrap();
            let names = source.split("failpoint!(\"").skip(1).filter_map(|rest| rest.split('"').next());
            points.extend(names.filter(|name| name.starts_with("gateway.upgrade.")).map(str::to_owned));
        }
    }
}

/// A valid token's upgrade is answered in time and lawfully, and again without the fault with a 101.
async fn upgrade_is_total(host: &Host, fault: &str) -> Result<(), String> {
    host.inject(fault);
    let began = Instant::now();
    let answer =
        http::upgrade(host.address, Some(&tokens::of("alice"))).await.map_err(|e| format!("{fault}: {e}"))?;
    if ![101, 401, 403, 429, 503].contains(&answer.status) {
        return Err(format!("{fault}: {answer:?}"));
    }
    if answer.status != 101 {
        answer.code().map_err(|e| format!("{fault}: {e}"))?;
    }
    if [429, 503].contains(&answer.status) && answer.header("retry-after").is_none() {
        return Err(format!("{fault}: no Retry-After in {answer:?}"));
    }
    if began.elapsed() > UPGRADE_WITHIN {
        return Err(format!("{fault}: took {:?}", began.elapsed()));
    }
    host.inject("");
    let client = Client::connect(host, "alice").await.map_err(|e| format!("after {fault}: {e}"))?;
    client.close().await.map(drop)
}

async fn every_fault_of_the_upgrade(host: &Host) -> Result<(), String> {
    ready(host).await?;
    let points = upgrade_points();
    if points.len() < 3 {
        return Err(format!("too few points to prove anything: {points:?}"));
    }
    let mut wrong = Vec::new();
    for point in &points {
        for action in ["panic", "error", "delay:300", "hang"] {
            if let Err(objection) = upgrade_is_total(host, &format!("{point}={action}")).await {
                wrong.push(objection);
            }
        }
    }
    if wrong.is_empty() { Ok(()) } else { Err(wrong.join("\n")) }
}

#[tokio::test]
async fn no_fault_on_the_upgrade_path_is_a_500_or_silence() {
    let host = Setup::echo().failpoints("").start();
    every_fault_of_the_upgrade(&host).await.unwrap();
}

#[tokio::test]
async fn a_store_that_fails_is_said_and_nothing_is_accepted() {
    let host = Setup::echo().failpoints("").start();
    ready(&host).await.unwrap();
    let mut client = Client::connect(&host, "alice").await.unwrap();
    host.inject("store.begin=error");
    let id = client.say("hello", serde_json::json!({})).await.unwrap();
    let error = client.expect_error("store.unavailable").await.unwrap();
    assert_eq!((&error["id"], &error["retryable"]), (&id.into(), &true.into()), "{error}");
    // The connection stayed, and heals by itself.
    host.inject("");
    eventually("messages are accepted again", async || {
        let mut fresh = Client::connect(&host, "bob").await?;
        fresh.run("hello").await?.answered_by("echo")
    })
    .await
    .unwrap();
}
