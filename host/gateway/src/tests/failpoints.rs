//! Each step of the upgrade made to panic, fail, hang: never a 500, never a wait of more than a second (fault 17).
//!
//! The points are read from the environment, or a file that it names; tests in this process share one file, so they
//! take turns.

use std::{fs, path::PathBuf, time::Duration};

use serde_json::json;
use tokio::{sync::Mutex, time::timeout};

use super::support::*;

const STEPS: [&str; 9] =
    ["headers", "drain", "origin", "token", "limits", "subprotocol", "session", "welcome", "accept"];

static TURN: Mutex<()> = Mutex::const_new(());

fn inject(points: &str) {
    let Some(file) = std::env::var("AGENT_HOST_FAILPOINTS").ok().and_then(|v| v.strip_prefix('@').map(PathBuf::from))
    else {
        panic!("run these tests with AGENT_HOST_FAILPOINTS=@FILE, a file that they may write");
    };
    fs::write(file, points).unwrap();
}

async fn upgraded(doors: &Doors) -> (u16, String) {
    let line = format!("Authorization: Bearer {}", token());
    let request = upgrade(&[&line]);
    timeout(Duration::from_millis(1500), exchange(doors.gateway.public_addr(), &request)).await.expect("an answer in time")
}

#[tokio::test]
async fn no_fault_of_any_step_is_a_500_or_a_hang() {
    let _turn = TURN.lock().await;
    let doors = open(|_| {}).await;
    for step in STEPS {
        for action in ["panic", "error", "hang", "delay:5000"] {
            inject(&format!("gateway.upgrade.{step}={action}"));
            let (status, answer) = upgraded(&doors).await;
            assert_eq!(status, 503, "{step} {action}: {answer}");
            assert_eq!(body(&answer)["code"], json!("host.internal"), "{step} {action}");
            assert!(answer.to_ascii_lowercase().contains("retry-after"), "{step} {action}");
        }
        inject(&format!("gateway.upgrade.{step}=delay:20"));
        assert_eq!(upgraded(&doors).await.0, 101, "{step}: a short delay is no fault");
    }
    inject("");
    assert_eq!(upgraded(&doors).await.0, 101, "heals by itself");
}

#[tokio::test]
async fn without_its_guards_the_same_fault_is_a_500() {
    let _turn = TURN.lock().await;
    let doors = open(|_| {}).await;
    inject("gateway.upgrade.token=panic\ngateway.upgrade.guard=off");
    assert_eq!(upgraded(&doors).await.0, 503, "the outer guard still holds");
    inject("gateway.upgrade.token=panic\ngateway.upgrade.guard=off\ngateway.panic_answer=off");
    assert_eq!(upgraded(&doors).await.0, 500);
    inject("");
}

#[tokio::test]
async fn a_loop_that_dies_closes_1011() {
    let _turn = TURN.lock().await;
    inject("");
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
