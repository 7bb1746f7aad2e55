//! Tokens of an issuer whose keys are fetched: its start, its rotations, its failures, and what strangers make of it.

use std::time::Instant;

use jsonwebtoken::{EncodingKey, Header};
use serde_json::{Value, json};

use crate::{
    client::{Client, End},
    harness::{
        Host, PATIENCE, Setup,
        clock::Moment,
        eventually,
        host::cli,
        http,
        issuer::{Answer, Issuer, published, tls, token},
        tokens::{self, claims, operator},
    },
    scenario::ready,
};

fn setup(url: &str) -> Setup {
    Setup::echo()
        .operated()
        .set("limits.auth_failures_per_minute", "0")
        .set("auth.jwks_url", &format!("\"{url}\""))
        .set("auth.jwks_timeout", "\"20s\"")
}

fn of(issuer: &Issuer) -> Setup {
    setup(&format!("http://{}/keys?v=1", issuer.address))
}

/// What a token gets at the door: the status, and the code of a refusal.
async fn answer(host: &Host, token: &str) -> Result<(u16, String), String> {
    let answer = http::upgrade(host.address, Some(token)).await?;
    let code = if answer.status == 101 { String::new() } else { answer.code()? };
    if answer.status == 503 && answer.header("retry-after").is_none() {
        return Err(format!("a 503 without its time: {answer:?}"));
    }
    Ok((answer.status, code))
}

async fn gets(host: &Host, what: &str, token: &str, status: u16, code: &str) -> Result<(), String> {
    match answer(host, token).await? {
        (got, named) if (got, named.as_str()) == (status, code) => Ok(()),
        got => Err(format!("{what} got {got:?}, not {status} {code}")),
    }
}

async fn gets_at_last(host: &Host, what: &str, token: &str, status: u16, code: &str) -> Result<(), String> {
    eventually(what, async || gets(host, what, token, status, code).await).await
}

/// `keys` of `/ready?verbose`, as operators see it, or everybody.
async fn keys(host: &Host, operator_sees: bool) -> Result<Value, String> {
    let bearer = format!("Bearer {}", operator(&["admin:read"]));
    let headers = [("Authorization", bearer.as_str())];
    let headers = if operator_sees { &headers[..] } else { &[] };
    Ok(http::get(host.admin, "/ready?verbose", headers, PATIENCE).await?.json()?["keys"].clone())
}

async fn keys_are(host: &Host, state: &str) -> Result<Value, String> {
    eventually("the keys change their state", async || match keys(host, true).await? {
        keys if keys["state"] == state => Ok(keys),
        keys => Err(format!("not {state}: {keys}")),
    })
    .await
}

#[tokio::test]
async fn published_keys_open_the_door_beside_the_host_s_own_secret() {
    let issuer = Issuer::plain(Answer::keys(&[published("rsa", "a"), published("ec", "b")])).await;
    let host = of(&issuer).start();
    ready(&host).await.unwrap();
    keys_are(&host, "current").await.unwrap();
    for token in [token("rsa", "a", "alice"), token("ec", "b", "alice"), tokens::of("alice")] {
        let mut client = Client::with_token(&host, &token).await.unwrap();
        assert_eq!(client.welcome["user_id"], "alice");
        client.run("hello").await.unwrap().answered_by("echo").unwrap();
    }
    gets(&host, "another's key", &token("rsa-other", "a", "alice"), 401, "auth.invalid").await.unwrap();
    let shown = keys_are(&host, "current").await.unwrap();
    assert_eq!((&shown["keys"], &shown["failures"]), (&json!(2), &json!(0)), "{shown}");
    assert!(shown["from"].as_str().unwrap().ends_with("/keys"), "without its query: {shown}");
    let public = keys(&host, false).await.unwrap();
    assert_eq!((&public["state"], &public["from"]), (&json!("current"), &Value::Null), "{public}");
}

#[tokio::test]
async fn an_issuer_that_is_down_at_the_start_costs_its_tokens_a_503_and_nobody_else_anything() {
    let issuer = Issuer::plain(Answer::Closes).await;
    let host = of(&issuer).set("readiness.require", "[\"keys\"]").start();
    let good = token("rsa", "a", "alice");
    gets(&host, "a token of theirs", &good, 503, "auth.keys_unavailable").await.unwrap();
    Client::connect(&host, "bob").await.unwrap().run("hello").await.unwrap();
    let shown = keys_are(&host, "absent").await.unwrap();
    assert!(shown["failures"].as_u64() >= Some(1) && shown["reason"].is_string(), "{shown}");
    let not_ready = http::get(host.admin, "/ready", &[], PATIENCE).await.unwrap();
    assert_eq!(
        (not_ready.status, &not_ready.json().unwrap()["unmet"]),
        (503, &json!(["keys"])),
        "{not_ready:?}"
    );
    issuer.answers(Answer::keys(&[published("rsa", "a")]));
    gets_at_last(&host, "a token of theirs", &good, 101, "").await.unwrap();
    ready(&host).await.unwrap();
    let said = host.says(&["KeySetFailed", "KeysUnavailable", "KeySetChanged"]).await.unwrap();
    assert!(!said.contains("v=1"), "the address' query is in the log");
}

/// A thousand made-up names: refused, and the issuer is asked once for all of them.
async fn made_up_names_cost_one_request(host: &Host, issuer: &Issuer) -> Result<(), String> {
    ready(host).await?;
    keys_are(host, "current").await?;
    let (before, began) = (issuer.asked(), Instant::now());
    for n in 0..1000 {
        match answer(host, &token("ec", &format!("made-up-{n}"), "eve")).await? {
            (401, code) if code == "auth.invalid" => {}
            // Its issuer took longer than a token waits.
            (503, code) if code == "auth.keys_unavailable" => {}
            got => return Err(format!("a made-up name got {got:?}")),
        }
    }
    gets_at_last(host, "a made-up name", &token("ec", "made-up", "eve"), 401, "auth.invalid").await?;
    gets(host, "a good token", &token("rsa", "a", "alice"), 101, "").await?;
    let most = 1 + began.elapsed().as_secs() / 30;
    match (issuer.asked() - before) as u64 {
        asked if (1..=most).contains(&asked) => Ok(()),
        asked => Err(format!("the issuer was asked {asked} times, not {most}")),
    }
}

#[tokio::test]
async fn a_flood_of_unknown_keys_costs_the_issuer_one_request() {
    let issuer = Issuer::plain(Answer::keys(&[published("rsa", "a")])).await;
    made_up_names_cost_one_request(&of(&issuer).failpoints("").start(), &issuer).await.unwrap();
}

#[tokio::test]
async fn the_twin_without_a_pace_is_red() {
    let issuer = Issuer::plain(Answer::keys(&[published("rsa", "a")])).await;
    let host = of(&issuer).failpoints("gateway.key_set.pace=off").start();
    let objection = made_up_names_cost_one_request(&host, &issuer).await.unwrap_err();
    assert!(objection.contains("the issuer was asked"), "{objection}");
}

/// Rotation: the new key opens, the old one does not any more, and its connection is told to come with a new token.
async fn a_withdrawn_key_opens_and_keeps_open_nothing(host: &Host, issuer: &Issuer) -> Result<(), String> {
    ready(host).await?;
    keys_are(host, "current").await?;
    let (old, kept, new) =
        (token("rsa", "a", "alice"), token("ec", "b", "bob"), token("rsa-other", "c", "alice"));
    let mut of_old = Client::with_token(host, &old).await?;
    let mut of_kept = Client::with_token(host, &kept).await?;
    issuer.answers(Answer::keys(&[published("ec", "b"), published("rsa-other", "c")]));
    gets_at_last(host, "a token with the new key", &new, 101, "").await?;
    gets(host, "a token with the old key", &old, 401, "auth.invalid").await?;
    let end = loop {
        if let Err(end) = of_old.next().await {
            break end;
        }
    };
    if end != End::Closed(4401) {
        return Err(format!("the connection with the old key: {end:?}"));
    }
    of_kept.run("still here").await?.answered_by("echo")
}

#[tokio::test]
async fn keys_rotate_without_a_restart() {
    let issuer = Issuer::plain(Answer::keys(&[published("rsa", "a"), published("ec", "b")])).await;
    let host = of(&issuer).failpoints("").start();
    a_withdrawn_key_opens_and_keeps_open_nothing(&host, &issuer).await.unwrap();
}

#[tokio::test]
async fn the_twin_whose_connections_outlive_their_key_is_red() {
    let issuer = Issuer::plain(Answer::keys(&[published("rsa", "a"), published("ec", "b")])).await;
    let host = of(&issuer).failpoints("gateway.key_set.withdrawn=off").start();
    let objection = a_withdrawn_key_opens_and_keeps_open_nothing(&host, &issuer).await.unwrap_err();
    assert!(objection.contains("the connection with the old key"), "{objection}");
}

#[tokio::test]
async fn a_refresh_of_an_open_connection_may_bring_a_new_key() {
    let issuer = Issuer::plain(Answer::keys(&[published("rsa", "a")])).await;
    let host = of(&issuer).start();
    keys_are(&host, "current").await.unwrap();
    let mut client = Client::with_token(&host, &token("rsa", "a", "alice")).await.unwrap();
    issuer.answers(Answer::keys(&[published("rsa", "a"), published("ec", "b")]));
    loop {
        client.send(&json!({ "type": "auth_refresh", "token": token("ec", "b", "alice") })).await.unwrap();
        match client.event().await.unwrap() {
            // Its issuer took longer than a token waits: it is asked to come back.
            frame if frame["code"] == "auth.keys_unavailable" => {}
            frame if frame["type"] == "auth_refreshed" => break,
            frame => panic!("{frame}"),
        }
    }
}

/// While the issuer fails, in whatever way, its old keys hold and everything else is the host's trouble.
async fn old_keys_are_kept(host: &Host, issuer: &Issuer) -> Result<(), String> {
    ready(host).await?;
    keys_are(host, "current").await?;
    let (known, unknown) = (token("rsa", "a", "alice"), token("ec", "b", "alice"));
    gets(host, "a token with a known key", &known, 101, "").await?;
    issuer.answers(Answer::of("500 Internal Server Error", "", b"secret words"));
    gets(host, "a token with an unknown key", &unknown, 503, "auth.keys_unavailable").await?;
    keys_are(host, "stale").await?;
    gets(host, "a token with an old key", &known, 101, "").await?;
    if host.said().contains("secret words") { Err("the log quotes the answer".to_owned()) } else { Ok(()) }
}

#[tokio::test]
async fn old_keys_hold_while_they_cannot_be_fetched() {
    let issuer = Issuer::plain(Answer::keys(&[published("rsa", "a")])).await;
    let host = of(&issuer).failpoints("").start();
    old_keys_are_kept(&host, &issuer).await.unwrap();
}

#[tokio::test]
async fn the_twin_that_forgets_them_is_red() {
    let issuer = Issuer::plain(Answer::keys(&[published("rsa", "a")])).await;
    let host = of(&issuer).failpoints("gateway.key_set.kept=off").start();
    let objection = old_keys_are_kept(&host, &issuer).await.unwrap_err();
    assert!(objection.contains("a token with an old key"), "{objection}");
}

#[tokio::test]
async fn keys_that_are_stale_for_too_long_hold_no_more() {
    let issuer = Issuer::plain(Answer::keys(&[published("rsa", "a")])).await;
    let host = of(&issuer).set("auth.jwks_stale", "\"0s\"").start();
    gets_at_last(&host, "a known key", &token("rsa", "a", "alice"), 101, "").await.unwrap();
    issuer.answers(Answer::Closes);
    gets_at_last(&host, "an unknown key", &token("ec", "b", "alice"), 503, "auth.keys_unavailable")
        .await
        .unwrap();
    keys_are(&host, "expired").await.unwrap();
    gets(&host, "an expired key", &token("rsa", "a", "alice"), 503, "auth.keys_unavailable").await.unwrap();
    // And back.
    issuer.answers(Answer::keys(&[published("rsa", "a")]));
    gets_at_last(&host, "a key that is back", &token("rsa", "a", "alice"), 101, "").await.unwrap();
}

/// What is no set: each is a failed fetch, after which the host lives and a good set is taken.
async fn bad_answers(host: &Host, issuer: &Issuer) -> Result<(), String> {
    let good = token("rsa", "a", "alice");
    let set = json!({ "keys": [published("rsa", "a")] }).to_string();
    let long = format!("{set}{}", " ".repeat(10 << 20));
    let there = format!("Location: http://{}/keys\r\n", issuer.address);
    for (what, bad) in [
        ("garbage", Answer::of("200 OK", "", b"\x00\xff<html>")),
        ("no HTTP", Answer::Raw(b"SSH-2.0-server\r\n".to_vec().into())),
        ("a set of 10 MiB", Answer::of("200 OK", "", long.as_bytes())),
        ("a redirect to itself", Answer::of("302 Found", &there, set.as_bytes())),
        ("a 500 with a set", Answer::of("500 Oh", "", set.as_bytes())),
        (
            "half a set",
            Answer::Raw(b"HTTP/1.1 200 OK\r\nContent-Length: 999\r\n\r\n{\"keys\":[".to_vec().into()),
        ),
        ("an empty set", Answer::keys(&[])),
        ("nothing", Answer::Hangs),
    ] {
        let failures = async || Ok::<_, String>(keys(host, true).await?["failures"].as_u64().unwrap_or(0));
        let failed = failures().await?;
        issuer.answers(bad);
        // Each token makes it ask, as there is no pace here; the first request may have had the answer of before. What is
        // taken for a set opens the door to the next token.
        let began = Moment::now();
        while failures().await? < failed + 2 {
            gets(host, what, &good, 503, "auth.keys_unavailable").await?;
            if began.elapsed() > PATIENCE {
                return Err(format!("{what}: it is not asked again"));
            }
        }
    }
    issuer.answers(Answer::keys(&[published("rsa", "a")]));
    gets_at_last(host, "a good set at last", &good, 101, "").await
}

#[tokio::test]
async fn what_is_no_key_set_is_a_failed_fetch_and_nothing_else() {
    let issuer = Issuer::plain(Answer::Closes).await;
    let host =
        of(&issuer).set("auth.jwks_timeout", "\"500ms\"").failpoints("gateway.key_set.pace=off").start();
    bad_answers(&host, &issuer).await.unwrap();
}

#[tokio::test]
async fn the_twin_that_reads_on_and_on_is_red() {
    let issuer = Issuer::plain(Answer::Closes).await;
    let faults = "gateway.key_set.pace=off;services.key_set.limit=off";
    let host = of(&issuer).failpoints(faults).start();
    let objection = bad_answers(&host, &issuer).await.unwrap_err();
    assert!(objection.contains("a set of 10 MiB got (101"), "{objection}");
}

#[tokio::test]
async fn the_twin_that_takes_whatever_comes_with_a_redirect_is_red() {
    let issuer = Issuer::plain(Answer::Closes).await;
    let faults = "gateway.key_set.pace=off;services.key_set.status=off";
    let host = of(&issuer).failpoints(faults).start();
    let objection = bad_answers(&host, &issuer).await.unwrap_err();
    assert!(objection.contains("a redirect to itself got (101"), "{objection}");
}

/// An issuer that hangs is left alone after a while, and asked again.
async fn a_hang_ends(host: &Host, issuer: &Issuer) -> Result<(), String> {
    eventually(
        "the issuer is asked",
        async || if issuer.asked() > 0 { Ok(()) } else { Err("not yet".into()) },
    )
    .await?;
    issuer.answers(Answer::keys(&[published("rsa", "a")]));
    gets_at_last(host, "a token after the hang", &token("rsa", "a", "alice"), 101, "").await
}

#[tokio::test]
async fn a_fetch_that_hangs_ends_by_itself() {
    let issuer = Issuer::plain(Answer::Hangs).await;
    let host = of(&issuer).set("auth.jwks_timeout", "\"2s\"").failpoints("").start();
    a_hang_ends(&host, &issuer).await.unwrap();
}

#[tokio::test]
async fn the_twin_that_waits_for_ever_is_red() {
    let issuer = Issuer::plain(Answer::Hangs).await;
    let host = of(&issuer).failpoints("gateway.key_set.deadline=off").start();
    let objection = a_hang_ends(&host, &issuer).await.unwrap_err();
    assert!(objection.contains("a token after the hang"), "{objection}");
}

/// A secret that somebody published signs nothing here, nor does a public key as a secret; the good key beside it works.
async fn a_published_secret_is_none(host: &Host) -> Result<(), String> {
    keys_are(host, "current").await?;
    let header = Header { kid: Some("o".to_owned()), ..Header::default() };
    let forged = jsonwebtoken::encode(&header, &claims("eve"), &EncodingKey::from_secret(&[7; 32])).unwrap();
    gets(host, "a token signed with a published secret", &forged, 401, "auth.invalid").await?;
    let modulus = published("rsa", "a")["n"].as_str().unwrap().to_owned();
    let confused = EncodingKey::from_secret(modulus.as_bytes());
    let header = Header { kid: Some("a".to_owned()), ..Header::default() };
    let confused = jsonwebtoken::encode(&header, &claims("eve"), &confused).unwrap();
    gets(host, "a token signed with a public key", &confused, 401, "auth.invalid").await?;
    gets(host, "a good token", &token("rsa", "a", "alice"), 101, "").await?;
    // Two keys of one name: either may have signed.
    gets(host, "a token of the name's other key", &token("ec", "a", "alice"), 101, "").await?;
    gets(host, "a token of the name's third key", &token("rsa-other", "a", "alice"), 101, "").await?;
    eventually("the log names them", async || match host.said().matches("KeyPassedOver").count() {
        3 => Ok(()),
        lines => Err(format!("{lines} lines about three keys that are not used")),
    })
    .await
}

fn mixed() -> Answer {
    let secret = "BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc";
    // Of 1008 bits.
    let mut weak = published("rsa", "w");
    weak["n"] = weak["n"].as_str().unwrap()[..168].into();
    Answer::keys(&[
        json!({ "kty": "oct", "kid": "o", "alg": "HS256", "k": secret }),
        json!({ "kty": "OKP", "kid": "e", "crv": "Ed25519", "x": secret }),
        weak,
        published("rsa", "a"),
        published("ec", "a"),
        published("rsa-other", "a"),
    ])
}

#[tokio::test]
async fn a_symmetric_key_of_a_set_and_a_weak_one_are_passed_over() {
    let issuer = Issuer::plain(mixed()).await;
    a_published_secret_is_none(&of(&issuer).failpoints("").start()).await.unwrap();
}

#[tokio::test]
async fn the_twin_that_takes_it_is_red() {
    let issuer = Issuer::plain(mixed()).await;
    let host = of(&issuer).failpoints("gateway.key_set.symmetric=off").start();
    let objection = a_published_secret_is_none(&host).await.unwrap_err();
    assert!(objection.contains("a token signed with a published secret got (101"), "{objection}");
}

#[tokio::test]
async fn the_twin_that_takes_a_weak_key_is_red() {
    let issuer = Issuer::plain(mixed()).await;
    let host = of(&issuer).failpoints("gateway.key_set.weak=off").start();
    let objection = a_published_secret_is_none(&host).await.unwrap_err();
    assert!(objection.contains("2 lines about three keys"), "{objection}");
}

/// A host that fetches from `https://localhost` and believes this authority, or those of the machine.
fn over_tls(issuer: &Issuer, authority: Option<&str>) -> Host {
    let setup = setup(&format!("https://localhost:{}/keys", issuer.address.port()));
    let setup = match authority {
        Some(name) => setup.file("keys/ca.pem", tls(name)).set("auth.jwks_ca_file", "\"keys/ca.pem\""),
        None => setup,
    };
    setup.start()
}

#[tokio::test]
async fn over_tls_the_issuer_is_the_one_that_its_authority_vouches_for() {
    let set = Answer::keys(&[published("rsa", "a")]);
    let issuer = Issuer::secure(set.clone(), "server.pem").await;
    let host = over_tls(&issuer, Some("ca.pem"));
    gets_at_last(&host, "a token over TLS", &token("rsa", "a", "alice"), 101, "").await.unwrap();
    for (certificate, authority) in [
        ("server.pem", Some("other-ca.pem")),
        ("server.pem", None),
        ("elsewhere.pem", Some("ca.pem")),
        ("expired.pem", Some("ca.pem")),
    ] {
        let issuer = Issuer::secure(set.clone(), certificate).await;
        let host = over_tls(&issuer, authority);
        eventually("the fetch fails", async || match host.said().contains("KeySetFailed") {
            true => Ok(()),
            false => Err("not yet".to_owned()),
        })
        .await
        .unwrap();
        let what = format!("a token of {certificate} by {authority:?}");
        gets(&host, &what, &token("rsa", "a", "alice"), 503, "auth.keys_unavailable").await.unwrap();
        assert_eq!(issuer.asked(), 0, "{what}: it was asked for its keys");
    }
}

#[test]
fn an_authority_s_file_that_is_none_is_an_error_with_its_place() {
    let url = "https://localhost:1/keys";
    let wrong = setup(url).file("ca.pem", *b"nothing").set("auth.jwks_ca_file", "\"ca.pem\"");
    let missing = setup(url).set("auth.jwks_ca_file", "\"nowhere.pem\"");
    let password = setup("https://user:pass-word@localhost/keys");
    for (setup, words) in [
        (wrong, "there is no certificate in it"),
        (missing, "which cannot be read"),
        (password, "holds a user's name or a password"),
    ] {
        let output = cli(&["config", "validate"], &setup);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(78), "{said}");
        assert!(said.contains(words), "{said}");
    }
}
