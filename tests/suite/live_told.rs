//! An edit that is not in force is told wherever somebody looks at how the host fares, until one is.

use serde_json::{Value, json};

use crate::{
    admin::order,
    harness::{Host, PATIENCE, Setup, artifacts, eventually, http, tokens::operator},
    live::{call, config},
    scenario::ready,
};

/// `configuration` of `/ready?verbose`, as everybody sees it, and as an operator does.
async fn shown(host: &Host) -> Result<(Value, Value), String> {
    let bearer = format!("Bearer {}", operator(&["admin:read"]));
    let everybody = http::get(host.address, "/ready?verbose", &[], PATIENCE).await?;
    let headers = [("Authorization", bearer.as_str())];
    let operators = http::get(host.admin, "/ready?verbose", &headers, PATIENCE).await?;
    if (everybody.status, operators.status) != (200, 200) {
        return Err(format!("a typo takes the host out of rotation: {everybody:?}"));
    }
    Ok((everybody.json()?["configuration"].clone(), operators.json()?["configuration"].clone()))
}

/// `config_failure` of the status.
async fn status(host: &Host) -> Result<Value, String> {
    Ok(call(host, "GET", "/admin/v1/status", &[], "").await?.json()?["config_failure"].clone())
}

/// Everybody is told that, and operators why and where.
async fn is_told(host: &Host) -> Result<(), String> {
    let (everybody, operators) = shown(host).await?;
    for page in [&everybody, &operators] {
        if page["verdict"] != "failed" || page["code"] != "config.unknown_key" || !page["at"].is_string() {
            return Err(format!("/ready does not say so: {page}"));
        }
    }
    if everybody.get("reason").is_some() || everybody.to_string().contains("host.toml") {
        return Err(format!("a stranger reads the files: {everybody}"));
    }
    let status = status(host).await?;
    let place = |page: &Value| page["reason"].as_str().is_some_and(|reason| reason.contains("host.toml:1:8"));
    if !place(&operators) || status["code"] != "config.unknown_key" || !place(&status) {
        return Err(format!("operators are not told where: {operators}, {status}"));
    }
    Ok(())
}

async fn a_refused_edit_is_told_until_one_is_in_force(host: &Host) -> Result<(), String> {
    ready(host).await?;
    let holds = (json!({ "verdict": "healthy" }), json!({ "verdict": "healthy" }));
    if shown(host).await? != holds || !status(host).await?.is_null() {
        return Err("something is amiss before".to_owned());
    }
    let main = host.dir().join("host.toml");
    let good = std::fs::read_to_string(&main).map_err(|e| e.to_string())?;
    std::fs::write(&main, format!("limits.conections = 5\n{good}")).map_err(|e| e.to_string())?;
    eventually("the edit is refused", async || match &config(host).await?["failure"] {
        Value::Null => Err("it is not".to_owned()),
        _ => Ok(()),
    })
    .await?;
    is_told(host).await?;
    // A switch is no repair; no file can keep it now.
    let off = order(host, "echo", "disable").await?;
    if off["kept"].get("file").is_some() {
        return Err(format!("written into files that do not hold: {off}"));
    }
    is_told(host).await.map_err(|objection| format!("a switch hides it: {objection}"))?;
    std::fs::write(&main, good).map_err(|e| e.to_string())?;
    eventually("the repair is told", async || match (shown(host).await?, status(host).await?) {
        (shown, Value::Null) if shown == holds => Ok(()),
        other => Err(format!("{other:?}")),
    })
    .await
}

/// Whether any metric is of that plugin.
async fn is_counted(host: &Host, plugin: &str) -> Result<bool, String> {
    let page = http::get(host.admin, "/metrics", &[], PATIENCE).await?;
    Ok(page.body.contains(&format!("plugin=\"{plugin}\"")))
}

#[tokio::test]
async fn the_series_of_a_plugin_that_never_was_go_with_its_edit() {
    let host = Setup::echo().operated().start();
    ready(&host).await.unwrap();
    let file = host.dir().join("plugins.d/more.toml");
    std::fs::write(&file, "[plugins.more]\npath = \"/nowhere/l.so\"\n").unwrap();
    eventually("the edit is refused", async || match config(&host).await?["failure"]["code"].as_str() {
        Some("plugin.not_found") => Ok(()),
        other => Err(format!("{other:?}")),
    })
    .await
    .unwrap();
    assert!(is_counted(&host, "more").await.unwrap(), "what was refused is counted while it is there");
    std::fs::remove_file(&file).unwrap();
    eventually("its series are gone", async || match is_counted(&host, "more").await? {
        false => Ok(()),
        true => Err("they are there".to_owned()),
    })
    .await
    .unwrap();
    assert!(is_counted(&host, "echo").await.unwrap());
    // One of that name is another one.
    let path = artifacts::echo();
    std::fs::write(&file, format!("[plugins.more]\npath = \"{}\"\n", path.display())).unwrap();
    eventually("it is counted", async || match is_counted(&host, "more").await? {
        true => Ok(()),
        false => Err("it is not".to_owned()),
    })
    .await
    .unwrap();
}

twin! {
    refused_edits_are_told(a_refused_edit_is_told_until_one_is_in_force) on Setup::echo().operated();
    faults ""; broken by "server.config_failure_told=off", says "/ready does not say so";
    broken by "server.config_failure_kept=off", says "a switch hides it"
}
