//! The admin API against a real host: only its operators see and order, every order leaves a line, and what they order
//! is so.

use serde_json::{Value, json};

use crate::{
    harness::{
        Host, PATIENCE, Plugin, Setup, artifacts, eventually,
        http::{self, Answer},
        tokens::{self, ADMIN_SECRET, SECRET, claims_with, operator, signed},
    },
    scenario::ready,
};

const ALL: &[&str] = &["admin:read", "admin:toggle"];
const RESET: &str = "/admin/v1/plugins/echo/reset";

fn setup() -> Setup {
    Setup::echo().operated().set("limits.auth_failures_per_minute", "0")
}

async fn ask(host: &Host, method: &str, path: &str, more: &[(&str, &str)]) -> Result<Answer, String> {
    http::request(host.admin, method, path, more, PATIENCE * 2).await
}

/// Asks with a token that permits all, and waits for the end of an order.
pub(crate) async fn allowed(host: &Host, method: &str, path: &str) -> Result<Answer, String> {
    let bearer = format!("Bearer {}", operator(ALL));
    ask(host, method, path, &[("Authorization", &bearer), http::WAIT]).await
}

/// Gives an order, and answers the page of the plugin as it is then.
pub(crate) async fn order(host: &Host, plugin: &str, order: &str) -> Result<Value, String> {
    let answer = allowed(host, "POST", &format!("/admin/v1/plugins/{plugin}/{order}")).await?;
    if answer.status == 200 { answer.json() } else { Err(format!("{order} {plugin}: {answer:?}")) }
}

/// The page of a plugin.
pub(crate) async fn page(host: &Host, plugin: &str) -> Result<Value, String> {
    let answer = allowed(host, "GET", &format!("/admin/v1/plugins/{plugin}")).await?;
    if answer.status == 200 { answer.json() } else { Err(format!("{plugin}: {answer:?}")) }
}

fn refused(what: &str, answer: &Answer, status: u16, code: &str) -> Result<(), String> {
    match (answer.status, answer.code()) {
        (found, Ok(said)) if found == status && said == code => Ok(()),
        _ => Err(format!("{what}: expected {status} {code}, got {answer:?}")),
    }
}

/// No token but an operator's own, that permits it, shows or changes anything.
async fn only_operators_are_let_in(host: &Host) -> Result<(), String> {
    ready(host).await?;
    let generous = json!({ "permissions": ALL, "scope": "admin:read admin:toggle" });
    let for_operators = json!({ "permissions": ALL, "aud": "agent-host-admin" });
    let tokens = [
        ("a user's", tokens::of("alice"), 401, "auth.invalid"),
        (
            "a user's with an operator's permissions",
            signed(&claims_with("m", generous), SECRET),
            401,
            "auth.invalid",
        ),
        ("of the users' key", signed(&claims_with("m", for_operators.clone()), SECRET), 401, "auth.invalid"),
        (
            "for the users' audience",
            signed(&claims_with("m", json!({ "permissions": ALL })), ADMIN_SECRET),
            401,
            "auth.audience",
        ),
        (
            "expired",
            signed(
                &claims_with(
                    "m",
                    json!({ "permissions": ALL, "aud": "agent-host-admin", "exp": tokens::now() - 600 }),
                ),
                ADMIN_SECRET,
            ),
            401,
            "auth.expired",
        ),
        ("unsigned", tokens::forged("none", &claims_with("m", for_operators), ""), 401, "auth.algorithm"),
        ("without permissions", operator(&[]), 403, "permission.denied"),
        ("that permits other things", operator(&["admin:debug", "admin:config"]), 403, "permission.denied"),
    ];
    for (what, token, status, code) in &tokens {
        let bearer = format!("Bearer {token}");
        for (method, path) in
            [("GET", "/admin/v1/status"), ("GET", "/admin/v1/plugins/echo"), ("POST", RESET)]
        {
            let answer = ask(host, method, path, &[("Authorization", &bearer)]).await?;
            refused(&format!("{method} {path} with a token {what}"), &answer, *status, code)?;
            if answer.body.contains(token.as_str()) {
                return Err(format!("a token {what} came back in {answer:?}"));
            }
        }
    }
    let reader = format!("Bearer {}", operator(&["admin:read"]));
    let answer = ask(host, "POST", RESET, &[("Authorization", &reader)]).await?;
    refused("an order of one who may read", &answer, 403, "permission.denied")?;
    refused("no token", &ask(host, "POST", RESET, &[]).await?, 401, "auth.missing")?;
    match allowed(host, "POST", RESET).await?.status {
        200 => Ok(()),
        status => Err(format!("an operator's own token got {status}")),
    }
}

twin! {
    the_users_key_makes_no_operators(only_operators_are_let_in) on setup();
    faults ""; broken by "gateway.admin_keys=off", says "a user's"
}

twin! {
    a_token_is_for_somebody(only_operators_are_let_in) on setup();
    faults ""; broken by "gateway.admin_audience=off", says "for the users' audience"
}

twin! {
    a_token_permits_what_it_says(only_operators_are_let_in) on setup();
    faults ""; broken by "gateway.admin_scopes=off", says "without permissions"
}

/// Neither a foreign page nor a name that was made to lead here gets anything, not even with an operator's token.
async fn no_page_reaches_through_a_browser(host: &Host) -> Result<(), String> {
    ready(host).await?;
    let bearer = format!("Bearer {}", operator(ALL));
    let token = ("Authorization", bearer.as_str());
    for (what, code, headers) in [
        ("a foreign page", "origin.denied", vec![("Origin", "https://evil.example")]),
        ("a page without a name", "origin.denied", vec![("Origin", "null")]),
        ("a rebound name", "origin.unknown_host", vec![("Host", "evil.example")]),
        (
            "a page of a rebound name",
            "origin.unknown_host",
            vec![("Host", "evil.example:9901"), ("Origin", "http://evil.example:9901")],
        ),
    ] {
        for (method, path) in [("GET", "/admin/v1/plugins"), ("POST", RESET), ("OPTIONS", RESET)] {
            let headers: Vec<_> = headers.iter().copied().chain([token]).collect();
            let answer = ask(host, method, path, &headers).await?;
            refused(&format!("{method} {path} of {what}"), &answer, 403, code)?;
            if let Some(allowed) = answer.header("access-control-allow-origin") {
                return Err(format!("{what} is told that {allowed} may read"));
            }
        }
    }
    let own = format!("http://localhost:{}", host.admin.port());
    let host_name = format!("localhost:{}", host.admin.port());
    let answer =
        ask(host, "GET", "/admin/v1/status", &[("Host", &host_name), ("Origin", &own), token]).await?;
    if answer.status == 200 { Ok(()) } else { Err(format!("a page of its own got {answer:?}")) }
}

twin! {
    names_and_origins_are_checked(no_page_reaches_through_a_browser) on setup();
    faults ""; broken by "gateway.admin_names=off", says "a foreign page"
}

/// A GET changes nothing, whoever sends it.
async fn nothing_is_changed_by_get(host: &Host) -> Result<(), String> {
    ready(host).await?;
    let before = page(host, "echo").await;
    for verb in ["disable", "reload", "reset", "enable", "probe"] {
        let answer = allowed(host, "GET", &format!("/admin/v1/plugins/echo/{verb}")).await?;
        refused(&format!("GET …/{verb}"), &answer, 405, "http.method_not_allowed")?;
        if answer.header("allow") != Some("POST") {
            return Err(format!("what is allowed is not said: {answer:?}"));
        }
    }
    let (before, after) = (before?, page(host, "echo").await?);
    let what = |page: &Value| (page["state"].clone(), page["generation"].clone(), page["since"].clone());
    if what(&before) == what(&after) { Ok(()) } else { Err(format!("GET changed {before} into {after}")) }
}

twin! {
    orders_are_posted(nothing_is_changed_by_get) on setup();
    faults ""; broken by "gateway.admin_methods=off", says "GET …/disable"
}

/// Each order, carried out or refused, is found in the log: who, from where, what, how it ended. And no secret with it.
async fn every_order_leaves_a_line(host: &Host) -> Result<(), String> {
    ready(host).await?;
    let user = tokens::of("alice");
    order(host, "echo", "probe").await?;
    ask(host, "POST", RESET, &[("Authorization", &format!("Bearer {user}"))]).await?;
    ask(host, "POST", RESET, &[("Host", "evil.example")]).await?;
    allowed(host, "GET", RESET).await?;
    allowed(host, "POST", "/admin/v1/plugins/nobody/reset").await?;
    let expected = [
        ("OperatorOrdered", "probe", "echo", "outcome", "healthy"),
        ("OrderRefused", "reset", "echo", "code", "auth.invalid"),
        ("OrderRefused", "reset", "echo", "code", "origin.unknown_host"),
        ("OrderRefused", "reset", "echo", "code", "http.method_not_allowed"),
        ("OrderRefused", "reset", "nobody", "code", "plugin.unknown"),
    ];
    eventually("the log has a line for each", async || {
        let said = host.said();
        let lines: Vec<Value> = said.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
        for (event, order, plugin, field, outcome) in expected {
            let is_it = |line: &&Value| {
                line["event"] == event
                    && line["order"] == order
                    && line["plugin"] == plugin
                    && line[field] == outcome
                    && line["from"].as_str().is_some_and(|from| from.starts_with("127.0.0.1:"))
                    && (event == "OrderRefused" || line["operator"] == "olga")
            };
            if lines.iter().filter(is_it).count() != 1 {
                return Err(format!("{event} {order} {plugin} {outcome} is not noted"));
            }
        }
        Ok(())
    })
    .await?;
    let said = host.said();
    for secret in [user.as_str(), ADMIN_SECRET, SECRET, "eyJ"] {
        if said.contains(secret) {
            return Err(format!("{secret:?} is in the log"));
        }
    }
    Ok(())
}

twin! {
    orders_are_noted(every_order_leaves_a_line) on setup();
    faults ""; broken by "gateway.admin_audit=off", says "is not noted"
}

twin! {
    tokens_are_not_noted(every_order_leaves_a_line) on setup();
    faults ""; broken by "gateway.quiet_tokens=off", says "is in the log"
}

#[tokio::test]
async fn who_guesses_is_slowed_down_and_the_log_is_not_flooded() {
    let host = setup().set("limits.auth_failures_per_minute", "5").start();
    ready(&host).await.unwrap();
    let bearer = format!("Bearer {}", tokens::of("mallory"));
    let mut statuses = Vec::new();
    for _ in 0..40 {
        let answer = ask(&host, "POST", RESET, &[("Authorization", &bearer)]).await.unwrap();
        assert!(answer.status == 401 || answer.header("retry-after").is_some(), "{answer:?}");
        statuses.push(answer.status);
    }
    // The bucket gives one back every 12 s: a slow machine may see one or two more.
    let (bad, slowed) =
        (statuses.iter().filter(|s| **s == 401).count(), statuses.iter().filter(|s| **s == 429).count());
    assert!((5..20).contains(&bad) && bad + slowed == 40, "{statuses:?}");
    assert_eq!(allowed(&host, "GET", "/admin/v1/status").await.unwrap().status, 200, "an operator is let in");
    let lines = host.said().matches("\"OrderRefused\"").count();
    assert!(lines <= bad, "{lines} lines for {bad} refusals");
    let metrics = http::get(host.admin, "/metrics", &[("Connection", "close")], PATIENCE).await.unwrap().body;
    let counted = format!("agent_host_admin_refusals_total{{status=\"429\"}} {slowed}");
    assert!(metrics.contains(&counted), "{counted} is not in\n{metrics}");
}

#[tokio::test]
async fn no_secret_and_no_path_is_in_any_answer() {
    const CANARY: &str = "canary-of-the-plugin-s-own-configuration";
    let plugin = Plugin::misbehaving("bad").config("create", &format!("\"{CANARY}\""));
    let host = setup().plugin(plugin).env("AGENT_HOST_CANARY", "canary-of-the-environment").start();
    ready(&host).await.unwrap();
    let token = operator(ALL);
    let bearer = format!("Bearer {token}");
    let mut answers = Vec::new();
    for path in ["/admin/v1/status", "/admin/v1/plugins", "/admin/v1/plugins/bad", "/admin/v1/openapi.json"] {
        answers.push(allowed(&host, "GET", path).await.unwrap());
        answers.push(ask(&host, "GET", path, &[]).await.unwrap());
    }
    for verb in ["probe", "reload"] {
        let path = format!("/admin/v1/plugins/bad/{verb}");
        answers.push(ask(&host, "POST", &path, &[("Authorization", &bearer)]).await.unwrap());
        answers.push(ask(&host, "POST", &path, &[("Authorization", "Bearer x")]).await.unwrap());
    }
    let dir = host.dir().display().to_string();
    let library = artifacts::misbehaving().display().to_string();
    for answer in answers {
        let text = format!("{answer:?}");
        for secret in [CANARY, "canary-of-the-environment", ADMIN_SECRET, SECRET, &token, &dir, &library] {
            assert!(!text.contains(secret), "{secret:?} is in {text}");
        }
        assert!(text.contains("no-store") || text.contains("no-cache"), "{text}");
    }
}

#[tokio::test]
async fn a_list_leads_with_the_verdict_and_can_be_narrowed() {
    let down = Plugin::at("down", "/nonexistent/libdown.so");
    let off = Plugin::at("off", artifacts::echo()).key("enabled", "false");
    let host = setup().plugin(down).plugin(off).start();
    ready(&host).await.unwrap();
    let all = allowed(&host, "GET", "/admin/v1/plugins").await.unwrap();
    assert!(all.body.starts_with("{\"plugins\":[{\"verdict\":\""), "{}", all.body);
    let listed = async |query: &str| -> Vec<(String, String)> {
        let answer = allowed(&host, "GET", &format!("/admin/v1/plugins{query}")).await.unwrap();
        let plugins = answer.json().unwrap()["plugins"].as_array().unwrap().clone();
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        plugins.iter().map(|plugin| (text(&plugin["verdict"]), text(&plugin["id"]))).collect()
    };
    let own = |verdict: &str, id: &str| (verdict.to_owned(), id.to_owned());
    let (healthy, failed, disabled) = (own("healthy", "echo"), own("failed", "down"), own("disabled", "off"));
    assert_eq!(listed("").await, [failed.clone(), healthy.clone(), disabled.clone()]);
    assert_eq!(listed("?state=failed").await, [failed]);
    assert_eq!(listed("?state=healthy").await, [healthy]);
    assert_eq!(listed("?state=disabled").await, [disabled]);
    let page = page(&host, "down").await.unwrap();
    assert_eq!((&page["code"], &page["served_by"]), (&"plugin.not_found".into(), &"echo".into()), "{page}");
    assert!(page["hint"].as_str().is_some_and(|hint| !hint.is_empty()), "{page}");
}

#[tokio::test]
async fn a_running_plugin_is_shown_whole() {
    let host = setup().start();
    ready(&host).await.unwrap();
    let page = page(&host, "echo").await.unwrap();
    for (field, expected) in [("verdict", "healthy"), ("state", "healthy"), ("kind", "agent")] {
        assert_eq!(page[field], expected, "{page}");
    }
    assert_eq!((&page["generation"], &page["isolation"]["tier"]), (&1.into(), &"process".into()), "{page}");
    assert_eq!(page["digest"].as_str().map(str::len), Some(64), "{page}");
    assert_eq!(page["breaker"]["state"], "closed", "{page}");
    let layers = page["isolation"]["layers"].as_object().unwrap();
    assert!(!layers.is_empty(), "what of the sandbox is in force is said: {page}");
    let states: Vec<&str> =
        page["history"].as_array().unwrap().iter().filter_map(|change| change["to"].as_str()).collect();
    assert_eq!(states.last(), Some(&"healthy"), "{page}");
}

#[tokio::test]
async fn what_is_asked_wrongly_is_said_and_bounded() {
    let host = setup().start();
    ready(&host).await.unwrap();
    let bearer = format!("Bearer {}", operator(ALL));
    let huge = "x".repeat(1 << 20);
    let length = huge.len().to_string();
    for (method, path, more, status, code) in [
        ("GET", "/admin/v1/plugins/nobody", vec![], 404, "plugin.unknown"),
        ("POST", "/admin/v1/plugins/nobody/reset", vec![], 404, "plugin.unknown"),
        ("GET", "/admin/v1/plugins/%2e%2e%2fetc", vec![], 404, "plugin.unknown"),
        ("GET", "/admin/v1/nowhere", vec![], 404, "http.not_found"),
        ("DELETE", "/admin/v1/plugins/echo", vec![], 405, "http.method_not_allowed"),
        ("POST", "/admin/v1/plugins/echo/disable?dryrun=true", vec![], 400, "http.bad_request"),
        ("POST", RESET, vec![("Content-Length", length.as_str())], 413, "http.too_large"),
    ] {
        let headers: Vec<_> = more.into_iter().chain([("Authorization", bearer.as_str())]).collect();
        let answer = ask(&host, method, path, &headers).await.unwrap();
        refused(&format!("{method} {path}"), &answer, status, code).unwrap();
    }
    assert_eq!(page(&host, "echo").await.unwrap()["verdict"], "healthy", "nothing was done");
}
