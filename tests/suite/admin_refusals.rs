//! Every operation of the admin API at once: whoever may not, from wherever he may not, gets none of them.

use serde_json::Value;

use crate::{
    harness::{
        Host, PATIENCE, Setup,
        http::{self, Answer},
        tokens::{self, operator},
    },
    scenario::ready,
};

fn setup() -> Setup {
    Setup::echo().operated().set("limits.auth_failures_per_minute", "0")
}

/// One of those that the host describes.
struct Offered {
    method: String,
    path: String,
    scope: Option<String>,
}

const SCOPES: [&str; 5] = ["admin:read", "admin:toggle", "admin:config", "admin:debug", "admin:chaos"];

async fn offered(host: &Host) -> Result<Vec<Offered>, String> {
    let document = http::get(host.admin, "/admin/v1/openapi.json", &[], PATIENCE).await?.json()?;
    let mut all = Vec::new();
    for (path, methods) in document["paths"].as_object().ok_or("no paths")? {
        for (method, described) in methods.as_object().ok_or("no methods")? {
            let scope = described["security"][0]["operator"][0].as_str().map(str::to_owned);
            let path = path.replace("{id}", "echo");
            all.push(Offered { method: method.to_uppercase(), path, scope });
        }
    }
    if all.len() < 15 { Err(format!("only {} operations are described", all.len())) } else { Ok(all) }
}

async fn ask(host: &Host, one: &Offered, method: &str, more: &[(&str, &str)]) -> Result<Answer, String> {
    http::request(host.admin, method, &one.path, more, PATIENCE).await
}

fn refused(one: &Offered, what: &str, answer: &Answer, status: u16) -> Result<(), String> {
    let problem = answer.code().is_ok();
    if answer.status == status && problem {
        return Ok(());
    }
    Err(format!("{} {} {what}: expected {status}, got {answer:?}", one.method, one.path))
}

/// How the host is: what no refused request may change.
async fn fingerprint(host: &Host) -> Result<Value, String> {
    let bearer = format!("Bearer {}", operator(&SCOPES));
    let token = [("Authorization", bearer.as_str())];
    let get = async |path: &str| http::request(host.admin, "GET", path, &token, PATIENCE).await?.json();
    let (status, echo, level) = (
        get("/admin/v1/status").await?,
        get("/admin/v1/plugins/echo").await?,
        get("/admin/v1/log-level").await?,
    );
    Ok(serde_json::json!([
        status["out_of_rotation"],
        status["level"],
        echo["state"],
        echo["generation"],
        echo["since"],
        level
    ]))
}

async fn nobody_else_gets_anything(host: &Host) -> Result<(), String> {
    ready(host).await?;
    let before = fingerprint(host).await;
    let user = format!("Bearer {}", tokens::of("alice"));
    for one in offered(host).await? {
        let every = format!("Bearer {}", operator(&SCOPES));
        let all = ("Authorization", every.as_str());
        let by = one.method.as_str();
        let (origin, name) = (("Origin", "https://evil.example"), ("Host", "evil.example"));
        refused(&one, "of a foreign page", &ask(host, &one, by, &[origin, all]).await?, 403)?;
        refused(&one, "by a foreign name", &ask(host, &one, by, &[name, all]).await?, 403)?;
        let Some(scope) = &one.scope else { continue };
        refused(&one, "without a token", &ask(host, &one, by, &[]).await?, 401)?;
        refused(&one, "with a user's token", &ask(host, &one, by, &[("Authorization", &user)]).await?, 401)?;
        let others: Vec<&str> = SCOPES.into_iter().filter(|other| other != scope).collect();
        let others = format!("Bearer {}", operator(&others));
        let answer = ask(host, &one, by, &[("Authorization", &others)]).await?;
        refused(&one, "with every other permission", &answer, 403)?;
        let in_url = Offered {
            path: format!("{}?token={}", one.path, operator(&SCOPES)),
            method: by.into(),
            scope: None,
        };
        refused(&one, "with a token in its URL", &ask(host, &in_url, by, &[]).await?, 401)?;
    }
    match (before?, fingerprint(host).await?) {
        (before, after) if before == after => Ok(()),
        (before, after) => Err(format!("refused requests changed {before} into {after}")),
    }
}

twin! {
    every_operation_asks_whose_page_it_is(nobody_else_gets_anything) on setup();
    faults ""; broken by "gateway.admin_names=off", says "of a foreign page"
}

twin! {
    every_operation_asks_for_an_operators_key(nobody_else_gets_anything) on setup();
    faults ""; broken by "gateway.admin_keys=off;gateway.admin_audience=off", says "with a user's token"
}

twin! {
    every_operation_asks_for_its_permission(nobody_else_gets_anything) on setup();
    faults ""; broken by "gateway.admin_scopes=off", says "with every other permission"
}

/// What changes anything is not done by GET, whoever sends it.
async fn nothing_is_done_by_get(host: &Host) -> Result<(), String> {
    ready(host).await?;
    let before = fingerprint(host).await;
    let all = offered(host).await?;
    let bearer = format!("Bearer {}", operator(&SCOPES));
    for one in all.iter().filter(|one| one.method != "GET") {
        if all.iter().any(|other| other.path == one.path && other.method == "GET") {
            // There is something to see at the same place.
            continue;
        }
        for method in ["GET", "OPTIONS", "TRACE"] {
            let answer = ask(host, one, method, &[("Authorization", &bearer)]).await?;
            if answer.status != 405 || answer.header("allow") != Some(one.method.as_str()) {
                return Err(format!("{method} {}: {answer:?}", one.path));
            }
        }
    }
    match (before?, fingerprint(host).await?) {
        (before, after) if before == after => Ok(()),
        (before, after) => Err(format!("GET changed {before} into {after}")),
    }
}

twin! {
    every_order_has_a_method_of_its_own(nothing_is_done_by_get) on setup();
    faults ""; broken by "gateway.admin_methods=off", says "GET /admin/v1/"
}
