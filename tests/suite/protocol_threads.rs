//! Subscriptions: what a connection hears of a thread, from where, and what it hears no more.

use serde_json::{Value, json};

use crate::{
    client::{Client, Run},
    harness::{Host, Setup},
    scenario::ready,
};

/// A thread with one whole run, and the connection that made it.
async fn begun(host: &Host) -> Result<(Client, Run), String> {
    ready(host).await?;
    let mut client = Client::connect(host, "alice").await?;
    let run = client.run("first").await?;
    Ok((client, run))
}

fn last(run: &Run) -> u64 {
    run.events.last().and_then(|event| event["seq"].as_u64()).unwrap_or(0)
}

async fn subscribe(client: &mut Client, thread: &str, after: u64) -> Result<Value, String> {
    client.send(&json!({ "type": "subscribe", "thread_id": thread, "after_seq": after })).await?;
    client.expect("subscribed").await
}

/// Everything that was said to the client before the answer to this ping is read; an event is an objection.
async fn hears_nothing(client: &mut Client) -> Result<(), String> {
    client.send(&json!({ "type": "ping" })).await?;
    client.expect("pong").await.map(drop)
}

#[tokio::test]
async fn two_connections_of_a_thread_hear_the_same() {
    let host = Setup::echo().start();
    let (mut one, first) = begun(&host).await.unwrap();
    let mut other = Client::connect(&host, "alice").await.unwrap();
    let subscribed = subscribe(&mut other, first.thread(), last(&first)).await.unwrap();
    assert_eq!((&subscribed["recovered"], subscribed.get("reason")), (&true.into(), None), "{subscribed}");
    assert_eq!(subscribed["from_seq"].as_u64(), Some(last(&first) + 1), "nothing is to be replayed");

    let second = one.run_with("second", json!({ "thread_id": first.thread() })).await.unwrap();
    for event in &second.events {
        assert_eq!(&other.event().await.unwrap(), event);
    }
    let third = other.run_with("third", json!({ "thread_id": first.thread() })).await.unwrap();
    for event in &third.events {
        assert_eq!(&one.event().await.unwrap(), event);
    }
    assert_eq!(third.events[0]["payload"]["content"], "third");
}

#[tokio::test]
async fn who_unsubscribed_hears_no_more_until_it_subscribes_again() {
    let host = Setup::echo().start();
    let (mut one, first) = begun(&host).await.unwrap();
    let mut other = Client::connect(&host, "alice").await.unwrap();
    subscribe(&mut other, first.thread(), last(&first)).await.unwrap();
    other.send(&json!({ "type": "unsubscribe", "thread_id": first.thread() })).await.unwrap();
    hears_nothing(&mut other).await.unwrap();

    let second = one.run_with("second", json!({ "thread_id": first.thread() })).await.unwrap();
    hears_nothing(&mut other).await.unwrap();

    subscribe(&mut other, first.thread(), last(&first)).await.unwrap();
    for event in &second.events {
        assert_eq!(&other.event().await.unwrap(), event, "nothing was lost meanwhile");
    }
}

#[tokio::test]
async fn a_position_beyond_the_end_is_of_another_life() {
    let host = Setup::echo().start();
    let (mut client, run) = begun(&host).await.unwrap();
    let subscribed = subscribe(&mut client, run.thread(), last(&run) + 1).await.unwrap();
    assert_eq!((&subscribed["recovered"], &subscribed["reason"]), (&false.into(), &"epoch".into()));
    assert_eq!(subscribed["from_seq"].as_u64(), Some(last(&run) + 1), "live from the head: {subscribed}");
    client.run_with("goes on", json!({ "thread_id": run.thread() })).await.unwrap();
}

#[tokio::test]
async fn an_ack_is_taken_without_a_word() {
    let host = Setup::echo().start();
    let (mut client, run) = begun(&host).await.unwrap();
    for (thread, seq) in [(run.thread(), last(&run)), (run.thread(), 1), (run.thread(), 999), ("not-mine", 1)]
    {
        client.send(&json!({ "type": "ack", "thread_id": thread, "seq": seq })).await.unwrap();
    }
    hears_nothing(&mut client).await.unwrap();
}

#[tokio::test]
async fn another_user_s_thread_is_not_there() {
    let host = Setup::echo().start();
    let (_alice, run) = begun(&host).await.unwrap();
    let mut bob = Client::connect(&host, "bob").await.unwrap();
    bob.send(&json!({ "type": "subscribe", "thread_id": run.thread() })).await.unwrap();
    bob.expect_error("thread.not_found").await.unwrap();
    bob.say("hello", json!({ "thread_id": run.thread() })).await.unwrap();
    bob.expect_error("thread.not_found").await.unwrap();
}
