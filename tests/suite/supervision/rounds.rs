//! Crash and restart, again and again: memory, descriptors, threads and the process table stay as they were.

use serde_json::json;

use super::served_in;
use crate::{
    client::Client,
    harness::{Host, Plugin, Setup, eventually},
    scenario::ready,
};

/// So many plugins crash side by side: each has its own pauses, and a round of one takes about half a second.
fn setup(plugins: usize) -> Setup {
    let setup = Setup::new().set("limits.messages_per_minute", "0").set("limits.runs_at_once", "0");
    (0..plugins).fold(setup, |setup, n| {
        let restart = "{ max = 10000, within = \"1s\" }";
        setup.plugin(Plugin::misbehaving(&format!("bad{n}")).key("restart", restart))
    })
}

/// What a process holds.
#[derive(Debug, Clone, Copy)]
struct Held {
    resident_kib: u64,
    descriptors: usize,
    threads: u64,
    zombies: usize,
}

impl Held {
    fn by(pid: u32) -> Option<Self> {
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
        let field = |name: &str| -> Option<u64> {
            let line = status.lines().find(|line| line.starts_with(name))?;
            line.split_whitespace().nth(1)?.parse().ok()
        };
        Some(Self {
            resident_kib: field("VmRSS:")?,
            descriptors: std::fs::read_dir(format!("/proc/{pid}/fd")).ok()?.count(),
            threads: field("Threads:")?,
            zombies: zombies_of(pid),
        })
    }
}

fn zombies_of(pid: u32) -> usize {
    let Ok(processes) = std::fs::read_dir("/proc") else { return 0 };
    let stats = processes.filter_map(|entry| std::fs::read_to_string(entry.ok()?.path().join("stat")).ok());
    let zombie = |stat: &String| {
        let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
        fields.first() == Some(&"Z") && fields.get(1).and_then(|p| p.parse().ok()) == Some(pid)
    };
    stats.filter(zombie).count()
}

async fn rounds(host: &Host, plugins: usize, each: usize) -> Result<(), String> {
    let one = async |n: usize| {
        let plugin = format!("bad{n}");
        let mut client = Client::connect(host, &plugin).await?;
        // One conversation: what a thousand of them hold while they are open is another matter.
        let first = client.run_with("!think-segv", json!({ "agent": plugin })).await?;
        let in_it = json!({ "agent": plugin, "thread_id": first.thread() });
        served_in(&mut client, &plugin, &in_it).await?;
        for _ in 1..each {
            client.run_with("!think-segv", in_it.clone()).await?;
            served_in(&mut client, &plugin, &in_it).await?;
        }
        Ok::<_, String>(())
    };
    futures_util::future::try_join_all((0..plugins).map(one)).await.map(drop)
}

/// Rounds to warm up, and then as many that must leave nothing. The first ones fill what the allocator keeps: each start
/// reads a whole library, and many do so at once.
async fn nothing_piles_up(host: &Host, plugins: usize, each: usize, kib: u64) -> Result<(), String> {
    ready(host).await?;
    rounds(host, plugins, each).await?;
    let settled = async || Held::by(host.pid()).ok_or("no such process".to_owned());
    let before = eventually("the warm-up is over", async || {
        let held = settled().await?;
        if held.zombies == 0 { Ok(held) } else { Err(format!("zombies: {held:?}")) }
    })
    .await?;
    rounds(host, plugins, each).await?;
    let after = eventually("all is as before", async || {
        let held = settled().await?;
        let same = held.zombies == 0
            && held.descriptors <= before.descriptors + 2
            && held.threads <= before.threads + 2
            && held.resident_kib <= before.resident_kib + kib;
        if same { Ok(held) } else { Err(format!("before {before:?}, after {held:?}")) }
    })
    .await?;
    println!("{} rounds and as many before: before {before:?}, after {after:?}", plugins * each);
    Ok(())
}

async fn sixty_rounds(host: &Host) -> Result<(), String> {
    // Thirty rounds after thirty: a leak of a library a round would be far more, as would one of a worker's buffers.
    nothing_piles_up(host, 6, 5, 16 * 1024).await
}

twin! {
    crash_rounds(sixty_rounds) on setup(6);
    faults ""; broken by "runtime.reap=off", says "zombies"
}

#[tokio::test]
#[ignore = "long: a thousand rounds of crash and restart, after a thousand to warm up"]
async fn a_thousand_rounds_leave_nothing_behind() {
    let host = setup(20).start();
    // A thousand rounds after a thousand: a leak of a worker's buffers would be far more.
    nothing_piles_up(&host, 20, 50, 32 * 1024).await.unwrap();
}
