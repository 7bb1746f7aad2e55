//! `check` says what the loader says, and whether the contract is kept, whatever the file; it is not harmed itself.

use std::path::Path;

use rustix::fs::{CWD, FileType, Mode};
use serde_json::Value;
use sha2::{Digest as _, Sha256};
use tempfile::TempDir;

use crate::harness::{
    artifacts,
    elf::{self, Library},
    host,
};

/// A check's JSON for one file, and its exit status.
fn check(path: &Path, more: &[&str]) -> (Value, i32) {
    let arguments = [&["check", path.to_str().unwrap(), "--output", "json"], more].concat();
    let output = host::plain_cli(&arguments, &[]);
    let status = output.status.code().unwrap_or_else(|| panic!("check died: {output:?}"));
    let json: Value = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&output.stderr)));
    assert_eq!(json["fit"], json["plugins"][0]["fit"]);
    (json["plugins"][0].clone(), status)
}

fn refused(path: &Path, codes: &[&str]) {
    let (checked, status) = check(path, &[]);
    let code = checked["fault"]["code"].as_str().unwrap_or_default();
    assert!(codes.contains(&code) && status == 1, "{}: {status} {checked}", path.display());
    assert_eq!(checked["verdict"], "failed");
    for said in ["stage", "reason", "hint"] {
        assert!(checked["fault"][said].as_str().is_some_and(|text| !text.is_empty()), "{said}: {checked}");
    }
}

fn misbehaving(config: &str) -> (Value, i32) {
    check(&artifacts::misbehaving(), &["--plugin-config", config])
}

/// The promises that were broken.
fn broken(checked: &Value) -> Vec<&str> {
    let cases = checked["conformance"]["cases"].as_array().unwrap().iter();
    cases.filter(|case| case["verdict"] == "fail").map(|case| case["case"].as_str().unwrap()).collect()
}

#[test]
fn a_sound_plugin_is_fit_and_all_of_it_is_told() {
    let (checked, status) = check(&artifacts::echo(), &[]);
    assert_eq!(
        (status, &checked["fit"], &checked["verdict"]),
        (0, &true.into(), &"healthy".into()),
        "{checked}"
    );
    assert_eq!((&checked["plugin"]["id"], &checked["plugin"]["kind"]), (&"echo".into(), &"agent".into()));
    assert_eq!(checked["plugin"]["panic"], "unwind");
    let bytes = std::fs::read(artifacts::echo()).unwrap();
    let digest: String = Sha256::digest(&bytes).iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(checked["artifact"]["sha256"], digest);
    assert_eq!(checked["artifact"]["bytes"], bytes.len());
    let needed = checked["artifact"]["needed"].as_array().unwrap();
    assert!(needed.iter().any(|library| library == "libc.so.6"), "{needed:?}");
    assert!(checked["artifact"]["glibc"].as_str().is_some_and(|version| version.starts_with("2.")));
    assert_eq!(checked["isolation"]["in_process"], true, "{}", checked["isolation"]);
    assert_eq!(broken(&checked), [""; 0]);
    assert!(checked["cost"]["round_trip_us"].as_f64().unwrap() > 0.0);
    assert!(checked["cost"]["events_per_message"].as_f64().unwrap() > 1.0);
}

#[test]
fn people_read_the_verdict_first() {
    let echo = artifacts::echo();
    let said = |arguments: &[&str]| {
        let output = host::plain_cli(arguments, &[]);
        (String::from_utf8(output.stdout).unwrap(), output.status.code())
    };
    let (text, status) = said(&["check", echo.to_str().unwrap()]);
    assert!(text.lines().next().unwrap().ends_with(": fit") && status == Some(0), "{text}");
    let (text, status) = said(&["check", "/nowhere/at-all.so", echo.to_str().unwrap()]);
    assert!(text.lines().next().unwrap().contains("NOT FIT") && status == Some(1), "{text}");
    assert!(text.contains("plugin.not_found") && text.contains("libecho.so: fit"), "{text}");
    assert_eq!(said(&["check"]).1, Some(2));
}

#[test]
fn what_is_no_plugin_has_the_loader_s_code() {
    let dir = TempDir::new().unwrap();
    let library = Library::echo();
    let file = |name: &str, bytes: &[u8]| elf::write(dir.path(), name, bytes);
    refused(&dir.path().join("absent.so"), &["plugin.not_found"]);
    refused(dir.path(), &["plugin.not_a_file"]);
    refused(Path::new("/dev/null"), &["plugin.not_a_file"]);
    let fifo = dir.path().join("fifo.so");
    rustix::fs::mknodat(CWD, &fifo, FileType::Fifo, Mode::from_bits_truncate(0o644), 0).unwrap();
    refused(&fifo, &["plugin.not_a_file"]);
    let world_writable = file("world.so", &library.bytes);
    elf::mode(&world_writable, 0o666);
    refused(&world_writable, &["plugin.insecure_mode"]);
    for (bytes, code) in [
        (b"".to_vec(), "plugin.not_elf"),
        (b"#!/bin/sh\n".to_vec(), "plugin.not_elf"),
        (library.other_machine(), "plugin.wrong_machine"),
        (library.other_class(), "plugin.wrong_machine"),
        (library.without_descriptor(), "plugin.no_descriptor"),
        (library.wrong_magic(), "plugin.bad_descriptor"),
        (library.with_abi(0), "plugin.abi_too_old"),
        (library.with_abi(99), "plugin.abi_too_new"),
    ] {
        refused(&file("bad one ü.so", &bytes), &[code]);
    }
}

#[test]
fn a_library_cut_anywhere_is_truncated() {
    let dir = TempDir::new().unwrap();
    let library = Library::echo();
    let whole = library.bytes.len();
    for length in [5, 63, 64, 4096].into_iter().chain((1..20).map(|n| whole * n / 20)).chain([whole - 1]) {
        refused(&elf::write(dir.path(), "cut.so", &library.cut(length)), &["plugin.truncated"]);
    }
}

#[test]
fn no_damage_harms_the_checker() {
    let dir = TempDir::new().unwrap();
    let library = Library::echo();
    // Every eighth byte of the two headers, then places all over the file.
    let places = (0..176).step_by(8).chain((1..20).map(|n| library.bytes.len() * n / 20));
    for at in places {
        let mut bytes = library.bytes.clone();
        for byte in bytes.iter_mut().skip(at).take(64) {
            *byte ^= 0xa5;
        }
        let (checked, status) = check(&elf::write(dir.path(), "damaged.so", &bytes), &[]);
        assert_eq!(checked["fit"], status == 0, "damaged at {at}: {checked}");
    }
}

#[test]
fn a_plugin_that_cannot_begin_has_the_loader_s_code() {
    for (create, stage, code) in [
        ("segv", "init", "plugin.init_crashed"),
        ("abort", "init", "plugin.init_crashed"),
        ("exit0", "init", "plugin.init_crashed"),
        ("panic", "init", "plugin.init_panicked"),
        ("error", "init", "plugin.init_error"),
        ("hang", "init", "plugin.init_timeout"),
    ] {
        let (checked, status) = misbehaving(&format!("{{\"create\":\"{create}\"}}"));
        let fault = &checked["fault"];
        assert_eq!((&fault["stage"], &fault["code"]), (&stage.into(), &code.into()), "{create}: {checked}");
        assert_eq!(status, 1);
    }
    assert_eq!(misbehaving("{\"typo\":1}").0["fault"]["code"], "plugin.config_invalid");
    assert_eq!(misbehaving("{\"probe\":\"error\"}").0["fault"]["code"], "plugin.probe_failed");
    let (checked, _) = check(&artifacts::echo(), &["--kind", "supervisor"]);
    assert_eq!(checked["fault"]["code"], "plugin.config_invalid", "{checked}");
}

#[test]
fn a_plugin_that_loads_and_breaks_the_contract_is_not_fit() {
    for (deed, promise) in [
        ("segv", "message"),
        ("exit0", "message"),
        ("panic", "message"),
        ("lie-completion", "message"),
        ("lie-json", "events"),
        ("lie-unknown-field", "events"),
    ] {
        let (checked, status) = misbehaving(&format!("{{\"handle\":\"{deed}\"}}"));
        assert_eq!((&checked["verdict"], status), (&"healthy".into(), 1), "{deed}: {checked}");
        assert!(broken(&checked).contains(&promise), "{deed}: {checked}");
        assert_eq!(checked["cost"], Value::Null);
    }
    let (checked, status) = misbehaving("{}");
    assert_eq!((broken(&checked).len(), status), (0, 0), "{checked}");
}

#[test]
fn an_agent_that_ignores_its_cancellation_is_not_fit() {
    let arguments = ["--patience", "3s", "--plugin-config", "{\"handle\":\"ignore-cancel\"}"];
    let (checked, status) = check(&artifacts::misbehaving(), &arguments);
    assert!(broken(&checked).contains(&"cancel") && status == 1, "{checked}");
}

#[test]
fn explain_and_completions_work_offline() {
    let said = |arguments: &[&str]| {
        let output = host::plain_cli(arguments, &[]);
        let text = [output.stdout, output.stderr].concat();
        (String::from_utf8(text).unwrap(), output.status.code().unwrap())
    };
    let (json, status) = said(&["explain", "plugin.crashed", "--output", "json"]);
    let json: Value = serde_json::from_str(&json).unwrap();
    assert_eq!((&json["code"], &json["retryable"], status), (&"plugin.crashed".into(), &true.into(), 0));
    let (text, status) = said(&["explain", "plugin.crashd"]);
    assert!(text.contains("did you mean plugin.crashed?") && status == 1, "{text}");
    assert!(said(&["explain"]).0.lines().any(|line| line == "store"));
    assert!(said(&["completions", "bash"]).0.contains("agent-host"));
}
