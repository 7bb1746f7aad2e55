//! An agent that has as many runs as it may: further ones wait for it, and no user's many messages keep another's waiting.

use serde_json::{Value, json};

use crate::{
    admin::page,
    client::Client,
    harness::{Host, Plugin, Setup, eventually, metrics::Metrics},
    scenario::ready,
};

/// One run at a time, and nobody else to answer.
fn setup() -> Setup {
    let narrow = Plugin::misbehaving("narrow")
        .key("limits", "{ concurrent_runs = 1 }")
        .key("timeouts", "{ queue = \"60s\" }");
    Setup::new().plugin(narrow).operated().set("limits.runs_at_once", "0")
}

/// When the agent began, as the log has it.
fn began(run: &crate::client::Run) -> Result<String, String> {
    let started = run.events.iter().find(|event| event["type"] == "agent_started");
    let time = started.and_then(|event| event["time"].as_str());
    time.map(str::to_owned).ok_or_else(|| format!("no beginning in {:?}", run.events))
}

async fn asked(host: &Host, user: &str) -> Result<(Client, String), String> {
    let mut client = Client::connect(host, user).await?;
    let id = client.say("!slow 100", json!({})).await?;
    Ok((client, id))
}

/// Until so many wait, or one did not.
async fn waits(host: &Host, wanted: u64) -> Result<(), String> {
    eventually("the messages wait", async || {
        let answered = Metrics::of(host).await?.sum("agent_host_answers_total{by=\"fallback\"");
        let page = page(host, "narrow").await?;
        match page["waiting"] == wanted || answered > 0.0 {
            true => Ok(()),
            false => Err(format!("{} wait; {} under way", page["waiting"], page["in_flight"])),
        }
    })
    .await
}

/// A place is taken; four messages of one user wait for it, then one of another's. Each is answered by the agent, and the
/// other user's is the second of those that waited.
async fn turns_are_taken(host: &Host) -> Result<(), String> {
    ready(host).await?;
    let mut first = Client::connect(host, "ann").await?;
    first.say("!wait", json!({})).await?;
    let accepted = first.until("accepted").await?;
    first.until("agent_started").await?;
    let mut ann = Vec::new();
    for _ in 0..4 {
        ann.push(asked(host, "ann").await?);
    }
    waits(host, 4).await?;
    let (mut bob, his) = asked(host, "bob").await?;
    waits(host, 5).await?;
    first.send(&json!({ "type": "cancel", "run_id": accepted["run_id"] })).await?;
    let his = bob.gather(&his).await?;
    let mut hers = Vec::new();
    for (client, id) in &mut ann {
        hers.push(client.gather(id).await?);
    }
    for run in hers.iter().chain([&his]) {
        let by: &Value = &run.completed()["responder"]["plugin"];
        if by != "narrow" {
            return Err(format!("answered by {by}: {}", run.completed()));
        }
    }
    let mut order = Vec::new();
    for run in &hers {
        order.push(began(run)?);
    }
    order.sort();
    match began(&his)? {
        his if order[0] < his && his < order[1] => Ok(()),
        his => Err(format!("bob's turn was at {his}, ann's were at {order:?}")),
    }
}

twin! {
    whoever_has_many_messages_waiting_takes_turns(turns_are_taken) on setup();
    faults ""; broken by "engine.queue.fair=off", says "bob's turn was"
}

twin! {
    a_full_agent_is_waited_for(turns_are_taken) on setup();
    faults ""; broken by "engine.queue=off", says "answered by \"fallback\""
}
