//! Each fault that can be injected ends by itself, and the host is well again by itself: nobody ends it, nobody restarts
//! anything. Each is shown red on hosts that do not heal.

use std::{collections::BTreeSet, time::Duration};

use serde_json::{Value, json};

use crate::{
    admin::page,
    chaos::{inject, level, standing, stop, until_level},
    client::Client,
    drill_broken::setup,
    harness::{Host, PATIENCE, within},
    scenario::ready,
};

/// A fault, and what it hits.
struct Case {
    fault: &'static str,
    /// What its order says beside its name.
    order: Value,
    /// What has the plugin use what it is about.
    says: String,
}

/// Every fault there is; `net` has the plugin ask its peer.
fn cases(net: &str) -> Vec<Case> {
    let case = |fault, order, says: &str| Case { fault, order, says: says.to_owned() };
    let late = || json!({ "delay": "300ms", "for": "1s" });
    vec![
        case("worker-kill", json!({ "plugin": "bad" }), "hello"),
        case("worker-crash", json!({ "plugin": "bad" }), "hello"),
        // The host takes four seconds to find it out, and longer on a busy machine.
        case("worker-hang", json!({ "plugin": "bad", "for": "12s" }), "hello"),
        case("runs-fail", json!({ "plugin": "bad", "for": "1s" }), "hello"),
        case("runs-slow", json!({ "plugin": "bad", "delay": "300ms", "for": "1s" }), "hello"),
        case("store-fail", json!({ "for": "1s" }), "hello"),
        case("store-full", json!({ "for": "1s" }), "hello"),
        case("store-slow", json!({ "delay": "50ms", "for": "1s" }), "hello"),
        case("tools-fail", json!({ "for": "1s" }), "!tool clock"),
        case("tools-slow", late(), "!tool clock"),
        case("network-fail", json!({ "for": "1s" }), net),
        case("network-slow", late(), net),
        case("service-down", json!({ "service": "threads", "for": "1s" }), "hello"),
        case("connections-cut", json!({}), "hello"),
    ]
}

impl Case {
    fn acts(&self) -> bool {
        self.order.get("for").is_none()
    }

    /// Injects it, has it hit something, and looks on; each step within that time.
    async fn heals(&self, host: &Host, patience: Duration) -> Result<(), String> {
        let mut client = Client::connect(host, "alice").await?;
        let bad = json!({ "agent": "bad" });
        let first = client.run_with(&self.says, bad.clone()).await?;
        first.answered_by("bad")?;
        let generation = page(host, "bad").await?["generation"].clone();
        let on = json!({ "agent": "bad", "thread_id": first.thread() });
        let mut ended = Value::Null;
        // One that was over before anything met it, on a machine that stood still, is injected once more.
        for _ in 0..5 {
            ended = self.stands(host, &mut client, &on, patience).await?;
            if ended["hits"] != 0 {
                break;
            }
        }
        let how = if self.acts() { "done" } else { "expired" };
        if ended["ended"] != how || ended["hits"].as_u64() < Some(1) {
            return Err(format!("it ended otherwise, or hit nothing: {ended}"));
        }
        // Before anybody asks anything of the host.
        within(patience, "the host is well", async || {
            let (level, page) = (level(host).await?, page(host, "bad").await?);
            let is_another = page["generation"] != generation;
            match (level.as_str(), page["verdict"] == "healthy", self.strikes(), is_another) {
                ("full", true, true, true) | ("full", true, false, false) => Ok(()),
                state => Err(format!("the level is {level}; {state:?}")),
            }
        })
        .await?;
        if self.fault == "connections-cut" {
            let back = comes_back(host, &first.accepted, first.events.len());
            let back = tokio::time::timeout(patience, back).await;
            client = back.map_err(|_| "the conversation does not come back".to_owned())??;
        }
        // On the connection that was there all the while, and in the same conversation.
        client.run_with(&self.says, on).await?.answered_by("bad")
    }

    /// Injects it, uses what it is about, and waits until it is over: what is said of it then.
    async fn stands(
        &self,
        host: &Host,
        client: &mut Client,
        on: &Value,
        patience: Duration,
    ) -> Result<Value, String> {
        let mut order = self.order.clone();
        order["fault"] = self.fault.into();
        let id = inject(host, order).await?["id"].clone();
        if !self.acts() {
            let message = client.say(&self.says, on.clone()).await?;
            ends(client, &message).await?;
        }
        within(patience, "it ends", async || {
            let page = standing(host).await?;
            let ended = page["ended"].as_array().into_iter().flatten().find(|one| one["id"] == id).cloned();
            ended.ok_or_else(|| format!("{} is in force", self.fault))
        })
        .await
    }

    fn strikes(&self) -> bool {
        self.fault.starts_with("worker-")
    }
}

/// The message was answered, or its run has ended: well or not, as the fault has it.
async fn ends(client: &mut Client, message: &str) -> Result<(), String> {
    let mut run = Value::Null;
    loop {
        let frame = client.next().await.map_err(|end| format!("the connection is lost: {end:?}"))?;
        if frame["type"] == "accepted" && frame["id"] == message {
            run = frame["run_id"].clone();
        }
        let is_over = frame["type"] == "agent_completed" && frame["run_id"] == run;
        if is_over || frame["type"] == "error" && frame["id"] == message {
            return Ok(());
        }
    }
}

/// Who was cut off finds all of it.
async fn comes_back(host: &Host, accepted: &Value, events: usize) -> Result<Client, String> {
    let mut back = Client::connect(host, "alice").await?;
    let subscribe = json!({
        "type": "subscribe", "thread_id": accepted["thread_id"], "after_seq": 0, "epoch": accepted["epoch"],
    });
    back.send(&subscribe).await?;
    for seq in 1..=events {
        let frame = loop {
            let frame = back
                .next()
                .await
                .map_err(|end| format!("event {seq} of the conversation does not come back: {end:?}"))?;
            if frame["payload"].is_object() {
                break frame;
            }
        };
        if frame["seq"] != seq {
            return Err(format!("event {seq} of the conversation does not come back: {frame}"));
        }
    }
    Ok(back)
}

#[tokio::test]
async fn after_each_fault_the_host_is_well_by_itself() {
    let (setup, messages) = setup().await;
    // All of them at one host: beyond what its plugin may be restarted else.
    let host = setup.start();
    ready(&host).await.unwrap();
    let cases = cases(&messages[1]);
    let there = standing(&host).await.unwrap()["faults"].clone();
    let there: BTreeSet<&str> =
        there.as_array().unwrap().iter().map(|one| one["fault"].as_str().unwrap()).collect();
    assert_eq!(there, cases.iter().map(|case| case.fault).collect(), "each fault that there is");
    for case in cases {
        let healed = case.heals(&host, PATIENCE).await;
        healed.unwrap_or_else(|why| panic!("{}: {why}", case.fault));
    }
}

/// Those faults of a host that is broken so: none is content, each for that reason.
async fn are_red(faults: &[&str], broken_by: &str, words: &str) {
    let (setup, messages) = setup().await;
    let host = setup.failpoints(broken_by).start();
    ready(&host).await.unwrap();
    for case in cases(&messages[1]).into_iter().filter(|case| faults.contains(&case.fault)) {
        // Longer than it is to stand: on a host that ends it, it would be over.
        let patience = if case.fault == "worker-hang" { 16 } else { 4 };
        let objection = case.heals(&host, Duration::from_secs(patience)).await;
        let objection = objection.expect_err("the scenario is content with a broken host");
        assert!(objection.contains(words), "{}: red for another reason: {objection}", case.fault);
        stop(&host).await.unwrap();
        if faults.len() > 1 {
            until_level(&host, "full").await.unwrap();
        }
    }
}

#[tokio::test]
async fn a_fault_that_stays_is_found_whatever_it_is() {
    let lasting = [
        "runs-fail",
        "runs-slow",
        "store-fail",
        "store-full",
        "store-slow",
        "tools-fail",
        "tools-slow",
        "network-fail",
        "network-slow",
        "service-down",
        "worker-hang",
    ];
    are_red(&lasting, "chaos.expiry=off", "is in force").await;
}

#[tokio::test]
async fn a_worker_that_stays_dead_is_found() {
    for fault in ["worker-kill", "worker-crash"] {
        are_red(&[fault], "engine.restart=off", "the host is well: the level is fallback").await;
    }
}

#[tokio::test]
async fn a_worker_that_hangs_on_is_found() {
    are_red(&["worker-hang"], "runtime.heartbeat=off;engine.kill=off", "the host is well").await;
}

/// A host that learns that its store works only from those who write.
#[tokio::test]
async fn a_store_that_nobody_looks_at_is_found() {
    for fault in ["store-fail", "store-full"] {
        are_red(&[fault], "engine.store_check=off", "the level is basic").await;
    }
}

#[tokio::test]
async fn a_conversation_that_does_not_come_back_is_found() {
    are_red(&["connections-cut"], "engine.resume.replay=off", "conversation does not come back").await;
}
