//! Nothing outlives its worker, and no worker its host: not by another session, not by a double fork.

use std::path::Path;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;

use crate::{
    client::Client,
    harness::{Host, eventually},
    sandbox::{attempt, own_folder, setup},
    scenario::ready,
};

/// Processes that work in a folder: those of a plugin, wherever they have gone.
fn working_in(folder: &Path) -> Vec<Pid> {
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let there = |pid: &i32| std::fs::read_link(format!("/proc/{pid}/cwd")).is_ok_and(|cwd| cwd == folder);
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    pids.filter(there).filter_map(Pid::from_raw).collect()
}

/// Answers once none of these is left; ends those that are.
async fn none_left(folder: &Path) -> Result<(), String> {
    let gone =
        eventually("nothing works in the plugin's folder", async || match working_in(folder).as_slice() {
            [] => Ok(()),
            left => Err(format!("left behind: {left:?}")),
        })
        .await;
    for pid in working_in(folder) {
        let _ = kill_process(pid, Signal::KILL);
    }
    gone
}

/// A process that the plugin left behind, in another session and without a parent, while its worker lives.
async fn leave_one_behind(host: &Host, client: &mut Client) -> Result<(), String> {
    let said = attempt(client, "double-fork").await?;
    let folder = own_folder(host, "bad");
    match working_in(&folder).len() {
        // The worker, and what it left.
        two if two >= 2 => Ok(()),
        other => Err(format!("the attack did not work: {said}; {other} processes")),
    }
}

/// A host that is killed takes everything along.
async fn a_killed_host_leaves_nothing(host: &Host) -> Result<(), String> {
    ready(host).await?;
    let mut client = Client::connect(host, "mallory").await?;
    leave_one_behind(host, &mut client).await?;
    host.signal(Signal::KILL);
    none_left(&own_folder(host, "bad")).await
}

/// A worker that dies takes everything along; the next generation is another.
async fn a_dead_worker_leaves_nothing(host: &Host) -> Result<(), String> {
    ready(host).await?;
    let mut client = Client::connect(host, "mallory").await?;
    let folder = own_folder(host, "bad");
    leave_one_behind(host, &mut client).await?;
    let before = working_in(&folder);
    client.run_with("!segv", json!({ "agent": "bad" })).await?;
    let gone = eventually("what the worker left is gone", async || {
        let left: Vec<_> = working_in(&folder).into_iter().filter(|pid| before.contains(pid)).collect();
        if left.is_empty() { Ok(()) } else { Err(format!("left behind: {left:?}")) }
    })
    .await;
    for pid in working_in(&folder).into_iter().filter(|pid| before.contains(pid)) {
        let _ = kill_process(pid, Signal::KILL);
    }
    gone
}

twin! {
    the_namespace_ends_what_a_killed_host_leaves(a_killed_host_leaves_nothing) on setup();
    faults "sandbox.seccomp=off";
    broken by "sandbox.namespace=off", says "left behind"
}

twin! {
    the_namespace_ends_what_a_worker_leaves(a_dead_worker_leaves_nothing) on setup();
    faults "sandbox.seccomp=off";
    broken by "sandbox.namespace=off", says "left behind"
}
