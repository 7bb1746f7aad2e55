//! One person follows thousands of threads: those at rest cost next to nothing, more than allowed is refused to that
//! person alone, and whoever is there beside is answered meanwhile.

use futures_util::future::{select_all, try_join_all};
use serde_json::{Value, json};

use crate::{
    client::Client,
    harness::{Host, PATIENCE, Setup, eventually, metrics::Metrics, vitals::Vitals, within},
    scenario::ready,
};

/// New threads at a time: fewer than an agent takes runs at once.
const AT_ONCE: usize = 32;
/// Of a followed thread at rest, in bytes of resident memory: its names in a few maps, and what the allocator keeps. A
/// task of its own is 40 KiB.
const AT_REST: u64 = 8 * 1024;

fn setup(subscriptions: u32) -> Setup {
    Setup::echo()
        .set("limits.messages_per_minute", "0")
        .set("limits.runs_at_once", "0")
        .set("limits.threads_per_user", "0")
        .set("limits.subscriptions_per_user", &subscriptions.to_string())
}

/// A thread that was opened, and the end of its log.
#[derive(Clone)]
struct Thread {
    id: String,
    last: u64,
}

/// A connection that collects threads.
struct Collector {
    client: Client,
    threads: Vec<Thread>,
}

impl Collector {
    async fn connect(host: &Host) -> Result<Self, String> {
        Ok(Self { client: Client::connect(host, "collector").await?.one_of_many(), threads: Vec::new() })
    }

    /// Opens so many more, each by a message; somebody else says something now and then.
    async fn open(&mut self, count: usize, other: &mut Client) -> Result<(), String> {
        for begun in (0..count).step_by(AT_ONCE) {
            let batch = AT_ONCE.min(count - begun);
            for _ in 0..batch {
                self.client.say("another one", json!({})).await?;
            }
            let mut open = batch;
            while open > 0 {
                let frame = self.client.next().await?;
                match frame["type"].as_str() {
                    Some("agent_completed") => {
                        open -= 1;
                        let id = frame["thread_id"].as_str().unwrap_or_default().to_owned();
                        self.threads.push(Thread { id, last: frame["seq"].as_u64().unwrap_or_default() });
                    }
                    Some("error") => return Err(format!("refused: {frame}")),
                    _ => {}
                }
            }
            other.run("meanwhile").await?.answered_by("echo")?;
        }
        Ok(())
    }

    /// Follows what another connection opened.
    async fn follow(&mut self, threads: &[Thread]) -> Result<(), String> {
        for batch in threads.chunks(AT_ONCE) {
            for thread in batch {
                self.client.send(&subscribe(thread)).await?;
            }
            for _ in batch {
                self.client.expect("subscribed").await?;
            }
        }
        Ok(())
    }
}

fn subscribe(thread: &Thread) -> Value {
    json!({ "type": "subscribe", "thread_id": thread.id, "after_seq": thread.last })
}

/// Waits until so many threads are followed and none of them has a task any more.
async fn at_rest(host: &Host, followed: usize) -> Result<(), String> {
    // A thread rests after ten seconds.
    within(2 * PATIENCE, "the threads are at rest", async || {
        let metrics = Metrics::of(host).await?;
        let now = (metrics.sum("agent_host_threads_followed"), metrics.sum("agent_host_thread_tasks"));
        match now == (followed as f64, 0.0) {
            true => Ok(()),
            false => Err(format!("{} followed, {} tasks; {followed} were opened", now.0, now.1)),
        }
    })
    .await
}

/// `count` threads are followed on each of `connections`; what one of them costs.
async fn threads_are_collected(host: &Host, count: usize, connections: usize) -> Result<(), String> {
    ready(host).await?;
    let mut other = Client::connect(host, "other").await?.one_of_many();
    let hello = other.run("hello").await?;
    other.send(&json!({ "type": "unsubscribe", "thread_id": hello.thread() })).await?;
    let mut collector = Collector::connect(host).await?;
    // What is allocated once is there after these.
    collector.open(count / 4, &mut other).await?;
    other = Client::connect(host, "other").await?.one_of_many();
    tokio::select! {
        rested = at_rest(host, count / 4) => rested?,
        end = collector.client.attend() => return Err(format!("it was given up: {end}")),
    }
    let before = Vitals::of(host)?;
    collector.open(count - count / 4, &mut other).await?;
    drop(other);
    let threads = collector.threads.clone();
    let followers = (1..connections).map(async |_| {
        let mut one = Collector::connect(host).await?;
        one.follow(&threads).await?;
        Ok::<_, String>(one)
    });
    let mut more = tokio::select! {
        more = try_join_all(followers) => more?,
        end = collector.client.attend() => return Err(format!("it was given up: {end}")),
    };
    let everybody = more.iter_mut().chain([&mut collector]).map(|one| Box::pin(one.client.attend()));
    tokio::select! {
        rested = at_rest(host, count * connections) => rested?,
        (end, ..) = select_all(everybody) => return Err(format!("one was given up: {end}")),
    }
    let held = Vitals::of(host)?.resident_kib.saturating_sub(before.resident_kib);
    let each = 1024 * held / (count * connections - count / 4) as u64;
    println!(
        "{count} threads followed by {connections} connections: {each} bytes each; {before:?}, +{held} KiB"
    );
    if each > AT_REST {
        return Err(format!("a thread at rest costs {each} bytes"));
    }

    // Each is there as soon as something happens in it, for all who follow it.
    let thread = collector.threads[count / 2].clone();
    collector
        .client
        .run_with("still there?", json!({ "thread_id": thread.id }))
        .await?
        .answered_by("echo")?;
    for one in &mut more {
        one.client.until("agent_completed").await?;
    }
    drop((collector, more));
    at_rest(host, 0).await
}

twin! {
    a_thousand_followed_threads(a_thousand_are_collected) on setup(3_000);
    faults ""; broken by "engine.retire=off", says "tasks"
}

async fn a_thousand_are_collected(host: &Host) -> Result<(), String> {
    threads_are_collected(host, 1_000, 3).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes minutes: a part of the long form"]
async fn a_million_subscriptions_of_one_user_are_borne() {
    let host = setup(0).start();
    let found = threads_are_collected(&host, 50_000, 20).await;
    assert_eq!(found, Ok(()), "the host said:\n{}", host.said());
}

/// As many as allowed, over two connections; then no more, for that user.
async fn further_ones_are_refused(host: &Host) -> Result<(), String> {
    ready(host).await?;
    let mut other = Client::connect(host, "other").await?;
    let mut one = Collector::connect(host).await?;
    one.open(8, &mut other).await?;
    let mut two = Collector::connect(host).await?;
    two.follow(&one.threads[..2]).await?;
    for refused in [subscribe(&one.threads[2]), json!({ "type": "user_message", "content": "one more" })] {
        two.client.send(&refused).await?;
        let answer = two.client.next().await?;
        if answer["code"] != "limit.subscriptions" {
            return Err(format!("not refused: {answer}"));
        }
    }
    // In what it follows it is answered, and so is everybody else.
    two.client.run_with("on", json!({ "thread_id": one.threads[0].id })).await?.answered_by("echo")?;
    other.run("hello").await?.answered_by("echo")?;
    // What one connection gives up, by a word or by its end, another may have.
    one.client.send(&json!({ "type": "unsubscribe", "thread_id": one.threads[7].id })).await?;
    one.client.send(&json!({ "type": "ping" })).await?;
    one.client.until("pong").await?;
    two.follow(&one.threads[2..3]).await?;
    drop(one.client);
    eventually("the places of a connection that is gone are free", async || {
        let metrics = Metrics::of(host).await?;
        match metrics.sum("agent_host_threads_followed") {
            left if left <= 5.0 => Ok(()),
            left => Err(format!("{left} followed")),
        }
    })
    .await?;
    two.follow(&one.threads[3..8]).await
}

twin! {
    more_threads_than_one_may_follow(further_ones_are_refused) on setup(10);
    faults ""; broken by "engine.subscriptions=off", says "not refused"
}
