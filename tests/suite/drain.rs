//! SIGTERM: no new connection, everybody told, runs ended in order, sockets closed with 1012, exit 0.

use std::time::Duration;

use rustix::process::Signal;
use serde_json::json;

use crate::{
    client::{Client, End},
    harness::{Host, PATIENCE, Plugin, Setup, http, tokens},
    scenario::ready,
};

fn setup() -> Setup {
    Setup::echo().plugin(Plugin::misbehaving("bad").key("timeouts", "{ idle = \"60s\", run = \"60s\" }"))
}

/// A client with a run under way that ends only when it is cancelled.
async fn waiting(host: &Host) -> Result<Client, String> {
    let mut client = Client::connect(host, "alice").await?;
    client.say("!wait", json!({ "agent": "bad" })).await?;
    client.expect("accepted").await?;
    client.until("agent_thinking").await?;
    Ok(client)
}

#[tokio::test]
async fn sigterm_drains_in_order_and_exits_with_0() {
    let mut host = setup().start();
    ready(&host).await.unwrap();
    let mut busy = waiting(&host).await.unwrap();
    let mut idle = Client::connect(&host, "bob").await.unwrap();
    host.signal(Signal::TERM);

    let going = busy.until("going_away").await.unwrap();
    assert_eq!(going["reason"], "draining", "{going}");
    assert!(going["reconnect_after_ms"].is_u64() && going["deadline_ms"].is_u64(), "{going}");

    let refused = http::upgrade(host.address, Some(&tokens::of("carol"))).await.unwrap();
    assert_eq!((refused.status, refused.code()), (503, Ok("host.draining".into())), "{refused:?}");
    assert!(refused.header("retry-after").is_some(), "{refused:?}");
    let ready = http::get(host.address, "/ready", &[], Duration::from_secs(1)).await.unwrap();
    assert_eq!(ready.status, 503, "{ready:?}");
    busy.say("one more", json!({})).await.unwrap();

    let mut refusal_seen = false;
    let completed = loop {
        let frame = busy.next().await.unwrap();
        refusal_seen |= frame["code"] == "host.draining";
        if frame["type"] == "agent_completed" {
            break frame;
        }
    };
    assert!(refusal_seen, "a message while draining is refused aloud");
    assert_eq!(completed["payload"]["status"], "interrupted", "{completed}");
    assert_eq!(closed(&mut busy).await, End::Closed(1012));
    assert_eq!(closed(&mut idle).await, End::Closed(1012));
    let status = host.ended(PATIENCE).await.unwrap();
    assert_eq!(status.code(), Some(0), "{status:?}\n{}", host.said());
}

#[tokio::test]
async fn an_idle_host_exits_at_once() {
    let mut host = setup().set("drain.grace", "\"30s\"").start();
    ready(&host).await.unwrap();
    host.signal(Signal::INT);
    // Far below the grace: with nothing to wait for, nothing is waited for.
    let status = host.ended(Duration::from_secs(8)).await.unwrap();
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
    host.ended(Duration::from_secs(8)).await.unwrap();
}

/// Reads until the connection ends.
async fn closed(client: &mut Client) -> End {
    loop {
        if let Err(end) = client.next().await {
            return end;
        }
    }
}
