//! What goes to whoever helps, and what operators look at: the support bundle, `top`, `status --watch`, the manual page.

use std::{fs, os::unix::fs::PermissionsExt as _};

use serde_json::{Value, json};

use crate::{
    admin_host::ask,
    client::Client,
    harness::{
        Host, Plugin, Setup, eventually,
        host::plain_cli,
        tokens::{self, ADMIN_SECRET, SECRET, operator},
    },
    live::{config, holds},
    scenario::ready,
};

const DEBUG: &[&str] = &["admin:debug"];
/// Planted where a bundle could pick them up.
const IN_CONFIG: &str = "canary-of-the-plugin-s-own-configuration";
const IN_EDIT: &str = "canary-of-a-wrong-edit";
const IN_ENV: &str = "canary-of-the-environment";
const OF_PLUGIN: &str = "canary-of-the-plugin-s-secret";
const IN_MESSAGE: &str = "canary-in-a-message";

fn setup() -> Setup {
    let plugin = Plugin::misbehaving("bad")
        .config("create", &format!("\"{IN_CONFIG}\""))
        .key("secrets", "{ billing_key = { env = \"BILLING\" } }");
    Setup::echo().plugin(plugin).operated().env("AGENT_HOST_CANARY", IN_ENV).env("BILLING", OF_PLUGIN)
}

async fn bundle(host: &Host) -> Result<Value, String> {
    let answer = ask(host, DEBUG, "GET", "/admin/v1/support-bundle", "").await?;
    if answer.status == 200 { answer.json() } else { Err(format!("{answer:?}")) }
}

/// All that helps is in it, and nothing that is anybody's.
async fn a_bundle_betrays_nobody(host: &Host) -> Result<(), String> {
    ready(host).await?;
    let mut client = Client::connect(host, "alice-the-canary").await?;
    client.run_with(IN_MESSAGE, json!({ "agent": "echo" })).await?;
    client.run_with(&format!("!stderr {IN_MESSAGE}"), json!({ "agent": "bad" })).await?;
    client.run_with("!think-segv", json!({ "agent": "bad" })).await?;
    ask(host, &["admin:toggle"], "POST", "/admin/v1/plugins/echo/probe", "").await?;
    // An edit that is refused, for a reason that quotes it; and one that holds since.
    let main = host.dir().join("host.toml");
    let text = fs::read_to_string(&main).map_err(|error| error.to_string())?;
    fs::write(&main, format!("routing.wait = \"3s\"\n{text}")).map_err(|error| error.to_string())?;
    holds(host, "routing.wait", &json!("3s")).await?;
    fs::write(&main, format!("routing.wait = \"3s\"\n{text}\n[{IN_EDIT}"))
        .map_err(|error| error.to_string())?;
    eventually("the edit is refused", async || match &config(host).await?["failure"] {
        Value::Null => Err("it is not".to_owned()),
        _ => Ok(()),
    })
    .await?;
    let bundle = eventually("the crash is in it", async || {
        let bundle = bundle(host).await?;
        let crashed = bundle["plugins"]
            .as_array()
            .is_some_and(|all| all.iter().any(|one| one["last_crash"].is_object()));
        if crashed { Ok(bundle) } else { Err("it is not".to_owned()) }
    })
    .await?;
    for (what, there) in [
        ("the level", bundle["status"]["level"].is_string()),
        ("the plugins", bundle["plugins"].as_array().is_some_and(|all| all.len() == 2)),
        ("a key with its origin", bundle["configuration"]["settings"]["drain.grace"]["origin"].is_string()),
        ("what holds since the start", bundle["configuration"]["settings"]["routing.wait"]["value"] == "3s"),
        ("that an edit was refused", bundle["configuration"]["failure"]["code"].is_string()),
        ("the events", bundle["events"].to_string().contains("PluginExited")),
        (
            "the metrics",
            bundle["metrics"].as_str().is_some_and(|page| page.contains("agent_host_runs_total")),
        ),
        ("the limits", bundle["machine"]["/proc/self/limits"].is_string()),
        ("how many are connected", bundle["connections"] == 1),
    ] {
        if !there {
            return Err(format!("{what} is not in {bundle}"));
        }
    }
    let text = bundle.to_string();
    let (token, admin) = (tokens::of("alice-the-canary"), operator(DEBUG));
    for secret in [
        IN_CONFIG,
        IN_EDIT,
        IN_ENV,
        OF_PLUGIN,
        IN_MESSAGE,
        SECRET,
        ADMIN_SECRET,
        &token,
        &admin,
        "alice-the-canary",
        "olga",
        "eyJ",
        "last words",
    ] {
        if let Some(at) = text.find(secret) {
            let around: String = text.chars().skip(at.saturating_sub(80)).take(200).collect();
            return Err(format!("{secret:?} is in it: …{around}…"));
        }
    }
    Ok(())
}

twin! {
    a_bundle_may_leave_the_house(a_bundle_betrays_nobody) on setup();
    faults ""; broken by "gateway.bundle_withheld=off", says "is in it"
}

#[tokio::test]
async fn a_bundle_is_written_for_its_owner_alone_and_over_nothing() {
    let host = setup().start();
    ready(&host).await.unwrap();
    let file = host.dir().join("bundle.json");
    let path = file.to_str().unwrap();
    let output = host.operate(&["support-bundle", "--to", path]);
    assert!(output.status.success(), "{output:?}");
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    let written: Value = serde_json::from_str(&fs::read_to_string(&file).unwrap()).unwrap();
    assert_eq!(written["bundle"], 1);
    let again = host.operate(&["support-bundle", "--to", path]);
    assert_eq!(again.status.code(), Some(1), "{again:?}");
}

#[tokio::test]
async fn top_shows_what_was_done_since_the_last_look() {
    let host = setup().start();
    ready(&host).await.unwrap();
    let mut client = Client::connect(&host, "alice").await.unwrap();
    for _ in 0..3 {
        client.run_with("hello", json!({ "agent": "echo" })).await.unwrap().answered_by("echo").unwrap();
    }
    let output = host.operate(&["top", "--looks", "1"]);
    assert!(output.status.success(), "{output:?}");
    let text = String::from_utf8(output.stdout).unwrap();
    let echo =
        text.lines().find(|line| line.starts_with("healthy  echo")).unwrap_or_else(|| panic!("{text}"));
    assert!(echo.contains(" ms "), "it has a latency: {echo}");
    assert!(text.contains("answers: 0 % by the fallback") && !text.contains('\u{1b}'), "{text}");
    let output = host.operate(&["top", "--looks", "2", "--every", "1s", "--output", "json"]);
    let looks: Vec<Value> = String::from_utf8(output.stdout)
        .unwrap()
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let of_echo = |look: &Value| {
        let all = look["plugins"].as_array().cloned().unwrap_or_default();
        all.iter().find(|one| one["id"] == "echo").and_then(|one| one["runs"].as_f64())
    };
    let runs = |look: &Value| (look["runs"].as_f64(), of_echo(look));
    assert_eq!(looks.iter().map(runs).collect::<Vec<_>>(), [(Some(3.0), Some(3.0)), (Some(0.0), Some(0.0))]);
}

#[test]
fn the_manual_page_is_made_from_the_command_line() {
    let output = plain_cli(&["man"], &[]);
    let page = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success() && page.contains(".TH") && page.contains("SUPPORT-BUNDLE"), "{page}");
}

/// 0 done, 1 failed, 2 usage, 69 unreachable, 78 configuration: of every command that asks a host, alike.
#[test]
fn every_command_to_a_host_ends_with_the_status_that_is_listed() {
    let token = [("AGENT_HOST_ADMIN_TOKEN", "a.b.c")];
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("host.toml"), "version = 1\n[drain]\ngrce = \"1s\"\n").unwrap();
    let wrong = folder.path().to_str().unwrap();
    let file = folder.path().join("out").display().to_string();
    for command in [
        &["status"][..],
        &["status", "--watch"],
        &["top"],
        &["plugins", "list"],
        &["plugins", "reset", "x"],
        &["log-level"],
        &["connections", "list"],
        &["connections", "close", "x"],
        &["events"],
        &["drain"],
        &["undrain"],
        &["support-bundle", "--to", &file],
    ] {
        let ends =
            |more: &[&str], token: &[(&str, &str)]| plain_cli(&[command, more].concat(), token).status.code();
        assert_eq!(ends(&["--admin", "127.0.0.1:1"], &token), Some(69), "nobody is there: {command:?}");
        assert_eq!(ends(&["--admin", "127.0.0.1:1"], &[]), Some(1), "no token: {command:?}");
        assert_eq!(ends(&["--config", wrong], &token), Some(78), "a wrong configuration: {command:?}");
        assert_eq!(ends(&["--no-such-thing"], &token), Some(2), "wrong usage: {command:?}");
    }
}
