//! Libraries that are no plugins: each fails with its own code, by itself, and the host serves on.

use std::{collections::BTreeMap, path::Path};

use rustix::fs::{CWD, FileType, Mode};
use serde_json::Value;
use tempfile::TempDir;

use crate::{
    client::Client,
    harness::{
        Host, Plugin, Setup,
        elf::{self, Library},
        eventually,
    },
    scenario::ready,
};

/// A plugin that cannot load, and the codes that say why.
struct Bad {
    plugin: Plugin,
    codes: &'static [&'static str],
}

/// One of each. The files live as long as the folder.
fn all(dir: &Path) -> Vec<Bad> {
    let library = Library::echo();
    let file = |id: &str, bytes: &[u8]| Plugin::at(id, elf::write(dir, &format!("{id}.so"), bytes));
    let world_writable = elf::write(dir, "world.so", &library.bytes);
    elf::mode(&world_writable, 0o666);
    let folder = dir.join("folder.so");
    std::fs::create_dir(&folder).unwrap();
    let fifo = dir.join("fifo.so");
    rustix::fs::mknodat(CWD, &fifo, FileType::Fifo, Mode::from_bits_truncate(0o644), 0).unwrap();
    let wrong_pin = format!("\"{}\"", "0".repeat(64));

    let table: Vec<(Plugin, &'static [&'static str])> = vec![
        (file("text", b"#!/bin/sh\necho no plugin\n"), &["plugin.not_elf"]),
        (file("empty", b""), &["plugin.not_elf", "plugin.truncated"]),
        (file("no-descriptor", &library.without_descriptor()), &["plugin.no_descriptor"]),
        (file("wrong-magic", &library.wrong_magic()), &["plugin.bad_descriptor"]),
        (file("abi-old", &library.with_abi(0)), &["plugin.abi_too_old"]),
        (file("abi-new", &library.with_abi(99)), &["plugin.abi_too_new"]),
        (file("machine", &library.other_machine()), &["plugin.wrong_machine"]),
        (file("class", &library.other_class()), &["plugin.wrong_machine"]),
        (file("pinned", &library.bytes).key("sha256", &wrong_pin), &["plugin.digest_mismatch"]),
        (Plugin::at("world", world_writable), &["plugin.insecure_mode"]),
        (Plugin::at("missing", dir.join("nowhere.so")), &["plugin.not_found"]),
        (Plugin::at("folder", folder), &["plugin.not_a_file"]),
        (Plugin::at("fifo", fifo), &["plugin.not_a_file"]),
        (Plugin::bad_create("create-panics", "panic"), &["plugin.init_panicked"]),
        (Plugin::bad_create("create-fails", "error"), &["plugin.init_error"]),
        (Plugin::bad_create("create-hangs", "hang"), &["plugin.init_timeout"]),
        (Plugin::bad_create("create-crashes", "segv"), &["plugin.init_crashed"]),
        (Plugin::bad_create("create-spins", "loop"), &["plugin.init_timeout"]),
        (Plugin::bad_create("create-aborts", "abort"), &["plugin.init_crashed"]),
        (Plugin::bad_create("create-exits", "exit0"), &["plugin.init_crashed"]),
        (Plugin::bad_create("create-exits-1", "exit1"), &["plugin.init_crashed"]),
        (Plugin::bad_create("create-dislikes", "config"), &["plugin.config_invalid"]),
        (Plugin::misbehaving("probe-fails").config("probe", "\"error\""), &["plugin.probe_failed"]),
        (Plugin::misbehaving("probe-panics").config("probe", "\"panic\""), &["plugin.probe_failed"]),
    ];
    // What is worth another try keeps its code for as long as the test lasts: no budget ends.
    table.into_iter().map(|(plugin, codes)| Bad { plugin: plugin.key("restart", ENDLESS), codes }).collect()
}

fn setup_of(bad: &[Bad]) -> Setup {
    bad.iter().fold(Setup::new(), |setup, bad| setup.plugin(bad.plugin.clone()))
}

/// More restarts than a test can see.
const ENDLESS: &str = "{ max = 1000, within = \"1h\" }";

/// What the welcome says is missing: code by name.
fn missing(welcome: &Value) -> BTreeMap<String, String> {
    let all = welcome["service"]["missing"].as_array().cloned().unwrap_or_default();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    all.iter().map(|one| (text(&one["name"]), text(&one["code"]))).collect()
}

/// A client whose welcome names each of them. What failed otherwise, as its process stood still for too long, is tried
/// again, and then fails as it should.
async fn each_is_named(host: &Host, bad: &[Bad]) -> Result<Client, String> {
    eventually("each is named", async || {
        let client = Client::connect(host, "alice").await?;
        named(&client.welcome, bad).map(|()| client)
    })
    .await
}

/// Each bad plugin is named in the welcome with one of its codes and a reason.
fn named(welcome: &Value, bad: &[Bad]) -> Result<(), String> {
    let missing = missing(welcome);
    for Bad { plugin, codes } in bad {
        match missing.get(&plugin.id) {
            Some(code) if codes.contains(&code.as_str()) => {}
            other => return Err(format!("{}: expected {codes:?}, the welcome says {other:?}", plugin.id)),
        }
    }
    let mute = welcome["service"]["missing"].as_array().into_iter().flatten();
    match mute.clone().find(|one| one["reason"].as_str().unwrap_or_default().is_empty()) {
        Some(one) => Err(format!("missing without a reason: {one}")),
        None => Ok(()),
    }
}

#[tokio::test]
async fn each_fails_with_its_own_code_beside_a_plugin_that_serves() {
    let dir = TempDir::new().unwrap();
    let bad = all(dir.path());
    let mut host = setup_of(&bad).plugin(Plugin::echo()).start();
    ready(&host).await.unwrap();

    let mut client = each_is_named(&host, &bad).await.unwrap();
    assert_eq!(client.welcome["service"]["level"], "partial", "{}", client.welcome);
    client.run("hello").await.unwrap().answered_by("echo").unwrap();
    assert!(host.is_running());
}

#[tokio::test]
async fn all_bad_is_the_level_fallback_with_honest_answers() {
    let dir = TempDir::new().unwrap();
    let bad = all(dir.path());
    let mut host = setup_of(&bad).start();
    ready(&host).await.unwrap();

    let mut client = each_is_named(&host, &bad).await.unwrap();
    assert_eq!(client.welcome["service"]["level"], "fallback", "{}", client.welcome);
    let run = client.run("please plan my week").await.unwrap();
    run.answered_by_fallback("please plan my week").unwrap();
    assert!(host.is_running());
}

#[tokio::test]
async fn a_library_cut_anywhere_is_refused_before_it_is_loaded() {
    let dir = TempDir::new().unwrap();
    let library = Library::echo();
    let whole = library.bytes.len();
    // Within the header, behind it, and twenty places on to just before the end.
    let places = [3, 16, 63, 64, 65].into_iter().chain((1..20).map(|n| whole * n / 20)).chain([whole - 1]);
    let bad: Vec<Bad> = places
        .map(|length| {
            let id = format!("cut-{length}");
            let path = elf::write(dir.path(), &format!("{id}.so"), &library.cut(length));
            let codes: &'static [&'static str] =
                if length < 64 { &["plugin.truncated", "plugin.not_elf"] } else { &["plugin.truncated"] };
            Bad { plugin: Plugin::at(&id, path), codes }
        })
        .collect();
    let host = setup_of(&bad).plugin(Plugin::echo()).start();
    ready(&host).await.unwrap();

    each_is_named(&host, &bad).await.unwrap();
}

#[tokio::test]
async fn an_unreadable_library_is_said_to_be_so() {
    if rustix::process::geteuid().is_root() {
        return; // Root reads everything.
    }
    let dir = TempDir::new().unwrap();
    let path = elf::write(dir.path(), "secret.so", &Library::echo().bytes);
    elf::mode(&path, 0o000);
    let bad = [Bad { plugin: Plugin::at("secret", path), codes: &["plugin.unreadable"] }];
    let host = setup_of(&bad).start();
    ready(&host).await.unwrap();
    each_is_named(&host, &bad).await.unwrap();
}

#[tokio::test]
async fn a_path_with_spaces_and_letters_of_the_world_loads() {
    let dir = TempDir::new().unwrap();
    let path = elf::write(dir.path(), "écho für alle.so", &Library::echo().bytes);
    let host = Setup::new().plugin(Plugin::at("echo", path)).start();
    serves_echo(&host).await.unwrap();
}

#[tokio::test]
async fn replacing_a_library_in_place_does_not_touch_the_running_generation() {
    let dir = TempDir::new().unwrap();
    let path = elf::write(dir.path(), "echo.so", &Library::echo().bytes);
    let host = Setup::new().plugin(Plugin::at("echo", &path)).start();
    serves_echo(&host).await.unwrap();

    std::fs::write(&path, b"no library any more").unwrap();
    serves_echo(&host).await.unwrap();
    std::fs::remove_file(&path).unwrap();
    serves_echo(&host).await.unwrap();
}

/// The echo plugin answers.
async fn serves_echo(host: &Host) -> Result<(), String> {
    ready(host).await?;
    Client::connect(host, "alice").await?.run("hello").await?.answered_by("echo")
}
