//! The three clocks of a run, each of which alone ends what would not end; then cancel, grace and kill.

use serde_json::json;

use super::served;
use crate::{
    client::Client,
    harness::{Host, Plugin, Setup},
    scenario::ready,
};

fn host_with(timeouts: &str) -> Setup {
    let bad = Plugin::misbehaving("bad").key("timeouts", timeouts).key("tools", "[\"clock\"]");
    Setup::new().plugin(bad).set("limits.messages_per_minute", "0")
}

/// The code that the run of a message ends by.
async fn ends_by(host: &Host, message: &str, code: &str) -> Result<(), String> {
    ready(host).await?;
    let mut client = Client::connect(host, "alice").await?;
    let run = client.run_with(message, json!({ "agent": "bad" })).await?;
    match run.codes().contains(&code) {
        true => Ok(()),
        false => Err(format!("expected {code}, got {:?} and {}", run.codes(), run.completed())),
    }
}

async fn silence_ends(host: &Host) -> Result<(), String> {
    ends_by(host, "!think-hang", "plugin.timeout_idle").await
}

twin! {
    idle_clock(silence_ends)
        on host_with("{ init = \"20s\", tool = \"1s\", idle = \"500ms\", run = \"8s\", grace = \"200ms\" }");
    faults ""; broken by "engine.clock.idle=off", says "plugin.timeout_run"
}

/// It works for longer than a run may take, and would end well.
async fn length_ends(host: &Host) -> Result<(), String> {
    ends_by(host, "!slow 9000", "plugin.timeout_run").await
}

twin! {
    run_clock(length_ends)
        on host_with("{ init = \"20s\", tool = \"1s\", idle = \"30s\", run = \"1s\", grace = \"200ms\" }");
    faults ""; broken by "engine.clock.run=off", says "\"status\":\"ok\""
}

/// A tool that hangs fails for the plugin, which says so itself; the run does not wait for its own end.
async fn a_tool_ends(host: &Host) -> Result<(), String> {
    ready(host).await?;
    let mut client = Client::connect(host, "alice").await?;
    let run = client.run_with("!tool clock", json!({ "agent": "bad" })).await?;
    let code = &run.payload("tool_completed")["error"]["code"];
    match code == "plugin.timeout_tool" {
        true => Ok(()),
        false => Err(format!("the tool ended by {code}: {:?}", run.events)),
    }
}

twin! {
    tool_clock(a_tool_ends)
        on host_with("{ init = \"20s\", tool = \"500ms\", idle = \"30s\", run = \"8s\", grace = \"200ms\" }");
    faults "services.tool_call=hang"; broken by "engine.clock.tool=off", says "plugin.timeout_run"
}

/// It blocks a thread and cannot heed its cancellation: after the grace its process ends, and the next one serves.
async fn who_does_not_stop_is_killed(host: &Host) -> Result<(), String> {
    ready(host).await?;
    let mut client = Client::connect(host, "alice").await?;
    let before = served(&mut client, "bad").await?;
    client.run_with("!sleep", json!({ "agent": "bad" })).await?;
    let after = served(&mut client, "bad").await?;
    match after > before {
        true => Ok(()),
        false => Err(format!("generation {after} still has its blocked thread")),
    }
}

twin! {
    kill(who_does_not_stop_is_killed)
        on host_with("{ init = \"20s\", tool = \"1s\", idle = \"2s\", run = \"20s\", grace = \"200ms\" }");
    faults ""; broken by "engine.kill=off", says "still has its blocked thread"
}
