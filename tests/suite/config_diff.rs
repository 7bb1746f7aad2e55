//! `config diff --edited`: what an edited copy of the folder would change, before anybody makes the change.

use std::{path::Path, process::Output};

use serde_json::{Value, json};

use crate::harness::{Plugin, Setup, host, tokens::SECRET};

fn texts(output: &Output) -> (String, String) {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (text(&output.stdout), text(&output.stderr))
}

/// The folder of one setup, and beside it a copy as another has it; what the command says of the two.
fn compared(now: &Setup, then: &Setup, more: &[&str]) -> Output {
    let copy = tempfile::tempdir().unwrap();
    then.write(copy.path());
    let arguments = ["config", "diff", "--edited", copy.path().to_str().unwrap()];
    host::cli(&[&arguments[..], more].concat(), now)
}

fn json_of(output: &Output) -> Value {
    let (said, objected) = texts(output);
    assert_eq!(output.status.code(), Some(0), "{said}{objected}");
    assert!(!said.contains(SECRET), "the key was printed: {said}");
    serde_json::from_str(&said).unwrap_or_else(|error| panic!("{error}: {said}"))
}

#[test]
fn an_edit_is_shown_before_it_is_made_and_what_waits_for_a_restart_is_named() {
    let now = Setup::echo();
    let then = Setup::new()
        .plugin(Plugin::echo().key("enabled", "false"))
        .set("limits.runs_at_once", "9")
        .set("limits.connections", "77")
        .plugin(Plugin::at("gone", "/nowhere/libgone.so"));
    let page = json_of(&compared(&now, &then, &["--output", "json"]));
    let changes = page["changes"].as_array().unwrap();
    let change = |key: &str| changes.iter().find(|change| change["key"] == key).cloned().unwrap_or_default();
    let told = |key: &str| (change(key)["to"].clone(), change(key)["live"].clone());
    assert_eq!(told("limits.runs_at_once"), (json!(9), json!(true)), "{page:#}");
    assert_eq!(told("limits.connections"), (json!(77), json!(false)), "{page:#}");
    assert_eq!(told("plugins.echo.enabled"), (json!(false), json!(true)), "{page:#}");
    let warned = page["warnings"].to_string();
    assert!(warned.contains("plugin `gone` will fail") && warned.contains("/nowhere/libgone.so"), "{page:#}");

    let (said, _) = texts(&compared(&now, &then, &[]));
    assert!(said.contains("limits.connections\n") && said.contains("77  (with the next start)"), "{said}");
    assert!(said.contains("warning: plugin `gone` will fail"), "{said}");
}

#[test]
fn a_copy_that_says_the_same_says_so_and_one_that_is_wrong_is_refused_with_the_place() {
    let folder = tempfile::tempdir().unwrap();
    Setup::echo().write(folder.path());
    let (said, objected) =
        texts(&host::cli_in(folder.path(), &["config", "diff", "--config", ".", "--edited", "."]));
    assert_eq!(said.trim(), "the two say the same", "{objected}");
    let wrong = compared(&Setup::echo(), &Setup::echo().append("\n[limits]\nruns_at_onc = 3\n"), &[]);
    let (_, objected) = texts(&wrong);
    assert_eq!(wrong.status.code(), Some(78), "{objected}");
    assert!(objected.contains("host.toml:") && objected.contains("did you mean"), "{objected}");
}

#[test]
fn a_profile_holds_for_both() {
    let quick =
        |wait: &str| Setup::echo().file("quick.toml", format!("routing.wait = \"{wait}\"\n").into_bytes());
    let page = json_of(&compared(&quick("1s"), &quick("3s"), &["--profile", "quick", "--output", "json"]));
    let changes = page["changes"].as_array().unwrap().iter();
    // Each folder has its own store.
    let changes: Vec<&Value> = changes.filter(|change| change["key"] != "store.path").collect();
    assert_eq!(changes.len(), 1, "{page:#}");
    assert_eq!((&changes[0]["key"], &changes[0]["to"]), (&json!("routing.wait"), &json!("3s")), "{page:#}");
}

#[test]
fn what_does_not_go_together_is_wrong_usage() {
    let nowhere = Path::new("/nowhere").to_str().unwrap();
    for arguments in [
        &["--profile", "a"][..],
        &["--profile", "a", "--profile", "b", "--profile", "c"],
        &["--profile", "a", "--profile", "b", "--edited", nowhere],
    ] {
        let output = host::cli(&[&["config", "diff"], arguments].concat(), &Setup::echo());
        let (said, objected) = texts(&output);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {said}{objected}");
        assert!(objected.contains("profile"), "{arguments:?}: {objected}");
    }
}
