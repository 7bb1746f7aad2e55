//! A client of that wire in another language, with a stock library: it has its conversation in every level that has one,
//! and objects to a host that does not hold to the facts.

use std::process::Command;

use serde_json::Value;

use super::{client::Version, v2::spoken};
use crate::{
    first_message::python,
    harness::{Host, Plugin, Setup, artifacts, tokens},
    scenario::ready,
};

/// What it was told.
async fn conversation(host: &Host, version: Version, text: &str) -> Result<Value, String> {
    ready(host).await?;
    let mut command = Command::new(python());
    let named = match version {
        Version::V1 => "v1",
        Version::V2 => "v2",
    };
    let url = format!("ws://{}/ws", host.address);
    command.arg(artifacts::root().join("tests/clients/python/older_wire.py")).args([named, &url, text]);
    command.env("TOKEN", tokens::of("pia"));
    // In a thread of its own: the script talks to the host while this waits.
    let output = tokio::task::spawn_blocking(move || command.output()).await.map_err(|e| e.to_string())?;
    let output = output.map_err(|e| e.to_string())?;
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).into_owned());
    }
    serde_json::from_slice(&output.stdout).map_err(|e| e.to_string())
}

/// Both versions are answered by `agent` and told that `missing` is; the words come back from an agent alone.
async fn is_had(host: &Host, agent: &str, missing: &[&str]) -> Result<(), String> {
    for version in Version::BOTH {
        let told = conversation(host, version, "hello from Python").await?;
        let named: Vec<&str> =
            told["missing"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        let runs = told["runs"].as_array().ok_or("no runs")?;
        let sound = |run: &Value| {
            let echoed = run["answer"].as_str().is_some_and(|answer| answer.contains("hello from Python"));
            run["agent"] == agent && run["status"] == "completed" && echoed == (agent != "fallback")
        };
        if named != missing || runs.len() < 2 || !runs.iter().all(sound) {
            return Err(format!("{version:?}: {told}"));
        }
    }
    Ok(())
}

async fn a_conversation_in_full(host: &Host) -> Result<(), String> {
    is_had(host, "echo", &[]).await
}

#[tokio::test]
async fn a_conversation_is_had_in_partial() {
    let host = spoken(Setup::echo().plugin(Plugin::at("gone", "/nowhere/libgone.so"))).start();
    is_had(&host, "echo", &["gone"]).await.unwrap();
}

#[tokio::test]
async fn a_conversation_is_had_in_fallback() {
    let host = spoken(Setup::new().plugin(Plugin::at("gone", "/nowhere/libgone.so"))).start();
    is_had(&host, "fallback", &["gone"]).await.unwrap();
}

twin! {
    in_full(a_conversation_in_full) on spoken(Setup::echo());
    faults ""; broken by "gateway.builds_nothing=off;services.events=error", says "HTTP 500"
}

/// It hears of silence where a host lets it wait.
async fn a_slow_store_is_heard_of(host: &Host) -> Result<(), String> {
    for version in Version::BOTH {
        conversation(host, version, "hello from Python").await?;
    }
    Ok(())
}

twin! {
    with_a_slow_store(a_slow_store_is_heard_of) on spoken(Setup::echo());
    faults "store.begin=delay:4000"; broken by "gateway.netra_pulse=off", says "silence for 3 s"
}
