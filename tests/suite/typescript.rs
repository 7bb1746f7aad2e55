//! The shipped JavaScript client against the real host, behind a proxy that cuts, resets, stalls and half-closes: in
//! Node and in Chromium. Its types are those of the published schema.

use std::{path::PathBuf, process::Command, time::Duration};

use crate::{
    harness::{Host, Plugin, Setup, artifacts, tokens},
    scenario::ready,
};

/// The scenarios run one after another, beside other tests; each has a limit of its own.
const PATIENCE: Duration = Duration::from_secs(240);

/// In Node's own process, without its test runner: that would start another, which outlives it if it is killed.
const REPORT: &str = "--test-reporter=tap";

#[tokio::test]
async fn its_decisions_hold_without_a_network() {
    node(&[REPORT, "unit.test.mjs"], None).await.unwrap();
}

#[tokio::test]
async fn its_types_are_those_of_the_schema_and_hold() {
    node(&["generate.mjs", "--check"], None).await.unwrap();
    let made = tempfile::tempdir().unwrap();
    let folder = made.path().to_str().expect("temporary paths are UTF-8");
    node(&["node_modules/typescript/bin/tsc", "-p", "tsconfig.json", "--outDir", folder], None)
        .await
        .unwrap();
    let shipped = artifacts::root().join("clients/typescript/types");
    for entry in std::fs::read_dir(made.path()).unwrap() {
        let name = entry.unwrap().file_name();
        let (is, ought) = (std::fs::read_to_string(shipped.join(&name)), made.path().join(&name));
        assert_eq!(
            is.unwrap_or_default(),
            std::fs::read_to_string(ought).unwrap(),
            "clients/typescript/types/{} is old: node_modules/typescript/bin/tsc -p . in tests/clients/typescript",
            name.to_string_lossy(),
        );
    }
}

#[tokio::test]
async fn in_node_it_keeps_a_conversation_over_a_bad_network() {
    let host = host().await;
    node(&[REPORT, "host.test.mjs"], Some(&host)).await.unwrap();
}

#[tokio::test]
async fn in_chromium_it_keeps_a_conversation_over_a_bad_network() {
    let host = host().await;
    node(&[REPORT, "browser.test.mjs"], Some(&host)).await.unwrap();
}

/// A client that forgets where it was, or sends again what was accepted, is found out.
#[tokio::test]
async fn the_scenarios_turn_red_on_a_broken_client() {
    let broken = tempfile::tempdir().unwrap();
    let host = host().await;
    for (file, sound, sabotaged, scenario) in [
        ("src/client.js", "after_seq: log.position", "after_seq: log.position + 1", "without gap or repeat"),
        (
            "src/client.js",
            "!pending.held) this.#socket?.send(pending.frame)",
            "!pending.held) this.#socket?.send({ ...pending.frame, id: crypto.randomUUID() })",
            "takes effect once",
        ),
        (
            "src/client.js",
            "!pending.held) this.#socket?.send(pending.frame)",
            "!pending.held) void 0",
            "goes out with it",
        ),
        ("src/socket.js", "if (this.#probed) {", "if (false) {", "only falls silent"),
        ("src/client.js", "for (const run of this.#toCancel)", "for (const run of [])", "a cancel is kept"),
    ] {
        let root = copy_of_client(broken.path(), file, sound, sabotaged);
        let tests = root.join("tests/clients/typescript");
        let only = format!("--test-name-pattern={scenario}");
        let done = run_in(&tests, &[REPORT, &only, "host.test.mjs"], Some(&host)).await;
        let objection = done.err().unwrap_or_else(|| panic!("{scenario}: content with a broken client"));
        assert!(objection.contains("not ok"), "{scenario}: red for another reason: {objection}");
    }
}

async fn host() -> Host {
    let plugin = Plugin::misbehaving("misbehaving").key(
        "timeouts",
        "{ init = \"30s\", tool = \"5s\", idle = \"20s\", run = \"60s\", grace = \"200ms\" }",
    );
    let host = Setup::new()
        .plugin(plugin)
        .set("gateway.origins", "[\"*\"]")
        .set("auth.leeway", "\"0s\"")
        .set("limits.messages_per_minute", "0")
        .set("limits.runs_at_once", "0")
        .start();
    ready(&host).await.unwrap();
    host
}

async fn node(arguments: &[&str], host: Option<&Host>) -> Result<(), String> {
    let folder = artifacts::root().join("tests/clients/typescript");
    assert!(
        folder.join("node_modules").exists(),
        "no {}/node_modules; run `tests/run javascript` to make it",
        folder.display()
    );
    run_in(&folder, arguments, host).await
}

/// Runs Node to its end; an error holds what it printed.
async fn run_in(folder: &std::path::Path, arguments: &[&str], host: Option<&Host>) -> Result<(), String> {
    let mut command = tokio::process::Command::from(Command::new("node"));
    command.args(arguments).current_dir(folder).kill_on_drop(true).env_remove("NODE_OPTIONS");
    // A broken client waits in vain: ten seconds of that are enough.
    let own = folder.starts_with(artifacts::root());
    command.env("SCENARIO_MS", if own { "60000" } else { "10000" });
    if let Some(host) = host {
        command.env("HOST_ADDRESS", host.address.to_string()).env("HOST_SECRET", tokens::SECRET);
    }
    let done = tokio::time::timeout(PATIENCE, command.output()).await;
    let output =
        done.map_err(|_| format!("node {arguments:?} did not end"))?.map_err(|e| format!("node: {e}"))?;
    let said =
        format!("{}\n{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    if output.status.success() { Ok(()) } else { Err(said) }
}

/// The client and its tests, with one thing in it changed.
fn copy_of_client(to: &std::path::Path, file: &str, sound: &str, sabotaged: &str) -> PathBuf {
    let from = artifacts::root();
    for folder in ["clients/typescript/src", "tests/clients/typescript"] {
        std::fs::create_dir_all(to.join(folder)).unwrap();
        for entry in std::fs::read_dir(from.join(folder)).unwrap() {
            let entry = entry.unwrap();
            if entry.file_type().unwrap().is_file() {
                std::fs::copy(entry.path(), to.join(folder).join(entry.file_name())).unwrap();
            }
        }
    }
    let modules = to.join("tests/clients/typescript/node_modules");
    if !modules.exists() {
        std::os::unix::fs::symlink(from.join("tests/clients/typescript/node_modules"), modules).unwrap();
    }
    let path = to.join("clients/typescript").join(file);
    let text = std::fs::read_to_string(&path).unwrap();
    assert!(text.contains(sound), "{file} has no {sound:?}: the sabotage needs another place");
    std::fs::write(path, text.replace(sound, sabotaged)).unwrap();
    to.to_owned()
}
