//! A plugin that keeps failing meets nobody until one run has tried it.

use serde_json::{Value, json};

use super::{metric, served};
use crate::{
    client::Client,
    harness::{Host, Plugin, Setup, eventually},
    scenario::ready,
};

fn setup() -> Setup {
    let timeouts = "{ init = \"20s\", tool = \"1s\", idle = \"30s\", run = \"60s\", grace = \"5s\" }";
    let bad = Plugin::misbehaving("bad").key("timeouts", timeouts);
    Setup::new().plugin(bad).set("limits.messages_per_minute", "0").set("limits.runs_at_once", "0")
}

const OPEN: f64 = 2.0;
const HALF_OPEN: f64 = 1.0;
const CLOSED: f64 = 0.0;

async fn breaker_is(host: &Host, wanted: f64) -> Result<(), String> {
    eventually("the breaker moves", async || {
        match metric(host, "agent_host_breaker_state{plugin=\"bad\"}").await? {
            state if state == wanted => Ok(()),
            state => Err(format!("the breaker is at {state}, not {wanted}")),
        }
    })
    .await
}

/// Sends a message that waits to be cancelled, and says who thinks about it; a fallback's run is ended.
async fn waits_at(client: &mut Client) -> Result<(String, Value), String> {
    client.say("!wait", json!({ "agent": "bad" })).await?;
    let accepted = client.expect("accepted").await?;
    let thinking = client.until("agent_thinking").await?;
    let by = thinking["agent"].as_str().unwrap_or_default().to_owned();
    if by != "bad" {
        client.until("agent_completed").await?;
    }
    Ok((by, accepted))
}

async fn exactly_one_tries(host: &Host) -> Result<(), String> {
    ready(host).await?;
    let mut alice = Client::connect(host, "alice").await?;
    // A machine may stall for longer than the breaker's pause: then the message is its trial, and it is opened again.
    for last in [false, false, true] {
        for _ in 0..5 {
            alice.run_with("!panic", json!({ "agent": "bad" })).await?;
        }
        breaker_is(host, OPEN).await?;
        let refused = alice.run_with("hello", json!({ "agent": "bad" })).await?;
        if last || refused.answered_by("bad").is_err() {
            refused.answered_by_fallback("hello")?;
            break;
        }
    }
    // The pause is the breaker's; until it is over every message is refused.
    let patient = tokio::sync::Mutex::new(&mut alice);
    let trial = eventually("the breaker is tried", async || match waits_at(*patient.lock().await).await? {
        (by, accepted) if by == "bad" => Ok(accepted),
        (by, _) => Err(format!("answered by {by}")),
    })
    .await?;
    breaker_is(host, HALF_OPEN).await?;
    let mut bob = Client::connect(host, "bob").await?;
    for _ in 0..3 {
        let run = bob.run_with("me too?", json!({ "agent": "bad" })).await?;
        run.answered_by_fallback("me too?").map_err(|e| format!("a second trial: {e}"))?;
    }
    // A trial that is cancelled says nothing: the next run is it, and closes the breaker.
    alice.send(&json!({ "type": "cancel", "run_id": trial["run_id"] })).await?;
    alice.until("agent_completed").await?;
    served(&mut bob, "bad").await?;
    breaker_is(host, CLOSED).await?;
    served(&mut alice, "bad").await.map(drop)
}

twin! {
    one_trial(exactly_one_tries) on setup();
    faults ""; broken by "engine.breaker.one_trial=off", says "a second trial"
}
