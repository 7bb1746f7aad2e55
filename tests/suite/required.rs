//! What `readiness.require` names and is not healthy makes the host not ready and its level `partial`, and is named.

use serde_json::{Value, json};

use crate::{
    admin::order,
    client::Client,
    harness::{Host, PATIENCE, Plugin, Setup, http},
    live::{call, edit},
    scenario::ready,
};

/// Insists on that, and nothing else, from now on.
async fn require(host: &Host, from: &str, to: &str) -> Result<(), String> {
    let line = |names: &str| format!("readiness.require = [{names}]");
    edit(&host.dir().join("host.toml"), &line(from), &line(to));
    let answer = call(host, "POST", "/admin/v1/config/reload", &[], "").await?;
    if answer.status == 200 { Ok(()) } else { Err(format!("{answer:?}")) }
}

/// `/ready`, without its details.
async fn readiness(host: &Host) -> Result<(u16, Value), String> {
    let answer = http::get(host.address, "/ready", &[], PATIENCE).await?;
    Ok((answer.status, answer.json()?))
}

/// It is required, and not there: `/ready`, level and what a client is told agree.
async fn is_missed(host: &Host, name: &str, kind: &str, code: &str) -> Result<(), String> {
    let (status, page) = readiness(host).await?;
    if status != 503 || page["status"] != "requirement_unmet" || page["unmet"] != json!([name]) {
        return Err(format!("{name} is required and not there, and the host says: {status} {page}"));
    }
    let client = Client::connect(host, "alice").await?;
    let service = &client.welcome["service"];
    let named = service["missing"].as_array().into_iter().flatten();
    let named: Vec<_> =
        named.map(|one| (one["name"].clone(), one["kind"].clone(), one["code"].clone())).collect();
    let expected = vec![(json!(name), json!(kind), json!(code))];
    if page["level"] != "partial" || service["level"] != "partial" || named != expected {
        return Err(format!(
            "{name} is required and not there, and the level is {}: {service}",
            page["level"]
        ));
    }
    Ok(())
}

async fn is_whole(host: &Host) -> Result<(), String> {
    match readiness(host).await? {
        (200, page) if page == json!({ "status": "ready", "level": "full" }) => Ok(()),
        other => Err(format!("nothing that is wanted is missing, and the host says: {other:?}")),
    }
}

async fn what_is_required_and_not_healthy_is_missed(host: &Host) -> Result<(), String> {
    ready(host).await?;
    is_whole(host).await?;
    // A service that nobody configured, a kind of which there is none, a plugin that is switched off while another serves.
    require(host, "", "\"llm\"").await?;
    is_missed(host, "llm", "service", "service.not_configured").await?;
    require(host, "\"llm\"", "\"supervisor\"").await?;
    is_missed(host, "supervisor", "supervisor", "plugin.not_configured").await?;
    require(host, "\"supervisor\"", "\"echo\", \"agent\", \"store\", \"fallback\", \"threads\"").await?;
    is_whole(host).await?;
    order(host, "echo", "disable").await?;
    is_missed(host, "echo", "agent", "plugin.disabled").await?;
    order(host, "echo", "enable").await?;
    is_whole(host).await
}

twin! {
    requirements_are_of_one_piece(what_is_required_and_not_healthy_is_missed)
    on Setup::echo().plugin(Plugin::misbehaving("other")).operated().set("readiness.require", "[]");
    faults ""; broken by "engine.requirements=off", says "the level is \"full\"";
    broken by "gateway.requirements=off", says "the host says: 200"
}
