//! Law 4 across the end of the host: threads, positions and message ids are there after a restart, and a run that the
//! end cut off is completed, once.

use std::time::Duration;

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::{
    client::Client,
    harness::{Host, PATIENCE, Plugin, Setup, clock::timeout, eventually, http},
    scenario::ready,
};

/// The fixture, which waits for as long as it is told to.
fn patient() -> Setup {
    let clocks = "{ init = \"30s\", tool = \"60s\", idle = \"60s\", run = \"60s\", grace = \"200ms\" }";
    Setup::new().plugin(Plugin::misbehaving("bad").key("timeouts", clocks).key("tools", "[\"clock\"]"))
}

fn check(holds: bool, what: &str, found: &dyn std::fmt::Debug) -> Result<(), String> {
    if holds { Ok(()) } else { Err(format!("not so: {what}: {found:?}")) }
}

async fn subscribe(client: &mut Client, thread: &str, after: u64, epoch: &Value) -> Result<Value, String> {
    let frame = json!({ "type": "subscribe", "thread_id": thread, "after_seq": after, "epoch": epoch });
    client.send(&frame).await?;
    client.expect("subscribed").await
}

/// The events of a thread, from its start to `agent_completed` of its last run.
async fn replay(host: &Host, accepted: &Value) -> Result<Vec<Value>, String> {
    let mut client = Client::connect(host, "alice").await?;
    let thread = accepted["thread_id"].as_str().unwrap_or("");
    let subscribed = subscribe(&mut client, thread, 0, &accepted["epoch"]).await?;
    check(subscribed["recovered"] == true, "the history is there", &subscribed)?;
    let mut events = Vec::new();
    // A replay goes in pages, between which the answer to a ping may stand.
    let to = subscribed["to_seq"].as_u64();
    let is_last = |last: &Value| last["type"] == "agent_completed" && last["seq"].as_u64() >= to;
    while !events.last().is_some_and(is_last) {
        events.push(client.next().await?);
    }
    // Whatever else the log has would come before the answer to this.
    client.send(&json!({ "type": "ping" })).await?;
    loop {
        let frame = client.next().await?;
        match frame["type"].as_str() {
            Some("pong") => return Ok(events),
            Some("service_status") => {}
            _ => events.push(frame),
        }
    }
}

/// Ends the host in order.
async fn terminate(host: &mut Host) -> Result<(), String> {
    host.signal(Signal::TERM);
    host.ended(PATIENCE).await.map(drop)
}

/// A conversation goes on after a restart as if there had been none.
async fn goes_on(in_order: bool) -> Result<(), String> {
    let setup = Setup::echo();
    let mut host = setup.start();
    ready(&host).await?;
    let mut client = Client::connect(&host, "alice").await?;
    let before = client.run("before").await?;
    let last = before.events.last().and_then(|last| last["seq"].as_u64()).unwrap_or(0);
    if in_order {
        terminate(&mut host).await?;
    }
    host.start_again(&setup);
    ready(&host).await?;

    let mut client = Client::connect(&host, "alice").await?;
    let subscribed = subscribe(&mut client, before.thread(), last, &before.accepted["epoch"]).await?;
    check(subscribed["recovered"] == true, "recovered", &subscribed)?;
    check(subscribed["epoch"] == before.accepted["epoch"], "the same epoch", &subscribed)?;
    let after = client.run_with("after", json!({ "thread_id": before.thread() })).await?;
    check(after.accepted["seq"] == last + 1, "positions go on", &after.accepted)?;
    let all = replay(&host, &before.accepted).await?;
    let live: Vec<&Value> = before.events.iter().chain(&after.events).collect();
    check(all.iter().collect::<Vec<_>>() == live, "the log is what the clients saw", &all)
}

#[tokio::test]
async fn a_conversation_goes_on_after_a_restart() {
    assert_eq!(goes_on(true).await, Ok(()));
}

#[tokio::test]
async fn a_conversation_goes_on_after_a_kill() {
    assert_eq!(goes_on(false).await, Ok(()));
}

#[tokio::test]
async fn a_message_that_is_sent_again_after_a_restart_is_the_same_message() {
    let setup = Setup::echo();
    let mut host = setup.start();
    ready(&host).await.unwrap();
    let message = json!({ "type": "user_message", "id": "once", "content": "hello" });
    let mut client = Client::connect(&host, "alice").await.unwrap();
    client.send(&message).await.unwrap();
    let first = client.gather("once").await.unwrap();
    terminate(&mut host).await.unwrap();
    host.start_again(&setup);

    let mut client = Client::connect(&host, "alice").await.unwrap();
    client.send(&message).await.unwrap();
    let again = client.expect("accepted").await.unwrap();
    assert_eq!(again["duplicate"], true, "{again}");
    for same in ["thread_id", "run_id", "seq", "epoch"] {
        assert_eq!(again[same], first.accepted[same], "{same}");
    }
    client.send(&json!({ "type": "user_message", "id": "once", "content": "other" })).await.unwrap();
    let refused = client.until("error").await.unwrap();
    assert_eq!(refused["code"], "idempotency.conflict");
    let mut other = Client::connect(&host, "bob").await.unwrap();
    other.send(&message).await.unwrap();
    assert_eq!(other.expect("accepted").await.unwrap()["duplicate"], false, "bob's id is his own");
}

/// What the end of the host cut off is completed as interrupted, with its tools closed; once, however often it restarts.
async fn cut_off_is_completed_once(faults: &str) -> Result<(), String> {
    let setup = patient().failpoints(&format!("services.tool_call=hang;{faults}"));
    let mut host = setup.start();
    ready(&host).await?;
    let mut client = Client::connect(&host, "alice").await?;
    client.say("!tool-hang", json!({})).await?;
    let accepted = client.expect("accepted").await?;
    client.until("tool_executing").await?;
    for life in 0..3 {
        host.start_again(&setup);
        let events = timeout(Duration::from_secs(10), replay(&host, &accepted)).await;
        let events = events.map_err(|_| format!("the run is not completed in life {life}"))??;
        let kinds: Vec<&str> = events.iter().filter_map(|event| event["type"].as_str()).collect();
        let ends = ["tool_completed", "agent_completed"];
        check(kinds.ends_with(&ends), "tool closed, run completed", &kinds)?;
        let completed = kinds.iter().filter(|kind| **kind == "agent_completed").count();
        check(completed == 1, "completed once", &kinds)?;
        let last = &events[events.len() - 1]["payload"];
        check(last["status"] == "interrupted" && last["responder"]["plugin"] == "bad", "interrupted", last)?;
    }
    Ok(())
}

#[tokio::test]
async fn a_run_that_a_kill_cut_off_is_interrupted_once() {
    assert_eq!(cut_off_is_completed_once("").await, Ok(()));
}

#[tokio::test]
async fn a_host_that_leaves_cut_off_runs_alone_is_noticed() {
    let objection = cut_off_is_completed_once("engine.recover=off").await.unwrap_err();
    assert!(objection.contains("not completed"), "{objection}");
}

/// A message that was accepted and that nobody took is run by the next host.
#[tokio::test]
async fn a_message_that_nobody_took_is_answered_after_the_restart() {
    let starting = Plugin::bad_create("echo", "hang").key("timeouts", "{ init = \"60s\" }");
    let mut host = Setup::new().set("routing.wait", "\"60s\"").plugin(starting).start();
    let mut client = Client::connect(&host, "alice").await.unwrap();
    client.say("keep it for later", json!({})).await.unwrap();
    let accepted = client.expect("accepted").await.unwrap();
    host.start_again(&Setup::echo());

    let events = replay(&host, &accepted).await.unwrap();
    let of_run = events.iter().all(|event| event["run_id"] == accepted["run_id"]);
    let last = &events[events.len() - 1]["payload"];
    assert!(of_run && last["status"] == "ok" && last["responder"]["plugin"] == "echo", "{events:#?}");
    let asked = events.iter().filter(|event| event["type"] == "user_message").count();
    assert_eq!(asked, 1, "{events:#?}");
}

/// Law 4 at its sharpest: the host dies at the moment at which the client hears that its message is accepted.
async fn acknowledged_survives_a_kill(faults: &str) -> Result<(), String> {
    let setup = Setup::echo().failpoints(faults);
    let mut host = setup.start();
    ready(&host).await?;
    for round in 0..3 {
        let mut client = Client::connect(&host, "alice").await?;
        let message = json!({ "type": "user_message", "id": format!("kept-{round}"), "content": "hello" });
        client.send(&message).await?;
        let accepted = client.expect("accepted").await?;
        host.start_again(&setup);
        let mut client = Client::connect(&host, "alice").await?;
        client.send(&message).await?;
        let again = client.expect("accepted").await?;
        let same = again["duplicate"] == true && again["run_id"] == accepted["run_id"];
        check(same, "what was acknowledged is known", &again)?;
        replay(&host, &accepted).await?;
    }
    Ok(())
}

#[tokio::test]
async fn what_was_acknowledged_survives_a_kill_in_the_same_moment() {
    assert_eq!(acknowledged_survives_a_kill("").await, Ok(()));
}

#[tokio::test]
async fn a_host_without_a_journal_is_noticed() {
    let objection = acknowledged_survives_a_kill("store.journal=off").await.unwrap_err();
    assert!(objection.contains("what was acknowledged is known"), "{objection}");
}

#[tokio::test]
async fn a_host_that_acknowledges_before_it_commits_is_noticed() {
    let objection = acknowledged_survives_a_kill("store.commit=off").await.unwrap_err();
    assert!(objection.contains("what was acknowledged is known"), "{objection}");
}

/// The service's own account of its store: level, and the code by which it is missing.
async fn store_state(host: &Host) -> Result<(String, String), String> {
    let client = Client::connect(host, "alice").await?;
    let service = &client.welcome["service"];
    let missing = service["missing"].as_array().into_iter().flatten();
    let code = missing.filter(|one| one["kind"] == "store").filter_map(|one| one["code"].as_str()).next();
    Ok((service["level"].as_str().unwrap_or("").to_owned(), code.unwrap_or("").to_owned()))
}

async fn until_store_is(host: &Host, level: &str, code: &str) -> Result<(), String> {
    eventually("the store is as expected", async || {
        let (found, missing) = store_state(host).await?;
        if found == level && missing == code { Ok(()) } else { Err(format!("{found}, {missing:?}")) }
    })
    .await
}

#[tokio::test]
async fn a_damaged_log_is_set_aside_and_said_aloud_and_the_host_serves() {
    let setup = Setup::echo();
    let mut host = setup.start();
    ready(&host).await.unwrap();
    let before = Client::connect(&host, "alice").await.unwrap().run("before").await.unwrap();
    terminate(&mut host).await.unwrap();
    let file = host.folder().join("data/log/log.db");
    std::fs::write(&file, "no database any more\n".repeat(500)).unwrap();
    host.start_again(&setup);
    ready(&host).await.unwrap();
    until_store_is(&host, "partial", "store.corrupt").await.unwrap();
    host.says(&["StoreDamaged"]).await.unwrap();

    let mut client = Client::connect(&host, "alice").await.unwrap();
    client.send(&json!({ "type": "subscribe", "thread_id": before.thread() })).await.unwrap();
    client.expect_error("thread.not_found").await.unwrap();
    let after = client.run("after").await.unwrap();
    after.answered_by("echo").unwrap();
    assert_ne!(after.accepted["epoch"], before.accepted["epoch"], "positions of before mean nothing now");
}

#[tokio::test]
async fn a_log_of_a_newer_host_is_refused_by_code_and_not_touched() {
    let setup = Setup::echo();
    let mut host = setup.start();
    ready(&host).await.unwrap();
    let run = Client::connect(&host, "alice").await.unwrap().run("before").await.unwrap();
    terminate(&mut host).await.unwrap();
    let file = host.folder().join("data/log/log.db");
    sql(&file, "INSERT INTO schema_version VALUES (999, 0, 'newer')");
    let newer = std::fs::read(&file).unwrap();
    host.start_again(&setup);
    until_store_is(&host, "basic", "store.unavailable").await.unwrap();
    let mut client = Client::connect(&host, "alice").await.unwrap();
    client.say("hello", json!({})).await.unwrap();
    client.expect_error("store.newer_schema").await.unwrap();
    assert!(std::fs::read(&file).unwrap() == newer, "an older host leaves it as it is");

    sql(&file, "DELETE FROM schema_version WHERE version = 999");
    until_store_is(&host, "full", "").await.unwrap();
    replay(&host, &run.accepted).await.unwrap();
}

/// Changes the file behind the host's back.
fn sql(file: &std::path::Path, statement: &str) {
    let script = "import sqlite3, sys; c = sqlite3.connect(sys.argv[1]); c.execute(sys.argv[2]); c.commit(); c.close()";
    let status = std::process::Command::new("python3").args(["-c", script]).arg(file).arg(statement).status();
    assert!(status.unwrap().success());
}

#[tokio::test]
async fn a_store_that_cannot_be_opened_costs_the_level_and_heals_by_itself() {
    let setup = Setup::echo();
    let mut host = setup.start();
    host.kill();
    let log = host.folder().join("data/log");
    std::fs::remove_dir_all(&log).unwrap();
    std::fs::write(&log, "in the way").unwrap();
    host.start_again(&setup);
    until_store_is(&host, "basic", "store.unavailable").await.unwrap();
    let live = http::get(host.address, "/live", &[], PATIENCE).await.unwrap();
    assert_eq!(live.status, 200);
    let mut client = Client::connect(&host, "alice").await.unwrap();
    client.say("hello", json!({})).await.unwrap();
    client.expect_error("store.unavailable").await.unwrap();
    std::fs::remove_file(&log).unwrap();
    until_store_is(&host, "full", "").await.unwrap();
    client.until("service_status").await.unwrap();
    client.run("hello again").await.unwrap().answered_by("echo").unwrap();
}

#[tokio::test]
async fn a_second_host_on_the_same_folder_writes_nothing_until_the_first_is_gone() {
    let setup = Setup::echo();
    let mut first = setup.start();
    ready(&first).await.unwrap();
    let run = Client::connect(&first, "alice").await.unwrap().run("mine").await.unwrap();
    let store = format!("{:?}", first.folder().join("data").display().to_string());
    let second = setup.clone().set("store.path", &store).start();
    until_store_is(&second, "basic", "store.unavailable").await.unwrap();
    first.kill();
    until_store_is(&second, "full", "").await.unwrap();
    replay(&second, &run.accepted).await.unwrap();
}

#[tokio::test]
async fn a_quota_refuses_one_user_s_new_threads_and_nobody_else_s() {
    let host = Setup::echo().set("limits.threads_per_user", "2").start();
    ready(&host).await.unwrap();
    let mut alice = Client::connect(&host, "alice").await.unwrap();
    let first = alice.run("one").await.unwrap();
    alice.run("two").await.unwrap();
    alice.say("three", json!({})).await.unwrap();
    alice.expect_error("quota.threads").await.unwrap();
    let more = alice.run_with("more", json!({ "thread_id": first.thread() })).await.unwrap();
    more.answered_by("echo").unwrap();
    Client::connect(&host, "bob").await.unwrap().run("one").await.unwrap().answered_by("echo").unwrap();
}

#[tokio::test]
async fn threads_that_are_past_their_time_are_deleted() {
    let mut host = Setup::echo().start();
    ready(&host).await.unwrap();
    let run = Client::connect(&host, "alice").await.unwrap().run("soon forgotten").await.unwrap();
    host.start_again(&Setup::echo().set("store.retention", "\"1ms\""));
    eventually("the thread is gone", async || {
        let mut client = Client::connect(&host, "alice").await?;
        client.send(&json!({ "type": "subscribe", "thread_id": run.thread() })).await?;
        client.expect_error("thread.not_found").await.map(drop)
    })
    .await
    .unwrap();
    host.says(&["ThreadsExpired"]).await.unwrap();
}

#[tokio::test]
async fn a_log_that_does_not_last_is_said_to_everybody() {
    for word in ["durable", "ephemeral", "memory"] {
        let host = Setup::echo().set("store.durability", &format!("{word:?}")).start();
        ready(&host).await.unwrap();
        let mut client = Client::connect(&host, "alice").await.unwrap();
        let told = &client.welcome["service"]["durability"];
        assert_eq!(told.as_str().unwrap_or("durable"), word, "{}", client.welcome);
        let page = http::get(host.address, "/ready?verbose", &[], PATIENCE).await.unwrap();
        assert_eq!(page.json().unwrap()["durability"], word);
        client.run("hello").await.unwrap().answered_by("echo").unwrap();
        assert_eq!(host.folder().join("data/log/log.db").exists(), word != "memory");
    }
}
