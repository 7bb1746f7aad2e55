//! What the host stands on fails while it starts: each thing alone, every two of them, and all at once. After a valid
//! token there is never a 500, the level is not a lie, every message is answered, and all is well when the fault is gone.
//!
//! The things are found in the source, so that a new one is covered from the day it is written.

use std::{
    collections::BTreeSet,
    path::Path,
    sync::{Arc, Mutex},
};

use serde_json::json;
use tokio::{sync::Semaphore, task::JoinSet};

use crate::{
    client::Client,
    harness::{Host, Setup, artifacts, eventually, host::cli, http, tokens},
    scenario::ready,
};

/// What a start stands on. Points that only broken twins use (`off`) are no faults of these.
const AREAS: [&str; 5] = ["start.", "services.", "store.", "fallback.", "runtime.spawn"];
const TWINS_ONLY: [&str; 1] = ["store.scope"];
/// Steps without which no host can be: it refuses to start and names them.
const NEEDED: [&str; 6] =
    ["start.config", "start.engine", "start.listen", "start.runtime", "start.signals", "start.store"];
/// Hosts at a time.
const AT_ONCE: usize = 4;

/// Every such point of the host's source that a host lives with.
fn points() -> Vec<String> {
    let mut points = BTreeSet::new();
    gather(&artifacts::root().join("host"), &mut points);
    for needed in NEEDED {
        assert!(points.remove(needed), "no such step any more: {needed}");
    }
    points.into_iter().collect()
}

fn gather(folder: &Path, points: &mut BTreeSet<String>) {
    for entry in std::fs::read_dir(folder).unwrap().map(Result::unwrap) {
        let path = entry.path();
        if path.is_dir() {
            gather(&path, points);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let source = std::fs::read_to_string(&path).unwrap();
            let names = source.split("failpoint!(\"").skip(1).filter_map(|rest| rest.split('"').next());
            let of_a_start = names
                .filter(|name| AREAS.iter().any(|area| name.starts_with(area)) && !TWINS_ONLY.contains(name));
            points.extend(of_a_start.map(str::to_owned));
        }
    }
}

/// A host that starts with these faults serves as well as it can, says so, and is well without them.
async fn serves_in_spite_of(faults: &str) -> Result<(), String> {
    let host = Setup::echo().failpoints(faults).start();
    let found = lives_with(&host).await;
    found.map_err(|objection| format!("{faults}: {objection}\n{}", host.said()))
}

async fn lives_with(host: &Host) -> Result<(), String> {
    let answer = http::upgrade(host.address, Some(&tokens::of("alice"))).await?;
    if answer.status != 101 {
        return Err(format!("a valid token got {answer:?}"));
    }
    let mut client = Client::connect(host, "alice").await?;
    is_answered(&mut client).await?;
    stays(&mut client).await?;
    host.heal();
    eventually("all is well without the faults", async || {
        let mut fresh = Client::connect(host, "bob").await?;
        match fresh.welcome["service"]["level"].as_str() {
            Some("full") => fresh.run_with("hello", json!({ "agent": "echo" })).await?.answered_by("echo"),
            level => Err(format!("{level:?}: {}", fresh.welcome["service"])),
        }
    })
    .await?;
    // The same connection, too.
    stays(&mut client).await
}

/// The message is accepted, or refused by a code; what is accepted is completed once the log can be written.
async fn is_answered(client: &mut Client) -> Result<(), String> {
    client.say("hello there", json!({})).await?;
    loop {
        let frame = client.next().await?;
        match frame["type"].as_str() {
            Some("service_status") => {}
            Some("accepted") => return Ok(()),
            Some("error") if frame["code"].as_str().is_some_and(|code| code.contains('.')) => return Ok(()),
            _ => return Err(format!("neither accepted nor refused: {frame}")),
        }
    }
}

async fn stays(client: &mut Client) -> Result<(), String> {
    client.send(&json!({ "type": "ping" })).await?;
    client.until("pong").await.map(drop)
}

/// Plays each, a few hosts at a time; answers every objection.
async fn all(faults: Vec<String>) -> Vec<String> {
    let (places, wrong) = (Arc::new(Semaphore::new(AT_ONCE)), Arc::new(Mutex::new(Vec::new())));
    let mut playing = JoinSet::new();
    for fault in faults {
        let (places, wrong) = (Arc::clone(&places), Arc::clone(&wrong));
        playing.spawn(async move {
            let _place = places.acquire().await.expect("never closed");
            if let Err(objection) = serves_in_spite_of(&fault).await {
                wrong.lock().unwrap().push(objection);
            }
        });
    }
    while let Some(played) = playing.join_next().await {
        played.unwrap();
    }
    std::mem::take(&mut *wrong.lock().unwrap())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_thing_that_a_start_stands_on_may_fail_alone() {
    let points = points();
    assert!(points.len() >= 8, "too few points to prove anything: {points:?}");
    let faults =
        points.iter().flat_map(|point| ["error", "panic", "delay:300"].map(|how| format!("{point}={how}")));
    let delays = NEEDED.iter().map(|step| format!("{step}=delay:300"));
    let wrong = all(faults.chain(delays).collect()).await;
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_two_things_that_a_start_stands_on_may_fail_together() {
    let points = points();
    let pairs = points
        .iter()
        .enumerate()
        .flat_map(|(at, one)| points[at + 1..].iter().map(move |other| format!("{one}=error;{other}=error")));
    let wrong = all(pairs.collect()).await;
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}

/// A start that cannot be says which step it was, why, and what to do, and ends with 1.
fn is_refused_by_name(step: &str, faults: &str) -> Result<(), String> {
    let output = cli(&["serve"], &Setup::echo().failpoints(faults));
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    let named = format!("the step `{}` failed", step.trim_start_matches("start."));
    match output.status.code() {
        Some(1) if said.contains(&named) && said.contains("host.start_failed") => Ok(()),
        _ => Err(format!("{faults}: {:?}: {said}", output.status)),
    }
}

#[test]
fn a_step_that_no_host_can_be_without_is_named() {
    for step in NEEDED {
        for how in ["error", "panic"] {
            is_refused_by_name(step, &format!("{step}={how}")).unwrap();
        }
    }
}

#[test]
fn it_is_named_whatever_else_fails() {
    for step in NEEDED {
        for other in points() {
            is_refused_by_name(step, &format!("{step}=error;{other}=error")).unwrap();
        }
    }
    // Of two that it cannot be without, the first.
    is_refused_by_name("start.runtime", "start.runtime=error;start.listen=error").unwrap();
}

/// The store, the fallback and every plugin fail together: level `basic`, the sockets stay, each message gets a clear
/// error.
async fn with_nothing_left_it_says_so(host: &Host) -> Result<(), String> {
    ready(host).await?;
    let mut client = Client::connect(host, "alice").await?;
    for _ in 0..3 {
        client.say("hello there", json!({})).await?;
        let error = client.expect("error").await?;
        if error["code"] != "store.unavailable" || error["retryable"] != true {
            return Err(format!("no clear error: {error}"));
        }
    }
    eventually("the level is basic", async || {
        let fresh = Client::connect(host, "bob").await?;
        match fresh.welcome["service"]["level"].as_str() {
            Some("basic") => Ok(()),
            level => Err(format!("{level:?}")),
        }
    })
    .await?;
    stays(&mut client).await
}

twin! {
    nothing_left(with_nothing_left_it_says_so) on Setup::echo();
    faults "runtime.spawn=error;fallback.answer=error;store.commit=error;store.append=error";
    broken by "store.begin=off", says "expected error"
}

/// A store that panics when it is asked is a store that does not work: refused aloud, and well again without a restart.
async fn a_panicking_store_is_one_that_does_not_work(host: &Host) -> Result<(), String> {
    ready(host).await?;
    let mut client = Client::connect(host, "alice").await?;
    client.run("hello").await?.answered_by("echo")?;
    // In the middle of a run, too: what is accepted is completed when the log works again.
    host.inject("store.append=panic");
    client.say("hello there", json!({})).await?;
    client.expect("accepted").await?;
    host.heal();
    client.until("agent_completed").await?;
    host.inject("store.begin=panic");
    client.say("hello again", json!({})).await?;
    let refused = client.until("error").await?;
    if refused["code"] != "store.unavailable" {
        return Err(format!("not refused as it should be: {refused}"));
    }
    host.heal();
    for _ in 0..200 {
        client.say("and now?", json!({})).await?;
        // Refused until the store has been looked at again.
        match client.until_one_of(&["error", "agent_completed"]).await?["type"].as_str() {
            Some("agent_completed") => return Ok(()),
            _ => tokio::time::sleep(std::time::Duration::from_millis(50)).await,
        }
    }
    Err("the store is not asked again".to_owned())
}

twin! {
    panics_of_the_store(a_panicking_store_is_one_that_does_not_work) on Setup::echo();
    faults ""; broken by "engine.contained_store=off", says ""
}
