//! Limits: what a client may have too much of, what it is told, and with which code it is closed.

use serde_json::json;

use crate::{
    client::{Client, End},
    harness::{Plugin, Setup, http, tokens},
    scenario::ready,
};

#[tokio::test]
async fn messages_that_come_too_fast_are_refused_with_a_time_and_the_connection_stays() {
    let host = Setup::echo().set("limits.messages_per_minute", "2").start();
    ready(&host).await.unwrap();
    let mut client = Client::connect(&host, "alice").await.unwrap();
    client.run("one").await.unwrap();
    client.run("two").await.unwrap();
    let id = client.say("three", json!({})).await.unwrap();
    let error = client.expect_error("limit.rate").await.unwrap();
    assert_eq!((&error["id"], &error["retryable"]), (&id.into(), &true.into()), "{error}");
    let wait = error["retry_after_ms"].as_u64().unwrap();
    assert!((1..=30_000).contains(&wait), "two in a minute is one in 30 s: {error}");
    client.send(&json!({ "type": "ping" })).await.unwrap();
    client.expect("pong").await.unwrap();
}

#[tokio::test]
async fn a_flood_of_frames_closes_with_4405() {
    let host = Setup::echo().start();
    let mut client = Client::connect(&host, "alice").await.unwrap();
    for _ in 0..5_000 {
        // The host may have closed already.
        if client.send(&json!({ "type": "ping" })).await.is_err() {
            break;
        }
    }
    let end = loop {
        match client.next().await {
            Ok(frame) => assert_eq!(frame["type"], "pong"),
            Err(end) => break end,
        }
    };
    assert_eq!(end, End::Closed(4405));
}

#[tokio::test]
async fn a_slow_reader_is_closed_with_4404_and_loses_nothing() {
    let host = Setup::new().plugin(Plugin::misbehaving("bad")).set("limits.messages_per_minute", "0").start();
    ready(&host).await.unwrap();
    let mut writer = Client::connect(&host, "alice").await.unwrap();
    let first = writer.run("first").await.unwrap();
    let mut slow = Client::connect(&host, "alice").await.unwrap();
    let subscribe = |after: u64| {
        json!({
            "type": "subscribe", "thread_id": first.thread(), "after_seq": after, "epoch": first.accepted["epoch"],
        })
    };
    slow.send(&subscribe(0)).await.unwrap();
    slow.expect("subscribed").await.unwrap();

    // More than the sockets' buffers and the host's queue hold together.
    let large = "x".repeat(50_000);
    let mut head = 0;
    for _ in 0..100 {
        let run = writer.run_with(&large, json!({ "thread_id": first.thread() })).await.unwrap();
        head = run.events.last().unwrap()["seq"].as_u64().unwrap();
    }
    let mut seen = 0;
    let end = loop {
        match slow.next().await {
            Ok(frame) => seen = frame["seq"].as_u64().unwrap_or(seen),
            Err(end) => break end,
        }
    };
    assert_eq!(end, End::Closed(4404));
    assert!(seen < head, "it was not slow: {seen} of {head}");

    let mut back = Client::connect(&host, "alice").await.unwrap();
    back.send(&subscribe(seen)).await.unwrap();
    assert_eq!(back.expect("subscribed").await.unwrap()["recovered"], true);
    // The client's laws hold the positions to be dense.
    while back.next().await.unwrap()["seq"].as_u64() != Some(head) {}
}

#[tokio::test]
async fn too_many_connections_are_refused_before_the_upgrade_with_a_time() {
    let host = Setup::echo().set("limits.connections_per_user", "1").start();
    let _first = Client::connect(&host, "alice").await.unwrap();
    let refused = http::upgrade(host.address, Some(&tokens::of("alice"))).await.unwrap();
    assert_eq!((refused.status, refused.code()), (429, Ok("limit.connections".into())), "{refused:?}");
    assert!(refused.header("retry-after").is_some(), "{refused:?}");
    let other = http::upgrade(host.address, Some(&tokens::of("bob"))).await.unwrap();
    assert_eq!(other.status, 101, "{other:?}");
}

#[tokio::test]
async fn a_full_host_says_503_with_a_time() {
    let host = Setup::echo().set("limits.connections", "2").start();
    let _first = Client::connect(&host, "alice").await.unwrap();
    let _second = Client::connect(&host, "bob").await.unwrap();
    let refused = http::upgrade(host.address, Some(&tokens::of("carol"))).await.unwrap();
    assert_eq!((refused.status, refused.code()), (503, Ok("host.capacity".into())), "{refused:?}");
    assert!(refused.header("retry-after").is_some(), "{refused:?}");
}
