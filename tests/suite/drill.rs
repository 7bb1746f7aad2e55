//! `agent-host drill`: content with a host that is well, and leaves nothing; does nothing where it may not, and breaks off
//! where it must. (What it says of broken hosts is in `drill_broken`.)

use std::{
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

use crate::{
    chaos::setup,
    client::Client,
    harness::{Host, PATIENCE, Setup, artifacts, eventually, host::cli_in, http, tokens},
    scenario::ready,
};

/// Begins it, against a host whose configuration it has.
fn begun(host: &Host, more: &[&str]) -> Child {
    Command::new(artifacts::host())
        .args(["drill", &format!("http://{}", host.address), "--admin", &format!("http://{}", host.admin)])
        .arg("--config")
        .arg(host.dir())
        .args(["--output", "json"])
        .args(more)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the host's binary runs")
}

/// Runs it to its end: the report, what it said, and its status. Each of its steps is bounded by itself.
pub(crate) async fn drilled(host: &Host, more: &[&str]) -> (Value, String, Option<i32>) {
    let child = begun(host, more);
    let output = tokio::task::spawn_blocking(|| child.wait_with_output()).await.unwrap().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    (serde_json::from_slice(&output.stdout).unwrap_or(Value::Null), said, output.status.code())
}

pub(crate) fn verdicts(report: &Value) -> Vec<(&str, &str)> {
    let scenarios = report["scenarios"].as_array().into_iter().flatten();
    scenarios.filter_map(|one| Some((one["scenario"].as_str()?, one["verdict"].as_str()?))).collect()
}

pub(crate) fn active(host: &Host) -> Value {
    let output = host.operate(&["chaos", "status", "--output", "json"]);
    let page: Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|e| panic!("{e}: {output:?}"));
    page["active"].clone()
}

#[tokio::test]
async fn a_host_that_is_well_holds_and_is_left_as_it_was() {
    let host = setup().start();
    ready(&host).await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("drill.md");
    let only = ["store-fail", "connections-cut", "tools-fail"];
    let mut arguments = vec!["--duration", "5s", "--report", file.to_str().unwrap()];
    arguments.extend(only.iter().flat_map(|name| ["--only", name]));
    let (report, said, status) = drilled(&host, &arguments).await;
    let expected: Vec<_> =
        only.iter().map(|name| (*name, if *name == "tools-fail" { "not tried" } else { "held" })).collect();
    assert_eq!((verdicts(&report), status), (expected, Some(0)), "{report:#}\n{said}");
    // What it says it saw, it saw: the store's scenario refused messages, and the level went and came.
    let store = &report["scenarios"][0]["seen"];
    assert!(store["refused"]["store.unavailable"].as_u64() > Some(0), "{store:#}");
    assert!(store["levels"].as_array().unwrap().iter().any(|one| one["level"] == "basic"), "{store:#}");
    assert!(report["scenarios"][1]["seen"]["connections_lost"].as_u64() > Some(0), "{report:#}");
    assert!(said.contains("1/3 store-fail") && said.contains("3/3 tools-fail"), "its progress: {said}");
    let filed = std::fs::read_to_string(&file).unwrap();
    assert!(filed.starts_with("# Drill of ") && filed.contains("## store-fail: held"), "{filed}");
    // Nothing is left: no fault, no thread.
    assert_eq!(active(&host), json!([]));
    let drill = tokens::signed(&tokens::claims_with("drill", json!({ "tenant": "drill" })), tokens::SECRET);
    let bearer = format!("Bearer {drill}");
    let list = http::get(host.address, "/v1/threads", &[("Authorization", &bearer)], PATIENCE).await.unwrap();
    assert_eq!(list.json().unwrap()["threads"], json!([]));
}

#[tokio::test]
async fn it_does_nothing_where_it_may_not() {
    let closed = Setup::echo().operated().start();
    ready(&closed).await.unwrap();
    let (_, said, status) = drilled(&closed, &[]).await;
    assert!(status == Some(1) && said.contains("chaos.disabled"), "{status:?} {said}");

    let host = setup().start();
    ready(&host).await.unwrap();
    let mut person = Client::connect(&host, "alice").await.unwrap();
    let (_, said, status) = drilled(&host, &["--only", "worker-kill"]).await;
    assert!(status == Some(1) && said.contains("--may-hurt"), "{status:?} {said}");
    person.run("hi").await.unwrap().answered_by("echo").unwrap();
    let (_, said, status) = drilled(&host, &["--only", "host-kill"]).await;
    assert!(status == Some(2) && said.contains("worker-kill"), "the scenarios are named: {status:?} {said}");
    let list = host.operate(&["drill", "--list"]);
    let list = String::from_utf8_lossy(&list.stdout).into_owned();
    assert!(list.contains("worker-hang\n    does"), "{list}");
}

/// Without arguments it is about the `dev` of this folder, as the other commands are; and where that is not there, or allows
/// nothing, it says what to do.
#[tokio::test]
async fn a_newcomer_needs_no_arguments() {
    let folder = tempfile::tempdir().unwrap();
    let said = |arguments: &[&str]| {
        let output = cli_in(folder.path(), arguments);
        let text = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
        (output.status.code(), text.into_owned())
    };
    let (status, text) = said(&["drill"]);
    assert!(
        status == Some(1) && text.contains("agent-host dev --set chaos.enabled=true"),
        "{status:?} {text}"
    );

    std::fs::create_dir_all(folder.path().join("config/plugins.d")).unwrap();
    std::fs::write(folder.path().join("config/host.toml"), "version = 1\n").unwrap();
    let echo = format!("[plugins.echo]\npath = \"{}\"\nkind = \"agent\"\n", artifacts::echo().display());
    std::fs::write(folder.path().join("config/plugins.d/echo.toml"), echo).unwrap();
    let ports =
        ["--config", "config", "--set", "gateway.listen=127.0.0.1:0", "--set", "admin.listen=127.0.0.1:0"];
    let mut host = Host::dev(folder.path(), &ports);
    ready(&host).await.unwrap();
    let (status, text) = said(&["drill"]);
    assert!(status == Some(1) && text.contains("chaos.disabled"), "{status:?} {text}");
    assert!(text.contains("--set chaos.enabled=true"), "what to do is said: {text}");
    host.kill();
    let (status, text) = said(&["drill"]);
    assert!(status == Some(69) && text.contains("is it running"), "{status:?} {text}");

    let host = Host::dev(folder.path(), &[&ports[..], &["--set", "chaos.enabled=true"]].concat());
    ready(&host).await.unwrap();
    let (status, text) = said(&["drill", "--only", "runs-slow", "--duration", "2s"]);
    assert!(
        status == Some(0) && text.contains("1 held, 0 failed, 0 broken off, 0 not tried"),
        "{status:?} {text}"
    );
    // What cannot be filed is said before minutes are spent.
    let (status, text) = said(&["drill", "--report", folder.path().join("no/folder.md").to_str().unwrap()]);
    assert!(
        status == Some(1) && text.contains("no/folder.md") && !text.contains("1/12"),
        "{status:?} {text}"
    );
}

/// Its people have to get in where the host is that is harmed: a door of another one, or none, is found out at once.
#[tokio::test]
async fn a_wrong_door_or_token_is_found_before_any_fault() {
    let host = setup().start();
    ready(&host).await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("token");
    let old = json!({ "iat": tokens::now() - 7200, "exp": tokens::now() - 3600 });
    let old = tokens::signed(&tokens::claims_with("drill", old), tokens::SECRET);
    for (token, words) in [(old, "auth.expired"), ("nonsense".to_owned(), "auth.")] {
        std::fs::write(&file, token).unwrap();
        let (_, said, status) = drilled(&host, &["--user-token-file", file.to_str().unwrap()]).await;
        assert!(
            status == Some(1) && said.contains(words) && said.contains("do not get in"),
            "{status:?} {said}"
        );
    }
    // A token that may look, and not harm: it ends with the first scenario.
    std::fs::write(&file, tokens::operator(&["admin:read"])).unwrap();
    let file = file.to_str().unwrap();
    let (report, said, status) = drilled(&host, &["--token-file", file, "--duration", "2s"]).await;
    assert_eq!((verdicts(&report)[0], status), (("worker-kill", "BROKEN OFF"), Some(1)), "{report:#} {said}");
    assert!(report["scenarios"][0]["because"].to_string().contains("admin:chaos"), "{report:#}");
    let others = verdicts(&report).into_iter().skip(1);
    assert!(others.into_iter().all(|(_, verdict)| verdict == "not tried"), "{report:#}");
}

/// Ctrl-C takes everything back, and what was not done is not said to hold.
#[tokio::test]
async fn interrupted_it_undoes_what_it_did() {
    let host = setup().start();
    ready(&host).await.unwrap();
    let child = begun(&host, &["--duration", "4m", "--only", "store-slow", "--only", "worker-kill"]);
    eventually("the fault is in force", async || match active(&host) {
        Value::Array(active) if !active.is_empty() => Ok(()),
        other => Err(other.to_string()),
    })
    .await
    .unwrap();
    let begun = Instant::now();
    kill_process(Pid::from_raw(i32::try_from(child.id()).unwrap()).unwrap(), Signal::INT).unwrap();
    let output = tokio::task::spawn_blocking(|| child.wait_with_output()).await.unwrap().unwrap();
    let report: Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|e| panic!("{e}: {output:?}"));
    assert_eq!(verdicts(&report), [("store-slow", "BROKEN OFF"), ("worker-kill", "not tried")], "{report:#}");
    assert_eq!((output.status.code(), active(&host)), (Some(1), json!([])));
    assert!(begun.elapsed() < Duration::from_secs(200), "long before the fault's own end");
}

/// Where others are hurt beyond what was said, all is taken back at once.
#[tokio::test]
async fn it_breaks_off_where_others_are_hurt() {
    let host = setup().set("routing.retry", "false").set("limits.runs_at_once", "0").start();
    ready(&host).await.unwrap();
    let mut person = Client::connect(&host, "alice").await.unwrap();
    let child = begun(&host, &["--duration", "4m", "--only", "runs-fail", "--may-hurt", "3"]);
    eventually("the fault is in force", async || match active(&host) {
        Value::Array(active) if !active.is_empty() => Ok(()),
        other => Err(other.to_string()),
    })
    .await
    .unwrap();
    let output = tokio::task::spawn_blocking(|| child.wait_with_output());
    tokio::pin!(output);
    let output = loop {
        tokio::select! {
            output = &mut output => break output.unwrap().unwrap(),
            run = person.run("hi") => drop(run.unwrap()),
        }
    };
    let report: Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|e| panic!("{e}: {output:?}"));
    assert_eq!(verdicts(&report), [("runs-fail", "BROKEN OFF")], "{report:#}");
    assert!(report["scenarios"][0]["because"].to_string().contains("other people"), "{report:#}");
    assert_eq!((output.status.code(), active(&host)), (Some(1), json!([])));
}
