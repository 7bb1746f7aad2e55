//! What is a plugin's own: its secrets and its folder, and that nobody else's come near it.

use std::{collections::BTreeSet, os::unix::fs::MetadataExt as _, path::PathBuf};

use serde_json::json;

use crate::{
    client::Client,
    harness::{Host, Plugin, Setup, eventually, host::cli},
    scenario::ready,
};

/// What must never be seen anywhere but in the plugin that it was given to.
const CANARY: &str = "canary-7f3a9c51d2";

/// Two plugins of the same library; the first has a secret.
fn two() -> Setup {
    let rich = Plugin::misbehaving("rich").key("secrets", "{ billing_key = { env = \"BILLING\" } }");
    let poor = Plugin::misbehaving("poor");
    Setup::new().plugin(rich).plugin(poor).env("BILLING", CANARY).set("limits.messages_per_minute", "0")
}

async fn says(client: &mut Client, agent: &str, what: &str) -> Result<String, String> {
    let run = client.run_with(what, json!({ "agent": agent })).await?;
    run.answered_by(agent)?;
    Ok(run.text().to_owned())
}

async fn a_secret_reaches_its_own_plugin_only(host: &Host) -> Result<(), String> {
    ready(host).await?;
    let mut client = Client::connect(host, "alice").await?;
    match says(&mut client, "rich", "!secret billing_key").await?.as_str() {
        CANARY => {}
        other => return Err(format!("its own plugin has {other:?}")),
    }
    for (agent, what) in [
        ("rich", "!secret other_key"),
        ("rich", "!env BILLING"),
        ("rich", "!env billing_key"),
        ("poor", "!secret billing_key"),
        ("poor", "!env BILLING"),
    ] {
        match says(&mut client, agent, what).await?.as_str() {
            "not there" => {}
            other => return Err(format!("{agent} {what}: {other:?}")),
        }
    }
    says(&mut client, "rich", "!secret-log billing_key").await?;
    not_in_the_log(host)
}

fn not_in_the_log(host: &Host) -> Result<(), String> {
    match host.said().contains(CANARY) {
        false => Ok(()),
        true => Err("the secret is in the log".to_owned()),
    }
}

/// A plugin that writes its own secret about, in what it logs and in what it prints.
async fn a_talkative_plugin_betrays_nothing(host: &Host) -> Result<(), String> {
    ready(host).await?;
    let mut client = Client::connect(host, "alice").await?;
    says(&mut client, "rich", "!secret-tell billing_key").await?;
    eventually("both lines are there", async || match host.said().matches("my key is").count() {
        2.. => Ok(()),
        some => Err(format!("{some} lines")),
    })
    .await?;
    not_in_the_log(host)
}

twin! {
    secrets_are_redacted(a_talkative_plugin_betrays_nothing) on two();
    faults ""; broken by "runtime.redact=off", says "the secret is in the log"
}

twin! {
    secrets_are_not_shared(a_secret_reaches_its_own_plugin_only) on two();
    faults ""; broken by "server.secrets=off", says "poor !secret billing_key"
}

#[tokio::test]
async fn a_crash_and_an_error_show_no_secret() {
    let host = two().set("log.level", "\"debug\"").start();
    ready(&host).await.unwrap();
    let mut client = Client::connect(&host, "alice").await.unwrap();
    client.run_with("!segv", json!({ "agent": "rich" })).await.unwrap();
    a_secret_reaches_its_own_plugin_only_again(&mut client).await;
    assert!(!host.said().contains(CANARY));
}

/// The next generation has it too.
async fn a_secret_reaches_its_own_plugin_only_again(client: &mut Client) {
    let client = tokio::sync::Mutex::new(client);
    eventually("the next generation has its secret", async || {
        match says(*client.lock().await, "rich", "!secret billing_key").await?.as_str() {
            CANARY => Ok(()),
            other => Err(format!("it has {other:?}")),
        }
    })
    .await
    .unwrap();
}

#[test]
fn no_print_of_the_configuration_shows_a_secret() {
    let setup = two();
    for arguments in [&["config", "print", "--effective", "--show-origin"][..], &["config", "validate"]] {
        let output = cli(arguments, &setup);
        let said = [output.stdout, output.stderr].concat();
        assert!(output.status.success() && !String::from_utf8_lossy(&said).contains(CANARY));
    }
}

#[tokio::test]
async fn each_plugin_has_a_private_folder_of_its_own_which_is_its_tmpdir() {
    let store = tempfile::tempdir().unwrap();
    let path = toml::Value::from(store.path().to_str().unwrap()).to_string();
    let host = two().set("store.path", &path).start();
    ready(&host).await.unwrap();
    let mut client = Client::connect(&host, "alice").await.unwrap();
    let mut folders = BTreeSet::new();
    for agent in ["rich", "poor"] {
        let folder = PathBuf::from(says(&mut client, agent, "!folder").await.unwrap());
        assert!(folder.starts_with(store.path().canonicalize().unwrap()), "{}", folder.display());
        let meta = folder.symlink_metadata().unwrap();
        assert_eq!((meta.is_dir(), meta.mode() & 0o777), (true, 0o700), "{}", folder.display());
        assert_eq!(says(&mut client, agent, "!env TMPDIR").await.unwrap(), folder.display().to_string());
        folders.insert(folder);
    }
    assert_eq!(folders.len(), 2, "nobody shares");
}
