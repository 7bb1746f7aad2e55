//! What holds at the doors changes with the file: keys are rotated, origins and limits set, and no socket closes but those
//! whose token would not be let in any more.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};

use crate::{
    client::{Client, End},
    harness::{
        Host, PATIENCE, Setup, eventually,
        http::{self, Answer},
        tokens::{self, ADMIN_SECRET, OTHER_SECRET, SECRET, claims_with, operator, signed},
    },
    live::{call, config, edit, holds},
    scenario::ready,
};

/// The users' new key.
const NEW: &str = OTHER_SECRET;

fn setup() -> Setup {
    Setup::echo().operated().set("limits.auth_failures_per_minute", "0")
}

fn by(secret: &str, user: &str) -> String {
    signed(&claims_with(user, json!({})), secret)
}

/// Writes a line of `host.toml` anew.
fn set(host: &Host, key: &str, from: &str, to: &str) {
    edit(&host.dir().join("host.toml"), &format!("{key} = {from}"), &format!("{key} = {to}"));
}

fn list(secrets: &[&str]) -> String {
    json!(secrets).to_string()
}

async fn upgrade(host: &Host, token: &str) -> Result<Answer, String> {
    http::upgrade(host.address, Some(token)).await
}

/// Waits until a token gets that status at the door.
async fn gets(host: &Host, token: &str, status: u16) -> Result<Answer, String> {
    eventually(&format!("a token gets {status}"), async || match upgrade(host, token).await? {
        answer if answer.status == status => Ok(answer),
        answer => Err(format!("{answer:?}; {}", config(host).await?["failure"])),
    })
    .await
}

/// Reads to the end of a connection that is to be closed; one that goes on answering is still open.
async fn is_closed(client: &mut Client, code: u16) -> Result<(), String> {
    match client.closed().await {
        None => Err("a connection outlives the key of its token".to_owned()),
        Some(End::Closed(found)) if found == code => Ok(()),
        Some(other) => Err(format!("it ended with {other:?}, not {code}")),
    }
}

/// A new key beside the old one, then alone: nobody is turned away who has a token of a key that is listed.
async fn keys_are_rotated_by_edits(host: &Host) -> Result<(), String> {
    ready(host).await?;
    let (old, new) = (by(SECRET, "alice"), by(NEW, "bob"));
    let mut alice = Client::with_token(host, &old).await?;
    let mut carol = Client::with_token(host, &by(SECRET, "carol")).await?;
    match upgrade(host, &new).await? {
        answer if answer.status == 401 => {}
        answer => return Err(format!("a key that is not listed yet opens: {answer:?}")),
    }
    set(host, "auth.hs256_secrets", &list(&[SECRET]), &list(&[NEW, SECRET]));
    gets(host, &new, 101).await?;
    gets(host, &old, 101).await?;
    let mut bob = Client::with_token(host, &new).await?;
    bob.run("with the new one").await?.answered_by("echo")?;
    alice.run("with the old one").await?.answered_by("echo")?;
    // One of the old key's has been given another token meanwhile.
    carol.send(&json!({ "type": "auth_refresh", "token": by(NEW, "carol") })).await?;
    carol.until("auth_refreshed").await?;
    let bearer = format!("Bearer {old}");
    let ticket =
        http::request(host.address, "POST", "/v1/ws-tickets", &[("Authorization", &bearer)], PATIENCE)
            .await?
            .json()?;

    set(host, "auth.hs256_secrets", &list(&[NEW, SECRET]), &list(&[NEW]));
    let refused = gets(host, &old, 401).await?;
    if refused.code() != Ok("auth.invalid".to_owned()) {
        return Err(format!("{refused:?}"));
    }
    is_closed(&mut alice, 4401).await?;
    let by_ticket = format!("ticket={}", ticket["ticket"].as_str().ok_or("no ticket")?);
    match Client::with_query(host, &by_ticket, &[]).await {
        Err(refused) if refused.contains("401") => {}
        answer => {
            return Err(format!("a ticket outlives its key: {:?}", answer.map(|client| client.welcome)));
        }
    }
    bob.run("still here").await?.answered_by("echo")?;
    carol.run("on another token").await?.answered_by("echo")?;
    match config(host).await?["pending_restart"].clone() {
        Value::Null => Ok(()),
        pending => Err(format!("{pending} wait for a restart")),
    }
}

twin! {
    keys_are_rotated_without_a_restart(keys_are_rotated_by_edits) on setup();
    faults ""; broken by "gateway.removed_keys=off", says "outlives the key of its token"
}

/// A mounted secret changes in place: the configuration's text stays, what it refers to does not.
#[tokio::test]
async fn a_key_file_is_read_again_when_the_host_is_told_to() {
    let setup = setup()
        .set("auth.hs256_secrets", "[{ file = \"keys/users\" }]")
        .file("keys/users", SECRET.as_bytes());
    let host = setup.start();
    ready(&host).await.unwrap();
    let mut alice = Client::connect(&host, "alice").await.unwrap();
    std::fs::write(host.dir().join("keys/users"), NEW).unwrap();
    let told = host.operate(&["config", "reload"]);
    let told = String::from_utf8_lossy(&told.stdout).into_owned();
    gets(&host, &by(NEW, "bob"), 101).await.unwrap();
    is_closed(&mut alice, 4401).await.unwrap();
    // The watch may have been quicker.
    assert!(told.contains("auth.hs256_secret") || told.contains("nothing was changed"), "{told}");
    assert!(!told.contains(SECRET) && !told.contains(NEW), "{told}");
    assert!(!host.said().contains(NEW));
}

#[tokio::test]
async fn a_wrong_key_changes_nothing() {
    let host = setup().start();
    ready(&host).await.unwrap();
    let mut alice = Client::connect(&host, "alice").await.unwrap();
    set(&host, "auth.hs256_secrets", &list(&[SECRET]), &list(&["too short"]));
    eventually("the edit is refused", async || match &config(&host).await?["failure"] {
        Value::Null => Err("it is not".to_owned()),
        failure if failure.to_string().contains("too short") => Err(format!("it is quoted: {failure}")),
        _ => Ok(()),
    })
    .await
    .unwrap();
    gets(&host, &tokens::of("alice"), 101).await.unwrap();
    alice.run("as before").await.unwrap().answered_by("echo").unwrap();
}

/// For whom tokens are, and from whom: an open connection is judged by what its token said.
#[tokio::test]
async fn an_audience_closes_those_that_are_for_somebody_else() {
    let host = setup().start();
    ready(&host).await.unwrap();
    let both = signed(&claims_with("bob", json!({ "aud": ["agent-host", "another"] })), SECRET);
    let mut alice = Client::connect(&host, "alice").await.unwrap();
    let mut bob = Client::with_token(&host, &both).await.unwrap();
    set(&host, "auth.audience", "\"agent-host\"", "\"another\"");
    let refused = gets(&host, &tokens::of("alice"), 401).await.unwrap();
    assert_eq!(refused.code(), Ok("auth.audience".to_owned()));
    is_closed(&mut alice, 4401).await.unwrap();
    bob.run("for both").await.unwrap().answered_by("echo").unwrap();
}

/// Limits hold for whoever is connected too, from the next message on; the welcome tells the new ones.
#[tokio::test]
async fn limits_that_are_set_hold_at_once() {
    let host = setup().start();
    ready(&host).await.unwrap();
    let mut alice = Client::connect(&host, "alice").await.unwrap();
    alice.run("one").await.unwrap().answered_by("echo").unwrap();
    let set = json!({ "set": {
        "limits.messages_per_minute": 1, "limits.connections_per_user": 1, "limits.runs_at_once": 3
    } });
    let answer = call(&host, "PATCH", "/admin/v1/config", &[], &set.to_string()).await.unwrap();
    assert_eq!(answer.status, 200, "{answer:?}");
    // The new bucket is as empty as the old one was.
    alice.say("two", json!({})).await.unwrap();
    alice.expect_error("limit.rate").await.unwrap();
    let refused = upgrade(&host, &tokens::of("alice")).await.unwrap();
    assert_eq!((refused.status, refused.code()), (429, Ok("limit.connections".to_owned())), "{refused:?}");
    let bob = Client::connect(&host, "bob").await.unwrap();
    let limits = &bob.welcome["limits"];
    assert_eq!((&limits["messages_per_minute"], &limits["runs_at_once"]), (&json!(1), &json!(3)), "{limits}");
    assert_eq!(config(&host).await.unwrap()["pending_restart"], Value::Null);
}

#[tokio::test]
async fn a_page_that_is_allowed_may_connect_and_one_that_is_not_any_more_may_not() {
    let host = setup().set("gateway.origins", "[]").start();
    ready(&host).await.unwrap();
    let (token, page) = (tokens::of("alice"), "https://chat.example".to_owned());
    let asks = async || {
        let bearer = format!("Bearer {token}");
        let headers = [("Authorization", bearer.as_str()), ("Origin", page.as_str())];
        http::get(host.address, "/v1/threads", &headers, PATIENCE).await.map(|answer| answer.status)
    };
    assert_eq!(asks().await, Ok(403));
    set(&host, "gateway.origins", "[]", "[\"https://chat.example\"]");
    holds(&host, "gateway.origins", &json!(["https://chat.example"])).await.unwrap();
    assert_eq!(asks().await, Ok(200));
    set(&host, "gateway.origins", "[\"https://chat.example\"]", "[]");
    holds(&host, "gateway.origins", &json!([])).await.unwrap();
    assert_eq!(asks().await, Ok(403));
}

/// The operators' own keys too, and what they watch ends with them.
#[tokio::test]
async fn operators_keys_are_rotated_and_a_removed_one_watches_nothing() {
    const NEXT: &str = "the-operators-next-key-of-the-suite-and-nobody-0004";
    let host = setup().start();
    ready(&host).await.unwrap();
    let all = ["admin:read", "admin:debug"];
    let bearer = |secret: &str| {
        let claims = claims_with("olga", json!({ "aud": "agent-host-admin", "permissions": all }));
        format!("Bearer {}", signed(&claims, secret))
    };
    let status = async |secret: &str| {
        let bearer = bearer(secret);
        let token = [("Authorization", bearer.as_str())];
        http::get(host.admin, "/admin/v1/status", &token, PATIENCE).await.map(|answer| answer.status)
    };
    let mut watching = TcpStream::connect(host.admin).await.unwrap();
    let head = format!(
        "GET /admin/v1/events?since=0 HTTP/1.1\r\nHost: {}\r\nAuthorization: Bearer {}\r\n\r\n",
        host.admin,
        operator(&all)
    );
    watching.write_all(head.as_bytes()).await.unwrap();
    // It is told of what was, so it is let in.
    let mut watched = Vec::new();
    while !String::from_utf8_lossy(&watched).contains("HostListening") {
        let more = timeout(PATIENCE, watching.read_buf(&mut watched)).await.expect("it is told").unwrap();
        assert!(more > 0, "the key is listed: {}", String::from_utf8_lossy(&watched));
    }
    set(&host, "admin.hs256_secrets", &list(&[ADMIN_SECRET]), &list(&[NEXT, ADMIN_SECRET]));
    eventually("both are good", async || match (status(ADMIN_SECRET).await?, status(NEXT).await?) {
        (200, 200) => Ok(()),
        other => Err(format!("{other:?}")),
    })
    .await
    .unwrap();
    // It goes on: nothing ends the stream before the key is gone.
    let mut more = [0; 4096];
    while let Ok(read) = timeout(Duration::from_millis(200), watching.read(&mut more)).await {
        assert!(read.unwrap() > 0, "the key is still listed");
    }
    set(&host, "admin.hs256_secrets", &list(&[NEXT, ADMIN_SECRET]), &list(&[NEXT]));
    eventually("only the new one is good", async || {
        match (status(ADMIN_SECRET).await?, status(NEXT).await?) {
            (401, 200) => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
    .await
    .unwrap();
    let ends = async {
        // A reset is an end too.
        while watching.read(&mut more).await.is_ok_and(|read| read > 0) {}
    };
    timeout(PATIENCE * 2, ends).await.expect("the stream ends with its key");
}
