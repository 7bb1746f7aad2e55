//! Revoked tokens: refused at every door, their connections closed, also by the next host; and only by who may.

use std::fs;

use serde_json::{Value, json};

use crate::{
    client::{Client, End},
    harness::{
        Host, PATIENCE, Setup, host,
        http::{self, Answer},
        tokens::{self, SECRET, claims_with, operator, signed},
    },
    scenario::ready,
};

const PATH: &str = "/admin/v1/revocations";

fn setup() -> Setup {
    Setup::echo().operated().set("limits.auth_failures_per_minute", "0")
}

/// A good token of that user with that `jti`, issued so many seconds ago.
fn token(user: &str, jti: &str, age: u64) -> String {
    signed(&claims_with(user, json!({ "jti": jti, "iat": tokens::now() - age })), SECRET)
}

async fn order(host: &Host, token: &str, body: &str) -> Result<Answer, String> {
    let request = format!(
        "POST {PATH} HTTP/1.1\r\nHost: {}\r\nAuthorization: Bearer {token}\r\nContent-Length: {}\r\n\r\n{body}",
        host.admin,
        body.len()
    );
    http::send(host.admin, request.as_bytes(), PATIENCE).await
}

pub(crate) async fn revoke(host: &Host, what: Value) -> Result<(), String> {
    match order(host, &operator(&["admin:toggle"]), &what.to_string()).await? {
        answer if answer.status == 200 => Ok(()),
        answer => Err(format!("{what} was not revoked: {answer:?}")),
    }
}

async fn listed(host: &Host) -> Result<Value, String> {
    let bearer = format!("Bearer {}", operator(&["admin:toggle"]));
    http::request(host.admin, "GET", PATH, &[("Authorization", &bearer)], PATIENCE).await?.json()
}

async fn is_refused(host: &Host, what: &str, token: &str) -> Result<(), String> {
    let bearer = format!("Bearer {token}");
    let upgrade = http::upgrade(host.address, Some(token)).await?;
    let rest = http::get(host.address, "/v1/threads", &[("Authorization", &bearer)], PATIENCE).await?;
    for (door, answer) in [("/ws", upgrade), ("/v1", rest)] {
        if (answer.status, answer.code()) != (401, Ok("auth.revoked".to_owned())) {
            return Err(format!("a token revoked {what} is let in at {door}: {answer:?}"));
        }
    }
    Ok(())
}

async fn is_let_in(host: &Host, what: &str, token: &str) -> Result<(), String> {
    match http::upgrade(host.address, Some(token)).await? {
        answer if answer.status == 101 => Ok(()),
        answer => Err(format!("a token {what} is refused: {answer:?}")),
    }
}

/// By id and by user: exactly those that are meant, whatever they are shown as.
async fn revoked_tokens_are_refused(host: &Host) -> Result<(), String> {
    ready(host).await?;
    let (lost, other) = (token("alice", "lost", 100), token("alice", "other", 100));
    let bearer = format!("Bearer {lost}");
    let issued =
        http::request(host.address, "POST", "/v1/ws-tickets", &[("Authorization", &bearer)], PATIENCE)
            .await?;
    let ticket =
        issued.json()?["ticket"].as_str().ok_or_else(|| format!("no ticket: {issued:?}"))?.to_owned();

    revoke(host, json!({ "jti": "lost" })).await?;
    is_refused(host, "by its id", &lost).await?;
    is_let_in(host, "of the same user", &other).await?;
    match Client::with_query(host, &format!("ticket={ticket}"), &[]).await {
        Err(refused) if refused.contains("401") => {}
        answer => {
            return Err(format!("the ticket of a revoked token: {:?}", answer.map(|client| client.welcome)));
        }
    }

    revoke(host, json!({ "user": "alice", "before": tokens::now() - 50 })).await?;
    is_refused(host, "by its user", &other).await?;
    let undated = signed(&claims_with("alice", json!({ "jti": "undated", "iat": null })), SECRET);
    is_refused(host, "for want of a date", &undated).await?;
    is_let_in(host, "that was issued later", &token("alice", "new", 10)).await?;
    is_let_in(host, "of another user", &token("bob", "b", 100)).await?;
    let elsewhere = json!({ "tenant": "elsewhere", "jti": "e", "iat": tokens::now() - 100 });
    is_let_in(host, "of another tenant", &signed(&claims_with("alice", elsewhere), SECRET)).await?;

    let said = host.says(&["TokensRevoked", "olga"]).await?;
    match said.contains(&lost) {
        false => Ok(()),
        true => Err("a token is in the audit line".to_owned()),
    }
}

twin! {
    refused_at_every_door(revoked_tokens_are_refused) on setup();
    faults ""; broken by "gateway.revoked=off", says "a token revoked by its id is let in"
}

/// Reads to the end of the connection.
async fn end(client: &mut Client) -> End {
    loop {
        if let Err(end) = client.next().await {
            return end;
        }
    }
}

/// A connection that stands on a revoked token is closed, and no other.
async fn open_connections_are_closed(host: &Host) -> Result<(), String> {
    ready(host).await?;
    let mut lost = Client::with_token(host, &token("alice", "lost", 10)).await?;
    let mut renewed = Client::with_token(host, &token("alice", "old", 10)).await?;
    let fresh = token("alice", "fresh", 10);
    renewed.send(&json!({ "type": "auth_refresh", "token": fresh })).await?;
    renewed.until("auth_refreshed").await?;
    let mut bob = Client::with_token(host, &token("bob", "b", 10)).await?;

    revoke(host, json!({ "jti": "old" })).await?;
    revoke(host, json!({ "jti": "lost" })).await?;
    // A connection that stays open goes on answering: so the twin ends.
    match lost.closed().await {
        None => return Err("the connection of a revoked token is still open".to_owned()),
        Some(End::Closed(4503)) => {}
        Some(other) => return Err(format!("closed with {other:?}")),
    }
    renewed.run("on another token").await?;
    revoke(host, json!({ "user": "alice" })).await?;
    match end(&mut renewed).await {
        End::Closed(4503) => {}
        other => return Err(format!("closed with {other:?}")),
    }
    bob.run("not me").await.map(drop)
}

twin! {
    closed_when_revoked(open_connections_are_closed) on setup();
    faults ""; broken by "gateway.revoked_sockets=off", says "still open"
}

/// The host that follows refuses what the one before it did.
async fn it_outlives_the_host(setup: &Setup) -> Result<(), String> {
    let mut host = setup.start();
    ready(&host).await?;
    let lost = token("alice", "lost", 100);
    revoke(&host, json!({ "jti": "lost" })).await?;
    revoke(&host, json!({ "user": "bob", "tenant": "default" })).await?;
    let (before, started) = (listed(&host).await?, tokens::now());
    host.start_again(setup);
    is_refused(&host, "before a kill -9", &lost).await?;
    is_refused(&host, "before a kill -9", &token("bob", "b", tokens::now() - started + 100)).await?;
    match listed(&host).await? {
        after if after == before => Ok(()),
        after => Err(format!("{before} became {after}")),
    }
}

#[tokio::test]
async fn a_revocation_outlives_the_host() {
    it_outlives_the_host(&setup()).await.unwrap();
}

#[tokio::test]
async fn the_twin_that_forgets_is_red() {
    let objection = it_outlives_the_host(&setup().failpoints("gateway.revoked_kept=off")).await.unwrap_err();
    assert!(objection.contains("before a kill -9"), "{objection}");
}

#[tokio::test]
async fn what_cannot_be_written_is_in_force_and_said() {
    let host = setup().start();
    ready(&host).await.unwrap();
    let blocked = host.folder().join("data/revocations.json.next");
    fs::create_dir_all(&blocked).unwrap();
    let toggle = operator(&["admin:toggle"]);
    let answer = order(&host, &toggle, r#"{"jti":"lost"}"#).await.unwrap();
    assert_eq!((answer.status, answer.code()), (503, Ok("store.unavailable".to_owned())), "{answer:?}");
    is_refused(&host, "without a disk", &token("alice", "lost", 10)).await.unwrap();
    fs::remove_dir(&blocked).unwrap();
    revoke(&host, json!({ "jti": "lost" })).await.unwrap();
    assert!(fs::read_to_string(host.folder().join("data/revocations.json")).unwrap().contains("lost"));
}

#[tokio::test]
async fn a_host_that_cannot_read_who_is_revoked_lets_nobody_in() {
    let damaged = setup().file("data/revocations.json", *b"{\"revocations\":[{\"jti\":");
    let ended = tokio::task::spawn_blocking(move || host::cli(&["serve"], &damaged)).await.unwrap();
    let said = String::from_utf8_lossy(&ended.stderr).into_owned();
    assert!(!ended.status.success() && said.contains("revocations.json"), "{said}");
}

#[tokio::test]
async fn what_is_no_revocation_revokes_nothing() {
    let host = setup().start();
    ready(&host).await.unwrap();
    let toggle = operator(&["admin:toggle"]);
    let ahead = format!(r#"{{"user":"a","before":{}}}"#, tokens::now() + 3600);
    for body in [
        "",
        "{}",
        "[]",
        r#"{"jti":"x","user":"a"}"#,
        r#"{"jti":"x","before":1}"#,
        r#"{"jti":""}"#,
        r#"{"jti":"x","untill":1}"#,
        r#"{"jti":"x","until":1}"#,
        r#"{"user":"a","before":-1}"#,
        ahead.as_str(),
    ] {
        let answer = order(&host, &toggle, body).await.unwrap();
        assert_eq!((answer.status, answer.code()), (400, Ok("http.bad_request".to_owned())), "{body}");
    }
    let huge = format!(r#"{{"jti":"{}"}}"#, "x".repeat(20_000));
    assert_eq!(order(&host, &toggle, &huge).await.unwrap().status, 413);
    for (who, status) in [(operator(&["admin:read"]), 403), (tokens::of("alice"), 401)] {
        assert_eq!(order(&host, &who, r#"{"jti":"x"}"#).await.unwrap().status, status);
    }
    assert_eq!(listed(&host).await.unwrap(), json!({ "revocations": [] }));
}

#[tokio::test]
async fn an_operator_revokes_by_the_command_line() {
    let host = setup().start();
    ready(&host).await.unwrap();
    let until = (tokens::now() + 3600).to_string();
    for arguments in [["token", "revoke", "--user", "alice"], ["token", "revoke", "--jti", "lost"]] {
        let mut arguments = arguments.to_vec();
        arguments.extend(["--until", &until]);
        let ended = host.operate(&arguments);
        assert!(ended.status.success(), "{ended:?}");
    }
    is_refused(&host, "by user", &token("alice", "a", 10)).await.unwrap();
    is_refused(&host, "by id", &token("bob", "lost", 10)).await.unwrap();
    assert!(!host.operate(&["token", "revoke"]).status.success(), "it does not say whose");
}
