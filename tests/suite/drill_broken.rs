//! `agent-host drill` can tell: on a sound host, on which each of its scenarios can be tried, all hold; and for each of them
//! there is a broken host on which that one fails, for the reason that it is broken by.

use serde_json::{Value, json};

use crate::{
    drill::{active, drilled, verdicts},
    harness::{Host, Plugin, Setup, artifacts},
    network::{peer, shouts},
    scenario::ready,
};

/// A host on which every fault has something to hit, and what its people say so that they do.
pub(crate) async fn setup() -> (Setup, Vec<String>) {
    let (listener, name) = peer().await;
    shouts(listener);
    let agent = Plugin::at("bad", artifacts::misbehaving())
        .key("tools", "[\"clock\"]")
        .key("network", &json!([name]).to_string())
        .key("timeouts", "{ init = \"30s\", idle = \"4s\", run = \"20s\" }")
        .key("limits", "{ concurrent_runs = 1 }");
    // What a plugin fails with is the fallback's.
    let setup = Setup::new().plugin(agent).operated().set("routing.retry", "false");
    let setup = setup.set("chaos.enabled", "true").set("limits.messages_per_minute", "0");
    (setup, vec!["!tool clock".to_owned(), format!("!net {name}"), "hello".to_owned()])
}

async fn drilled_with(host: &Host, messages: &[String], more: &[&str]) -> (Value, String, Option<i32>) {
    let said = messages.iter().flat_map(|message| ["--message", message]);
    drilled(host, &said.chain(more.iter().copied()).collect::<Vec<_>>()).await
}

#[tokio::test]
async fn each_scenario_is_tried_and_holds_on_a_sound_host() {
    let (setup, messages) = setup().await;
    let host = setup.start();
    ready(&host).await.unwrap();
    let (report, said, status) = drilled_with(&host, &messages, &["--duration", "3s"]).await;
    let verdicts = verdicts(&report);
    assert_eq!((verdicts.len(), status), (12, Some(0)), "{report:#}\n{said}");
    assert!(verdicts.iter().all(|(_, verdict)| *verdict == "held"), "{report:#}\n{said}");
    assert_eq!(report["scenarios"][4]["seen"]["crash_shown"], "SIGSEGV", "{report:#}");
    assert_eq!(active(&host), json!([]));
}

/// The scenario fails on a host that is broken so, in these words.
async fn is_red(scenario: &str, broken_by: &str, words: &str) {
    let (setup, messages) = setup().await;
    let host = setup.failpoints(broken_by).start();
    ready(&host).await.unwrap();
    let only = ["--only", scenario, "--duration", "3s", "--recover-within", "10s"];
    let (report, said, status) = drilled_with(&host, &messages, &only).await;
    assert_eq!((verdicts(&report), status), (vec![(scenario, "FAILED")], Some(1)), "{report:#}\n{said}");
    let because = report["scenarios"][0]["because"].to_string();
    assert!(because.contains(words), "red for another reason: {because}\n{}", host.said());
}

macro_rules! red {
    ($($name:ident: $scenario:literal broken by $broken:literal, says $because:literal;)+) => {$(
        #[tokio::test]
        async fn $name() {
            is_red($scenario, $broken, $because).await;
        }
    )+};
}

// One that hangs is found out in two ways: it is not heard of, and its runs do not end when they are told to.
red! {
    a_worker_that_stays_dead: "worker-kill" broken by "engine.restart=off", says "the worker was not replaced";
    a_store_that_is_not_asked_first: "store-fail" broken by "engine.durable_first=off", says "no whole run";
    a_level_that_is_a_lie: "store-full" broken by "engine.store_level=off", says "the level was never basic";
    a_fault_that_stays: "store-slow" broken by "chaos.expiry=off", says "did not end by itself";
    a_host_that_dies_with_its_worker: "worker-crash" broken by "runtime.isolation=off", says "the host is gone";
    a_fallback_that_fails: "runs-fail" broken by "fallback.answer=error", says "runs ended as failed";
    nobody_who_waits_for_a_place: "runs-slow" broken by "engine.queue=off", says "runs ended as degraded";
    a_tool_s_failure_that_is_not_told: "tools-fail" broken by "engine.told=off", says "was not told";
    a_peer_s_failure_that_is_not_told: "network-fail" broken by "engine.told=off", says "was not told";
    a_service_that_is_not_looked_at: "service-down" broken by "engine.services=off", says "the level was never partial";
    a_replay_that_does_not_come: "connections-cut" broken by "engine.resume.replay=off", says "read again";
    a_worker_that_nobody_hears: "worker-hang" broken by "runtime.heartbeat=off;engine.kill=off", says "the worker was not replaced";
}
