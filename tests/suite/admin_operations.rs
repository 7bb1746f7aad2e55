//! Orders that go on though nobody waits, and orders that only say what they would do.

use serde_json::{Value, json};

use crate::{
    admin::page,
    client::Client,
    harness::{Host, Plugin, Setup, eventually, http::Answer},
    live::{call, config},
    scenario::ready,
};

const ASYNC: &[(&str, &str)] = &[("Prefer", "respond-async")];

async fn post(host: &Host, path: &str, more: &[(&str, &str)]) -> Result<Answer, String> {
    call(host, "POST", path, more, "").await
}

/// The operation that an order became.
async fn begun(host: &Host, path: &str) -> Result<Value, String> {
    let answer = post(host, path, ASYNC).await?;
    let location = answer.header("location").map(str::to_owned);
    let operation = answer.json()?;
    let id = operation["id"].as_str().unwrap_or_default();
    if answer.status == 202
        && location.as_deref() == Some(&format!("/admin/v1/operations/{id}"))
        && answer.header("preference-applied") == Some("respond-async")
    {
        Ok(operation)
    } else {
        Err(format!("{path}: {answer:?}"))
    }
}

/// The operation once it has ended.
async fn ended(host: &Host, operation: &Value) -> Result<Value, String> {
    let path = format!("/admin/v1/operations/{}", operation["id"].as_str().ok_or("it has no id")?);
    eventually("the operation ends", async || {
        let now = call(host, "GET", &path, &[], "").await?.json()?;
        if now["state"] == "running" { Err(now.to_string()) } else { Ok(now) }
    })
    .await
}

#[tokio::test]
async fn an_order_goes_on_though_nobody_waits() {
    let host = Setup::echo().operated().start();
    ready(&host).await.unwrap();
    let operation = begun(&host, "/admin/v1/plugins/echo/reload").await.unwrap();
    assert_eq!((&operation["order"], &operation["about"]), (&json!("reload"), &json!("echo")), "{operation}");
    let done = ended(&host, &operation).await.unwrap();
    assert_eq!((&done["state"], &done["result"]["generation"]), (&json!("done"), &json!(2)), "{done}");
    let steps: Vec<_> = done["steps"].as_array().unwrap().iter().map(|step| &step["event"]).collect();
    assert!(steps.contains(&&json!("PluginHealthy")), "{done}");
    assert!(!done.to_string().contains("olga"), "who ordered it is for the audit: {done}");

    // What comes to nothing says so in the words that who waits would have got.
    let operation = begun(&host, "/admin/v1/plugins/echo/rollback").await.unwrap();
    ended(&host, &operation).await.unwrap();
    let operation = begun(&host, "/admin/v1/plugins/echo/rollback").await.unwrap();
    let failed = ended(&host, &operation).await.unwrap();
    let waited = post(&host, "/admin/v1/plugins/echo/rollback", &[]).await.unwrap();
    assert_eq!((&failed["state"], waited.status), (&json!("failed"), 409), "{failed}");
    assert_eq!(failed["problem"], waited.json().unwrap());

    let operation = begun(&host, "/admin/v1/config/reload").await.unwrap();
    let done = ended(&host, &operation).await.unwrap();
    assert_eq!(done["result"]["changes"], json!([]), "{done}");

    let list = call(&host, "GET", "/admin/v1/operations", &[], "").await.unwrap().json().unwrap();
    let orders: Vec<_> = list["operations"].as_array().unwrap().iter().map(|one| &one["order"]).collect();
    assert_eq!(orders, ["reload_config", "rollback", "rollback", "reload"], "the newest first");
    let unknown = call(&host, "GET", "/admin/v1/operations/nothing", &[], "").await.unwrap();
    assert_eq!(unknown.status, 404, "{unknown:?}");
    // Each has its audit line all the same, and its own begin and end.
    let noted = eventually("each is noted", async || {
        let said = host.said();
        let count = |event: &str| said.matches(&format!("\"event\":\"{event}\"")).count();
        let counts = ["OperationBegun", "OperationEnded", "OperatorOrdered", "HostOrdered"].map(count);
        if counts == [4, 4, 4, 1] { Ok(()) } else { Err(format!("{counts:?}: {said}")) }
    });
    noted.await.unwrap();
}

/// An order that only says what it would do does nothing, whatever it is.
async fn a_dry_run_does_nothing(host: &Host) -> Result<(), String> {
    ready(host).await?;
    let file = crate::live::first_file(host);
    let text = || std::fs::read_to_string(&file).unwrap();
    let (before, was) = (page(host, "echo").await?, text());
    let in_force = config(host).await?;
    let would = post(host, "/admin/v1/plugins/echo/disable?dry_run=true&for=10m", &[]).await?;
    if would.status != 200 {
        return Err(format!("{would:?}"));
    }
    let would = would.json()?;
    for order in ["enable", "reload", "reset", "probe"] {
        let answer = post(host, &format!("/admin/v1/plugins/echo/{order}?dry_run=true"), &[]).await?;
        if answer.status != 200 || answer.json()?["dry_run"] != true {
            return Err(format!("{order} was carried out, or refused: {answer:?}"));
        }
    }
    let set = json!({ "set": { "limits.runs_at_once": 7 } }).to_string();
    let change = call(host, "PATCH", "/admin/v1/config?dry_run=true", &[], &set).await?.json()?;
    if change["changes"][0]["to"] != 7 {
        return Err(format!("{change}"));
    }
    match (page(host, "echo").await?, text(), config(host).await?) {
        (now, text, settings) if now == before && text == was && settings == in_force => {}
        (now, ..) => return Err(format!("something was done: {before} became {now}")),
    }
    if would["dry_run"] == true && would["served_by"] == "fallback" && would["level"]["then"] == "fallback" {
        Ok(())
    } else {
        Err(format!("{would}"))
    }
}

twin! {
    what_is_only_asked_for_is_not_done(a_dry_run_does_nothing) on Setup::echo().operated();
    faults ""; broken by "gateway.dry_run=off", says "was carried out"
}

#[tokio::test]
async fn what_an_order_would_break_is_said_before_it_is_given() {
    let host = Setup::echo()
        .plugin(Plugin::misbehaving("other"))
        .operated()
        .set("readiness.require", "[\"echo\"]")
        .start();
    ready(&host).await.unwrap();
    let would = async |plugin: &str, order: &str| {
        post(&host, &format!("/admin/v1/plugins/{plugin}/{order}?dry_run=true"), &[]).await.unwrap()
    };
    let disable = would("echo", "disable").await.json().unwrap();
    assert_eq!(
        (&disable["served_by"], &disable["level"]["then"]),
        (&json!("other"), &json!("partial")),
        "{disable}"
    );
    assert!(disable["breaks"].to_string().contains("readiness.require"), "{disable}");
    let other = would("other", "disable").await.json().unwrap();
    assert_eq!(other["level"]["then"], "full", "nobody insists on it: {other}");
    let drain = would("echo", "drain").await.json().unwrap();
    assert_eq!(
        (&drain["served_by"], &drain["level"]["then"]),
        (&json!("other"), &json!("partial")),
        "{drain}"
    );
    let refused = would("echo", "rollback").await;
    assert_eq!(
        (refused.status, refused.code()),
        (409, Ok("plugin.nothing_before".to_owned())),
        "{refused:?}"
    );
    assert_eq!(would("nobody", "disable").await.status, 404);
    for wrong in ["dry_run=maybe", "dry_run=true&dry_run=false", "dryrun=true"] {
        let answer = post(&host, &format!("/admin/v1/plugins/echo/disable?{wrong}"), &[]).await.unwrap();
        assert_eq!(answer.status, 400, "{wrong}: {answer:?}");
    }
    assert_eq!(page(&host, "echo").await.unwrap()["verdict"], "healthy");
    // A key that files alone may set, and one that is wrong, are refused as they would be.
    for (key, code) in [("gateway.listen", "config.files_only"), ("limits.runs_at_once", "config.type")] {
        let set = json!({ "set": { key: "many" } }).to_string();
        let answer = call(&host, "PATCH", "/admin/v1/config?dry_run=true", &[], &set).await.unwrap();
        assert_eq!(answer.code(), Ok(code.to_owned()), "{answer:?}");
    }
}

#[tokio::test]
async fn the_command_line_waits_or_does_not_or_only_asks() {
    let host = Setup::echo().operated().start();
    ready(&host).await.unwrap();
    let said = |arguments: &[&str]| {
        let output = host.operate(arguments);
        assert!(output.status.success(), "{arguments:?}: {output:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    let would = said(&["plugins", "disable", "echo", "--dry-run"]);
    assert!(would.contains("nothing was done") && would.contains("fallback"), "{would}");
    let would = said(&["config", "set", "limits.runs_at_once=9", "--dry-run"]);
    assert!(would.contains("4 -> 9"), "{would}");
    assert_eq!(config(&host).await.unwrap()["settings"]["limits.runs_at_once"]["value"], 4);
    let waited = said(&["plugins", "reload", "echo"]);
    assert!(waited.contains("echo is healthy"), "{waited}");
    let begun: Value =
        serde_json::from_str(&said(&["plugins", "reload", "echo", "--no-wait", "--output", "json"])).unwrap();
    ended(&host, &begun).await.unwrap();
    let shown = said(&["operations", "show", begun["id"].as_str().unwrap()]);
    assert!(shown.starts_with("done") && shown.contains("reload echo"), "{shown}");
    assert_eq!(said(&["operations", "list"]).lines().count(), 2);
    // A refusal ends as ever.
    let output = host.operate(&["config", "set", "gateway.listen=x"]);
    let why = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.code() == Some(1) && why.contains("config.files_only"), "{output:?}");
    let mut client = Client::connect(&host, "alice").await.unwrap();
    client.run("all the while").await.unwrap().answered_by("echo").unwrap();
}
