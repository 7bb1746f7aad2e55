use std::time::Duration;

use serde_json::{Value, json};

use super::support::*;
use crate::auth::mint;

async fn get(doors: &Doors, path: &str, header: &str) -> (u16, String) {
    let request = format!("GET {path} HTTP/1.1\r\nHost: t\r\n{header}\r\n");
    let public = exchange(doors.gateway.public_addr(), &request).await;
    let admin = exchange(doors.gateway.admin_addr(), &request).await;
    assert_eq!(public.0, admin.0, "both listeners say the same");
    admin
}

async fn ready(doors: &Doors, path: &str, header: &str) -> (u16, Value) {
    let (status, answer) = get(doors, path, header).await;
    (status, body(&answer))
}

fn admin_token(permission: &str, secret: &[u8]) -> String {
    let mut claims = claims("op", Duration::from_secs(60));
    claims.permissions = vec![permission.to_owned()];
    claims.audience = "agent-host-admin".to_owned();
    format!("Authorization: Bearer {}\r\n", mint(&claims, &secret.to_vec().into()).unwrap())
}

#[tokio::test]
async fn a_degraded_host_is_ready() {
    let doors = open(|_| {}).await;
    assert_eq!(get(&doors, "/live", "").await.0, 200);
    assert_eq!(ready(&doors, "/ready", "").await, (200, json!({"status":"ready","level":"partial"})));
}

#[tokio::test]
async fn a_starting_or_draining_host_is_live_but_not_ready() {
    let doors = open(|_| {}).await;
    doors.script.change_status(|s| s.starting = true);
    assert_eq!(ready(&doors, "/ready", "").await, (503, json!({"status":"starting","level":"partial"})));
    doors.script.drain();
    assert_eq!(ready(&doors, "/ready", "").await, (503, json!({"status":"draining","level":"partial"})));
    assert_eq!(get(&doors, "/live", "").await.0, 200);
}

#[tokio::test]
async fn requirements_make_readiness_strict() {
    for (name, status) in
        [("agent", 200), ("echo", 200), ("store", 200), ("supervisor", 503), ("billing", 503), ("llm", 503)]
    {
        let doors = open(|s| s.require = vec![name.to_owned()]).await;
        let (got, body) = ready(&doors, "/ready", "").await;
        assert_eq!(got, status, "{name}");
        assert_eq!(body.get("unmet").is_some(), status == 503);
    }
}

#[tokio::test]
async fn details_are_for_operators_only() {
    let doors = open(|_| {}).await;
    let listed = json!([
        {"id":"echo","kind":"agent","verdict":"healthy","state":"healthy"},
        {"id":"billing","kind":"agent","verdict":"failed","state":"quarantined"}
    ]);
    let users = format!("Authorization: Bearer {}\r\n", token());
    for header in
        [String::new(), users, admin_token("admin:read", SECRET), admin_token("admin:toggle", ADMIN_SECRET)]
    {
        let (status, body) = ready(&doors, "/ready?verbose", &header).await;
        assert_eq!((status, &body["plugins"]), (200, &listed));
        assert!(body.get("reason").is_none());
    }
    let (_, body) = ready(&doors, "/ready?verbose", &admin_token("admin:read", ADMIN_SECRET)).await;
    assert_eq!(body["reason"], "not healthy: billing");
    assert_eq!(body["plugins"][0]["version"], "1.2.0");
}

#[tokio::test]
async fn metrics_are_on_the_operators_listener() {
    let doors = open(|_| {}).await;
    let (status, answer) =
        exchange(doors.gateway.admin_addr(), "GET /metrics HTTP/1.1\r\nHost: t\r\n\r\n").await;
    assert_eq!(status, 200);
    assert!(answer.contains("text/plain") && answer.contains("agent_host_upgrades_total 1"));
}
