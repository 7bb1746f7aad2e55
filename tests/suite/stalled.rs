//! A hundred clients that do not read, among a thousand: each is given up as a slow consumer and may resume, the others
//! are answered, and what the host holds for the hundred is bounded.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::{Duration, Instant},
};

use futures_util::{
    StreamExt as _, TryStreamExt as _,
    future::try_join_all,
    stream::{self, FuturesUnordered},
};
use serde_json::{Value, json};

use crate::{
    client::{Client, Run},
    harness::{Host, PATIENCE, Plugin, Setup, crowd, metrics::Metrics, vitals::Vitals, within},
    scenario::ready,
};

/// Who reads, and who does not.
#[derive(Clone, Copy)]
struct Crowd {
    reading: usize,
    stalled: usize,
}

/// What the host may hold for one of them: 1 MiB that waits in its queue, a page of the log and its frames.
const HELD_KIB: u64 = 2 * 1024;
/// Of the thread that they follow. Three events each: several times what the kernel takes for a connection.
const MESSAGES: usize = 20;
const LETTERS: usize = 200_000;

fn setup() -> Setup {
    Setup::new()
        .plugin(Plugin::echo().key("limits", "{ concurrent_runs = 1000 }"))
        .set("limits.messages_per_minute", "0")
        .set("limits.connections_per_user", "0")
        .set("limits.connections", "0")
        .set("limits.frame_bytes", "\"256KiB\"")
}

/// A thread that is long; the last of its runs.
async fn long_thread(host: &Host) -> Result<Run, String> {
    let mut writer = Client::connect(host, "fat").await?.one_of_many();
    let letters = "x".repeat(LETTERS);
    let mut run = writer.run(&letters).await?;
    for _ in 1..MESSAGES {
        run = writer.run_with(&letters, json!({ "thread_id": run.thread() })).await?;
    }
    Ok(run)
}

fn subscribe(to: &Run, after: u64) -> Value {
    json!({
        "type": "subscribe", "thread_id": to.thread(), "after_seq": after, "epoch": to.accepted["epoch"],
    })
}

/// Each says something; how long the slowest in a hundred waited.
async fn all_are_answered(readers: &mut [Client]) -> Result<Duration, String> {
    let talks = readers.iter_mut().enumerate().map(async |(at, client)| {
        // As people do: not all at once.
        client.idle(Duration::from_millis(4 * at as u64)).await?;
        let began = Instant::now();
        client.run("hello").await?.answered_by("echo")?;
        Ok::<_, String>(began.elapsed())
    });
    let mut waits = try_join_all(talks).await?;
    waits.sort();
    Ok(waits[(waits.len() - 1) * 99 / 100])
}

/// Does this while the readers are attended.
async fn while_they_idle<T>(
    readers: &mut [Client],
    work: impl Future<Output = Result<T, String>>,
) -> Result<T, String> {
    let mut attended: FuturesUnordered<_> = readers.iter_mut().map(Client::attend).collect();
    tokio::select! {
        done = work => done,
        Some(end) = attended.next() => Err(format!("a reader was given up: {end}")),
    }
}

async fn stalls_harm_nobody(host: &Host, crowd: Crowd) -> Result<(), String> {
    ready(host).await?;
    let thread = long_thread(host).await?;
    let head = thread.events.last().and_then(|last| last["seq"].as_u64()).unwrap_or(0);
    let mut readers =
        crowd::gather(host.address, "reader", crowd.reading, async |_, client| Ok(client)).await?;
    let p99_before = all_are_answered(&mut readers).await?;
    let before = Vitals::of(host)?;

    let stall = async {
        let mut stalled = Vec::new();
        for _ in 0..crowd.stalled {
            let mut client = Client::connect_within(host.address, "fat", PATIENCE).await?.one_of_many();
            client.send(&subscribe(&thread, 0)).await?;
            stalled.push(client);
        }
        Ok(stalled)
    };
    let stalled = while_they_idle(&mut readers, stall).await?;
    let p99_during = all_are_answered(&mut readers).await?;
    let most = AtomicU64::new(before.resident_kib);
    // Tens of megabytes for each have to be read and written first, as far as a connection takes them.
    let given_up = within(PATIENCE * 6, "each is given up as slow", async || {
        most.fetch_max(Vitals::of(host)?.resident_kib, Ordering::Relaxed);
        let metrics = Metrics::of(host).await?;
        let closed = metrics.sum("agent_host_connections_closed_total{code=\"4404\"");
        match closed == crowd.stalled as f64 {
            true => Ok(()),
            false => Err(format!("{closed} of {} closed with 4404", crowd.stalled)),
        }
    });
    while_they_idle(&mut readers, given_up).await?;
    let held = most.into_inner() - before.resident_kib;
    println!(
        "{} stalled: p99 of the others {p99_before:?} before, {p99_during:?} during; {} KiB held for each",
        crowd.stalled,
        held / crowd.stalled as u64
    );
    if held > HELD_KIB * crowd.stalled as u64 {
        return Err(format!("too much is held for those who do not read: {held} KiB"));
    }

    let p99_after = all_are_answered(&mut readers).await?;
    println!("p99 of the others afterwards: {p99_after:?}");

    // What each of them got before, and the rest over a new connection, is the whole thread.
    let all_come_back = stream::iter(stalled)
        .map(|client| comes_back(host, client, &thread, head))
        .buffer_unordered(8)
        .try_collect::<Vec<()>>();
    while_they_idle(&mut readers, all_come_back).await?;
    all_are_answered(&mut readers).await.map(drop)
}

/// Reads what it was sent before it was given up, and resumes behind that.
async fn comes_back(host: &Host, mut stalled: Client, thread: &Run, head: u64) -> Result<(), String> {
    let mut seen = 0;
    while let Ok(seq) = stalled.skim().await {
        seen = next(seen, seq)?;
    }
    let mut back = Client::connect_within(host.address, "fat", PATIENCE).await?.one_of_many();
    back.send(&subscribe(thread, seen)).await?;
    let subscribed = back.expect("subscribed").await?;
    if subscribed["recovered"] != true || seen >= head {
        return Err(format!("not resumed after {seen} of {head}: {subscribed}"));
    }
    while seen < head {
        seen = next(seen, back.skim().await?)?;
    }
    Ok(())
}

fn next(seen: u64, seq: u64) -> Result<u64, String> {
    if seq == seen + 1 { Ok(seq) } else { Err(format!("{seq} follows {seen}")) }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_stalled_readers_among_a_thousand_harm_nobody() {
    let host = setup().start();
    let found = stalls_harm_nobody(&host, Crowd { reading: 900, stalled: 100 }).await;
    assert_eq!(found, Ok(()), "the host said:\n{}", host.said());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_scenario_is_red_for_a_host_whose_pages_have_any_size() {
    let host = setup().failpoints("engine.page_bytes=off").start();
    let found = stalls_harm_nobody(&host, Crowd { reading: 50, stalled: 40 }).await;
    let objection = found.expect_err("content with a broken host");
    assert!(objection.contains("too much is held"), "red for another reason: {objection}");
}
