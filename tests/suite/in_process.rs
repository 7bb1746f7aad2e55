//! The same library in the host's own process, by one word of the configuration: trusted code, pinned by its digest.

use sha2::{Digest as _, Sha256};

use crate::{
    client::Client,
    harness::{Host, Plugin, Setup, artifacts, eventually},
    scenario::ready,
};

fn digest_of(library: &std::path::Path) -> String {
    let bytes = std::fs::read(library).unwrap();
    Sha256::digest(&bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

fn pinned(plugin: Plugin, library: &std::path::Path) -> Plugin {
    plugin.key("isolation", "\"in-process\"").key("sha256", &format!("\"{}\"", digest_of(library)))
}

async fn missing(host: &Host) -> serde_json::Value {
    ready(host).await.unwrap();
    Client::connect(host, "alice").await.unwrap().welcome["service"]["missing"].clone()
}

#[tokio::test]
async fn a_pinned_plugin_answers_from_the_host_s_own_process() {
    let host = Setup::new().plugin(pinned(Plugin::echo(), &artifacts::echo())).start();
    ready(&host).await.unwrap();
    let mut client = Client::connect(&host, "alice").await.unwrap();
    assert_eq!(client.welcome["service"]["level"], "full", "{}", client.welcome);
    client.run("hello").await.unwrap().answered_by("echo").unwrap();
    eventually("the preflight's worker is gone, and nothing took its place", async || match host.workers() {
        0 => Ok(()),
        some => Err(format!("{some} workers")),
    })
    .await
    .unwrap();
}

#[tokio::test]
async fn a_panic_in_the_host_s_process_ends_its_own_run_only() {
    let library = artifacts::misbehaving();
    let host = Setup::new().plugin(pinned(Plugin::misbehaving("bad"), &library)).start();
    ready(&host).await.unwrap();
    let mut client = Client::connect(&host, "alice").await.unwrap();
    let run = client.run("!panic").await.unwrap();
    assert!(run.completed()["error"].to_string().contains("plugin.panicked"), "{}", run.completed());
    client.run("are you well?").await.unwrap().answered_by("bad").unwrap();
}

#[tokio::test]
async fn without_a_pin_or_with_a_wrong_one_it_is_not_loaded_and_the_host_serves() {
    let unpinned = Plugin::echo().key("isolation", "\"in-process\"");
    let wrong = pinned(Plugin::echo(), &artifacts::misbehaving());
    for (plugin, code) in [(unpinned, "plugin.signature_missing"), (wrong, "plugin.digest_mismatch")] {
        let host = Setup::new().plugin(plugin).start();
        let missing = missing(&host).await;
        assert_eq!(missing[0]["code"], code, "{missing}");
        let mut client = Client::connect(&host, "alice").await.unwrap();
        client.run("hello there").await.unwrap().answered_by_fallback("hello there").unwrap();
    }
}

#[tokio::test]
async fn what_would_crash_the_host_crashes_in_the_preflight() {
    let library = artifacts::misbehaving();
    let plugin = pinned(Plugin::bad_create("bad", "segv").key("restart", "{ max = 1000 }"), &library);
    let host = Setup::echo().plugin(plugin).start();
    // It is started again and again, and says so in between.
    eventually("it crashed as it was made", async || match missing(&host).await {
        missing if missing[0]["code"] == "plugin.init_crashed" => Ok(()),
        missing => Err(missing.to_string()),
    })
    .await
    .unwrap();
    Client::connect(&host, "alice").await.unwrap().run("hello").await.unwrap().answered_by("echo").unwrap();
}

/// The fixture in the host's own process, which may call the clock and nothing else.
fn clocked() -> Plugin {
    let library = artifacts::misbehaving();
    pinned(Plugin::at("bad", &library).key("tools", "[\"clock\"]"), &library)
}

/// A quick tool is answered on the plugin's own thread: shown in its place, and only if it was granted.
async fn a_quick_tool_is_shown_and_needs_a_grant(host: &Host) -> Result<(), String> {
    ready(host).await?;
    let mut client = Client::connect(host, "alice").await?;
    let run = client.run("!tool clock").await?;
    run.answered_by("bad")?;
    let kinds = run.kinds();
    let expected = ["user_message", "agent_started", "tool_executing", "tool_completed", "agent_completed"];
    if kinds != expected || run.payload("tool_completed")["status"] != "ok" {
        return Err(format!("not shown as it was: {:?}", run.events));
    }
    // The plugin passes the refusal on, and the fallback answers; what it shows of itself is another tool.
    let run = client.run("!tool calculator").await?;
    match run.events.iter().find(|event| event["payload"]["tool"] == "calculator") {
        None => Ok(()),
        Some(event) => Err(format!("a tool ran without a grant: {event}")),
    }
}

twin! {
    quick_tools_need_a_grant(a_quick_tool_is_shown_and_needs_a_grant) on Setup::new().plugin(clocked());
    faults ""; broken by "engine.desk_grants=off", says "a tool ran without a grant"
}
