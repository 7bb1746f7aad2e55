//! Orders that go on though nobody waits, and orders that only say what they would do.

use serde_json::{Value, json};

use crate::{
    admin::page,
    client::Client,
    harness::{
        Host, Plugin, Setup, eventually,
        http::{self, Answer},
    },
    live::{call, config},
    scenario::ready,
};

/// As a client that knows the specification alone: an order says nothing but what is to be done.
const NOTHING: &[(&str, &str)] = &[("Prefer", "")];
const ASYNC: &[(&str, &str)] = &[("Prefer", "respond-async")];

async fn post(host: &Host, path: &str, more: &[(&str, &str)]) -> Result<Answer, String> {
    call(host, "POST", path, more, "").await
}

/// The operation that an order became.
async fn begun(host: &Host, path: &str, prefer: &[(&str, &str)]) -> Result<Value, String> {
    let answer = post(host, path, prefer).await?;
    let location = answer.header("location").map(str::to_owned);
    let operation = answer.json()?;
    let id = operation["id"].as_str().unwrap_or_default();
    let applied = prefer.iter().map(|(_, said)| *said).find(|said| !said.is_empty());
    if answer.status == 202
        && location.as_deref() == Some(&format!("/admin/v1/operations/{id}"))
        && answer.header("preference-applied") == applied
    {
        Ok(operation)
    } else {
        Err(format!("{path}: {answer:?}"))
    }
}

/// The operation at that place once it has ended.
async fn outcome(host: &Host, location: &str) -> Result<Value, String> {
    eventually("the operation ends", async || {
        let now = call(host, "GET", location, &[], "").await?.json()?;
        if now["state"] == "running" { Err(now.to_string()) } else { Ok(now) }
    })
    .await
}

/// The same, of an operation as it was when it was begun.
async fn ended(host: &Host, operation: &Value) -> Result<Value, String> {
    let id = operation["id"].as_str().ok_or("it has no id")?;
    outcome(host, &format!("/admin/v1/operations/{id}")).await
}

/// All that a client needs to know: POST, 202, and `Location` until it has ended.
async fn an_order_is_posted_and_looked_up(host: &Host) -> Result<(), String> {
    ready(host).await?;
    for (order, state) in [
        ("probe", "healthy"),
        ("reload", "healthy"),
        ("drain", "unloaded"),
        ("reset", "healthy"),
        ("disable", "disabled"),
        ("enable", "healthy"),
    ] {
        let answer = post(host, &format!("/admin/v1/plugins/echo/{order}"), NOTHING).await?;
        let location = match (answer.status, answer.header("location")) {
            (202, Some(location)) => location.to_owned(),
            _ => return Err(format!("{order} was not taken down as an operation: {answer:?}")),
        };
        let operation = outcome(host, &location).await?;
        let (page, now) = (&operation["result"], page(host, "echo").await?);
        if operation["state"] != "done" || page["state"] != state || now["state"] != state {
            return Err(format!("{order}: {operation}, and the plugin is {now}"));
        }
    }
    let list = call(host, "GET", "/admin/v1/operations", &[], "").await?.json()?;
    match list["operations"].as_array().map(Vec::len) {
        Some(6) => Ok(()),
        _ => Err(format!("not each order is listed: {list}")),
    }
}

twin! {
    orders_are_operations(an_order_is_posted_and_looked_up) on Setup::echo().operated();
    faults ""; broken by "gateway.orders_wait=off", says "was not taken down as an operation"
}

#[tokio::test]
async fn who_prefers_to_wait_is_told_how_it_ended() {
    let host = Setup::echo().operated().start();
    ready(&host).await.unwrap();
    for wait in ["wait", "wait=600"] {
        let answer = post(&host, "/admin/v1/plugins/echo/reload", &[("Prefer", wait)]).await.unwrap();
        assert_eq!((answer.status, answer.header("preference-applied")), (200, Some(wait)), "{answer:?}");
        assert_eq!(answer.json().unwrap()["verdict"], "healthy", "{answer:?}");
    }
    // One that goes on longer than its client waits.
    let answer = post(&host, "/admin/v1/plugins/echo/reload", &[("Prefer", "wait=0")]).await.unwrap();
    assert_eq!((answer.status, answer.header("preference-applied")), (202, Some("wait=0")), "{answer:?}");
    let done = ended(&host, &answer.json().unwrap()).await.unwrap();
    assert_eq!((&done["state"], &done["result"]["generation"]), (&json!("done"), &json!(4)), "{done}");
    // What cannot be begun is said at once, whatever is preferred.
    for prefer in ["", "respond-async", "wait"] {
        let answer = post(&host, "/admin/v1/plugins/nobody/reload", &[("Prefer", prefer)]).await.unwrap();
        assert_eq!((answer.status, answer.code()), (404, Ok("plugin.unknown".to_owned())), "{answer:?}");
    }
}

#[tokio::test]
async fn an_order_goes_on_though_nobody_waits() {
    let host = Setup::echo().operated().start();
    ready(&host).await.unwrap();
    let operation = begun(&host, "/admin/v1/plugins/echo/reload", ASYNC).await.unwrap();
    assert_eq!((&operation["order"], &operation["about"]), (&json!("reload"), &json!("echo")), "{operation}");
    let done = ended(&host, &operation).await.unwrap();
    assert_eq!((&done["state"], &done["result"]["generation"]), (&json!("done"), &json!(2)), "{done}");
    let steps: Vec<_> = done["steps"].as_array().unwrap().iter().map(|step| &step["event"]).collect();
    assert!(steps.contains(&&json!("PluginHealthy")), "{done}");
    assert!(!done.to_string().contains("olga"), "who ordered it is for the audit: {done}");

    // What comes to nothing says so in the words that who waits would have got.
    let operation = begun(&host, "/admin/v1/plugins/echo/rollback", ASYNC).await.unwrap();
    ended(&host, &operation).await.unwrap();
    let operation = begun(&host, "/admin/v1/plugins/echo/rollback", ASYNC).await.unwrap();
    let failed = ended(&host, &operation).await.unwrap();
    let waited = post(&host, "/admin/v1/plugins/echo/rollback", &[]).await.unwrap();
    assert_eq!((&failed["state"], waited.status), (&json!("failed"), 409), "{failed}");
    assert_eq!(failed["problem"], waited.json().unwrap());

    let operation = begun(&host, "/admin/v1/config/reload", ASYNC).await.unwrap();
    let done = ended(&host, &operation).await.unwrap();
    assert_eq!(done["result"]["changes"], json!([]), "{done}");

    let list = call(&host, "GET", "/admin/v1/operations", &[], "").await.unwrap().json().unwrap();
    let orders: Vec<_> = list["operations"].as_array().unwrap().iter().map(|one| &one["order"]).collect();
    assert_eq!(orders, ["reload_config", "rollback", "rollback", "rollback", "reload"], "the newest first");
    let unknown = call(&host, "GET", "/admin/v1/operations/nothing", &[], "").await.unwrap();
    assert_eq!(unknown.status, 404, "{unknown:?}");
    // Each has its one audit line all the same, and its own begin and end.
    let noted = eventually("each is noted", async || {
        let said = host.said();
        let count = |event: &str| said.matches(&format!("\"event\":\"{event}\"")).count();
        let counts =
            ["OperationBegun", "OperationEnded", "OperatorOrdered", "HostOrdered", "OrderRefused"].map(count);
        if counts == [5, 5, 2, 1, 2] { Ok(()) } else { Err(format!("{counts:?}: {said}")) }
    });
    noted.await.unwrap();
}

fn with_no_library() -> Setup {
    Setup::echo()
        .plugin(Plugin::at("broken", "broken.so").key("enabled", "false"))
        .file("plugins/broken.so", b"no library at all".as_slice())
        .operated()
}

/// A plugin that is switched on and cannot be loaded: who looks the operation up is told so, in the plugin's own words.
async fn a_switch_that_does_not_help_has_failed(host: &Host) -> Result<(), String> {
    ready(host).await?;
    let operation = begun(host, "/admin/v1/plugins/broken/enable", NOTHING).await?;
    let failed = ended(host, &operation).await?;
    let plugin = page(host, "broken").await?;
    let (problem, result) = (&failed["problem"], &failed["result"]);
    let reason = plugin["reason"].as_str().ok_or("the plugin says no reason")?;
    if failed["state"] != "failed"
        || problem["code"] != plugin["code"]
        || !problem["detail"].as_str().is_some_and(|detail| detail.contains(reason))
    {
        return Err(format!("the operation says that it went well: {failed}"));
    }
    // It is switched on for all that, and the page says where that is kept.
    let kept = result["kept"]["file"].as_str().is_some_and(|file| file.ends_with("broken.toml"));
    if !kept || result["verdict"] != "failed" || problem["status"] != 409 {
        return Err(format!("how things are is not said: {failed}"));
    }
    let waited = post(host, "/admin/v1/plugins/broken/reset", http::WAIT_ALONE).await?;
    match (waited.status, waited.code()?) {
        (409, code) if plugin["code"] == code.as_str() => Ok(()),
        _ => Err(format!("who waits is told something else: {waited:?}")),
    }
}

twin! {
    an_order_without_effect_has_failed(a_switch_that_does_not_help_has_failed) on with_no_library();
    faults ""; broken by "gateway.order_aims=off", says "says that it went well"
}

#[tokio::test]
async fn the_command_line_tells_a_switch_that_does_not_help() {
    let host = with_no_library().start();
    ready(&host).await.unwrap();
    let output = host.operate(&["plugins", "enable", "broken"]);
    let said = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert!(said.contains("plugin.not_elf") && said.contains("kept in "), "{said}");
    let output = host.operate(&["plugins", "reset", "broken", "--no-wait", "--output", "json"]);
    let begun: Value = serde_json::from_slice(&output.stdout).unwrap();
    ended(&host, &begun).await.unwrap();
    let output = host.operate(&["operations", "show", begun["id"].as_str().unwrap()]);
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(said.starts_with("failed") && said.contains("plugin.not_elf"), "{said}");
    assert!(said.contains("what to do: "), "{said}");
}

/// An order leaves one line, and that says what is so: not that a refused one was carried out.
async fn a_refused_order_is_told_once_and_as_refused(host: &Host) -> Result<(), String> {
    ready(host).await?;
    let set = json!({ "set": { "gateway.listen": "127.0.0.1:1" } }).to_string();
    let answer = call(host, "PATCH", "/admin/v1/config", &[], &set).await?;
    if answer.code()? != "config.files_only" {
        return Err(format!("{answer:?}"));
    }
    let failed = post(host, "/admin/v1/plugins/broken/enable", http::WAIT_ALONE).await?;
    // What comes after them in the log is the last of theirs.
    post(host, "/admin/v1/plugins/echo/probe", http::WAIT_ALONE).await?;
    let lines = eventually("the last of them is in the log", async || {
        let said = host.said();
        let lines = said.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        let audit: Vec<Value> = lines.filter(|line| line["target"] == "agent_host::audit").collect();
        if audit.iter().any(|line| line["order"] == "probe") { Ok(audit) } else { Err(said) }
    })
    .await?;
    let told: Vec<(&str, &str, &str, &str)> = lines
        .iter()
        .map(|line| {
            let text = |name: &str| line[name].as_str().unwrap_or_default();
            (text("level"), text("event"), text("order"), text("code"))
        })
        .collect();
    let code = failed.code()?;
    let expected = [
        ("WARN", "OrderRefused", "set_config", "config.files_only"),
        ("WARN", "OrderFailed", "enable", code.as_str()),
        ("INFO", "OperatorOrdered", "probe", ""),
    ];
    if told == expected { Ok(()) } else { Err(format!("not one true line for each: {told:?}")) }
}

twin! {
    each_order_is_told_once_and_truly(a_refused_order_is_told_once_and_as_refused) on with_no_library();
    faults ""; broken by "gateway.admin_audit=off", says "the last of them is in the log";
    broken by "gateway.order_aims=off", says "no problem document"
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

/// Who takes out what others live by is told so: by who answers, by the operation, and on the command line.
#[tokio::test]
async fn an_order_that_was_given_says_what_it_broke() {
    let host = Setup::echo().operated().set("readiness.require", "[\"agent\"]").start();
    ready(&host).await.unwrap();
    let would =
        post(&host, "/admin/v1/plugins/echo/disable?dry_run=true", &[]).await.unwrap().json().unwrap();
    let told = would["breaks"].as_array().unwrap().clone();
    let text = would["breaks"].to_string();
    for words in ["full to fallback", "no agent is left", "readiness.require"] {
        assert!(text.contains(words), "{words}: {would}");
    }
    let operation = begun(&host, "/admin/v1/plugins/echo/disable", NOTHING).await.unwrap();
    let done = ended(&host, &operation).await.unwrap();
    assert_eq!((&done["state"], &done["result"]["breaks"]), (&json!("done"), &json!(told)), "{done}");
    let shown = host.operate(&["operations", "show", operation["id"].as_str().unwrap()]);
    let shown = String::from_utf8_lossy(&shown.stdout);
    // What is broken already is not broken again, and what mends breaks nothing.
    let again =
        post(&host, "/admin/v1/plugins/echo/disable", http::WAIT_ALONE).await.unwrap().json().unwrap();
    assert_eq!(again["breaks"], Value::Null, "{again}");
    let back = post(&host, "/admin/v1/plugins/echo/enable", http::WAIT_ALONE).await.unwrap().json().unwrap();
    assert_eq!((&back["verdict"], &back["breaks"]), (&json!("healthy"), &Value::Null), "{back}");
    let drained = host.operate(&["plugins", "drain", "echo"]);
    let said = String::from_utf8_lossy(&drained.stdout);
    assert_eq!(drained.status.code(), Some(0), "{drained:?}");
    for one in &told {
        let line = format!("worse than before: {}", one.as_str().unwrap());
        assert!(shown.contains(&line) && said.contains(&line), "{line}: {shown}\n{said}");
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
