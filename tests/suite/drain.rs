//! SIGTERM: no new connection, everybody told, runs ended in order, sockets closed with 1012, exit 0.

use rustix::process::Signal;
use serde_json::json;

use crate::{
    client::{Client, End},
    harness::{Host, PATIENCE, Plugin, Setup, http, tokens},
    scenario::ready,
};

fn setup() -> Setup {
    let bad = Plugin::misbehaving("bad").key("timeouts", "{ init = \"30s\", idle = \"60s\", run = \"60s\" }");
    // All that is looked at while it drains is looked at within the grace.
    Setup::echo().plugin(bad).set("drain.grace", "\"10s\"")
}

/// A client with a run under way that ends only when it is cancelled.
async fn waiting(host: &Host) -> Result<Client, String> {
    let mut client = Client::connect(host, "alice").await?;
    client.say("!wait", json!({ "agent": "bad" })).await?;
    client.expect("accepted").await?;
    client.until("agent_thinking").await?;
    Ok(client)
}

/// Each step of an orderly end, seen from two clients and from outside.
async fn drains_in_order(host: &mut Host, signal: Signal) -> Result<(), String> {
    ready(host).await?;
    let mut busy = waiting(host).await?;
    let mut idle = Client::connect(host, "bob").await?;
    host.signal(signal);

    let going = busy.until("going_away").await?;
    let told = going["reconnect_after_ms"].is_u64() && going["deadline_ms"].is_u64();
    check(told && going["reason"] == "draining", "told when to come back", &going)?;

    let refused = http::upgrade(host.address, Some(&tokens::of("carol"))).await?;
    let in_order = refused.status == 503 && refused.header("retry-after").is_some();
    check(in_order && refused.code()? == "host.draining", "no new connection", &refused)?;
    let ready = http::get(host.address, "/ready", &[], PATIENCE).await?;
    check(ready.status == 503, "not ready", &ready)?;
    busy.say("one more", json!({})).await?;

    let mut refusal_seen = false;
    let completed = loop {
        let frame = busy.next().await?;
        refusal_seen |= frame["code"] == "host.draining";
        if frame["type"] == "agent_completed" {
            break frame;
        }
    };
    check(refusal_seen, "a message while draining is refused aloud", &completed)?;
    check(completed["payload"]["status"] == "interrupted", "the run is interrupted", &completed)?;
    for client in [&mut busy, &mut idle] {
        let end = closed(client).await;
        check(end == End::Closed(1012), "closed with 1012", &end)?;
    }
    let status = host.ended(PATIENCE).await?;
    check(status.code() == Some(0), "exit 0", &status)
}

fn check(holds: bool, what: &str, found: &dyn std::fmt::Debug) -> Result<(), String> {
    if holds { Ok(()) } else { Err(format!("not so: {what}: {found:?}")) }
}

#[tokio::test]
async fn sigterm_drains_in_order_and_exits_with_0() {
    let mut host = setup().start();
    let found = drains_in_order(&mut host, Signal::TERM).await;
    assert_eq!(found, Ok(()), "the host said:\n{}", host.said());
}

#[tokio::test]
async fn the_scenario_is_red_for_an_end_without_order() {
    let mut host = setup().start();
    drains_in_order(&mut host, Signal::KILL).await.expect_err("it objects");
}

#[tokio::test]
async fn an_idle_host_exits_at_once() {
    let mut host = setup().set("drain.grace", "\"30s\"").start();
    ready(&host).await.unwrap();
    host.signal(Signal::INT);
    // Far below the grace: with nothing to wait for, nothing is waited for.
    let status = host.ended(PATIENCE).await.unwrap();
    assert_eq!(status.code(), Some(0), "{}", host.said());
}

#[tokio::test]
async fn a_second_signal_ends_at_once() {
    let mut host = setup().set("drain.grace", "\"60s\"").start();
    ready(&host).await.unwrap();
    let mut busy = waiting(&host).await.unwrap();
    host.signal(Signal::TERM);
    busy.until("going_away").await.unwrap();
    host.signal(Signal::TERM);
    host.ended(PATIENCE).await.unwrap();
}

/// Reads until the connection ends.
async fn closed(client: &mut Client) -> End {
    loop {
        if let Err(end) = client.next().await {
            return end;
        }
    }
}
