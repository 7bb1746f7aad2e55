//! The second version of that wire: the handshake, the echo, its frames and its limit; in every service level.

use serde_json::{Value, json};

use super::{
    client::{ANSWER_WITHIN, Older, kinds},
    staging, whole,
};
use crate::{
    client::PROTOCOL,
    harness::{
        Host, Plugin, Setup, eventually,
        http::{self, UPGRADE_WITHIN},
        tokens::{self, OTHER_SECRET},
    },
    scenario::ready,
};

pub(crate) fn spoken(setup: Setup) -> Setup {
    staging(setup).set("gateway.netra.v2", "true")
}

/// Their `user_message`, with all that they send beside the text.
pub(super) fn message(content: &str, given: &Value) -> Value {
    json!({ "type": "user_message", "payload": {
        "content": content, "run_id": given["run_id"], "thread_id": given["thread_id"],
        "timestamp": "2025-10-08T10:00:00+00:00", "client_environment": "staging",
    } })
}

/// Shakes hands, asks, and is answered by `agent` in the thread and run that were given out.
async fn conversation(host: &Host, agent: &str, degraded: bool) -> Result<(), String> {
    ready(host).await?;
    let mut client = Older::cli(host, "alice").await?;
    let (given, greeting) = client.handshake().await?;
    let expected: &[&str] = match degraded {
        false => &["handshake_complete", "connection_established", "ping"],
        true => &["handshake_complete", "connection_established", "service_info", "ping"],
    };
    if kinds(&greeting) != expected || greeting[1]["data"]["user_id"] != "alice" {
        return Err(format!("greeted by {greeting:?}"));
    }
    client.say(&message("hello there", &given)).await?;
    let run = client.until("agent_completed").await?;
    whole(&run, agent)?;
    for frame in &run {
        if frame["thread_id"] != given["thread_id"] || frame["run_id"] != given["run_id"] {
            return Err(format!("not in the thread and run that were given out ({given}): {frame}"));
        }
    }
    // The thread goes on; the run's id is not used twice.
    client.say(&message("and again", &given)).await?;
    let again = client.until("agent_completed").await?;
    whole(&again, agent)?;
    match again.iter().all(|f| f["thread_id"] == given["thread_id"] && f["run_id"] != given["run_id"]) {
        true => Ok(()),
        false => Err(format!("the second run: {again:?}")),
    }
}

#[tokio::test]
async fn a_conversation_is_whole_in_full() {
    conversation(&spoken(Setup::echo()).start(), "echo", false).await.unwrap();
}

#[tokio::test]
async fn a_conversation_is_whole_in_partial() {
    let setup = Setup::echo().plugin(Plugin::at("gone", "/nowhere/libgone.so"));
    conversation(&spoken(setup).start(), "echo", true).await.unwrap();
}

#[tokio::test]
async fn a_conversation_is_whole_in_fallback() {
    conversation(&spoken(Setup::new()).start(), "fallback", true).await.unwrap();
}

/// Each form of an offer, and of the header, begins with the handshake; what was offered is echoed whole, once.
#[tokio::test]
async fn every_form_begins_with_the_handshake_and_no_token_is_logged() {
    let host = spoken(Setup::echo()).set("log.level", "\"debug\"").start();
    ready(&host).await.unwrap();
    let token = tokens::of("alice");
    for form in [
        format!("jwt.staging.{token}"),
        format!("jwt-auth.staging.{token}"),
        format!("bearer.production.{token}"),
        format!("staging-auth.{token}"),
        format!("jwt.{token}"),
        format!("bearer.{token}"),
    ] {
        let mut client = Older::connect(&host, "/ws", &[(PROTOCOL, form.clone())]).await.unwrap();
        assert_eq!(client.answered.as_deref(), Some(form.as_str()));
        client.handshake().await.unwrap();
        // The first of several is chosen, and it alone is echoed.
        let two = format!("{form}, jwt.{token}");
        let client = Older::connect(&host, "/ws", &[(PROTOCOL, two)]).await.unwrap();
        assert_eq!(client.answered.as_deref(), Some(form.as_str()));
    }
    let headers = [("authorization", format!("Bearer {token}")), ("x-environment", "staging".to_owned())];
    let mut client = Older::connect(&host, "/ws", &headers).await.unwrap();
    assert_eq!(client.answered, None);
    client.handshake().await.unwrap();
    // The first version beside it, as ever.
    let mut browser = Older::browser(&host, "alice").await.unwrap();
    assert_eq!(browser.answered.as_deref(), Some("jwt-auth"));
    assert_eq!(kinds(&browser.greeting().await.unwrap()), ["connection_established", "ping"]);
    eventually("the connections are logged", async || match host.said().contains("netra-v2") {
        true => Ok(()),
        false => Err(host.said()),
    })
    .await
    .unwrap();
    let signature = token.rsplit('.').next().unwrap();
    assert!(!host.said().contains(signature), "a token was logged:\n{}", host.said());
}

/// A token is sent back only where the operator allows it.
#[tokio::test]
async fn without_the_switch_nothing_is_echoed_and_the_first_version_is_spoken() {
    let host = staging(Setup::echo()).start();
    let token = tokens::of("alice");
    for form in [format!("jwt.staging.{token}"), format!("staging-auth.{token}"), format!("bearer.{token}")] {
        let answer = super::upgraded(&host, &form).await.unwrap();
        assert_eq!((answer.status, answer.header("sec-websocket-protocol")), (101, None), "{answer:?}");
    }
    let headers = [("authorization", format!("Bearer {token}")), ("x-environment", "staging".to_owned())];
    let mut client = Older::connect(&host, "/ws", &headers).await.unwrap();
    ready(&host).await.unwrap();
    assert!(kinds(&client.greeting().await.unwrap()).contains(&"connection_established"));
}

#[tokio::test]
async fn a_wrong_token_is_a_403_and_is_not_echoed() {
    let host = spoken(Setup::echo()).start();
    let bad = tokens::signed(&tokens::claims("alice"), OTHER_SECRET);
    let expired = tokens::signed(&tokens::claims_with("alice", json!({ "exp": 1 })), tokens::SECRET);
    for token in [bad.as_str(), expired.as_str(), "nonsense"] {
        let answer = super::upgraded(&host, &format!("jwt.staging.{token}")).await.unwrap();
        assert_eq!((answer.status, answer.header("sec-websocket-protocol")), (403, None), "{answer:?}");
        assert!(!format!("{answer:?}").contains(token), "{answer:?}");
    }
    let headers: Vec<(&str, &str)> = http::UPGRADE
        .iter()
        .copied()
        .filter(|(name, _)| !name.eq_ignore_ascii_case(PROTOCOL))
        .chain([("X-Environment", "staging")])
        .collect();
    assert_eq!(http::get(host.address, "/ws", &headers, UPGRADE_WITHIN).await.unwrap().status, 403);
}

#[tokio::test]
async fn a_thread_is_made_by_its_first_message_and_only_by_its_own_connection_s() {
    let host = spoken(Setup::echo()).start();
    ready(&host).await.unwrap();
    let (mut alice, mut mallory) =
        (Older::cli(&host, "alice").await.unwrap(), Older::cli(&host, "mallory").await.unwrap());
    let (given, _) = alice.handshake().await.unwrap();
    let (own, _) = mallory.handshake().await.unwrap();
    assert_ne!(given["thread_id"], own["thread_id"]);
    // An id that was given to somebody else, whether or not there is a thread of it yet.
    for _ in 0..2 {
        mallory.say(&message("mine", &given)).await.unwrap();
        let run = mallory.until("agent_completed").await.unwrap();
        assert_eq!(kinds(&run)[0], "thread_not_found", "{run:?}");
        assert!(run[1..].iter().all(|frame| frame["thread_id"] != given["thread_id"]), "{run:?}");
        alice.say(&message("hello", &given)).await.unwrap();
        assert_eq!(alice.until("agent_completed").await.unwrap()[0]["thread_id"], given["thread_id"]);
    }
    // The next connection has an id of its own, and the thread of the last one goes on in it.
    let mut later = Older::cli(&host, "alice").await.unwrap();
    let (next, _) = later.handshake().await.unwrap();
    assert_ne!(next["thread_id"], given["thread_id"]);
    later.say(&message("on", &json!({ "thread_id": given["thread_id"] }))).await.unwrap();
    assert_eq!(later.until("agent_completed").await.unwrap()[0]["thread_id"], given["thread_id"]);
    // Without a thread a message goes into the connection's own.
    later.say(&json!({ "type": "chat", "content": "here" })).await.unwrap();
    assert_eq!(later.until("agent_completed").await.unwrap()[0]["thread_id"], next["thread_id"]);
}

#[tokio::test]
async fn ids_that_nobody_uses_cost_no_thread() {
    let host = spoken(Setup::echo()).start();
    ready(&host).await.unwrap();
    for _ in 0..3 {
        Older::cli(&host, "alice").await.unwrap().handshake().await.unwrap();
    }
    let bearer = format!("Bearer {}", tokens::of("alice"));
    let headers = [("Authorization", bearer.as_str())];
    let answer = http::get(host.address, "/v1/threads", &headers, ANSWER_WITHIN).await.unwrap();
    assert_eq!(answer.json().unwrap()["threads"], json!([]), "{answer:?}");
}

#[tokio::test]
async fn a_client_that_does_not_acknowledge_is_served_all_the_same() {
    let host = spoken(Setup::echo()).start();
    ready(&host).await.unwrap();
    let mut client = Older::cli(&host, "alice").await.unwrap();
    let given = client.frame().await.unwrap();
    client.say(&message("hello", &given)).await.unwrap();
    whole(&client.until("agent_completed").await.unwrap(), "echo").unwrap();
    // What it says later is taken as said now, and once more is no harm.
    for expected in [&["handshake_complete", "connection_established", "ping"][..], &["handshake_complete"]] {
        client.say(&json!({ "type": "handshake_acknowledged" })).await.unwrap();
        let mut heard = Vec::new();
        for _ in expected {
            heard.push(client.frame().await.unwrap());
        }
        assert_eq!(kinds(&heard), expected);
    }
}
