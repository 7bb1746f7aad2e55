//! What the host stands on fails while it starts, each step of the start included: each thing alone, every two of them,
//! and all at once, in each shipped profile. A step that the host cannot be without ends it, with the reason; without
//! anything else, after a valid token there is never a 500, every message is answered, and all is well when the fault is
//! gone: over the native wire, and over both versions of that of the platform which this host replaces.
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
    harness::{Host, PATIENCE, Setup, artifacts, eventually, host, http, profile::Profile, tokens},
    netra::{client::Version, conformance::Greeted, v2::spoken},
    scenario::ready,
};

/// What a start stands on, beside its steps. Points that only broken twins use (`off`) are no faults of these.
const AREAS: [&str; 4] = ["services.", "store.", "fallback.", "runtime.spawn"];
const TWINS_ONLY: [&str; 8] = [
    "store.scope",
    "store.contain",
    "store.questions",
    "store.journal",
    "store.delete.user",
    "store.delete.tenant",
    "store.delete.rest",
    "store.delete.journal",
];
/// The steps that no host can be without.
const NEEDED: [&str; 6] =
    ["start.config", "start.runtime", "start.signals", "start.revocations", "start.engine", "start.listen"];
/// The steps whose absence lasts until the next start, as the log says: they set up what is not made twice.
const UNTIL_RESTART: [&str; 4] = ["start.log", "start.memory", "start.metrics", "start.file_limit"];
/// Hosts at a time.
const AT_ONCE: usize = 4;
/// Of all ways in which two may fail, about one in four times this is played by every run of the tests: always the same.
const ONE_PAIR_IN: usize = 3;

/// Every such point of the host's source.
pub(crate) fn points() -> Vec<String> {
    let mut points = BTreeSet::new();
    gather(&artifacts::root().join("host"), &mut points);
    points.extend(steps());
    points.into_iter().collect()
}

/// The steps of the start: the words in the one table of them.
fn steps() -> Vec<String> {
    let source = std::fs::read_to_string(artifacts::root().join("host/server/src/steps.rs")).unwrap();
    let lines = source.lines().filter_map(|line| line.trim().strip_prefix("Self::")?.split_once(" => \""));
    let words = lines.filter_map(|(_, rest)| rest.strip_suffix("\","));
    let steps: Vec<String> = words.map(|word| format!("start.{word}")).collect();
    for known in NEEDED.iter().chain(&UNTIL_RESTART) {
        assert!(steps.iter().any(|step| step == known), "{known} is no step of {steps:?}");
    }
    steps
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

/// What fails, and how: `point=action;point=action`.
fn fails(faults: &str, point: &str) -> bool {
    let how = faults.split(';').filter_map(|fault| fault.strip_prefix(point)?.strip_prefix('='));
    how.into_iter().any(|how| how == "error" || how == "panic")
}

/// A host that starts with these faults serves as well as it can, says so, and is well without them. One that cannot
/// start ends, with the reason and what to do.
async fn serves_in_spite_of(profile: Profile, faults: &str) -> Result<(), String> {
    let setup = profile.over(spoken(Setup::echo())).failpoints(faults);
    if NEEDED.iter().any(|step| fails(faults, step)) {
        return refuses_with_the_reason(&setup, faults).await;
    }
    let host = setup.start();
    let found = lives_with(&host, faults).await;
    found.map_err(|objection| format!("{profile:?}, {faults}: {objection}\n{}", host.said()))
}

async fn refuses_with_the_reason(setup: &Setup, faults: &str) -> Result<(), String> {
    let setup = setup.clone();
    let ended = tokio::task::spawn_blocking(move || host::cli(&["serve"], &setup));
    let ended = ended.await.map_err(|error| error.to_string())?;
    let said = String::from_utf8_lossy(&ended.stderr);
    let named = NEEDED.iter().any(|step| {
        let word = step.trim_start_matches("start.");
        fails(faults, step) && said.contains(&format!("cannot start: the step `{word}` failed: "))
    });
    match (ended.status.code(), named) {
        (Some(1), true) => Ok(()),
        (status, _) => Err(format!("{faults}: ended with {status:?}, saying {said}")),
    }
}

async fn lives_with(host: &Host, faults: &str) -> Result<(), String> {
    says_what_is_missing(host, faults).await?;
    let answer = http::upgrade(host.address, Some(&tokens::of("alice"))).await?;
    if answer.status != 101 {
        return Err(format!("a valid token got {answer:?}"));
    }
    let mut client = Client::connect(host, "alice").await?;
    is_answered(&mut client).await?;
    stays(&mut client).await?;
    both_older_are_answered(host).await?;
    host.heal();
    tokio::select! {
        well = all_is_well(host) => well?,
        end = client.attend() => return Err(format!("a client was given up: {end}")),
    }
    // The same connection, too.
    stays(&mut client).await
}

/// Over each of the wires.
async fn all_is_well(host: &Host) -> Result<(), String> {
    eventually("all is well without the faults", async || {
        let mut fresh = Client::connect(host, "bob").await?;
        match fresh.welcome["service"]["level"].as_str() {
            Some("full") => fresh.run_with("hello", json!({ "agent": "echo" })).await?.answered_by("echo"),
            level => Err(format!("{level:?}: {}", fresh.welcome["service"])),
        }
    })
    .await?;
    for version in Version::BOTH {
        // Asked again: what failed before, such as a read that panicked, may be told a moment later.
        eventually("all is well over the older wire", async || {
            let mut fresh = Greeted::of(host, version, "bob").await?;
            let completed = fresh.ask(&json!({ "type": "chat", "content": "hello" })).await?;
            match fresh.missing().is_empty() && completed["agent_name"] == "echo" {
                true => Ok(()),
                false => Err(format!("{version:?}: not well: {:?}, {completed}", fresh.greeting)),
            }
        })
        .await?;
    }
    Ok(())
}

/// The same of both versions of the older wire.
async fn both_older_are_answered(host: &Host) -> Result<(), String> {
    for version in Version::BOTH {
        older_is_answered(host, version).await.map_err(|objection| format!("{version:?}: {objection}"))?;
    }
    Ok(())
}

twin! {
    older_without_a_service(both_older_are_answered) on spoken(Setup::echo());
    faults "services.llm=error"; broken by "gateway.builds_nothing=off", says "V1: "
}

twin! {
    older_with_a_panicking_store(both_older_are_answered) on spoken(Setup::echo());
    faults "store.begin=panic"; broken by "store.contain=off", says "V1: "
}

/// Such a client is greeted, acknowledged or refused by a code, and goes on.
async fn older_is_answered(host: &Host, version: Version) -> Result<(), String> {
    let mut greeted = Greeted::of(host, version, "alice").await?;
    greeted.client.say(&json!({ "type": "chat", "content": "hello there" })).await?;
    loop {
        let frame = greeted.client.frame().await?;
        let pending = frame["type"] == "system_message" || frame["type"] == "ping";
        match frame["type"].as_str() {
            Some("ack") if frame["run_id"].is_string() => break,
            Some("error_message") if frame["details"]["code"].is_string() => break,
            _ if pending => {}
            _ => return Err(format!("neither acknowledged nor refused: {frame}")),
        }
    }
    greeted.client.say(&json!({ "type": "ping" })).await?;
    greeted.client.until("pong").await.map(drop)
}

/// Each step that was done without is named in the log, once and as such; the page of metrics is there, or is said not
/// to be.
async fn says_what_is_missing(host: &Host, faults: &str) -> Result<(), String> {
    for step in UNTIL_RESTART.iter().filter(|step| fails(faults, step)) {
        eventually("the step is named in the log", async || match host.said() {
            said if said.contains("StartStepFailed") && said.contains(step.trim_start_matches("start.")) => {
                Ok(())
            }
            said => Err(said),
        })
        .await?;
    }
    let expected = if fails(faults, "start.metrics") { 503 } else { 200 };
    match http::get(host.admin, "/metrics", &[("Connection", "close")], PATIENCE).await?.status {
        status if status == expected => Ok(()),
        status => Err(format!("/metrics answers {status}")),
    }
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
async fn all(faults: Vec<(Profile, String)>) -> Vec<String> {
    let (places, wrong) = (Arc::new(Semaphore::new(AT_ONCE)), Arc::new(Mutex::new(Vec::new())));
    let mut playing = JoinSet::new();
    for (profile, fault) in faults {
        let (places, wrong) = (Arc::clone(&places), Arc::clone(&wrong));
        playing.spawn(async move {
            let _place = places.acquire().await.expect("never closed");
            if let Err(objection) = serves_in_spite_of(profile, &fault).await {
                wrong.lock().unwrap().push(objection);
            }
        });
    }
    while let Some(played) = playing.join_next().await {
        played.unwrap();
    }
    std::mem::take(&mut *wrong.lock().unwrap())
}

fn in_turn(at: usize) -> Profile {
    Profile::ALL[at % Profile::ALL.len()]
}

/// Every two points, each of the two with an error or a panic in turn.
fn pairs() -> Vec<String> {
    let points = points();
    let pairs = points
        .iter()
        .enumerate()
        .flat_map(|(at, one)| points[at + 1..].iter().map(move |other| (one.clone(), other.clone())));
    let hows = [("error", "error"), ("panic", "error"), ("error", "panic"), ("panic", "panic")];
    pairs
        .flat_map(|(one, other)| hows.map(|(how, as_well)| format!("{one}={how};{other}={as_well}")))
        .collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_thing_that_a_start_stands_on_may_fail_alone() {
    let points = points();
    assert!(points.len() >= 19, "too few points to prove anything: {points:?}");
    let hows = ["error", "panic", "delay:300"];
    // Each point in each profile, and in each of these ways.
    let faults = points.iter().enumerate().flat_map(|(at, point)| {
        hows.iter().enumerate().map(move |(way, how)| (in_turn(at + way), format!("{point}={how}")))
    });
    let wrong = all(faults.collect()).await;
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_things_that_a_start_stands_on_may_fail_together() {
    // A number that shares no factor with four, so that every way to fail is among them.
    let some = pairs().into_iter().step_by(4 * ONE_PAIR_IN - 1);
    let wrong = all(some.enumerate().map(|(at, pair)| (in_turn(at), pair)).collect()).await;
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "long: a thousand starts and more, for every two things and every two ways to fail"]
async fn every_two_things_that_a_start_stands_on_may_fail_together() {
    let every = pairs().into_iter().flat_map(|pair| Profile::ALL.map(|profile| (profile, pair.clone())));
    let wrong = all(every.collect()).await;
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
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

/// The panics in the host's own code that were counted.
async fn panics(host: &Host) -> Result<u32, String> {
    let page = http::get(host.admin, "/metrics", &[("Connection", "close")], PATIENCE).await?.body;
    let counted = page.lines().find_map(|line| line.strip_prefix("agent_host_panics_total "));
    counted.and_then(|panics| panics.parse().ok()).ok_or_else(|| format!("no panics are counted: {page}"))
}

/// Accepted, a run is completed when the store works again; the client holds the laws of a run. The fault stays until
/// it was met, by the run or by whoever asks for the list of threads meanwhile.
async fn a_run_during(host: &Host, client: &mut Client, fault: &str) -> Result<(), String> {
    let before = panics(host).await?;
    host.inject(fault);
    let id = client.say("hello there", json!({ "agent": "echo" })).await?;
    let mut frame = client.next().await?;
    while frame["type"] == "service_status" {
        frame = client.next().await?;
    }
    let accepted = frame["type"] == "accepted";
    if !accepted && frame["code"] != "store.unavailable" {
        return Err(format!("{id} got {frame}"));
    }
    let bearer = format!("Bearer {}", tokens::of("alice"));
    let headers = [("Authorization", bearer.as_str()), ("Connection", "close")];
    eventually("the fault was met and counted", async || {
        let listed = http::get(host.address, "/v1/threads", &headers, PATIENCE).await?;
        if listed.status != 200 && listed.status != 503 {
            return Err(format!("the list of threads is {listed:?}"));
        }
        if panics(host).await? > before { Ok(()) } else { Err("no panic more is counted".to_owned()) }
    })
    .await?;
    host.inject("");
    if accepted {
        client.until("agent_completed").await?;
    }
    let works = eventually("the store works again", async || {
        let mut fresh = Client::connect(host, "alice").await?;
        fresh.run_with("hello", json!({ "agent": "echo" })).await?.answered_by("echo")
    });
    tokio::select! {
        well = works => well?,
        end = client.attend() => return Err(format!("a client was given up: {end}")),
    }
    stays(client).await
}

/// A store that panics in the middle of a run, in the port and in its writer, costs no run its end.
async fn a_store_that_panics_costs_no_run_its_end(host: &Host) -> Result<(), String> {
    ready(host).await?;
    let mut client = Client::connect(host, "alice").await?;
    client.run_with("hello", json!({ "agent": "echo" })).await?.answered_by("echo")?;
    for fault in ["store.append=panic", "store.commit=panic", "store.begin=panic", "store.read=panic"] {
        a_run_during(host, &mut client, fault).await.map_err(|objection| format!("{fault}: {objection}"))?;
    }
    Ok(())
}

twin! {
    panicking_store(a_store_that_panics_costs_no_run_its_end) on Setup::echo();
    faults ""; broken by "store.contain=off", says "store.append=panic"
}
