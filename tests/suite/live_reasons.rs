//! A bad new version never serves, and API, command line, log and metric say why in the same words.

use serde_json::{Value, json};

use crate::{
    admin::page,
    client::Client,
    harness::{Host, Plugin, Setup, elf, eventually, metrics::Metrics},
    live::edit,
    scenario::ready,
};

/// How a version turns out to be bad.
struct Bad {
    /// What is edited in the plugin's file, to what.
    edit: (&'static str, String),
    /// What is said to it once it serves; none: it never does.
    says: Option<&'static str>,
    code: &'static str,
    /// What says it in the log.
    event: &'static str,
}

fn setup() -> Setup {
    let wild = Plugin::misbehaving("wild").config("create", "\"\"").config("probe", "\"\"");
    Setup::echo().plugin(wild).operated().set("limits.messages_per_minute", "0")
}

/// The one that serves is generation 1 before and after, and everybody gives the same reason.
async fn is_refused(host: &Host, bad: &Bad) -> Result<(), String> {
    ready(host).await?;
    let mut client = Client::connect(host, "alice").await?;
    let file = host.dir().join("plugins.d/01-wild.toml");
    edit(&file, bad.edit.0, &bad.edit.1);
    if let Some(words) = bad.says {
        eventually("it serves", async || match page(host, "wild").await? {
            page if page["generation"] == 2 => Ok(()),
            page => Err(page.to_string()),
        })
        .await?;
        // A version that fails is asked until it is found out; its people are answered by somebody.
        for _ in 0..12 {
            client.run_with(words, json!({ "agent": "wild" })).await?;
            if page(host, "wild").await?["rolled_back"]["from"] == 2 {
                break;
            }
        }
    }
    let page = eventually("the reason is shown", async || match page(host, "wild").await? {
        page if page["candidate"]["fault"]["code"] == bad.code && page["verdict"] == "healthy" => Ok(page),
        page => Err(page.to_string()),
    })
    .await?;
    let reason = page["candidate"]["fault"]["reason"].as_str().unwrap_or_default().to_owned();
    if reason.is_empty() || page["generation"] != 1 {
        return Err(format!("it serves, or nobody says why not: {page}"));
    }
    let back = &page["rolled_back"];
    if bad.says.is_some() && (back["code"] != bad.code || back["reason"] != reason.as_str()) {
        return Err(format!("taken back for another reason than {reason}: {back}"));
    }
    it_is_said_in_the_same_words(host, bad, &reason).await?;
    client.run_with("hi", json!({ "agent": "wild" })).await?.answered_by("wild")
}

async fn it_is_said_in_the_same_words(host: &Host, bad: &Bad, reason: &str) -> Result<(), String> {
    let code = bad.code;
    let typed = |command: &str| {
        let output = host.operate(&["plugins", command, "wild"]);
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    let (why, show) = (typed("why"), typed("show"));
    if !why.contains(&format!("{} ({code})", reason.trim_end_matches('.'))) {
        return Err(format!("`plugins why` says otherwise than {reason}: {why}"));
    }
    if !show.contains(&format!("{code}: {reason}")) {
        return Err(format!("`plugins show` says otherwise than {reason}: {show}"));
    }
    let said = host.says(&[bad.event]).await?;
    let lines: Vec<Value> = said.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
    let told = |line: &&Value| {
        let text = line.to_string();
        let field = |name: &str| text.contains(&format!("\"{name}\":"));
        field("reason")
            && text.contains(&json!(reason).to_string())
            && text.contains(&json!(code).to_string())
    };
    if !lines.iter().filter(told).any(|line| line.to_string().contains(bad.event)) {
        return Err(format!("no line of the log has {code} and {reason}"));
    }
    let series = format!("agent_host_plugin_version_failures_total{{plugin=\"wild\",fault=\"{code}\"");
    eventually("it is counted", async || match Metrics::of(host).await?.sum(&series) as u64 {
        1 => Ok(()),
        counted => Err(format!("{counted} times counted as {code}")),
    })
    .await
}

#[tokio::test]
async fn one_that_does_not_load_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let text = elf::write(folder.path(), "text.so", b"#!/bin/sh\necho no plugin\n");
    let path = crate::harness::artifacts::misbehaving();
    let from: &'static str = Box::leak(path.to_str().unwrap().to_owned().into_boxed_str());
    let bad = Bad {
        edit: (from, text.to_str().unwrap().to_owned()),
        says: None,
        code: "plugin.not_elf",
        event: "plugin was not replaced",
    };
    is_refused(&setup().start(), &bad).await.unwrap();
}

#[tokio::test]
async fn one_that_does_not_answer_its_probe_is_refused() {
    let bad = Bad {
        edit: ("probe = \"\"", "probe = \"error\"".to_owned()),
        says: None,
        code: "plugin.probe_failed",
        event: "plugin was not replaced",
    };
    is_refused(&setup().start(), &bad).await.unwrap();
}

/// It passes its probe, and then fails every message.
fn fails_later() -> Bad {
    Bad {
        edit: ("probe = \"\"", "probe = \"\"\nhandle = \"panic\"".to_owned()),
        says: Some("hello"),
        code: "plugin.breaker_open",
        event: "plugin was rolled back",
    }
}

async fn one_that_fails_later(host: &Host) -> Result<(), String> {
    is_refused(host, &fails_later()).await
}

twin! {
    one_that_passes_and_then_fails_is_taken_back(one_that_fails_later) on setup();
    faults ""; broken by "engine.rollback=off", says "the reason is shown"
}

/// The same on a share of the threads.
#[tokio::test]
async fn one_that_fails_on_trial_is_taken_back() {
    let terms = "{ share = \"100%\", min_runs = 4 }";
    let wild = Plugin::misbehaving("wild").config("create", "\"\"").config("probe", "\"\"");
    let host = Setup::echo().plugin(wild.key("canary", terms)).operated().start();
    ready(&host).await.unwrap();
    let mut client = Client::connect(&host, "alice").await.unwrap();
    edit(&host.dir().join("plugins.d/01-wild.toml"), "probe = \"\"", "probe = \"\"\nhandle = \"panic\"");
    eventually("it is on trial", async || match page(&host, "wild").await? {
        page if page["canary"]["generation"] == 2 => Ok(()),
        page => Err(page.to_string()),
    })
    .await
    .unwrap();
    for _ in 0..4 {
        client.run_with("hello", json!({ "agent": "wild" })).await.unwrap().answered_by("wild").unwrap();
    }
    let page = eventually("it is taken back", async || match page(&host, "wild").await? {
        page if page["rolled_back"]["from"] == 2 => Ok(page),
        page => Err(page.to_string()),
    })
    .await
    .unwrap();
    let reason = page["rolled_back"]["reason"].as_str().unwrap().to_owned();
    assert!(reason.starts_with("4 of 4 of its runs failed, against 0 of 3"), "{reason}");
    let bad = Bad {
        edit: ("", String::new()),
        says: None,
        code: "plugin.canary_worse",
        event: "plugin was rolled back",
    };
    it_is_said_in_the_same_words(&host, &bad, &reason).await.unwrap();
}
