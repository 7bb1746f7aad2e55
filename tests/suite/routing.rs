//! Who answers: the agent that is named, its substitutes, the order; and what a second message does to the first.

use serde_json::json;

use crate::{
    client::Client,
    harness::{Host, Plugin, Setup},
    scenario::ready,
};

async fn connected(setup: Setup) -> (Host, Client) {
    let host = setup.start();
    ready(&host).await.unwrap();
    let client = Client::connect(&host, "alice").await.unwrap();
    (host, client)
}

#[tokio::test]
async fn a_named_agent_that_is_not_healthy_is_answered_for_by_its_substitutes_only() {
    let away = |id: &str| Plugin::at(id, "/nowhere/lib.so");
    let setup = Setup::echo()
        .plugin(away("billing").key("substitutes", "[\"sales\", \"echo\"]"))
        .plugin(away("sales"));
    let (_host, mut client) = connected(setup).await;
    let served = client.run_with("hello", json!({ "agent": "billing" })).await.unwrap();
    served.answered_by("echo").unwrap();
    let alone = client.run_with("hello there", json!({ "agent": "sales" })).await.unwrap();
    alone.answered_by_fallback("hello there").unwrap();
}

#[tokio::test]
async fn the_configured_order_decides_for_a_message_that_names_nobody() {
    let setup = Setup::new()
        .plugin(Plugin::misbehaving("first"))
        .plugin(Plugin::echo())
        .set("routing.order", "[\"echo\", \"first\"]");
    let (_host, mut client) = connected(setup).await;
    client.run("hello").await.unwrap().answered_by("echo").unwrap();
}

#[tokio::test]
async fn a_crash_before_the_first_event_is_tried_once_more_on_the_next_agent() {
    let setup = Setup::new()
        .plugin(Plugin::misbehaving("first"))
        .plugin(Plugin::echo())
        .set("routing.order", "[\"first\", \"echo\"]");
    let (_host, mut client) = connected(setup).await;
    let run = client.run("!segv").await.unwrap();
    assert_eq!(run.status(), "ok", "{}", run.completed());
    assert_eq!(run.payload("run_degraded")["from"], "first");
    assert_eq!(run.responder(), "echo");
}

/// A host whose agent waits until it is told to stop, with a run under way.
async fn at_work(policy: &str) -> (Host, Client, String) {
    let slow = Plugin::misbehaving("slow")
        .key("double_texting", &format!("\"{policy}\""))
        .key("timeouts", "{ init = \"20s\", idle = \"30s\", run = \"30s\", grace = \"5s\" }");
    let (host, mut client) = connected(Setup::new().plugin(slow)).await;
    client.say("!wait", json!({})).await.unwrap();
    let accepted = client.until("accepted").await.unwrap();
    client.until("agent_thinking").await.unwrap();
    (host, client, accepted["thread_id"].as_str().unwrap().to_owned())
}

#[tokio::test]
async fn a_second_message_is_refused_where_the_agent_takes_one_at_a_time() {
    let (_host, mut client, thread) = at_work("reject").await;
    client.say("and?", json!({ "thread_id": thread })).await.unwrap();
    let refusal = client.expect_error("run.busy").await.unwrap();
    assert!(refusal["retry_after_ms"].is_u64(), "{refusal}");
}

#[tokio::test]
async fn a_second_message_replaces_the_first_where_the_agent_wants_it_so() {
    let (_host, mut client, thread) = at_work("interrupt").await;
    client.say("and now?", json!({ "thread_id": thread })).await.unwrap();
    let ended = client.until("agent_completed").await.unwrap();
    assert_eq!(ended["payload"]["status"], "cancelled", "{ended}");
    let answered = client.until("agent_completed").await.unwrap();
    assert_eq!(answered["payload"]["status"], "ok", "{answered}");
}
