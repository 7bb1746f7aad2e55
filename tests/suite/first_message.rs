//! The first conversation, as a newcomer has it: the host's own token, a stock client, a welcome and a whole run.

use std::process::Command;

use serde_json::Value;

use crate::{
    client::Client,
    harness::{Host, Setup, artifacts, eventually, host, tokens},
    scenario::ready,
};

#[tokio::test]
async fn the_welcome_says_what_is_there() {
    let host = Setup::echo().start();
    ready(&host).await.unwrap();
    let client = Client::connect(&host, "alice").await.unwrap();
    let welcome = &client.welcome;
    assert_eq!(welcome["protocol"], "agent-host.v1");
    assert_eq!(welcome["user_id"], "alice");
    assert_eq!(welcome["service"]["level"], "full", "{welcome}");
    assert_eq!(welcome["service"]["missing"].as_array().map(Vec::len), Some(0), "{welcome}");
    let echo = welcome["agents"].as_array().unwrap().iter().find(|agent| agent["name"] == "echo").unwrap();
    assert_eq!(echo["state"], "healthy");
    for field in ["connection_id", "host", "server_time", "expires_at"] {
        assert!(welcome[field].as_str().is_some_and(|text| !text.is_empty()), "{field}: {welcome}");
    }
    let limits = &welcome["limits"];
    assert!(limits["frame_bytes"].as_u64() >= Some(8192), "{limits}");
    assert!(welcome["ping_interval_ms"].as_u64() <= Some(25_000), "a balancer closes at 30 s idle");
}

#[tokio::test]
async fn a_message_is_accepted_answered_and_completed() {
    let host = Setup::echo().start();
    ready(&host).await.unwrap();
    let mut client = Client::connect(&host, "alice").await.unwrap();
    let run = client.run("hello, agent").await.unwrap();

    run.answered_by("echo").unwrap();
    assert!(run.text().contains("hello, agent"), "{}", run.text());
    assert_eq!(run.accepted["duplicate"], false);
    assert_eq!(run.accepted["seq"], 1);
    assert_eq!(run.payload("user_message")["content"], "hello, agent");
    let responder = &run.payload("agent_started")["responder"];
    assert_eq!((&responder["plugin"], &responder["built_in"]), (&"echo".into(), &false.into()));
    assert!(run.completed()["duration_ms"].is_u64(), "{}", run.completed());
}

#[tokio::test]
async fn deltas_join_to_the_answer() {
    let host = Setup::echo().start();
    ready(&host).await.unwrap();
    let mut client = Client::connect(&host, "alice").await.unwrap();
    let run = client.run("one two three").await.unwrap();
    let deltas = run.events.iter().filter(|event| event["type"] == "agent_message_delta");
    let joined: String = deltas.filter_map(|event| event["payload"]["text"].as_str()).collect();
    assert!(joined.is_empty() || joined == run.text(), "{joined:?} is not {:?}", run.text());
}

#[tokio::test]
async fn a_conversation_goes_on_in_its_thread() {
    let host = Setup::echo().start();
    ready(&host).await.unwrap();
    let mut client = Client::connect(&host, "alice").await.unwrap();
    let first = client.run("first").await.unwrap();
    let again = serde_json::json!({ "thread_id": first.thread() });
    let second = client.run_with("second", again).await.unwrap();

    assert_eq!(second.thread(), first.thread());
    let last = first.events.last().unwrap()["seq"].as_u64().unwrap();
    assert_eq!(second.accepted["seq"].as_u64(), Some(last + 1));
    assert_ne!(second.id(), first.id());
}

#[tokio::test]
async fn a_message_sent_at_once_after_the_start_is_answered() {
    let host = Setup::echo().start();
    let mut client = Client::connect(&host, "alice").await.unwrap();
    client.run("am I early?").await.unwrap();
}

#[tokio::test]
async fn the_host_s_own_token_opens_the_door() {
    let setup = Setup::echo();
    let minted = host::cli(&["token", "mint", "--user", "alice"], &setup);
    let said = String::from_utf8_lossy(&minted.stderr);
    assert!(minted.status.success(), "{said}");
    let token = String::from_utf8(minted.stdout).unwrap();
    let host = setup.start();
    let client = Client::with_token(&host, token.trim()).await.unwrap();
    assert_eq!(client.welcome["user_id"], "alice");
}

#[tokio::test]
#[ignore = "builds the plugins; part of tests/run long"]
async fn dev_builds_serves_and_hands_out_a_token() {
    let host = Host::dev(
        &artifacts::root(),
        &["--set", "gateway.listen=127.0.0.1:0", "--set", "admin.listen=127.0.0.1:0"],
    );
    ready(&host).await.unwrap();
    let said = eventually("dev shows a token", async || {
        let said = host.said();
        let token =
            said.split_whitespace().find(|word| word.starts_with("eyJ") && word.matches('.').count() == 2);
        token.map(str::to_owned).ok_or(said.clone())
    });
    let mut client = Client::with_token(&host, &said.await.unwrap()).await.unwrap();
    client.run("hello").await.unwrap().answered_by("echo").unwrap();
}

#[tokio::test]
async fn a_python_newcomer_sees_the_whole_conversation() {
    let script = artifacts::root().join("tests/clients/python/first_message.py");
    let python = python();
    let host = Setup::echo().start();
    ready(&host).await.unwrap();
    let url = format!("ws://{}/ws", host.address);
    // In a thread of its own: the script talks to the host while this waits.
    let run = tokio::task::spawn_blocking(move || {
        Command::new(python)
            .arg(script)
            .arg(url)
            .arg("hello from Python")
            .env("TOKEN", tokens::of("pia"))
            .output()
    });
    let output = run.await.unwrap().expect("Python runs");
    let printed = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{printed}\n{}", String::from_utf8_lossy(&output.stderr));

    let frames: Vec<Value> = printed.lines().map(|line| serde_json::from_str(line).expect(line)).collect();
    let kinds: Vec<&str> = frames.iter().filter_map(|frame| frame["type"].as_str()).collect();
    assert_eq!(&kinds[..4], ["welcome", "accepted", "user_message", "agent_started"], "{printed}");
    assert_eq!(kinds.last(), Some(&"agent_completed"), "{printed}");
    let seqs: Vec<u64> = frames[2..].iter().filter_map(|frame| frame["seq"].as_u64()).collect();
    let dense: Vec<u64> = (1..=seqs.len() as u64).collect();
    assert_eq!(seqs, dense, "{printed}");
    assert_eq!(frames.last().unwrap()["payload"]["status"], "ok", "{printed}");
}

/// The interpreter of the virtual environment that tests/run makes.
pub(crate) fn python() -> std::path::PathBuf {
    let python = artifacts::root().join("target/python/bin/python");
    assert!(python.exists(), "no {}; run `tests/run python` to make it", python.display());
    python
}
