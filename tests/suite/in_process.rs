//! The same library in the host's own process, by one word of the configuration: trusted code, pinned by its digest.

use sha2::{Digest as _, Sha256};

use crate::{
    client::Client,
    harness::{Host, Plugin, Setup, artifacts},
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
    assert_eq!(host.workers(), 0, "the preflight's worker is gone, and nothing took its place");
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
    let plugin = pinned(Plugin::bad_create("bad", "segv"), &library);
    let host = Setup::echo().plugin(plugin).start();
    let missing = missing(&host).await;
    assert_eq!(missing[0]["code"], "plugin.init_crashed", "{missing}");
    Client::connect(&host, "alice").await.unwrap().run("hello").await.unwrap().answered_by("echo").unwrap();
}

#[tokio::test]
async fn a_quick_tool_is_answered_on_the_spot_shown_in_its_place_and_only_if_it_was_granted() {
    let library = artifacts::misbehaving();
    let plugin = pinned(Plugin::at("bad", &library).key("tools", "[\"clock\"]"), &library);
    let host = Setup::new().plugin(plugin).start();
    ready(&host).await.unwrap();
    let mut client = Client::connect(&host, "alice").await.unwrap();
    let run = client.run("!tool clock").await.unwrap();
    run.answered_by("bad").unwrap();
    assert_eq!(
        run.kinds().into_iter().filter(|kind| kind.starts_with("tool_")).collect::<Vec<_>>(),
        ["tool_executing", "tool_completed"]
    );
    assert_eq!(run.payload("tool_executing")["tool"], "clock");
    assert_eq!(run.payload("tool_completed")["status"], "ok");

    let run = client.run("!tool calculator").await.unwrap();
    assert!(run.completed()["error"].to_string().contains("tool.denied"), "{}", run.completed());
    assert!(
        run.kinds().iter().all(|kind| !kind.starts_with("tool_")),
        "nothing was executed: {:?}",
        run.kinds()
    );
}
