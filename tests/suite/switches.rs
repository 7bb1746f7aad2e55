//! The switches of the runbook's partial rollback: each takes back one behaviour, and nothing else.

use serde_json::json;

use crate::{
    client::Client,
    harness::{Plugin, Setup},
    scenario::ready,
};

/// A plugin that fails when told to, then the example.
fn setup(bad: Plugin) -> Setup {
    Setup::new().plugin(bad).plugin(Plugin::echo()).set("routing.order", "[\"bad\", \"echo\"]")
}

fn bad() -> Plugin {
    Plugin::misbehaving("bad")
}

#[tokio::test]
async fn a_failed_message_is_tried_again_unless_that_is_switched_off() {
    for (retry, takes_over) in [("true", "echo"), ("false", "fallback")] {
        let host = setup(bad()).set("routing.retry", retry).start();
        ready(&host).await.unwrap();
        let mut client = Client::connect(&host, "alice").await.unwrap();
        let run = client.run("!segv").await.unwrap();
        assert_eq!(run.responder(), takes_over, "retry = {retry}: {:?}", run.kinds());
        // All else is as ever.
        client.run_with("hello", json!({ "agent": "echo" })).await.unwrap().answered_by("echo").unwrap();
    }
}

#[tokio::test]
async fn a_plugin_that_keeps_failing_gets_no_runs_unless_its_breaker_is_switched_off() {
    for (breaker, then) in [("true", "fallback"), ("false", "bad")] {
        let host = setup(bad().key("breaker", breaker)).set("limits.messages_per_minute", "0").start();
        ready(&host).await.unwrap();
        let mut client = Client::connect(&host, "alice").await.unwrap();
        for _ in 0..6 {
            client.run_with("!panic", json!({ "agent": "bad" })).await.unwrap();
        }
        let run = client.run_with("hello", json!({ "agent": "bad" })).await.unwrap();
        assert_eq!(run.responder(), then, "breaker = {breaker}: {:?}", run.codes());
    }
}
