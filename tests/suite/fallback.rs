//! Without an agent the host is honest: 101, five events of its own, what is missing, and no echo.

use serde_json::json;

use crate::{
    client::Client,
    harness::{Host, Plugin, Setup},
    scenario::ready,
};

const QUESTION: &str = "what will the weather be in Ulm";

/// A message without any agent gets the whole, honest run of the built-in.
async fn the_fallback_is_honest(host: &Host) -> Result<(), String> {
    ready(host).await?;
    let mut client = Client::connect(host, "alice").await?;
    if client.welcome["service"]["level"] != "fallback" {
        return Err(format!("not at level fallback: {}", client.welcome));
    }
    if client.welcome["service"]["reason"].as_str().is_none_or(str::is_empty) {
        return Err(format!("the welcome does not say why: {}", client.welcome));
    }
    let run = client.run(QUESTION).await?;
    run.answered_by_fallback(QUESTION)?;
    let kinds = run.kinds();
    let five = ["agent_started", "agent_thinking", "tool_executing", "tool_completed", "agent_completed"];
    if kinds.iter().copied().filter(|kind| five.contains(kind)).collect::<Vec<_>>() != five {
        return Err(format!("not the five events: {kinds:?}"));
    }
    let foreign = run.events[1..].iter().find(|event| event["agent"] != "fallback");
    if let Some(event) = foreign {
        return Err(format!("an event under another name: {event}"));
    }
    let told = serde_json::Value::from(run.events[1..].to_vec()).to_string();
    match told.contains(QUESTION) {
        true => Err(format!("the text was echoed: {told}")),
        false => Ok(()),
    }
}

#[tokio::test]
async fn no_plugin_configured_is_the_level_fallback() {
    let host = Setup::new().start();
    the_fallback_is_honest(&host).await.unwrap();
}

#[tokio::test]
async fn a_missing_plugin_folder_is_the_level_fallback() {
    let host = Setup::new().plugin(Plugin::at("ghost", "/nonexistent/folder/libghost.so")).start();
    the_fallback_is_honest(&host).await.unwrap();
}

#[tokio::test]
async fn a_disabled_plugin_is_not_loaded() {
    let host = Setup::new().plugin(Plugin::echo().key("enabled", "false")).start();
    the_fallback_is_honest(&host).await.unwrap();
}

#[tokio::test]
async fn a_named_agent_that_is_down_is_served_by_the_fallback_and_by_no_other() {
    let down = Plugin::at("down", "/nonexistent/libdown.so");
    let host = Setup::echo().plugin(down).start();
    ready(&host).await.unwrap();
    let mut client = Client::connect(&host, "alice").await.unwrap();
    let run = client.run_with(QUESTION, json!({ "agent": "down" })).await.unwrap();
    run.answered_by_fallback(QUESTION).unwrap();
    assert!(run.text().contains("down"), "it says what is missing: {}", run.text());
}

#[tokio::test]
async fn a_lone_failed_plugin_among_good_ones_is_the_level_partial() {
    let host = Setup::echo().plugin(Plugin::at("down", "/nonexistent/libdown.so")).start();
    ready(&host).await.unwrap();
    let client = Client::connect(&host, "alice").await.unwrap();
    assert_eq!(client.welcome["service"]["level"], "partial", "{}", client.welcome);
}

#[tokio::test]
async fn a_level_change_is_told_to_those_connected() {
    let bad = Plugin::misbehaving("bad").key("restart", "{ max = 0, within = \"60s\" }");
    let host = Setup::echo().plugin(bad).start();
    ready(&host).await.unwrap();
    let mut watcher = Client::connect(&host, "watcher").await.unwrap();
    assert_eq!(watcher.welcome["service"]["level"], "full", "{}", watcher.welcome);
    let mut client = Client::connect(&host, "alice").await.unwrap();
    client.run_with("!segv", json!({ "agent": "bad" })).await.unwrap();

    let status = watcher.until("service_status").await.unwrap();
    assert_eq!(status["level"], "partial", "{status}");
    assert!(status["changed"].as_array().is_some_and(|all| all.contains(&"bad".into())), "{status}");
}

#[tokio::test]
async fn with_even_the_fallback_broken_the_connection_stays_and_says_so() {
    let host = Setup::new().failpoints("fallback.answer=error").start();
    let mut client = Client::connect(&host, "alice").await.unwrap();
    client.say(QUESTION, json!({})).await.unwrap();
    // Refused aloud, or accepted and completed as failed: never silence, never a false answer.
    loop {
        let frame = client.next().await.unwrap();
        match frame["type"].as_str() {
            Some("error") => break,
            Some("agent_completed") => {
                assert_eq!(frame["payload"]["status"], "failed", "{frame}");
                break;
            }
            _ => {}
        }
    }
    client.send(&json!({ "type": "ping" })).await.unwrap();
    client.until("pong").await.unwrap();
}

twin! {
    honesty(the_fallback_is_honest) on Setup::new();
    faults ""; broken by "fallback.answer=error", says "fallback"
}
