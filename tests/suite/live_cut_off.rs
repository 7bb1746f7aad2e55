//! A host that is killed between the two files of one change: the next start completes it, before it reads them, and says so;
//! what somebody edited since is not overwritten.

use serde_json::Value;

use crate::{
    harness::{Host, Setup, eventually},
    live::{edit, holds},
    live_unwritable::{SET, files, set, setup},
    scenario::ready,
};

/// The file that is replaced after `host.toml`.
const SECOND: &str = "plugins.d/00-echo.toml";

/// The files that a reader takes, and whatever lies beside them.
fn texts(host: &Host) -> (String, usize) {
    let all = files(host);
    (all.values().map(String::as_str).collect(), all.len())
}

/// Has the host replace the first of two files, and kills it before the second.
async fn killed_between(host: &mut Host) -> Result<(), String> {
    ready(host).await?;
    host.inject("server.config_between=hang");
    let first = host.dir().join("host.toml");
    tokio::select! {
        answer = set(host) => return Err(format!("answered before it was done: {answer:?}")),
        replaced = eventually("the first is replaced", async || {
            match std::fs::read_to_string(&first) {
                Ok(text) if text.contains("runs_at_once = 7") => Ok(()),
                other => Err(format!("{other:?}")),
            }
        }) => replaced?,
    }
    host.kill();
    let second = std::fs::read_to_string(host.dir().join(SECOND)).unwrap();
    if second.contains("concurrent_runs = 5") {
        return Err(format!("not between the two: {second}"));
    }
    host.inject("");
    Ok(())
}

async fn what_was_cut_off_is_completed(setup: &Setup) -> Result<(), String> {
    let mut host = setup.start();
    let (_, count) = texts(&host);
    killed_between(&mut host).await?;
    host.start_as_it_is(setup);
    ready(&host).await?;
    let text = |file: &str| std::fs::read_to_string(host.dir().join(file)).unwrap();
    let (first, second) = (text("host.toml"), text(SECOND));
    if !first.contains("runs_at_once = 7") || !second.contains("concurrent_runs = 5") {
        return Err(format!("half of it is there: {first}{second}"));
    }
    for (key, value) in SET {
        holds(&host, key, &Value::from(value)).await?;
    }
    host.says(&["ConfigChangeCutOff", "completed"]).await?;
    match texts(&host).1 == count && !host.dir().join(".change.json").exists() {
        true => Ok(()),
        false => Err(format!("something is left beside them: {:?}", files(&host).keys())),
    }
}

#[tokio::test]
async fn a_change_of_two_files_is_whole_though_its_host_is_killed_between_them() {
    what_was_cut_off_is_completed(&setup().failpoints("")).await.unwrap();
}

#[tokio::test]
async fn that_is_red_for_a_host_that_does_not_know_what_it_was_about() {
    let broken = setup().failpoints("server.config_journal=off");
    let objection = what_was_cut_off_is_completed(&broken).await.unwrap_err();
    assert!(objection.contains("half of it is there"), "{objection}");
}

#[tokio::test]
async fn an_edit_that_came_between_is_kept() {
    let setup = setup().failpoints("");
    let mut host = setup.start();
    killed_between(&mut host).await.unwrap();
    edit(&host.dir().join(SECOND), "enabled = true", "enabled = true # said Ann");
    host.start_as_it_is(&setup);
    ready(&host).await.unwrap();
    let (text, _) = texts(&host);
    assert!(text.contains("# said Ann") && !text.contains("concurrent_runs = 5"), "{text}");
    let said = host.says(&["ConfigChangeCutOff", "\"outcome\":\"left\""]).await.unwrap();
    assert!(said.contains("00-echo.toml"), "it names what to look at: {said}");
}
