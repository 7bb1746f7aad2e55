//! Clients of that wire give up what is silent: nothing is, whatever the store or an agent takes its time for.

use futures_util::future::try_join;
use serde_json::json;

use super::{
    client::{ANSWER_WITHIN, Version},
    conformance::Greeted,
    v2::spoken,
};
use crate::{
    harness::{Host, Plugin, Setup},
    scenario::ready,
};

twin! {
    /// A store that is slow: the message is not acknowledged before it is durable, and not passed over in silence.
    a_message_that_the_store_keeps_waiting(is_told_so) on spoken(Setup::echo());
    faults "store.begin=delay:6000"; broken by "gateway.netra_pulse=off", says "silence"
}

async fn is_told_so(host: &Host) -> Result<(), String> {
    ready(host).await?;
    let [first, second] = Version::BOTH.map(|version| is_told_so_in(host, version));
    try_join(first, second).await.map(drop)
}

async fn is_told_so_in(host: &Host, version: Version) -> Result<(), String> {
    let Greeted { mut client, .. } = Greeted::of(host, version, user(version)).await?;
    client.say(&json!({ "type": "chat", "content": "hello", "message_id": "m-1" })).await?;
    // Its deadline is what is held here.
    let frame = client.hear(ANSWER_WITHIN).await?.map_err(|code| format!("closed with {code}"))?;
    if frame["data"]["event"] != "message_pending" || frame["data"]["message_id"] != "m-1" {
        return Err(format!("answered by {frame}"));
    }
    let run = client.until("agent_completed").await?;
    match run[0]["type"] == "ack" && run[0]["message_id"] == "m-1" {
        true => Ok(()),
        false => Err(format!("{run:?}")),
    }
}

twin! {
    /// An agent that thinks for a long time: its run is told to go on, by the host's own word.
    a_run_that_is_silent(is_spoken_of) on spoken(Setup::new().plugin(slow()));
    faults ""; broken by "gateway.netra_pulse=off", says "nothing was said of the run"
}

fn slow() -> Plugin {
    Plugin::misbehaving("slow").key("timeouts", "{ idle = \"60s\", run = \"60s\" }")
}

async fn is_spoken_of(host: &Host) -> Result<(), String> {
    ready(host).await?;
    let [first, second] = Version::BOTH.map(|version| is_spoken_of_in(host, version));
    try_join(first, second).await.map(drop)
}

async fn is_spoken_of_in(host: &Host, version: Version) -> Result<(), String> {
    let Greeted { mut client, .. } = Greeted::of(host, version, user(version)).await?;
    client.say(&json!({ "type": "chat", "content": "!slow 12000" })).await?;
    let run = client.until("agent_completed").await?;
    let said = run.iter().find(|frame| frame["from_host"] == true).ok_or("nothing was said of the run")?;
    match said["type"] == "agent_thinking" && said["run_id"] == run[0]["run_id"] && said["seq"].is_null() {
        true => Ok(()),
        false => Err(format!("{said}")),
    }
}

/// Each its own: a message's id is its user's.
fn user(of: Version) -> &'static str {
    match of {
        Version::V1 => "alice",
        Version::V2 => "bob",
    }
}
