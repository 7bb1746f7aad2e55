//! A plugin that has given up gets another chance with another file, without an operator; what runs does not.

use std::path::Path;

use crate::{
    client::Client,
    harness::{Host, Plugin, Setup, artifacts, eventually},
    scenario::ready,
};

/// Puts a sound library in the place of `plugins/bad.so`, as a deployment does.
fn mended(host: &Host) {
    let path = host.dir().join("plugins/bad.so");
    let next = path.with_extension("next");
    std::fs::copy(artifacts::echo(), &next).unwrap();
    std::fs::rename(next, path).unwrap();
}

async fn state_is(host: &Host, wanted: &str) -> Result<(), String> {
    eventually(wanted, async || {
        let client = Client::connect(host, "alice").await?;
        let agent = client.welcome["agents"].as_array().into_iter().flatten().find(|a| a["name"] == "bad");
        match agent.and_then(|agent| agent["state"].as_str()) {
            Some(state) if state == wanted => Ok(()),
            other => Err(format!("bad is {other:?}, not {wanted}")),
        }
    })
    .await
}

/// A plugin without a single restart, from a file that the test can exchange.
fn crashes_once() -> Setup {
    let bytes = std::fs::read(artifacts::misbehaving()).unwrap();
    let plugin = Plugin::misbehaving_at("bad", "bad.so").key("restart", "{ max = 0 }");
    Setup::new().file("plugins/bad.so", bytes).plugin(plugin)
}

async fn a_quarantine_ends_with_a_new_file(host: &Host) -> Result<(), String> {
    ready(host).await?;
    let mut client = Client::connect(host, "alice").await?;
    client.run("!segv").await?;
    state_is(host, "quarantined").await?;
    mended(host);
    state_is(host, "healthy").await?;
    client.run("hello there").await?.answered_by("bad")
}

twin! {
    another_chance(a_quarantine_ends_with_a_new_file) on crashes_once();
    faults ""; broken by "engine.new_files=off", says "not healthy"
}

#[tokio::test]
async fn a_file_that_was_no_library_is_loaded_once_it_is_one() {
    let host = Setup::new()
        .file("plugins/bad.so", b"half a co".to_vec())
        .plugin(Plugin::at("bad", Path::new("bad.so")))
        .start();
    ready(&host).await.unwrap();
    state_is(&host, "failed").await.unwrap();
    mended(&host);
    state_is(&host, "healthy").await.unwrap();
    Client::connect(&host, "alice").await.unwrap().run("hello").await.unwrap().answered_by("bad").unwrap();
}
