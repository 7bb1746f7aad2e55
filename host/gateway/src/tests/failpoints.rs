//! Each step of the upgrade made to panic, fail, hang: never a 500, never a wait of more than a second (fault 17).
//!
//! The points are read from a file that the environment names, which a process can only be given from outside: each
//! test runs itself once more as a child, with a file of its own.

use std::{env, fs, path::Path, process::Command, time::Duration};

use serde_json::json;
use tokio::time::timeout;

use super::support::*;

const STEPS: [&str; 9] =
    ["headers", "drain", "origin", "token", "limits", "subprotocol", "session", "welcome", "accept"];

const VARIABLE: &str = "AGENT_HOST_FAILPOINTS";

/// Runs the test in a child that can inject; true in the child.
fn in_child(test: &str) -> bool {
    if env::var(VARIABLE).is_ok() {
        return true;
    }
    let file = env::temp_dir().join(format!("agent-host-failpoints-{}", uuid::Uuid::new_v4().simple()));
    fs::write(&file, "").unwrap();
    let child = Command::new(env::current_exe().unwrap())
        .args([&format!("tests::failpoints::{test}"), "--exact", "--nocapture"])
        .env(VARIABLE, format!("@{}", file.display()))
        .output()
        .unwrap();
    fs::remove_file(&file).unwrap();
    let said = String::from_utf8_lossy(&child.stdout);
    assert!(
        child.status.success() && said.contains("1 passed"),
        "{said}{}",
        String::from_utf8_lossy(&child.stderr)
    );
    false
}

fn inject(points: &str) {
    let setting = env::var(VARIABLE).unwrap();
    fs::write(Path::new(setting.trim_start_matches('@')), points).unwrap();
}

async fn upgraded(doors: &Doors) -> (u16, String) {
    let line = format!("Authorization: Bearer {}", token());
    let request = upgrade(&[&line]);
    timeout(Duration::from_secs(20), exchange(doors.gateway.public_addr(), &request))
        .await
        .expect("an answer")
}

#[tokio::test]
async fn no_fault_of_any_step_is_a_500_or_a_hang() {
    if !in_child("no_fault_of_any_step_is_a_500_or_a_hang") {
        return;
    }
    let doors = open(|s| s.timing.upgrade = Duration::from_millis(200)).await;
    for step in STEPS {
        for action in ["panic", "error", "hang", "delay:5000"] {
            inject(&format!("gateway.upgrade.{step}={action}"));
            let (status, answer) = upgraded(&doors).await;
            assert_eq!(status, 503, "{step} {action}: {answer}");
            assert_eq!(body(&answer)["code"], json!("host.internal"), "{step} {action}");
            assert!(answer.to_ascii_lowercase().contains("retry-after"), "{step} {action}");
        }
        inject(&format!("gateway.upgrade.{step}=delay:20"));
        // On a machine that stalls it may be a long one.
        let mut answers = Vec::new();
        while answers.len() < 20 && !answers.contains(&101) {
            answers.push(upgraded(&doors).await.0);
        }
        assert!(answers.contains(&101), "{step}: a short delay is no fault: {answers:?}");
    }
    inject("");
    let mut answers = Vec::new();
    while answers.len() < 20 && !answers.contains(&101) {
        answers.push(upgraded(&doors).await.0);
    }
    assert!(answers.contains(&101), "heals by itself: {answers:?}");
}

#[tokio::test]
async fn without_its_guards_the_same_fault_is_a_500() {
    if !in_child("without_its_guards_the_same_fault_is_a_500") {
        return;
    }
    let doors = open(|_| {}).await;
    inject("gateway.upgrade.token=panic\ngateway.upgrade.guard=off");
    assert_eq!(upgraded(&doors).await.0, 503, "the outer guard still holds");
    inject("gateway.upgrade.token=panic\ngateway.upgrade.guard=off\ngateway.panic_answer=off");
    assert_eq!(upgraded(&doors).await.0, 500);
    inject("");
}

#[tokio::test]
async fn a_loop_that_dies_closes_1011() {
    if !in_child("a_loop_that_dies_closes_1011") {
        return;
    }
    let doors = open(|_| {}).await;
    let mut client = Client::welcomed(&doors).await;
    inject("gateway.connection.frame=error");
    client.send(r#"{"type":"ping"}"#).await;
    assert_eq!(client.frame().await["code"], "host.internal");
    inject("gateway.connection.frame=panic");
    client.send(r#"{"type":"ping"}"#).await;
    assert_eq!(client.close_code().await, Some(1011));
    inject("");
}
