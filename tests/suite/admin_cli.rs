//! `status` and `plugins …` as an operator types them, against a real host.

use std::process::Output;

use serde_json::{Value, json};

use crate::{
    client::Client,
    harness::{
        Host, PATIENCE, Plugin, Setup, eventually,
        host::{cli, plain_cli},
        tokens::{self, operator},
        within,
    },
    scenario::ready,
};

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn objected(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// What a command printed, if it ended as it should.
fn done(output: &Output) -> Result<String, String> {
    match output.status.code() {
        Some(0) => Ok(said(output)),
        code => Err(format!("ended with {code:?}: {}{}", said(output), objected(output))),
    }
}

/// Crashes the plugin until its budget is spent.
async fn quarantine(host: &Host) -> Result<(), String> {
    let mut client = Client::connect(host, "alice").await?;
    let client = tokio::sync::Mutex::new(&mut client);
    within(3 * PATIENCE, "the plugin is quarantined", async || {
        client.lock().await.run_with("!segv", json!({ "agent": "bad" })).await?;
        let list = done(&host.operate(&["plugins", "list", "--state", "quarantined"]))?;
        if list.contains("bad") { Ok(()) } else { Err(list) }
    })
    .await
}

fn setup() -> Setup {
    let bad = Plugin::misbehaving("bad").key("restart", "{ max = 1, within = \"600s\" }");
    Setup::echo().plugin(bad).operated().set("limits.messages_per_minute", "0")
}

#[tokio::test]
async fn a_quarantined_plugin_is_seen_understood_and_reset() {
    let host = setup().start();
    ready(&host).await.unwrap();
    quarantine(&host).await.unwrap();

    let list = done(&host.operate(&["plugins", "list"])).unwrap();
    let line = list.lines().find(|line| line.contains("bad")).unwrap();
    assert!(line.starts_with("failed    bad") && line.contains("quarantined"), "{list}");
    assert!(list.lines().any(|line| line.starts_with("healthy   echo ")), "{list}");

    let why = done(&host.operate(&["plugins", "why", "bad"])).unwrap();
    assert_eq!(why.lines().count(), 1, "{why}");
    assert!(why.starts_with("bad is failed (quarantined) since "), "{why}");
    for part in ["its traffic goes to echo", "do this: ", "`agent-host plugins reset bad`"] {
        assert!(why.contains(part), "{part:?} is not in {why}");
    }

    let show = eventually("the way to the crash is found out", async || {
        let show = done(&host.operate(&["plugins", "show", "bad"]))?;
        if show.contains(" #0 ") && show.contains("misbehaving") { Ok(show) } else { Err(show) }
    })
    .await
    .unwrap();
    assert!(show.starts_with("failed: bad "), "{show}");
    for part in ["last crash", "SIGSEGV", "restarts     1 of 1 within", "history", "isolation    process"] {
        assert!(show.contains(part), "{part:?} is not in {show}");
    }

    let reset = done(&host.operate(&["plugins", "reset", "bad"])).unwrap();
    assert!(reset.starts_with("bad is healthy since "), "{reset}");
    let mut client = Client::connect(&host, "bob").await.unwrap();
    client.run_with("are you back?", json!({ "agent": "bad" })).await.unwrap().answered_by("bad").unwrap();
}

#[tokio::test]
async fn orders_say_how_it_is_then_and_fail_if_it_is_not_so() {
    let down = Plugin::at("down", "/nonexistent/libdown.so");
    let host = setup().plugin(down).start();
    ready(&host).await.unwrap();
    for (order, verdict) in [
        ("disable", "disabled"),
        ("enable", "healthy"),
        ("drain", "failed (unloaded)"),
        ("enable", "healthy"),
        ("reload", "healthy"),
        ("probe", "healthy"),
    ] {
        let text = done(&host.operate(&["plugins", order, "echo"])).unwrap();
        assert!(text.starts_with(&format!("echo is {verdict}")), "{order}: {text}");
    }
    // It was tried, and is as it was.
    let output = host.operate(&["plugins", "reset", "down"]);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert!(format!("{}{}", said(&output), objected(&output)).contains("plugin.not_found"), "{output:?}");
    let output = host.operate(&["plugins", "reset", "nobody"]);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let objection = objected(&output);
    assert!(objection.contains("plugin.unknown") && objection.contains("echo"), "{objection}");
}

#[tokio::test]
async fn programs_get_json() {
    let host = setup().start();
    ready(&host).await.unwrap();
    let json = |arguments: &[&str]| -> Value {
        let arguments: Vec<&str> = arguments.iter().copied().chain(["--output", "json"]).collect();
        serde_json::from_str(&done(&host.operate(&arguments)).unwrap()).unwrap()
    };
    assert_eq!(json(&["status"])["plugins"], json!({ "healthy": 2, "failed": 0, "disabled": 0 }));
    assert_eq!(json(&["plugins", "list"])["plugins"].as_array().map(Vec::len), Some(2));
    assert_eq!(json(&["plugins", "show", "echo"])["verdict"], "healthy");
    assert_eq!(json(&["plugins", "disable", "echo"])["verdict"], "disabled");
    let status = done(&host.operate(&["status"])).unwrap();
    assert!(status.starts_with("level ") && status.contains("1 healthy, 0 failed, 1 disabled"), "{status}");
}

#[tokio::test]
async fn what_a_plugin_wrote_cannot_act_on_the_terminal() {
    let host = setup().start();
    ready(&host).await.unwrap();
    let mut client = Client::connect(&host, "alice").await.unwrap();
    client.run_with("!stderr", json!({ "agent": "bad" })).await.unwrap();
    // After an event the message is not tried again by the next generation, which would die without a word.
    client.run_with("!think-segv", json!({ "agent": "bad" })).await.unwrap();
    eventually("the crash is shown with the plugin's last words", async || {
        let shown = done(&host.operate(&["plugins", "show", "bad"]))?;
        if shown.contains("stderr |") && shown.contains("misbehaving") { Ok(()) } else { Err(shown) }
    })
    .await
    .unwrap();
    for form in ["table", "json"] {
        let shown = done(&host.operate(&["plugins", "show", "bad", "--output", form])).unwrap();
        let acts = |c: &char| c.is_control() && *c != '\n';
        assert_eq!(shown.chars().find(acts), None, "{shown:?}");
    }
}

#[test]
fn the_exit_status_says_what_kind_of_failure_it_is() {
    let nobody = Setup::new().operated().set("admin.listen", "\"127.0.0.1:1\"");
    let output = cli(&["status"], &nobody);
    assert_eq!(output.status.code(), Some(69), "nobody listens at port 1: {output:?}");
    let output = cli(&["status"], &Setup::new().operated().set("drain.grce", "\"1s\""));
    assert_eq!(output.status.code(), Some(78), "a wrong configuration: {output:?}");
    let output = cli(&["status", "--admin", "127.0.0.1:1"], &Setup::new());
    assert_eq!(output.status.code(), Some(78), "a configuration without an admin key: {output:?}");
    assert!(objected(&output).contains("admin.hs256_secret"), "{output:?}");
    let output = plain_cli(&["status", "--admin", "127.0.0.1:1"], &[]);
    assert_eq!(output.status.code(), Some(1), "no token: {output:?}");
    assert!(objected(&output).contains("AGENT_HOST_ADMIN_TOKEN"), "{output:?}");
    let token = [("AGENT_HOST_ADMIN_TOKEN", "a.b.c")];
    assert_eq!(plain_cli(&["status", "--admin", "127.0.0.1:1"], &token).status.code(), Some(69));
    assert_eq!(plain_cli(&["status", "--admin", "https://h"], &token).status.code(), Some(1));
    assert_eq!(plain_cli(&["plugins", "show", "../x"], &token).status.code(), Some(2));
    assert_eq!(plain_cli(&["plugins"], &token).status.code(), Some(2));
}

#[tokio::test]
async fn a_token_comes_from_a_file_or_a_variable_and_has_to_be_an_operator_s() {
    let host = setup().start();
    ready(&host).await.unwrap();
    let admin = format!("http://{}", host.admin);
    let status =
        |token: &str| plain_cli(&["status", "--admin", &admin], &[("AGENT_HOST_ADMIN_TOKEN", token)]);
    done(&status(&operator(&["admin:read"]))).unwrap();
    let output = status(&tokens::of("alice"));
    assert_eq!(output.status.code(), Some(1));
    assert!(objected(&output).contains("auth.invalid"), "{output:?}");
    let file = host.dir().join("token");
    std::fs::write(&file, operator(&["admin:read"]) + "\n").unwrap();
    let from_file = ["--admin", &admin, "--token-file", file.to_str().unwrap()];
    let read = [&["plugins", "show", "echo"][..], &from_file].concat();
    done(&plain_cli(&read, &[("AGENT_HOST_ADMIN_TOKEN", "none.that.counts")])).unwrap();
    let order = [&["plugins", "reset", "echo"][..], &from_file].concat();
    let output = plain_cli(&order, &[]);
    assert_eq!(output.status.code(), Some(1));
    assert!(objected(&output).contains("permission.denied"), "{output:?}");
}

#[tokio::test]
async fn a_minted_token_with_a_scope_is_an_operator_s() {
    let host = setup().start();
    ready(&host).await.unwrap();
    let minted = cli(&["token", "mint", "--user", "olga", "--scope", "admin:toggle"], &setup());
    let token = done(&minted).unwrap().trim().to_owned();
    let admin = format!("http://{}", host.admin);
    let variable = [("AGENT_HOST_ADMIN_TOKEN", token.as_str())];
    done(&plain_cli(&["plugins", "reset", "echo", "--admin", &admin], &variable)).unwrap();
    let output = plain_cli(&["status", "--admin", &admin], &variable);
    assert!(objected(&output).contains("permission.denied"), "one scope is not the other: {output:?}");
}
