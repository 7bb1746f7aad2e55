//! Every listed form of a token in every service level: each opens its version of the wire and is answered as the level has
//! it; a wrong token in the same form is a 403, which says nothing of it.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::{Value, json};

use super::{
    client::{Older, Version, kinds},
    v2::spoken,
};
use crate::{
    client::{Client, PROTOCOL},
    harness::{
        Host, Plugin, Setup, eventually,
        http::{self, UPGRADE, UPGRADE_WITHIN},
        tokens::{OTHER_SECRET, SECRET, claims, claims_with, of, signed},
    },
    scenario::ready,
};

/// A way to bring a token: what is sent, which version it opens, and the subprotocol that comes back.
struct Form {
    headers: Vec<(&'static str, String)>,
    version: Version,
    answered: Option<String>,
}

fn forms(token: &str) -> Vec<Form> {
    let encoded = URL_SAFE_NO_PAD.encode(token);
    let bearer = || ("authorization", format!("Bearer {token}"));
    let offers = |name: &str, entry: String| Form {
        headers: vec![(PROTOCOL, format!("{name}, {entry}"))],
        version: Version::V1,
        answered: Some(name.to_owned()),
    };
    let named = |name: &str| Form {
        headers: vec![bearer(), (PROTOCOL, name.to_owned())],
        ..offers(name, String::new())
    };
    let alone = |entry: String| Form {
        headers: vec![(PROTOCOL, entry.clone())],
        version: Version::V2,
        answered: Some(entry),
    };
    let nothing = |headers, version| Form { headers, version, answered: None };
    vec![
        nothing(vec![bearer()], Version::V1),
        named("jwt-auth"),
        named("agent_chat"),
        offers("jwt-auth", format!("jwt.{encoded}")),
        offers("jwt-auth", format!("jwt.{token}")),
        offers("jwt", format!("jwt.{encoded}")),
        offers("bearer", format!("bearer.{token}")),
        offers("agent_chat", format!("jwt-auth.{token}")),
        offers("jwt-auth", format!("staging-auth.{token}")),
        offers("jwt-auth", format!("jwt.staging.{token}")),
        alone(format!("jwt.staging.{token}")),
        alone(format!("jwt-auth.staging.{token}")),
        alone(format!("bearer.production.{token}")),
        alone(format!("staging-auth.{token}")),
        alone(format!("jwt-auth.{token}")),
        alone(format!("jwt.{token}")),
        alone(format!("bearer.{token}")),
        nothing(vec![bearer(), ("x-environment", "staging".to_owned())], Version::V2),
    ]
}

fn wrong_tokens() -> [(&'static str, String); 5] {
    let good = of("alice");
    [
        ("of another key", signed(&claims("alice"), OTHER_SECRET)),
        ("expired", signed(&claims_with("alice", json!({ "exp": 1 })), SECRET)),
        ("for another audience", signed(&claims_with("alice", json!({ "aud": "elsewhere" })), SECRET)),
        ("cut short", good[..good.len() - 4].to_owned()),
        ("nonsense", "nonsense-that-is-no-token".to_owned()),
    ]
}

/// The level, and by whom a message is answered there: nobody in `basic`, where it is refused by a code.
async fn all_forms(host: &Host, level: &str, agent: Option<&str>) -> Result<(), String> {
    ready(host).await?;
    eventually("it is at that level", async || match Client::connect(host, "bob").await?.welcome {
        welcome if welcome["service"]["level"] == level => Ok(()),
        welcome => Err(welcome.to_string()),
    })
    .await?;
    for form in forms(&of("alice")) {
        opens(host, &form, level != "full", agent)
            .await
            .map_err(|objection| format!("{level}: {:?}: {objection}", form.headers))?;
    }
    for (what, token) in wrong_tokens() {
        for form in forms(&token) {
            is_refused(host, &form, &token)
                .await
                .map_err(|objection| format!("{level}: a token {what} in {:?}: {objection}", form.headers))?;
        }
    }
    Ok(())
}

async fn opens(host: &Host, form: &Form, degraded: bool, agent: Option<&str>) -> Result<(), String> {
    let mut client = Older::connect(host, "/ws", &form.headers).await?;
    if client.answered != form.answered {
        return Err(format!("answered by {:?}", client.answered));
    }
    let greeting = match form.version {
        Version::V1 => client.greeting().await?,
        Version::V2 => client.handshake().await?.1,
    };
    let said = kinds(&greeting);
    let welcomed = greeting.iter().any(|frame| frame["data"]["user_id"] == "alice");
    if !welcomed || said.contains(&"service_info") != degraded {
        return Err(format!("greeted by {greeting:?}"));
    }
    client.say(&json!({ "type": "chat", "content": "hello there" })).await?;
    match agent {
        None => match client.answer().await? {
            error if error["details"]["code"] == "store.unavailable" => Ok(()),
            other => Err(format!("no clear error: {other}")),
        },
        Some(agent) => match client.until("agent_completed").await?.last() {
            Some(completed) if completed["agent_name"] == agent => Ok(()),
            other => Err(format!("answered by {other:?}")),
        },
    }
}

async fn is_refused(host: &Host, form: &Form, token: &str) -> Result<(), String> {
    let plain = UPGRADE.iter().copied().filter(|(name, _)| !name.eq_ignore_ascii_case(PROTOCOL));
    let headers: Vec<(&str, &str)> =
        plain.chain(form.headers.iter().map(|(name, value)| (*name, value.as_str()))).collect();
    let answer = http::get(host.address, "/ws", &headers, UPGRADE_WITHIN).await?;
    let quiet = answer.header(PROTOCOL).is_none() && !format!("{answer:?}").contains(token);
    match (answer.status, quiet) {
        (403, true) => Ok(()),
        _ => Err(format!("{answer:?}")),
    }
}

fn many(setup: Setup) -> Setup {
    spoken(setup).set("limits.auth_failures_per_minute", "0").set("limits.messages_per_minute", "0")
}

fn in_full() -> Setup {
    many(Setup::echo())
}

async fn full(host: &Host) -> Result<(), String> {
    all_forms(host, "full", Some("echo")).await
}

twin! {
    all_in_full(full) on in_full();
    faults ""; broken by "gateway.netra_refusal=off", says "status: 401"
}

#[tokio::test]
async fn a_host_that_asks_not_for_whom_a_token_is_is_found_out() {
    let objection = full(&in_full().set("auth.audience", "\"\"").start()).await.unwrap_err();
    assert!(objection.contains("a token for another audience"), "red for another reason: {objection}");
}

#[tokio::test]
async fn all_in_partial() {
    let host = many(Setup::echo().plugin(Plugin::at("gone", "/nowhere/libgone.so"))).start();
    all_forms(&host, "partial", Some("echo")).await.unwrap();
}

#[tokio::test]
async fn all_in_fallback() {
    all_forms(&many(Setup::new()).start(), "fallback", Some("fallback")).await.unwrap();
}

#[tokio::test]
async fn all_in_basic() {
    let nothing_left = "runtime.spawn=error;fallback.answer=error;store.commit=error;store.append=error";
    let host = many(Setup::echo()).failpoints(nothing_left).start();
    all_forms(&host, "basic", None).await.unwrap();
}

/// The table has what the facts list: every prefix, raw and encoded, with a name beside it and alone, and the header.
#[test]
fn the_table_has_every_listed_form() {
    let all: Vec<String> =
        forms("T.O.K").iter().map(|form| Value::from(form.headers[0].1.clone()).to_string()).collect();
    for listed in [
        "jwt-auth, jwt.",
        "jwt.T.O.K",
        "jwt-auth.T.O.K",
        "bearer.T.O.K",
        "staging-auth.T.O.K",
        "jwt.staging.",
        "Bearer ",
    ] {
        assert!(all.iter().any(|form| form.contains(listed)), "{listed} is not in {all:?}");
    }
}
