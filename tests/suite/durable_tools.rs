//! `threads` and `db`: what an operator sees of the log and does with it, beside a running host and without one.

use std::process::Output;

use serde_json::{Value, json};

use crate::{
    client::{Client, Run},
    harness::{Host, Setup, host::cli_beside},
    scenario::ready,
};

/// A host with a conversation of alice's and one of bob's.
async fn talked(setup: &Setup) -> (Host, Run) {
    let host = setup.start();
    ready(&host).await.unwrap();
    let run = Client::connect(&host, "alice").await.unwrap().run("hello").await.unwrap();
    Client::connect(&host, "bob").await.unwrap().run("hello").await.unwrap();
    (host, run)
}

fn text(output: &Output) -> String {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn parsed(output: &Output) -> Value {
    serde_json::from_str(&text(output)).unwrap()
}

#[tokio::test]
async fn threads_are_listed_shown_and_exported_beside_a_running_host() {
    let setup = Setup::echo();
    let (mut host, run) = talked(&setup).await;
    for life in ["running", "killed"] {
        let cli = |arguments: &[&str]| cli_beside(&host, arguments, &setup);
        let all = parsed(&cli(&["threads", "list", "--output", "json"]));
        assert_eq!(all.as_array().map(Vec::len), Some(2), "{life}: {all:#}");
        let hers = parsed(&cli(&["threads", "list", "--user", "alice", "--output", "json"]));
        assert_eq!((hers.as_array().map(Vec::len), &hers[0]["user"]), (Some(1), &json!("alice")), "{hers:#}");
        assert_eq!(hers[0]["thread_id"], run.thread());
        assert_eq!(hers[0]["open_run"], false);
        let table = text(&cli(&["threads", "list"]));
        assert!(table.contains("default/alice") && table.contains("at rest"), "{table}");

        let shown = parsed(&cli(&["threads", "show", run.thread(), "--output", "json"]));
        assert_eq!(shown["runs"], json!([{ "run_id": run.id(), "status": "ok" }]), "{shown:#}");
        let lines = text(&cli(&["threads", "export", run.thread()]));
        let exported: Vec<Value> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(exported, run.events, "{life}: what the client saw");
        let absent = cli(&["threads", "show", "no-such-thread"]);
        assert_eq!(absent.status.code(), Some(1));
        host.kill();
    }
}

#[tokio::test]
async fn a_backup_of_a_running_host_is_restored_once_it_is_stopped() {
    let setup = Setup::echo();
    let (mut host, run) = talked(&setup).await;
    let copy = host.folder().join("copy.db").display().to_string();
    text(&cli_beside(&host, &["db", "backup", &copy], &setup));
    assert_eq!(parsed(&cli_beside(&host, &["db", "check", "--output", "json"], &setup))["whole"], true);
    let later = Client::connect(&host, "alice").await.unwrap().run("after the backup").await.unwrap();
    let refused = cli_beside(&host, &["db", "restore", &copy], &setup);
    assert_eq!(refused.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&refused.stderr).contains("another host"), "{refused:?}");

    host.kill();
    text(&cli_beside(&host, &["db", "restore", &copy], &setup));
    host.start_again(&setup);
    ready(&host).await.unwrap();
    let mut client = Client::connect(&host, "alice").await.unwrap();
    let subscribe = |thread: &str| json!({ "type": "subscribe", "thread_id": thread, "after_seq": 1, "epoch": run.accepted["epoch"] });
    client.send(&subscribe(run.thread())).await.unwrap();
    let subscribed = client.expect("subscribed").await.unwrap();
    assert_eq!((&subscribed["recovered"], &subscribed["reason"]), (&json!(false), &json!("epoch")));
    client.send(&subscribe(later.thread())).await.unwrap();
    client.expect_error("thread.not_found").await.unwrap();
}

#[tokio::test]
async fn a_damaged_log_fails_the_check() {
    let setup = Setup::echo();
    let (mut host, _) = talked(&setup).await;
    host.kill();
    let file = host.folder().join("data/log/log.db");
    // What the host left in the WAL belongs into the file first.
    text(&cli_beside(&host, &["db", "check"], &setup));
    let mut bytes = std::fs::read(&file).unwrap();
    for page in bytes.chunks_mut(4096).skip(2) {
        page.fill(0xa5);
    }
    std::fs::write(&file, bytes).unwrap();
    let found = cli_beside(&host, &["db", "check"], &setup);
    assert_eq!(found.status.code(), Some(1), "{found:?}");
}
