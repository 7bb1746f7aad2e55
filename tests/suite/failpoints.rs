//! Every step of the upgrade made to panic, to fail, to be slow and to hang: never 500, never silence (law 1).
//!
//! The steps are found in the source, so that a new one is covered from the day it is written.

use std::{collections::BTreeSet, path::Path};

use crate::{
    client::{Client, End},
    harness::{
        Host, Setup, artifacts,
        clock::Moment,
        eventually,
        http::{self, UPGRADE_WITHIN},
        tokens,
    },
    scenario::ready,
};

/// The faults of the upgrade path: every `failpoint!("gateway.upgrade.…")` in the gateway.
pub(crate) fn upgrade_points() -> BTreeSet<String> {
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
    let began = Moment::now();
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
    if answer.status == 101 {
        // Then the welcome, or a close: never silence (law 2).
        match Client::connect(host, "alice").await {
            Err(objection) if objection.contains("no welcome") => {
                return Err(format!("{fault}: {objection}"));
            }
            Ok(_) | Err(_) => {}
        }
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

/// A step of the upgrade that panics is answered lawfully.
async fn a_panic_is_answered(host: &Host) -> Result<(), String> {
    ready(host).await?;
    upgrade_is_total(host, "gateway.upgrade.token=panic").await
}

twin! {
    panics_are_caught(a_panic_is_answered) on Setup::echo();
    faults ""; broken by "gateway.upgrade.guard=off;gateway.panic_answer=off", says "status: 500"
}

/// A step of the upgrade that hangs is answered in time.
async fn a_hang_is_answered(host: &Host) -> Result<(), String> {
    ready(host).await?;
    upgrade_is_total(host, "gateway.upgrade.token=hang").await
}

twin! {
    hangs_are_cut_short(a_hang_is_answered) on Setup::echo();
    faults ""; broken by "gateway.upgrade.guard=off", says "no answer within"
}

#[tokio::test]
async fn a_panic_in_a_connection_is_its_own_end_and_is_said() {
    let host = Setup::echo().failpoints("").start();
    ready(&host).await.unwrap();
    let mut other = Client::connect(&host, "bob").await.unwrap();
    let mut client = Client::connect(&host, "alice").await.unwrap();
    host.inject("gateway.connection.frame=panic");
    client.say("hello", serde_json::json!({})).await.unwrap();
    assert_eq!(client.next().await, Err(End::Closed(1011)));
    host.inject("");
    other.run("are you there?").await.unwrap().answered_by("echo").unwrap();
}

#[tokio::test]
async fn a_service_that_is_missing_is_no_500() {
    for fault in
        ["services.llm", "services.threads", "services.tools", "services.events", "services.delegate"]
    {
        let host = Setup::echo().failpoints(&format!("{fault}=error")).start();
        ready(&host).await.unwrap();
        let answer = http::upgrade(host.address, Some(&tokens::of("alice"))).await.unwrap();
        assert_eq!(answer.status, 101, "{fault}: {answer:?}");
        Client::connect(&host, "alice").await.unwrap().run("hello").await.unwrap();
    }
}

#[tokio::test]
async fn workers_that_cannot_be_spawned_leave_the_fallback() {
    let host = Setup::echo().failpoints("runtime.spawn=error").start();
    ready(&host).await.unwrap();
    let mut client = Client::connect(&host, "alice").await.unwrap();
    assert_eq!(client.welcome["service"]["level"], "fallback", "{}", client.welcome);
    client.run("hello there").await.unwrap().answered_by_fallback("hello there").unwrap();
}

#[tokio::test]
async fn a_store_that_fails_in_the_midst_of_a_run_does_not_take_the_connection() {
    let host = Setup::echo().failpoints("").start();
    ready(&host).await.unwrap();
    let mut client = Client::connect(&host, "alice").await.unwrap();
    host.inject("store.append=error");
    client.say("hello", serde_json::json!({})).await.unwrap();
    client.expect("accepted").await.unwrap();
    client.send(&serde_json::json!({ "type": "ping" })).await.unwrap();
    client.until("pong").await.unwrap();
    host.inject("");
    // The accepted run is completed once the log can be written again.
    client.until("agent_completed").await.unwrap();
}
