//! Bad tokens: each is a 401 with its own code before the upgrade, and tells nothing of the token.

use std::process::Command;

use serde_json::{Value, json};

use crate::{
    client::{Client, PROTOCOL},
    harness::{
        Host, PATIENCE, Setup, artifacts,
        http::{self, UPGRADE, UPGRADE_WITHIN},
        tokens::{OTHER_SECRET, SECRET, claims, claims_with, forged, now, of, operator, signed},
    },
    scenario::ready,
};

/// Each bad token with the codes that may say so.
fn bad() -> Vec<(&'static str, String, &'static [&'static str])> {
    let good = of("mallory");
    let (head, signature) = good.rsplit_once('.').expect("a token has three parts");
    let cut = good[..good.len() - 4].to_owned();
    let tampered = {
        let (header, _) = head.split_once('.').expect("a token has three parts");
        let other = of("admin");
        let payload = other.split('.').nth(1).expect("a token has three parts");
        format!("{header}.{payload}.{signature}")
    };
    vec![
        ("expired", signed(&claims_with("m", json!({ "exp": now() - 3600 })), SECRET), &["auth.expired"]),
        ("of another key", signed(&claims("m"), OTHER_SECRET), &["auth.invalid"]),
        ("with other claims than signed", tampered, &["auth.invalid"]),
        ("with a cut signature", cut, &["auth.invalid", "auth.malformed"]),
        ("unsigned", forged("none", &claims("m"), ""), &["auth.algorithm", "auth.malformed"]),
        ("unsigned, oddly spelt", forged("nOnE", &claims("m"), ""), &["auth.algorithm", "auth.malformed"]),
        ("of another algorithm", forged("RS256", &claims("m"), signature), &["auth.algorithm"]),
        ("of a stronger algorithm", forged("HS512", &claims("m"), signature), &["auth.algorithm"]),
        (
            "not yet valid",
            signed(&claims_with("m", json!({ "nbf": now() + 3600 })), SECRET),
            &["auth.not_yet_valid"],
        ),
        (
            "for another audience",
            signed(&claims_with("m", json!({ "aud": "x" })), SECRET),
            &["auth.audience"],
        ),
        (
            "for nobody",
            signed(&claims_with("m", json!({ "aud": null })), SECRET),
            &["auth.audience", "auth.invalid", "auth.malformed"],
        ),
        ("of nobody", signed(&claims_with("", json!({})), SECRET), &["auth.invalid", "auth.malformed"]),
        (
            "without an end",
            signed(&claims_with("m", json!({ "exp": null })), SECRET),
            &["auth.invalid", "auth.malformed", "auth.expired"],
        ),
        ("no JWT", "hello".into(), &["auth.malformed"]),
        ("of three empty parts", "..".into(), &["auth.malformed"]),
        ("too long", "a".repeat(12 * 1024), &["auth.malformed"]),
    ]
}

/// Every bad token is refused with its code; a good one passes.
async fn bad_tokens_are_refused(host: &Host) -> Result<(), String> {
    for (what, token, codes) in bad() {
        let answer = http::upgrade(host.address, Some(&token)).await.map_err(|e| format!("{what}: {e}"))?;
        if answer.status != 401 {
            return Err(format!("a token {what} got {answer:?}"));
        }
        let code = answer.code()?;
        if !codes.contains(&code.as_str()) {
            return Err(format!("a token {what}: expected {codes:?}, got {code}"));
        }
        if token.len() > 20 && answer.body.contains(&token) {
            return Err(format!("a token {what} came back in {answer:?}"));
        }
    }
    match http::upgrade(host.address, Some(&of("alice"))).await?.status {
        101 => Ok(()),
        status => Err(format!("a good token got {status}")),
    }
}

fn setup() -> Setup {
    Setup::echo().set("limits.auth_failures_per_minute", "0")
}

#[tokio::test]
async fn the_scenario_is_red_on_a_host_that_checks_less() {
    let other_key = setup().set("auth.hs256_secrets", &format!("[\"{SECRET}\", \"{OTHER_SECRET}\"]"));
    let any_audience = setup().set("auth.audience", "\"\"");
    for (broken, because) in [(other_key, "of another key"), (any_audience, "for another audience")] {
        let objection = bad_tokens_are_refused(&broken.start()).await.expect_err("it objects");
        assert!(objection.contains(because), "red for another reason: {objection}");
    }
}

#[tokio::test]
async fn each_bad_token_has_its_own_code() {
    let host = setup().start();
    bad_tokens_are_refused(&host).await.unwrap();
    let said = host.said();
    for (what, token, _) in bad() {
        assert!(token.len() < 20 || !said.contains(&token), "a token {what} is in the log");
    }
    assert!(!said.contains(SECRET), "the key is in the log");
}

/// What an operator is told of a token offline is what the host says to it.
#[tokio::test]
async fn a_token_is_explained_offline_as_the_host_judges_it() {
    let host = setup().operated().start();
    let inspect = |token: &str, more: &[&str]| {
        let file = host.dir().join("token");
        std::fs::write(&file, token).unwrap();
        let mut command = Command::new(artifacts::host());
        command.args(["token", "inspect"]).arg(&file).args(["--output", "json"]).args(more);
        let output = command.output().expect("the host's binary runs");
        let page: Value = serde_json::from_slice(&output.stdout).unwrap_or(Value::Null);
        (output.status.code(), page, String::from_utf8(output.stderr).unwrap())
    };
    let config = host.dir().display().to_string();
    let config: &[&str] = &["--config", &config];
    for (what, token, _) in bad() {
        let answer = http::upgrade(host.address, Some(&token)).await.unwrap();
        let (status, page, said) = inspect(&token, config);
        assert_eq!(status, Some(1), "a token {what}: {page} {said}");
        if page.is_null() {
            // What is no token at all is not judged, and what it should look like is said.
            assert_eq!(answer.code(), Ok("auth.malformed".into()), "a token {what}");
            assert!(said.contains("no JSON Web Token") || said.contains("longer than"), "{what}: {said}");
        } else {
            assert_eq!(page["judged"]["as_user"]["code"].as_str(), answer.code().ok().as_deref(), "{what}");
        }
    }
    let (status, page, _) = inspect(&of("alice"), config);
    assert_eq!((status, &page["judged"]["as_user"]["accepted"]), (Some(0), &json!(true)), "{page}");
    assert_eq!(
        (&page["claims"]["sub"], &page["header"]["alg"]),
        (&json!("alice"), &json!("HS256")),
        "{page}"
    );
    let (status, page, _) = inspect(&operator(&["admin:read"]), config);
    assert_eq!((status, &page["judged"]["as_operator"]["accepted"]), (Some(0), &json!(true)), "{page}");
    assert_eq!(page["judged"]["as_user"]["accepted"], false, "an operator's is no user's: {page}");
    let (status, page, _) = inspect(&of("alice"), &[]);
    assert_eq!((status, page.get("judged")), (Some(0), None), "only shown: {page}");
}

#[tokio::test]
async fn no_token_is_a_401_with_a_challenge() {
    let host = Setup::echo().start();
    let answer = http::upgrade(host.address, None).await.unwrap();
    assert_eq!((answer.status, answer.code()), (401, Ok("auth.missing".into())), "{answer:?}");
    assert!(answer.header("www-authenticate").is_some(), "{answer:?}");
}

#[tokio::test]
async fn a_browser_s_token_comes_as_a_subprotocol_and_does_not_go_back() {
    let host = Setup::echo().start();
    let offered = format!("agent-host.v1, bearer.{}", of("bea"));
    let client = Client::upgrade(&host, &[(PROTOCOL, offered.clone())]).await.unwrap();
    assert_eq!(client.welcome["user_id"], "bea");

    let mut headers: Vec<_> =
        UPGRADE.iter().copied().filter(|(name, _)| *name != "Sec-WebSocket-Protocol").collect();
    headers.push(("Sec-WebSocket-Protocol", &offered));
    let answer = http::get(host.address, "/ws", &headers, UPGRADE_WITHIN).await.unwrap();
    assert_eq!(answer.header("sec-websocket-protocol"), Some("agent-host.v1"), "{answer:?}");
}

#[tokio::test]
async fn a_token_in_the_url_is_no_token() {
    let host = Setup::echo().start();
    for name in ["token", "access_token", "jwt"] {
        let path = format!("/ws?{name}={}", of("alice"));
        let answer = http::get(host.address, &path, UPGRADE, UPGRADE_WITHIN).await.unwrap();
        assert_eq!((answer.status, answer.code()), (401, Ok("auth.missing".into())), "{answer:?}");
    }
}

#[tokio::test]
async fn an_older_key_still_verifies_while_keys_rotate() {
    let both = format!("[\"{OTHER_SECRET}\", \"{SECRET}\"]");
    let host = Setup::echo().set("auth.hs256_secrets", &both).start();
    for secret in [SECRET, OTHER_SECRET] {
        let answer = http::upgrade(host.address, Some(&signed(&claims("alice"), secret))).await.unwrap();
        assert_eq!(answer.status, 101, "{answer:?}");
    }
}

/// Who sends bad tokens is told to wait, at both doors; who has a good one comes in from the same address.
async fn guessing_is_slowed_down(host: &Host) -> Result<(), String> {
    ready(host).await?;
    let mut statuses = Vec::new();
    for n in 0..8 {
        let bad = format!("Bearer a.b.{n}");
        let answer = match n % 2 {
            0 => http::upgrade(host.address, Some(&format!("a.b.{n}"))).await?,
            _ => http::get(host.address, "/v1/threads", &[("Authorization", &bad)], PATIENCE).await?,
        };
        if answer.status == 429
            && (answer.code()? != "limit.auth_failures" || answer.header("retry-after").is_none())
        {
            return Err(format!("429 without its code or its time: {answer:?}"));
        }
        statuses.push(answer.status);
    }
    if statuses != [401, 401, 401, 401, 401, 429, 429, 429] {
        return Err(format!("not five and then no more: {statuses:?}"));
    }
    let good = http::upgrade(host.address, Some(&of("alice"))).await?;
    if good.status != 101 {
        return Err(format!("a good token is locked out by a bad one: {good:?}"));
    }
    match host.said().matches("TokensGuessed").count() {
        0 | 1 => Ok(()),
        lines => Err(format!("{lines} lines about one address")),
    }
}

#[tokio::test]
async fn an_address_with_bad_tokens_has_so_many_a_minute() {
    let host = Setup::echo().set("limits.auth_failures_per_minute", "5").start();
    guessing_is_slowed_down(&host).await.unwrap();
}

/// Behind a trusted proxy each client has a count of its own; a client that writes the header itself has none for it.
#[tokio::test]
async fn behind_a_trusted_proxy_each_client_is_counted_by_itself() {
    let setup = || Setup::echo().set("limits.auth_failures_per_minute", "2");
    let status = async |host: &Host, from: &str| {
        let headers = [("Authorization", "Bearer a.b.c"), ("X-Forwarded-For", from)];
        http::get(host.address, "/v1/threads", &headers, PATIENCE).await.unwrap().status
    };
    let host = setup().set("gateway.trusted_proxies", "[\"127.0.0.0/8\"]").start();
    ready(&host).await.unwrap();
    for client in ["198.51.100.1", "198.51.100.2", "192.0.2.66, 198.51.100.3"] {
        let statuses =
            [status(&host, client).await, status(&host, client).await, status(&host, client).await];
        assert_eq!(statuses, [401, 401, 429], "{client}");
    }
    assert_eq!(
        status(&host, "198.51.100.77, 198.51.100.3").await,
        429,
        "what a client claims itself does not help"
    );

    let host = setup().start();
    ready(&host).await.unwrap();
    let statuses = [status(&host, "198.51.100.1").await, status(&host, "198.51.100.2").await];
    assert_eq!(
        (statuses, status(&host, "198.51.100.3").await),
        ([401, 401], 429),
        "nobody is trusted unless named"
    );
}

#[tokio::test]
async fn the_twin_without_that_limit_is_red() {
    let host = Setup::echo().set("limits.auth_failures_per_minute", "0").start();
    let objection = guessing_is_slowed_down(&host).await.unwrap_err();
    assert!(objection.contains("not five and then no more"), "{objection}");
}
