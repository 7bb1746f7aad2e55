//! The host's look at itself: content with a host that is well, red on those that fail their users while `/ready` is
//! green, no user's traffic, and nothing left of it.

use std::time::Duration;

use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde_json::{Value, json};

use crate::{
    client::Client,
    harness::{
        Host, PATIENCE, Setup, artifacts, eventually, http,
        tokens::{self, claims_with},
    },
    scenario::ready,
    telemetry::Scrape,
};

/// The tenant and the user of the host's own looks.
const OWN: &str = "agent-host:self-check";

fn setup() -> Setup {
    Setup::echo().set("self_check.interval", "\"50ms\"")
}

/// What `/ready?verbose` says of it, to an operator; and the page's status.
async fn shown(host: &Host) -> Result<(u16, Value), String> {
    let bearer = format!("Bearer {}", tokens::operator(&["admin:read"]));
    let answer =
        http::get(host.admin, "/ready?verbose", &[("Authorization", &bearer)], Duration::from_secs(5))
            .await?;
    let page = answer.json()?;
    Ok((answer.status, page["self_check"].clone()))
}

/// Waits until the last look has this verdict.
async fn judged(host: &Host, verdict: &str) -> Result<Value, String> {
    eventually("the verdict", async || {
        let (_, shown) = shown(host).await?;
        if shown["verdict"] == verdict { Ok(shown) } else { Err(format!("not {verdict}: {shown}")) }
    })
    .await
}

async fn looks(host: &Host, outcome: &str) -> Result<f64, String> {
    Ok(Scrape::of(host).await?.sum("agent_host_self_checks_total", &[("outcome", outcome)]))
}

/// What the store has of the looks.
async fn left_behind(host: &Host) -> Result<Value, String> {
    let token = tokens::signed(&claims_with(OWN, json!({ "tenant": OWN })), tokens::SECRET);
    let bearer = format!("Bearer {token}");
    let list =
        http::get(host.address, "/v1/threads", &[("Authorization", &bearer)], PATIENCE).await?.json()?;
    Ok(list["threads"].clone())
}

/// One is there while a look is under way; if any were left behind there would always be more.
async fn leaves_nothing(host: &Host) -> Result<(), String> {
    eventually("nothing is left", async || match left_behind(host).await? {
        Value::Array(threads) if threads.is_empty() => Ok(()),
        threads => Err(format!("left behind: {threads}")),
    })
    .await
}

#[tokio::test]
async fn a_host_that_is_well_says_so_and_counts_none_of_it_as_traffic() {
    let host = setup().operated().start();
    ready(&host).await.unwrap();
    let shown = judged(&host, "healthy").await.unwrap();
    assert!(shown["at"].is_string() && shown["took_ms"].is_u64() && shown["step"].is_null(), "{shown}");
    let mut client = Client::connect(&host, "alice").await.unwrap();
    client.run("hello").await.unwrap().answered_by("echo").unwrap();
    // Five in a row are content. Where the machine stalls one is right to fail: it has limits of its own.
    let many = tokio::sync::Mutex::new((0.0, 0.0));
    eventually("five looks in a row", async || {
        let (ok, failed) = (looks(&host, "ok").await?, looks(&host, "failed").await?);
        let mut since = many.lock().await;
        if since.1 != failed {
            *since = (ok, failed);
        }
        if ok >= since.0 + 5.0 { Ok(()) } else { Err(format!("{ok} looks, {failed} failed; {since:?}")) }
    })
    .await
    .unwrap();
    let scrape = Scrape::of(&host).await.unwrap();
    for (metric, labels, count) in [
        // Alice's, and nobody else's.
        ("agent_host_upgrades_total", &[][..], 1.0),
        ("agent_host_connections", &[], 1.0),
        ("agent_host_connections_closed_total", &[], 0.0),
        ("agent_host_welcome_seconds_count", &[], 1.0),
        ("agent_host_runs_total", &[], 1.0),
        ("agent_host_run_seconds_count", &[], 1.0),
        ("agent_host_answers_total", &[("by", "fallback")], 0.0),
        ("agent_host_run_events_total", &[("by", "fallback")], 0.0),
        ("agent_host_run_events_total", &[("by", "user")], 1.0),
        ("agent_host_events_delivered_total", &[("by", "fallback")], 0.0),
        ("agent_host_events_delivered_total", &[("by", "user")], 1.0),
    ] {
        assert_eq!(scrape.sum(metric, labels), count, "{metric} {labels:?}");
    }
    leaves_nothing(&host).await.unwrap();
    // Far more forged tokens than an address may send: none is counted against this one.
    let bad = http::upgrade(host.address, Some("a.b.c")).await.unwrap();
    assert_eq!(bad.status, 401, "{bad:?}");
}

/// The incident: health pages were green while every user failed.
#[tokio::test]
async fn a_host_that_fails_its_users_is_found_out_though_its_health_pages_are_green() {
    for (faults, step, words) in [
        ("gateway.upgrade.headers=panic", "stranger", "HTTP 503 (host.internal)"),
        ("gateway.upgrade.session=panic", "upgrade", "HTTP 503 (host.internal)"),
        ("gateway.upgrade.session=error", "upgrade", "HTTP 503 (host.internal)"),
        ("gateway.upgrade.accept=hang", "upgrade", ""),
        ("gateway.connection.frame=panic", "accepted", "1011"),
        ("store.begin=error", "accepted", "store.unavailable"),
        ("store.append=error", "run", ""),
        ("fallback.answer=error", "run", ""),
        ("fallback.answer=panic", "run", ""),
    ] {
        let host = setup().operated().failpoints("none=off").start();
        ready(&host).await.unwrap();
        judged(&host, "healthy").await.unwrap();
        host.inject(faults);
        // A look that was under way already may fail at a later step; the next one does not.
        let failed = eventually("it fails there", async || {
            let seen = judged(&host, "failed").await?;
            let reason = seen["reason"].as_str().unwrap_or_default();
            if seen["step"] == step && reason.contains(words) { Ok(()) } else { Err(seen.to_string()) }
        });
        failed.await.unwrap_or_else(|e| panic!("{faults}: {e}"));
        let (status, _) = shown(&host).await.unwrap();
        assert_eq!(status, 200, "{faults}: the page itself is green");
        host.says(&["SelfCheckFailed"]).await.unwrap_or_else(|e| panic!("{faults}: {e}"));
        assert!(looks(&host, "failed").await.unwrap() > 0.0, "{faults}");
        // It took nothing down: without the fault all is well, and it says that too.
        host.heal();
        judged(&host, "healthy").await.unwrap_or_else(|e| panic!("{faults}: {e}"));
        host.says(&["SelfCheckRecovered"]).await.unwrap_or_else(|e| panic!("{faults}: {e}"));
    }
}

#[tokio::test]
async fn a_failure_is_said_once_and_counted_always() {
    let host = setup().failpoints("store.begin=error").start();
    ready(&host).await.unwrap();
    eventually("some looks", async || match looks(&host, "failed").await? {
        many if many >= 5.0 => Ok(()),
        few => Err(format!("{few} looks")),
    })
    .await
    .unwrap();
    let said = host.says(&["SelfCheckFailed"]).await.unwrap();
    assert_eq!(said.matches("SelfCheckFailed").count(), 1, "{said}");
    let scrape = Scrape::of(&host).await.unwrap();
    assert!(scrape.sum("agent_host_self_check_failures", &[]) >= 5.0);
}

#[tokio::test]
async fn what_a_killed_host_left_of_a_look_is_deleted_by_the_next() {
    let setup = setup().failpoints("store.append=error");
    let mut host = setup.start();
    ready(&host).await.unwrap();
    judged(&host, "failed").await.unwrap();
    host.start_again(&Setup::echo().failpoints("none=off"));
    ready(&host).await.unwrap();
    let left = left_behind(&host).await.unwrap();
    assert!(left.as_array().is_some_and(|threads| !threads.is_empty()), "else this shows nothing: {left}");
    host.start_again(&self::setup());
    ready(&host).await.unwrap();
    judged(&host, "healthy").await.unwrap();
    leaves_nothing(&host).await.unwrap();
}

#[tokio::test]
async fn it_can_be_switched_off_and_be_required() {
    let off = Setup::echo().start();
    ready(&off).await.unwrap();
    assert_eq!(shown(&off).await.unwrap().1, json!({ "verdict": "disabled" }));

    let strict = setup().set("readiness.require", "[\"self_check\"]").failpoints("none=off").start();
    ready(&strict).await.unwrap();
    strict.inject("store.begin=error");
    eventually("not ready", async || match shown(&strict).await? {
        (503, _) => Ok(()),
        other => Err(format!("{other:?}")),
    })
    .await
    .unwrap();
}

/// Every look has a token where the host can sign one, and a ticket where it cannot.
#[tokio::test]
async fn a_host_whose_tokens_somebody_else_signs_looks_as_well() {
    let key =
        |name: &str| std::fs::read(artifacts::root().join("host/gateway/src/auth/keys").join(name)).unwrap();
    let host = setup()
        .file("keys/rsa.pem", key("rsa.pub.pem"))
        .set("auth.public_keys", "[\"keys/rsa.pem\"]")
        .set("auth.hs256_secrets", "[]")
        .failpoints("none=off")
        .start();
    ready(&host).await.unwrap();
    judged(&host, "healthy").await.unwrap();
    // And nobody else's issuer can make a token of its name.
    let rsa = EncodingKey::from_rsa_pem(&key("rsa.pem")).unwrap();
    let of = |claims: &Value| jsonwebtoken::encode(&Header::new(Algorithm::RS256), claims, &rsa).unwrap();
    let own =
        http::upgrade(host.address, Some(&of(&claims_with("x", json!({ "tenant": OWN }))))).await.unwrap();
    assert_eq!((own.status, own.code()), (401, Ok("auth.malformed".into())), "{own:?}");
    let other = http::upgrade(host.address, Some(&of(&tokens::claims("x")))).await.unwrap();
    assert_eq!(other.status, 101, "{other:?}");
    host.inject("gateway.upgrade.token=error");
    // A look that was under way already may fail at a later step; the next one does not.
    eventually("it fails there", async || match judged(&host, "failed").await? {
        seen if seen["step"] == "stranger" => Ok(()),
        seen => Err(seen.to_string()),
    })
    .await
    .unwrap();
}
