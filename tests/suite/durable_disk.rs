//! Faults 11 and 12: a disk that is full, fails or hangs. Nothing is acknowledged that is not kept; the host recovers.

use rustix::process::{Resource, Rlimit, getrlimit, prlimit};
use serde_json::json;

use crate::{
    client::Client,
    harness::{Host, Setup, eventually},
    scenario::ready,
};

async fn level(host: &Host) -> Result<String, String> {
    let client = Client::connect(host, "looker").await?;
    Ok(client.welcome["service"]["level"].as_str().unwrap_or("").to_owned())
}

async fn until_level(host: &Host, wanted: &str) -> Result<(), String> {
    eventually(&format!("the level is {wanted}"), async || {
        let level = level(host).await?;
        if level == wanted { Ok(()) } else { Err(level) }
    })
    .await
}

/// Lets no file of the host grow beyond so many bytes; `None`: as before.
fn limit_files(host: &Host, bytes: Option<u64>) {
    let before = getrlimit(Resource::Fsize);
    let limit = Rlimit { current: bytes.or(before.current), maximum: before.maximum };
    prlimit(Some(host.id()), Resource::Fsize, limit).expect("a child's limit can be set");
}

/// Sends messages until one is refused for want of room; answers those that were accepted.
async fn fill(client: &mut Client) -> Result<Vec<serde_json::Value>, String> {
    let content = "x".repeat(30_000);
    let mut kept = Vec::new();
    for n in 0..200 {
        let message = json!({ "type": "user_message", "id": format!("fill-{n}"), "content": content });
        client.send(&message).await?;
        let accepted = loop {
            let frame = client.next().await?;
            match frame["type"].as_str() {
                Some("accepted") => break frame,
                Some("error") => {
                    let code = frame["code"].as_str().unwrap_or("").to_owned();
                    if !["store.full", "store.unavailable"].contains(&code.as_str()) {
                        return Err(format!("refused otherwise: {frame}"));
                    }
                    return Ok(kept);
                }
                _ => {}
            }
        };
        kept.push(accepted);
    }
    Err("the disk never got full".to_owned())
}

/// A file that may not grow is what a full disk is to SQLite; unlike one, a test can bring it about anywhere.
#[tokio::test]
async fn a_full_disk_refuses_messages_loses_none_and_heals() {
    let setup = Setup::echo().set("limits.messages_per_minute", "0").set("limits.frame_bytes", "\"256KiB\"");
    // A message may be accepted before the run of the one before it is over.
    let setup = setup.set("limits.runs_at_once", "0");
    let mut host = setup.start();
    ready(&host).await.unwrap();
    let mut client = Client::connect(&host, "alice").await.unwrap();
    client.run("before").await.unwrap();
    limit_files(&host, Some(1024 * 1024));
    let kept = fill(&mut client).await.unwrap();
    assert!(!kept.is_empty(), "it was not full at once");
    until_level(&host, "basic").await.unwrap();
    assert!(host.is_running());

    limit_files(&host, None);
    until_level(&host, "full").await.unwrap();
    // After a kill, only what is in the file is there.
    host.start_again(&setup);
    ready(&host).await.unwrap();
    for accepted in kept {
        let mut client = Client::connect(&host, "alice").await.unwrap();
        let subscribe = json!({ "type": "subscribe", "thread_id": accepted["thread_id"], "after_seq": 0 });
        client.send(&subscribe).await.unwrap();
        client.expect("subscribed").await.unwrap();
        let asked = client.expect("user_message").await.unwrap();
        assert_eq!(asked["run_id"], accepted["run_id"]);
        client.until("agent_completed").await.unwrap();
    }
}

/// A disk that fails at the commit: said so, nothing kept, and back by itself when the disk is.
#[tokio::test]
async fn a_failing_disk_refuses_messages_and_heals() {
    let host = Setup::echo().failpoints("").start();
    ready(&host).await.unwrap();
    let mut client = Client::connect(&host, "alice").await.unwrap();
    let message = json!({ "type": "user_message", "id": "m-1", "content": "hello" });
    host.inject("store.commit=error");
    client.send(&message).await.unwrap();
    client.expect_error("store.unavailable").await.unwrap();
    until_level(&host, "basic").await.unwrap();
    host.inject("");
    until_level(&host, "full").await.unwrap();
    client.until("service_status").await.unwrap();
    client.send(&message).await.unwrap();
    let run = client.gather("m-1").await.unwrap();
    assert_eq!(run.accepted["duplicate"], false, "what was refused was not kept");
    run.answered_by("echo").unwrap();
}

/// A disk that does not answer: whoever asks is told within a few seconds, the level says so, the sockets stay; and a
/// message whose commit was under way is completed once, whether or not it is sent again.
#[tokio::test]
async fn a_hanging_disk_is_said_and_what_it_took_is_completed_once() {
    let host = Setup::echo().set("store.patience", "\"3s\"").failpoints("").start();
    ready(&host).await.unwrap();
    let mut client = Client::connect(&host, "alice").await.unwrap();
    host.inject("store.commit=hang");
    let message = json!({ "type": "user_message", "id": "m-1", "content": "hello" });
    client.send(&message).await.unwrap();
    client.expect_error("store.unavailable").await.unwrap();
    until_level(&host, "basic").await.unwrap();
    host.inject("");
    until_level(&host, "full").await.unwrap();

    let mut again = Client::connect(&host, "alice").await.unwrap();
    again.send(&message).await.unwrap();
    let accepted = again.expect("accepted").await.unwrap();
    assert_eq!(accepted["duplicate"], true, "its commit was under way");
    let mut reader = Client::connect(&host, "alice").await.unwrap();
    let subscribe = json!({ "type": "subscribe", "thread_id": accepted["thread_id"], "after_seq": 0 });
    reader.send(&subscribe).await.unwrap();
    reader.expect("subscribed").await.unwrap();
    let mut kinds = Vec::new();
    while kinds.last().is_none_or(|last| last != "agent_completed") {
        kinds.push(reader.next().await.unwrap()["type"].as_str().unwrap().to_owned());
    }
    for once in ["user_message", "agent_started", "agent_completed"] {
        assert_eq!(kinds.iter().filter(|kind| *kind == once).count(), 1, "{kinds:?}");
    }
}

/// The store is gone for a while under load: the sockets stay, and what is refused meanwhile is accepted afterwards.
#[tokio::test]
async fn sockets_outlive_a_store_that_is_gone_for_a_while() {
    let host = Setup::echo().failpoints("").start();
    ready(&host).await.unwrap();
    let mut clients = Vec::new();
    for n in 0..8 {
        clients.push(Client::connect(&host, &format!("user-{n}")).await.unwrap());
    }
    host.inject("store.begin=error;store.append=error");
    for client in &mut clients {
        client.say("while it is gone", json!({})).await.unwrap();
        client.expect_error("store.unavailable").await.unwrap();
    }
    until_level(&host, "basic").await.unwrap();
    host.inject("");
    until_level(&host, "full").await.unwrap();
    for client in &mut clients {
        // News of the service are passed over.
        client.run("now").await.unwrap().answered_by("echo").unwrap();
    }
}
