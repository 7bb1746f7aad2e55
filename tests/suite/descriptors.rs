//! A flood of connections against a host that may have few descriptors: it waits instead of spinning, its operators and
//! the clients that are there notice nothing, and when the flood leaves all is as before.

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use serde_json::json;
use tokio::net::TcpStream;

use crate::{
    client::Client,
    harness::{
        Host, Setup, eventually, http,
        vitals::{Vitals, no_descriptor_is_left},
    },
    scenario::ready,
};

/// What the host may have: far less than the flood.
const DESCRIPTORS: u32 = 96;
const FLOOD: usize = 300;
/// For how long its time on a core is looked at, at least.
const LOOK: Duration = Duration::from_secs(2);

fn setup() -> Setup {
    Setup::echo().open_files(DESCRIPTORS)
}

/// Operators get their answers.
async fn operators_are_answered(host: &Host) -> Result<(), String> {
    for page in ["/live", "/ready", "/metrics"] {
        let answer = http::get(host.admin, page, &[("Connection", "close")], Duration::from_secs(8)).await;
        match answer {
            Ok(answer) if answer.status == 200 => {}
            other => return Err(format!("operators are locked out of {page}: {other:?}")),
        }
    }
    Ok(())
}

async fn withstands_a_flood(host: &Host) -> Result<(), String> {
    ready(host).await?;
    let mut client = Client::connect(host, "alice").await?;
    let first = client.run("before").await?;
    let before = Vitals::of(host)?;

    // The kernel completes them; whether the host takes them is its own affair.
    let flood: Vec<_> = join_all((0..FLOOD).map(|_| TcpStream::connect(host.address))).await;
    operators_are_answered(host).await?;
    let (begin, began) = (Vitals::of(host)?, Instant::now());
    // Not to wait for anything: this is the time over which its work is measured.
    tokio::time::sleep(LOOK).await;
    let spent = Vitals::of(host)?.cpu.saturating_sub(begin.cpu);
    let look = began.elapsed();
    operators_are_answered(host).await?;
    client.run_with("meanwhile", json!({ "thread_id": first.thread() })).await?.answered_by("echo")?;
    println!("{FLOOD} connections: {spent:?} on a core in {look:?}, {} descriptors", begin.descriptors);
    if spent > look / 2 {
        return Err(format!("it spins: {spent:?} on a core in {look:?}"));
    }

    drop(flood);
    eventually("the doors are open again", async || {
        let mut late = Client::connect(host, "late").await?;
        late.run("after").await?.answered_by("echo")?;
        late.close().await.map(drop)
    })
    .await?;
    no_descriptor_is_left(host, &before).await
}

twin! {
    a_flood_of_connections(withstands_a_flood) on setup();
    faults ""; broken by "gateway.descriptors=off", says "locked out"
}
