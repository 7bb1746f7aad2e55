//! SIGTERM with a thousand sockets and a hundred runs, some of the clients deaf: not ready at once, everybody told and
//! spread, runs ended in order, every socket closed with 1012, exit 0 within the grace.

use std::{collections::BTreeSet, time::Duration};

use rustix::process::Signal;
use serde_json::json;
use tokio::task::JoinHandle;

use crate::{
    client::{Client, End},
    harness::{Host, PATIENCE, Plugin, Setup, clock::Moment, crowd, http, tokens},
    scenario::ready,
};

/// Who is connected when the signal comes.
#[derive(Clone, Copy)]
struct Crowd {
    /// They wait, and read.
    idle: usize,
    /// Each has a run that ends only when it is ended.
    busy: usize,
    /// They neither read nor answer any more.
    deaf: usize,
}

const GRACE: Duration = Duration::from_secs(8);
/// What a platform adds to the grace before it kills: Cloud Run 2 s to 8 s, systemd and Kubernetes far more.
const ADDED: Duration = Duration::from_secs(2);

fn setup() -> Setup {
    let plugin = Plugin::misbehaving("bad")
        .key("timeouts", "{ init = \"30s\", idle = \"60s\", run = \"60s\" }")
        .key("limits", "{ concurrent_runs = 1000 }");
    Setup::new()
        .plugin(plugin)
        .set("drain.grace", &format!("\"{}s\"", GRACE.as_secs()))
        .set("limits.connections", "0")
}

/// What one client was told until its connection ended.
#[derive(Debug)]
struct Told {
    reconnect_after: Vec<u64>,
    /// The status of its run, if it had one.
    run: Option<String>,
    end: End,
}

async fn listen(mut client: Client) -> Told {
    let (mut reconnect_after, mut run) = (Vec::new(), None);
    loop {
        match client.next().await {
            Ok(frame) if frame["type"] == "going_away" => {
                reconnect_after.extend(frame["reconnect_after_ms"].as_u64());
            }
            Ok(frame) if frame["type"] == "agent_completed" => {
                run = frame["payload"]["status"].as_str().map(str::to_owned);
            }
            Ok(_) | Err(End::Silence) => {}
            Err(end) => return Told { reconnect_after, run, end },
        }
    }
}

async fn begin(mut client: Client) -> Result<Client, String> {
    client.say("!wait", json!({ "agent": "bad" })).await?;
    client.expect("accepted").await?;
    client.until("agent_thinking").await?;
    Ok(client)
}

async fn drains(host: &mut Host, crowd: Crowd) -> Result<(), String> {
    ready(host).await?;
    // First, so that it is their turn first when the sockets are closed.
    let deaf = crowd::gather(host.address, "deaf", crowd.deaf, async |_, client| Ok(client)).await?;
    // Read from the first moment on, so that nobody is taken for gone while the others come.
    let attend = |client| Ok(tokio::spawn(listen(client)));
    let idle: Vec<JoinHandle<Told>> =
        crowd::gather(host.address, "idle", crowd.idle, async |_, client| attend(client)).await?;
    let busy: Vec<JoinHandle<Told>> =
        crowd::gather(host.address, "busy", crowd.busy, async |_, client| attend(begin(client).await?))
            .await?;

    let signalled = Moment::now();
    host.signal(Signal::TERM);
    let refused = refuses(host).await?;
    let status = host.ended(GRACE + PATIENCE).await?;
    let took = signalled.elapsed();
    let (mut waits, mut told_late) = (BTreeSet::new(), 0);
    for (kind, listeners) in [("idle", idle), ("busy", busy)] {
        for listener in listeners {
            let told = listener.await.map_err(|e| e.to_string())?;
            let run_ended = kind == "idle" || told.run.as_deref() == Some("interrupted");
            if told.end != End::Closed(1012) || told.reconnect_after.len() != 1 || !run_ended {
                return Err(format!("not told in order: {kind}: {told:?}"));
            }
            told_late += usize::from(told.reconnect_after[0] > 2_500);
            waits.extend(told.reconnect_after);
        }
    }
    drop(deaf);
    let people = crowd.idle + crowd.busy;
    println!("{people} sockets, {} deaf: refused after {refused:?}, exit after {took:?}", crowd.deaf);
    // Half of them in each half of the time, and hardly two in the same millisecond.
    let spread = waits.len() * 3 > people.min(4_500) && (people / 4..people * 3 / 4).contains(&told_late);
    if !spread {
        return Err(format!("not spread: {} times, {told_late} of {people} late", waits.len()));
    }
    match status.code() == Some(0) && took < GRACE + ADDED {
        true => Ok(()),
        false => Err(format!("not in order: {status} after {took:?}")),
    }
}

/// Neither ready nor open, and says when to try again. Answers how soon that was so.
async fn refuses(host: &Host) -> Result<Duration, String> {
    let began = Moment::now();
    let ready = async || http::get(host.address, "/ready", &[], PATIENCE).await;
    // The signal takes its way through the kernel: there is no moment at which it must have arrived.
    while ready().await?.status != 503 {
        if began.elapsed() > GRACE {
            return Err("ready while it drains".to_owned());
        }
    }
    let refused = http::upgrade(host.address, Some(&tokens::of("late"))).await?;
    match (refused.status, refused.code(), refused.header("retry-after")) {
        (503, Ok(code), Some(_)) if code == "host.draining" => Ok(began.elapsed()),
        _ => Err(format!("a new connection while draining: {refused:?}")),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_sockets_and_a_hundred_runs_end_in_order() {
    let mut host = setup().start();
    let found = drains(&mut host, Crowd { idle: 900, busy: 100, deaf: 300 }).await;
    assert_eq!(found, Ok(()), "the host said:\n{}", host.said());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "ten thousand sockets: a part of the long form"]
async fn ten_thousand_sockets_end_in_order() {
    crowd::room_for(11_000);
    let mut host = setup().start();
    let found = drains(&mut host, Crowd { idle: 9_900, busy: 100, deaf: 1_000 }).await;
    assert_eq!(found, Ok(()), "the host said:\n{}", host.said());
}

/// A host that waits for each client's half of the close before it turns to the next lets some see 1006.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_scenario_is_red_for_a_host_that_waits_for_the_deaf() {
    let mut host = setup().failpoints("gateway.close.turn=off").start();
    let found = drains(&mut host, Crowd { idle: 200, busy: 10, deaf: 700 }).await;
    let objection = found.expect_err("content with a broken host");
    assert!(objection.contains("not told in order"), "red for another reason: {objection}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_signal_ends_at_once_whoever_is_there() {
    let mut host = setup().set("drain.grace", "\"600s\"").start();
    ready(&host).await.unwrap();
    let clients =
        crowd::gather(host.address, "busy", 100, async |_, client| begin(client).await).await.unwrap();
    host.signal(Signal::TERM);
    for mut client in clients {
        client.until("going_away").await.unwrap();
    }
    host.signal(Signal::TERM);
    // Far below the grace.
    host.ended(PATIENCE).await.unwrap();
}
