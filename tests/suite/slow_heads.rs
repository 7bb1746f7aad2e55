//! Connections that are opened and not used: heads that drip, that stop half-way, that never come, and ten thousand
//! that come and go. The host closes them, serves the others, and keeps nothing of them.

use std::time::Duration;

use futures_util::{StreamExt as _, TryStreamExt as _, future::try_join_all, stream};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};

use crate::{
    client::Client,
    harness::{
        Host, PATIENCE, Setup, eventually, http,
        metrics::Metrics,
        vitals::{Vitals, no_descriptor_is_left},
    },
    scenario::ready,
};

/// How slow heads are slow.
#[derive(Debug, Clone, Copy)]
enum Slow {
    /// Says nothing.
    Mute,
    /// Stops in the midst of a header.
    Halts,
    /// Goes on with a byte at a time.
    Drips,
    /// Had an answer, and asks no more.
    Lingers,
}

/// The host gives a head 10 s; beyond this it has no limit at all.
const CLOSED_WITHIN: Duration = Duration::from_secs(25);

/// Opens one, and waits until the host has had enough.
async fn until_closed(host: &Host, slow: Slow) -> Result<(), String> {
    let mut socket = TcpStream::connect(host.address).await.map_err(|e| format!("connect: {e}"))?;
    let said: &[u8] = match slow {
        Slow::Mute => b"",
        Slow::Halts | Slow::Drips => b"GET /ws HTTP/1.1\r\nHost: h\r\nUpgrade: webso",
        Slow::Lingers => b"GET /live HTTP/1.1\r\nHost: h\r\n\r\n",
    };
    socket.write_all(said).await.map_err(|e| format!("write: {e}"))?;
    let (mut reader, mut writer) = socket.split();
    let closed = async {
        let mut answer = Vec::new();
        // A reset is an end too.
        let _ = reader.read_to_end(&mut answer).await;
    };
    let drip = async {
        let mut beat = tokio::time::interval(Duration::from_millis(300));
        loop {
            beat.tick().await;
            if matches!(slow, Slow::Drips) && writer.write_all(b"c").await.is_err() {
                // The host has had enough; the end follows.
                std::future::pending::<()>().await;
            }
        }
    };
    let ended = timeout(CLOSED_WITHIN, async {
        tokio::select! { () = closed => (), () = drip => () }
    })
    .await;
    ended.map_err(|_| format!("still open after {CLOSED_WITHIN:?}: {slow:?}"))
}

async fn slow_heads_are_closed(host: &Host) -> Result<(), String> {
    ready(host).await?;
    let before = Vitals::of(host)?;
    let kinds = [Slow::Mute, Slow::Halts, Slow::Drips, Slow::Lingers];
    let slow = try_join_all((0..400).map(|at| until_closed(host, kinds[at % 4])));
    let others = async {
        let mut client = Client::connect(host, "alice").await?;
        for _ in 0..50 {
            client.run("meanwhile").await?.answered_by("echo")?;
        }
        client.close().await
    };
    tokio::try_join!(slow, others)?;
    no_descriptor_is_left(host, &before).await
}

twin! {
    slow_heads(slow_heads_are_closed) on Setup::echo().set("limits.messages_per_minute", "0");
    faults ""; broken by "gateway.head_deadline=off", says "still open"
}

/// Comes and goes, each time in another way.
async fn pass_by(host: &Host, at: usize) -> Result<(), String> {
    match at % 5 {
        0 => drop(TcpStream::connect(host.address).await.map_err(|e| e.to_string())?),
        1 => {
            let mut socket = TcpStream::connect(host.address).await.map_err(|e| e.to_string())?;
            socket.write_all(b"GET /ws HTTP/1.1\r\nHost: h\r\nUpg").await.map_err(|e| e.to_string())?;
        }
        2 => drop(http::upgrade(host.address, Some("no token at all")).await?),
        // Gone without a close.
        3 => drop(Client::connect_within(host.address, &format!("passer-{at}"), PATIENCE).await?),
        _ => {
            let client = Client::connect_within(host.address, "regular", PATIENCE).await?;
            client.close().await?;
        }
    }
    Ok(())
}

async fn passers_by(host: &Host, count: usize) -> Result<(), String> {
    stream::iter(0..count).map(|at| pass_by(host, at)).buffer_unordered(24).try_collect::<Vec<()>>().await?;
    eventually("they are gone", async || match Metrics::of(host).await?.sum("agent_host_connections") {
        0.0 => Ok(()),
        open => Err(format!("{open} connections")),
    })
    .await
}

async fn nothing_is_kept_of(host: &Host, count: usize) -> Result<(), String> {
    ready(host).await?;
    // What is allocated once is there after these.
    passers_by(host, 2_000).await?;
    let before = Vitals::of(host)?;
    passers_by(host, count).await?;
    let after = eventually("descriptors and threads are as before", async || {
        let now = Vitals::of(host)?;
        let same = now.descriptors <= before.descriptors + 2 && now.threads <= before.threads;
        if same { Ok(now) } else { Err(format!("{before:?} before, {now:?} now")) }
    })
    .await?;
    println!("{count} passed by: {before:?} → {after:?}");
    // A KiB kept of each would be more.
    match after.resident_kib < before.resident_kib * 12 / 10 + 2_048 {
        true => Ok(()),
        false => Err(format!("memory is kept: {before:?} before, {after:?} now")),
    }
}

fn open_house() -> Setup {
    Setup::echo().set("limits.connections_per_user", "0").set("limits.auth_failures_per_minute", "0")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_kept_of_ten_thousand_that_came_and_went() {
    let host = open_house().start();
    assert_eq!(nothing_is_kept_of(&host, 10_000).await, Ok(()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes minutes: a part of the long form"]
async fn nothing_is_kept_of_a_hundred_thousand_that_came_and_went() {
    let host = open_house().start();
    assert_eq!(nothing_is_kept_of(&host, 100_000).await, Ok(()));
}
