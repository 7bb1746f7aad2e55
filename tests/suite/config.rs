//! A wrong configuration: exit 78, the place, what was probably meant; and a failed plugin is no such thing.

use std::{
    os::unix::process::ExitStatusExt as _,
    path::Path,
    process::{ExitStatus, Output},
};

use rustix::fs::{CWD, FileType, Mode};

use crate::harness::{Plugin, Setup, artifacts, host, tokens::SECRET};

/// Starts a host that must refuse its configuration, and gives what it said.
fn refused(setup: &Setup) -> String {
    let said = refusal(&host::cli(&["serve"], setup));
    said.unwrap_or_else(|objection| panic!("{objection}"))
}

/// What a refusal in order says: exit 78, and neither a panic nor a key.
fn refusal(output: &Output) -> Result<String, String> {
    let said =
        format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    match () {
        () if output.status.code() != Some(78) => Err(format!("not exit 78: {:?}: {said}", output.status)),
        () if said.contains("panicked") => Err(format!("it panicked: {said}")),
        () if said.contains(SECRET) => Err(format!("the key was printed: {said}")),
        () if said.contains("agent-host listening") => Err(format!("it served first: {said}")),
        () => Ok(said),
    }
}

/// The twin: to each way of not refusing in order there is an objection.
#[test]
fn a_host_that_serves_fails_otherwise_or_tells_its_key_is_objected_to() {
    let output = |code: i32, said: &str| Output {
        // The kernel's form of an exit status.
        status: ExitStatus::from_raw(code << 8),
        stdout: Vec::new(),
        stderr: said.as_bytes().to_vec(),
    };
    assert!(refusal(&output(78, "host.toml:1:1: config.unknown_key")).is_ok());
    for (broken, because) in [
        (output(0, "agent-host listening on http://127.0.0.1:1"), "not exit 78"),
        (output(1, "config.unknown_key"), "not exit 78"),
        (output(101, "thread 'main' panicked"), "not exit 78"),
        (output(78, "thread 'main' panicked"), "it panicked"),
        (output(78, &format!("hs256_secrets = {SECRET}")), "the key was printed"),
        (output(78, "agent-host listening on http://127.0.0.1:1"), "it served first"),
    ] {
        let objection = refusal(&broken).unwrap_err();
        assert!(objection.contains(because), "red for another reason: {objection}");
    }
}

/// And on a real host: a configuration in which nothing is wrong is not refused.
#[test]
fn the_same_configuration_without_its_mistake_is_served() {
    let wrong = Setup::echo().append("\n[routing]\nordr = [\"echo\"]\n");
    refused(&wrong);
    drop(Setup::echo().append("\n[routing]\norder = [\"echo\"]\n").start());
}

/// The line of `host.toml` on which `text` stands, as the message must name it.
fn place(setup: &Setup, text: &str) -> String {
    let dir = tempfile::tempdir().unwrap();
    setup.write(dir.path());
    let host = std::fs::read_to_string(dir.path().join("host.toml")).unwrap();
    let (index, line) = host.lines().enumerate().find(|(_, line)| line.contains(text)).unwrap();
    format!("host.toml:{}:{}", index + 1, line.find(text).unwrap() + 1)
}

#[test]
fn an_unknown_key_is_refused_with_its_place_and_what_was_meant() {
    let setup = Setup::echo().append("\n[routing]\nordr = [\"echo\"]\n");
    let said = refused(&setup);
    for expected in ["config.unknown_key", &place(&setup, "ordr"), "did you mean", "order"] {
        assert!(said.contains(expected), "no {expected:?} in: {said}");
    }
}

#[test]
fn an_unknown_section_is_refused() {
    let setup = Setup::echo().append("\n[gatway]\nlisten = \"127.0.0.1:0\"\n");
    let said = refused(&setup);
    for expected in ["config.unknown_key", &place(&setup, "gatway"), "gateway"] {
        assert!(said.contains(expected), "no {expected:?} in: {said}");
    }
}

#[test]
fn an_unknown_key_of_a_plugin_names_the_plugin_s_file() {
    let said = refused(&Setup::new().plugin(Plugin::echo().key("enabeld", "true")));
    for expected in ["config.unknown_key", "00-echo.toml:", "did you mean", "enabled"] {
        assert!(said.contains(expected), "no {expected:?} in: {said}");
    }
}

#[test]
fn an_unknown_variable_is_refused() {
    let said = refused(&Setup::echo().env("AGENT_HOST__GATEWAY__LISTN", "127.0.0.1:0"));
    for expected in ["config.unknown_variable", "AGENT_HOST__GATEWAY__LISTN", "did you mean", "LISTEN"] {
        assert!(said.to_uppercase().contains(&expected.to_uppercase()), "no {expected:?} in: {said}");
    }
}

#[test]
fn other_wrong_configurations_have_their_own_code() {
    for (setup, code) in [
        (Setup::echo().append("this is no TOML\n"), "config.syntax"),
        (Setup::echo().set("gateway.listen", "7"), "config.type"),
        (Setup::echo().set("drain.grace", "\"3 fortnights\""), "config.type"),
        (Setup::echo().set("auth.hs256_secrets", "[\"short\"]"), "config.range"),
        (Setup::echo().set("routing.order", "[\"nobody\"]"), "config.reference"),
        (Setup::echo().set("version", "99"), "config.range"),
        (Setup::echo().plugin(Plugin::echo()), "config.duplicate"),
    ] {
        let said = refused(&setup);
        assert!(said.contains(code), "no {code} in: {said}");
    }
}

#[test]
fn every_error_is_told_at_once() {
    let said = refused(&Setup::echo().append("\n[routing]\nordr = []\n[servce]\n"));
    assert!(said.contains("ordr") && said.contains("servce"), "{said}");
}

#[test]
fn validate_says_the_same_without_serving() {
    let good = host::cli(&["config", "validate"], &Setup::echo());
    assert_eq!(good.status.code(), Some(0), "{}", String::from_utf8_lossy(&good.stderr));
    let bad = host::cli(&["config", "validate"], &Setup::echo().append("\n[servce]\n"));
    assert_eq!(bad.status.code(), Some(78), "{}", String::from_utf8_lossy(&bad.stderr));
}

#[tokio::test]
async fn a_later_layer_wins() {
    let host = Setup::echo().env("AGENT_HOST__LIMITS__FRAME_BYTES", "32KiB").start();
    let client = crate::client::Client::connect(&host, "alice").await.unwrap();
    assert_eq!(client.welcome["limits"]["frame_bytes"], 32 * 1024, "{}", client.welcome);
}

#[test]
fn the_shipped_configuration_is_valid_under_each_profile() {
    let folder = artifacts::root().join("config");
    let folder = folder.to_str().unwrap();
    let env = [("AGENT_HOST_SECRET", SECRET)];
    for profile in [&[][..], &["--profile", "staging"], &["--profile", "production"]] {
        let arguments: Vec<&str> =
            ["config", "validate", "--config", folder].iter().chain(profile).copied().collect();
        let output = host::plain_cli(&arguments, &env);
        assert!(output.status.success(), "{profile:?}: {}", String::from_utf8_lossy(&output.stderr));
    }
}

/// Keys in which the shipped profiles may differ. Anything else would be a difference that only one of them tests.
const MAY_DIFFER: [&str; 4] = ["auth.audience", "gateway.default_protocol", "store.durability", "store.path"];

/// What a command prints about the shipped configuration, as JSON.
fn shipped(arguments: &[&str]) -> serde_json::Value {
    let folder = artifacts::root().join("config");
    let arguments = [arguments, &["--config", folder.to_str().unwrap(), "--output", "json"]].concat();
    let output = host::plain_cli(&arguments, &[("AGENT_HOST_SECRET", SECRET)]);
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(!said.contains(SECRET), "the key was printed: {said}");
    serde_json::from_str(&said).unwrap()
}

#[test]
fn the_shipped_profiles_differ_only_where_they_may() {
    let found = shipped(&["config", "diff", "--profile", "staging", "--profile", "production"]);
    let keys: Vec<&str> = found.as_object().unwrap().keys().map(String::as_str).collect();
    assert!(keys.iter().all(|key| MAY_DIFFER.contains(key)), "{found:#}");
    assert!(keys.contains(&"store.durability"), "{found:#}");
}

#[test]
fn two_profiles_are_compared_and_any_other_number_is_wrong_usage() {
    let folder = artifacts::root().join("config");
    for profiles in [&["staging"][..], &["staging", "production", "staging"]] {
        let named = profiles.iter().flat_map(|profile| ["--profile", profile]);
        let arguments: Vec<&str> =
            ["config", "diff", "--config", folder.to_str().unwrap()].into_iter().chain(named).collect();
        let output = host::plain_cli(&arguments, &[("AGENT_HOST_SECRET", SECRET)]);
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{profiles:?}: {said}");
        assert!(said.contains("two profiles") && said.contains("what to do"), "{said}");
    }
}

#[test]
fn print_shows_each_value_with_its_origin_and_no_secret() {
    let arguments = ["config", "print", "--effective", "--show-origin", "--profile", "staging"];
    let found = shipped(&[&arguments[..], &["--set", "drain.grace=5s"]].concat());
    let origin =
        |key: &str| found[key]["origin"].as_str().unwrap_or_else(|| panic!("{key}: {found:#}")).to_owned();
    assert!(origin("gateway.listen").contains("staging.toml:4:"), "{}", origin("gateway.listen"));
    assert!(origin("plugins.echo.path").contains("plugins.d/echo.toml:"));
    assert_eq!(
        (&found["drain.grace"]["value"], origin("drain.grace")),
        (&"5s".into(), "command line (drain.grace)".into())
    );
    assert_eq!(origin("limits.connections"), "default");
    assert_eq!(found["auth.hs256_secret"]["value"], serde_json::json!({ "env": "AGENT_HOST_SECRET" }));
}

#[test]
fn the_schema_is_json_and_knows_the_plugins() {
    let output = host::plain_cli(&["config", "schema"], &[]);
    let schema: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let plugins = schema["properties"]["plugins"]["patternProperties"].as_object().unwrap();
    assert_eq!(plugins.values().next().unwrap()["properties"]["enabled"]["type"], "boolean");
}

#[tokio::test]
async fn a_plugin_whose_secret_is_missing_fails_alone_and_is_warned_of() {
    let lacking =
        Plugin::at("lacking", artifacts::echo()).key("secrets", "{ key = { env = \"NOT_SET_ANYWHERE\" } }");
    let setup = Setup::echo().plugin(lacking);
    let validated = host::cli(&["config", "validate"], &setup);
    let warned = String::from_utf8_lossy(&validated.stderr);
    assert!(validated.status.success() && warned.contains("`lacking` will fail"), "{warned}");

    let host = setup.start();
    crate::scenario::ready(&host).await.unwrap();
    let client = crate::client::Client::connect(&host, "alice").await.unwrap();
    let missing = client.welcome["service"]["missing"].as_array().unwrap();
    assert_eq!((missing.len(), &missing[0]["name"]), (1, &"lacking".into()), "{}", client.welcome);
    assert_eq!(missing[0]["code"], "plugin.config_invalid", "{}", client.welcome);
    assert_eq!(client.welcome["agents"].as_array().map(Vec::len), Some(2), "the other serves on");
}

#[test]
fn what_is_no_regular_file_is_refused_and_not_waited_for() {
    for (what, make) in [
        ("a pipe", pipe as fn(&Path)),
        ("a device", |path| std::os::unix::fs::symlink("/dev/full", path).unwrap()),
        ("a folder", |path| std::fs::create_dir(path).unwrap()),
        ("a link to nowhere", |path| std::os::unix::fs::symlink("/nonexistent", path).unwrap()),
    ] {
        let dir = tempfile::tempdir().unwrap();
        Setup::echo().write(dir.path());
        make(&dir.path().join("plugins.d/odd.toml"));
        let arguments = ["config", "validate", "--config", dir.path().to_str().unwrap()];
        let said = refusal(&host::plain_cli(&arguments, &[])).unwrap_or_else(|e| panic!("{what}: {e}"));
        for expected in ["config.missing", "odd.toml"] {
            assert!(said.contains(expected), "{what}: no {expected:?} in: {said}");
        }
    }
}

fn pipe(path: &Path) {
    rustix::fs::mknodat(CWD, path, FileType::Fifo, Mode::from_bits_truncate(0o644), 0).unwrap();
}

/// No profile that is shipped lets faults be injected.
#[test]
fn no_shipped_profile_injects_faults() {
    for profile in ["staging", "production"] {
        let found = shipped(&["config", "print", "--effective", "--profile", profile]);
        assert_eq!(found["chaos.enabled"], false, "{profile}: {found:#}");
    }
}
