//! What operators see: answers of plugins and of the fallback counted apart, and nothing secret or personal in a log.

use std::time::Duration;

use rustix::process::Signal;
use serde_json::json;

use crate::{
    client::Client,
    harness::{
        Host, PATIENCE, Plugin, Setup, eventually,
        http::{self, Answer},
        tokens::{self, SECRET},
    },
    scenario::ready,
};

/// A sample of the metrics page: the value of the series that begins so, 0 where there is none.
fn sample(page: &str, series: &str) -> f64 {
    let line = page.lines().find(|line| line.starts_with(series));
    line.and_then(|line| line.rsplit(' ').next()).and_then(|value| value.parse().ok()).unwrap_or(0.0)
}

async fn metrics(host: &Host) -> Result<Answer, String> {
    http::get(host.admin, "/metrics", &[("Connection", "close")], Duration::from_secs(2)).await
}

#[tokio::test]
async fn answers_of_plugins_and_of_the_fallback_are_counted_apart() {
    let host = Setup::echo().plugin(Plugin::at("down", "/nonexistent/libdown.so")).start();
    ready(&host).await.unwrap();
    let mut client = Client::connect(&host, "alice").await.unwrap();
    for _ in 0..3 {
        client.run("hello").await.unwrap().answered_by("echo").unwrap();
    }
    for _ in 0..2 {
        let run = client.run_with("hello there", json!({ "agent": "down" })).await.unwrap();
        run.answered_by_fallback("hello there").unwrap();
    }
    eventually("the metrics say what the client counted", async || {
        let page = metrics(&host).await?.body;
        let counted = (
            sample(&page, "agent_host_answers_total{by=\"plugin\"}"),
            sample(&page, "agent_host_answers_total{by=\"fallback\"}"),
            sample(&page, "agent_host_upgrades_total{status=\"101\"}"),
            sample(&page, "agent_host_runs_without_terminal_total"),
        );
        match counted == (3.0, 2.0, 1.0, 0.0) && !page.contains("status=\"500\"") {
            true => Ok(()),
            false => Err(format!("{counted:?}\n{page}")),
        }
    })
    .await
    .unwrap();
}

#[tokio::test]
async fn what_people_write_and_what_opens_doors_is_not_logged() {
    let host = Setup::echo().set("log.level", "\"trace\"").start();
    ready(&host).await.unwrap();
    let token = tokens::of("alice");
    let mut client = Client::with_token(&host, &token).await.unwrap();
    client.run("a canary that nobody else shall read").await.unwrap();
    let said = host.said();
    assert!(!said.is_empty(), "at trace, something is said");
    for secret in ["a canary that nobody", token.as_str(), SECRET] {
        assert!(!said.contains(secret), "{secret:?} is in the log");
    }
    let page = metrics(&host).await.unwrap().body;
    assert!(!page.contains("alice") && !page.contains("a canary"), "a metric names a person: {page}");
}

#[tokio::test]
async fn verbose_readiness_without_a_token_has_verdicts_but_no_paths() {
    let host = Setup::echo().plugin(Plugin::at("down", "/nonexistent/libdown.so")).start();
    ready(&host).await.unwrap();
    let answer = http::get(host.address, "/ready?verbose", &[], Duration::from_secs(2)).await.unwrap();
    let body = answer.json().unwrap();
    assert_eq!((answer.status, &body["level"]), (200, &"partial".into()), "{body}");
    let down = body["plugins"].as_array().unwrap().iter().find(|plugin| plugin["id"] == "down").unwrap();
    assert_eq!((&down["verdict"], &down["code"]), (&"failed".into(), &"plugin.not_found".into()), "{down}");
    assert!(!answer.body.contains("/nonexistent"), "{body}");
}

#[tokio::test]
async fn a_log_that_nobody_reads_any_more_ends_nothing() {
    let mut host = Setup::echo().plugin(Plugin::misbehaving("bad")).unheard().start();
    ready(&host).await.unwrap();
    let mut client = Client::connect(&host, "alice").await.unwrap();
    client.run_with("!segv", json!({ "agent": "bad" })).await.unwrap();
    client.run_with("hello", json!({ "agent": "echo" })).await.unwrap().answered_by("echo").unwrap();
    host.signal(Signal::TERM);
    assert_eq!(host.ended(PATIENCE).await.unwrap().code(), Some(0));
}
