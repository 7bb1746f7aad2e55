//! `[isolation] require`: a plugin fails rather than run weaker, before any of its code runs, and says which layer.

use agent_plugin_protocol::Code;

use crate::{
    client::Client,
    harness::{
        Host, Plugin, Setup, artifacts, eventually,
        host::{cli, plain_cli},
    },
    sandbox::NOBODY,
    scenario::ready,
};

/// The code and the reason with which the plugin `bad` is missing.
async fn missing(host: &Host) -> Result<String, String> {
    eventually("the plugin has failed", async || {
        let client = Client::connect(host, "alice").await?;
        let missing = client.welcome["service"]["missing"].as_array().cloned().unwrap_or_default();
        let bad = missing.iter().find(|one| one["name"] == "bad" && one["code"] != "plugin.starting");
        bad.map(|one| one["code"].as_str().unwrap_or_default().to_owned()).ok_or(format!("{missing:?}"))
    })
    .await
}

/// A plugin whose very loading would be seen: it crashes in its constructor.
fn setup() -> Setup {
    Setup::new().plugin(Plugin::bad_create("bad", "segv").key("restart", "{ max = 1000, within = \"1h\" }"))
}

#[tokio::test]
async fn a_required_layer_that_is_missing_fails_the_plugin_before_it_runs() {
    let host = setup().set("isolation.require", "[\"seccomp\"]").failpoints("sandbox.seccomp=off").start();
    assert_eq!(missing(&host).await.unwrap(), Code::PluginSandboxUnavailable.as_str());
    let said = host.says(&["layer seccomp is required", "a test left it out"]).await.unwrap();
    assert!(!said.contains("SIGSEGV"), "the plugin ran: {said}");
}

#[tokio::test]
async fn without_the_demand_the_same_plugin_runs_and_fails_by_itself() {
    // The twin: the scenario above can tell the difference.
    let host = setup().failpoints("sandbox.seccomp=off").start();
    assert_eq!(missing(&host).await.unwrap(), Code::PluginInitCrashed.as_str());
}

#[tokio::test]
async fn what_is_in_force_can_be_required() {
    let all =
        r#"["descriptors", "environment", "capabilities", "no_new_privs", "seccomp", "rlimits", "hidden"]"#;
    let host = Setup::echo().set("isolation.require", all).start();
    ready(&host).await.unwrap();
    Client::connect(&host, "alice").await.unwrap().run("hi").await.unwrap().answered_by("echo").unwrap();
}

#[test]
fn an_unknown_layer_is_an_error_that_knows_what_was_meant() {
    let setup = Setup::echo().set("isolation.require", "[\"seccomp\", \"landlock_file\"]");
    let output = cli(&["config", "validate"], &setup);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(78), "{said}");
    assert!(said.contains("isolation.require") && said.contains("did you mean `landlock_files`?"), "{said}");
}

#[tokio::test]
async fn a_range_without_room_fails_the_plugin_that_finds_none() {
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let setup = Setup::echo().plugin(Plugin::misbehaving("bad"));
    let host = setup.set("isolation.uid_range", "\"3999600000-3999600000\"").start();
    let codes = eventually("one of the two has failed", async || {
        let client = Client::connect(&host, "alice").await?;
        let missing = client.welcome["service"]["missing"].as_array().cloned().unwrap_or_default();
        let failed = missing.iter().filter(|one| one["code"] == "plugin.sandbox_unavailable").count();
        if failed == 1 { Ok(()) } else { Err(format!("{missing:?}")) }
    });
    codes.await.unwrap();
    host.says(&["widen it"]).await.unwrap();
}

#[tokio::test]
async fn plugins_that_are_not_confined_are_an_error_that_is_said_once() {
    let two = || Setup::echo().plugin(Plugin::misbehaving("bad"));
    let said = async |setup: Setup| {
        let host = setup.start();
        ready(&host).await.unwrap();
        // It is said before either of them is healthy, and lines come in order.
        let said = eventually("both are said to be healthy", async || {
            let said = host.said();
            if said.matches("\"PluginHealthy\"").count() == 2 { Ok(said) } else { Err(said) }
        });
        said.await.unwrap().matches("plugins are not confined").count()
    };
    assert_eq!(said(two().failpoints("sandbox.seccomp=off")).await, 1);
    if rustix::process::geteuid().is_root() {
        assert_eq!(said(two()).await, 1, "as root, without users for plugins");
        assert_eq!(said(two().set("isolation.uid_range", "\"3999600000-3999600009\"")).await, 0);
        assert_eq!(said(two().user(NOBODY)).await, 0);
    }
}

/// Where no user namespace is to be had, the worker runs without, and says so. Made so by a namespace around the host in
/// which none further are allowed.
#[test]
fn without_namespaces_a_plugin_runs_and_the_layer_is_reported() {
    let script = "echo 0 > /proc/sys/user/max_user_namespaces && exec \"$0\" check --output json \"$1\"";
    let around = std::process::Command::new("unshare").args(["-r", "-U", "true"]).status();
    if !around.is_ok_and(|status| status.success()) {
        eprintln!("not held: no namespace can be made around the host here");
        return;
    }
    let mut command = std::process::Command::new("unshare");
    command.args(["-r", "-U", "sh", "-c", script]).arg(artifacts::host()).arg(artifacts::echo());
    let output = command.output().unwrap();
    let reports: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let checked = &reports["plugins"][0];
    assert_eq!(checked["fit"], true, "{checked}");
    assert_eq!(checked["sandbox"]["namespace"]["state"], "unavailable", "{checked}");
    assert_eq!(checked["sandbox"]["seccomp"]["state"], "enforced", "{checked}");
}

#[test]
fn check_shows_each_layer_and_sums_them_up() {
    let echo = artifacts::echo();
    let output = plain_cli(&["check", "--output", "json", echo.to_str().unwrap()], &[]);
    let reports: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let checked = &reports["plugins"][0];
    assert_eq!(checked["sandbox"]["seccomp"]["state"], "enforced", "{checked}");
    let known = ["full", "partial", "weak"];
    let word = checked["isolation_enforced"].as_str().unwrap_or_default();
    assert!(known.contains(&word), "{checked}");
    if rustix::process::geteuid().is_root() {
        assert_eq!(word, "weak", "a plugin of root is root");
        let reason = checked["sandbox"]["own_user"]["reason"].as_str().unwrap_or_default();
        assert!(reason.contains("uid_range"), "{checked}");
    }
}
