//! Everybody at once: after a restart a thousand clients come back in the same instant, each to its thread. All are
//! told what they missed, and all of it.

use std::{
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use futures_util::future::join_all;
use serde_json::{Value, json};
use tokio::sync::Barrier;

use crate::{
    client::Client,
    harness::{Host, PATIENCE, Setup, crowd},
    scenario::ready,
};

/// What a client knows of its thread, and what it missed.
struct Left {
    name: String,
    thread: String,
    epoch: Value,
    /// The last event that it has.
    after: u64,
    /// The events that it is to hear.
    missed: Vec<Value>,
}

/// When which step of a return was done.
#[derive(Debug, Clone, Copy)]
struct Back {
    welcomed: Duration,
    complete: Duration,
}

fn setup() -> Setup {
    Setup::echo().set("limits.connections", "0")
}

/// Talks, and leaves in the midst of it as far as it knows: a part of the last run is still to be told.
async fn leave(at: usize, mut client: Client) -> Result<Left, String> {
    let run = client.run("before").await?;
    // As different as clients are that were cut off at any moment; some have nothing at all yet.
    let had = at % (run.events.len() + 1);
    Ok(Left {
        name: crowd::name("herd", at),
        thread: run.thread().to_owned(),
        epoch: run.accepted["epoch"].clone(),
        after: had as u64,
        missed: run.events[had..].to_vec(),
    })
}

/// Comes back with all the others.
async fn come_back(host: SocketAddr, left: Left, together: Arc<Barrier>) -> Result<Back, String> {
    together.wait().await;
    let began = Instant::now();
    let mut client = Client::connect_within(host, &left.name, 3 * PATIENCE).await?.one_of_many();
    let welcomed = began.elapsed();
    client
        .send(&json!({
            "type": "subscribe", "thread_id": left.thread, "after_seq": left.after, "epoch": left.epoch,
        }))
        .await?;
    let subscribed = client.expect("subscribed").await?;
    if subscribed["recovered"] != true {
        return Err(format!("not recovered: {}: {subscribed}", left.name));
    }
    // It goes on at once: what is new must wait for what was missed. The client's laws hold the positions to be dense.
    let id = client.say("after", json!({ "thread_id": left.thread })).await?;
    let (mut told, mut run) = (Vec::new(), Value::Null);
    let mut complete = began.elapsed();
    while told.last().is_none_or(|last: &Value| last["type"] != "agent_completed" || last["run_id"] != run) {
        let frame = client.next().await?;
        match frame["type"].as_str() {
            Some("accepted") if frame["id"] == *id => run = frame["run_id"].clone(),
            Some("service_status") => {}
            _ => told.push(frame),
        }
        if told.len() == left.missed.len() {
            complete = began.elapsed();
        }
    }
    if !told.starts_with(&left.missed) {
        return Err(format!("told {told:?}, missed {:?}", left.missed));
    }
    Ok(Back { welcomed, complete })
}

async fn all_come_back(host: &mut Host, setup: &Setup, people: usize) -> Result<(), String> {
    ready(host).await?;
    let left = crowd::gather(host.address, "herd", people, leave).await?;
    host.start_again(setup);
    ready(host).await?;
    let together = Arc::new(Barrier::new(people));
    let returns =
        left.into_iter().map(|left| tokio::spawn(come_back(host.address, left, Arc::clone(&together))));
    let mut backs = Vec::new();
    for back in join_all(returns).await {
        backs.push(back.map_err(|e| e.to_string())??);
    }
    let sorted = |of: fn(&Back) -> Duration| {
        let mut all: Vec<Duration> = backs.iter().map(of).collect();
        all.sort();
        let at = |part: usize| all[(all.len() - 1) * part / 100];
        format!("p50 {:?}, p99 {:?}, last {:?}", at(50), at(99), at(100))
    };
    println!("{people} came back: welcome {}; complete {}", sorted(|b| b.welcomed), sorted(|b| b.complete));
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_clients_resume_at_once_and_all_are_recovered() {
    let setup = setup();
    let mut host = setup.start();
    let found = all_come_back(&mut host, &setup, 1_000).await;
    assert_eq!(found, Ok(()), "the host said:\n{}", host.said());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "five thousand clients: a part of the long form"]
async fn five_thousand_clients_resume_at_once_and_all_are_recovered() {
    crowd::room_for(6_000);
    let setup = setup();
    let mut host = setup.start();
    let found = all_come_back(&mut host, &setup, 5_000).await;
    assert_eq!(found, Ok(()), "the host said:\n{}", host.said());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_herd_is_red_for_a_host_that_does_not_replay() {
    let setup = setup().failpoints("engine.resume.replay=off");
    let mut host = setup.start();
    let objection = all_come_back(&mut host, &setup, 20).await.expect_err("content with a broken host");
    assert!(objection.contains("seq"), "red for another reason: {objection}");
}
