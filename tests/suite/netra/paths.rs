//! The HTTP paths of the replaced platform, from the facts alone: what it served is served, in the forms its clients read,
//! and an agent is asked without a WebSocket.

use serde_json::{Value, json};

use crate::{
    harness::{
        Host, PATIENCE, Plugin, Setup,
        http::{self, Answer},
        tokens::{self, OTHER_SECRET},
    },
    scenario::ready,
};

async fn ask(
    host: &Host,
    method: &str,
    path: &str,
    token: Option<&str>,
    body: &str,
) -> Result<Answer, String> {
    let bearer = token.map(|token| format!("Authorization: Bearer {token}\r\n")).unwrap_or_default();
    let request = format!(
        "{method} {path} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n{bearer}Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        host.address,
        body.len()
    );
    http::send(host.address, request.as_bytes(), PATIENCE).await
}

/// Every page is there, and is what the facts say it is.
#[tokio::test]
async fn every_page_of_that_platform_is_there() {
    let host = Setup::echo().plugin(Plugin::bad_create("bad", "error")).start();
    ready(&host).await.unwrap();
    for path in [
        "/ws/config",
        "/ws/health",
        "/ws/beacon",
        "/ws/stats",
        "/health",
        "/health/",
        "/health/live",
        "/health/ready",
        "/health/agents",
        "/health/agents/echo",
        "/api/health",
        "/api/discovery/services",
        "/api/mcp/config",
        "/api/mcp/servers",
    ] {
        let answer = ask(&host, "GET", path, None, "").await.unwrap();
        let page = answer.json().unwrap();
        assert!(
            answer.status == 200 && page.as_object().is_some_and(|page| !page.is_empty()),
            "{path}: {answer:?}"
        );
        let head = ask(&host, "OPTIONS", path, None, "").await.unwrap();
        assert!(head.status < 300, "{path}: {head:?}");
    }
    let page = |path: &'static str| {
        let host = &host;
        async move { ask(host, "GET", path, None, "").await.unwrap().json().unwrap() }
    };
    assert_eq!(page("/api/health").await["status"], "healthy");
    assert!(page("/api/discovery/services").await["services"].is_object());
    assert!(page("/api/mcp/servers").await["data"].is_array());
    assert_eq!(page("/ws/health").await["service_level"], "partial");
    let bad = ask(&host, "GET", "/health/agents/bad", None, "").await.unwrap();
    assert_eq!((bad.status, &bad.json().unwrap()["status"]), (503, &json!("failed")));
    let nobody = ask(&host, "GET", "/health/agents/nobody", None, "").await.unwrap();
    assert_eq!(nobody.status, 404);
    let nothing = ask(&host, "GET", "/api/nothing", None, "").await.unwrap();
    assert_eq!((nothing.status, nothing.code()), (404, Ok("http.not_found".to_owned())));
}

/// One message, one answer; never a 404, and no 500 whatever the body.
#[tokio::test]
async fn an_agent_is_asked_over_http() {
    let host = Setup::echo().start();
    ready(&host).await.unwrap();
    let (good, other) = (tokens::of("alice"), tokens::signed(&tokens::claims("alice"), OTHER_SECRET));
    for name in ["execute", "triage", "data", "optimization"] {
        let path = format!("/api/agents/{name}");
        let answer = ask(&host, "POST", &path, Some(&good), r#"{"message": "hello there"}"#).await.unwrap();
        let page = answer.json().unwrap();
        assert_eq!(answer.status, 200, "{path}: {answer:?}");
        assert!(page.to_string().contains("hello there") && page["run_id"].is_string(), "{path}: {page}");
        let without = ask(&host, "POST", &path, None, r#"{"message": "hi"}"#).await.unwrap();
        assert!(matches!(without.status, 401 | 403), "{path}: {without:?}");
        let wrong = ask(&host, "POST", &path, Some(&other), r#"{"message": "hi"}"#).await.unwrap();
        assert!(matches!(wrong.status, 401 | 403), "{path}: {wrong:?}");
        for body in ["", "{}", "[]", "not json", r#"{"message": ""}"#, r#"{"message": 5}"#] {
            let answer = ask(&host, "POST", &path, Some(&good), body).await.unwrap();
            assert_eq!(answer.status, 422, "{path} with {body:?}: {answer:?}");
        }
        let got = ask(&host, "GET", &path, Some(&good), "").await.unwrap();
        assert_eq!(got.status, 405, "{path}: {got:?}");
    }
}

/// What goes wrong inside is said in the way that clients come back from: it was a 500 once.
async fn no_page_is_a_500(host: &Host) -> Result<(), String> {
    ready(host).await?;
    let token = tokens::of("alice");
    let asked = [("GET", "/health"), ("GET", "/ws/config"), ("POST", "/api/agents/execute")];
    for fault in ["error", "panic", "delay:50"] {
        host.inject(&format!("gateway.netra_http={fault}"));
        for (method, path) in asked {
            let answer = ask(host, method, path, Some(&token), r#"{"message": "hello there"}"#).await?;
            let told =
                answer.status == 503 && answer.header("retry-after").is_some() && answer.code().is_ok();
            if !(told || (fault == "delay:50" && answer.status == 200)) {
                return Err(format!("{path} with {fault}: {answer:?}"));
            }
        }
    }
    host.inject("");
    match ask(host, "GET", "/health", None, "").await? {
        answer if answer.status == 200 => Ok(()),
        answer => Err(format!("without the fault: {answer:?}")),
    }
}

twin! {
    no_500(no_page_is_a_500) on Setup::echo();
    faults ""; broken by "gateway.panic_answer=off", says "with panic: Answer { status: 500"
}

/// Without a single agent the fallback answers here too.
#[tokio::test]
async fn without_an_agent_the_fallback_answers() {
    let host = Setup::new().start();
    ready(&host).await.unwrap();
    let answer =
        ask(&host, "POST", "/api/agents/execute", Some(&tokens::of("alice")), r#"{"message": "anyone?"}"#)
            .await;
    let page: Value = answer.unwrap().json().unwrap();
    assert_eq!(page["agent_name"], "fallback", "{page}");
    let health = ask(&host, "GET", "/health", None, "").await.unwrap().json().unwrap();
    assert_eq!((&health["service_level"], &health["fallback_active"]), (&json!("fallback"), &json!(true)));
}
