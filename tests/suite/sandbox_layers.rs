//! Each layer of the sandbox alone against an attack that it stops: the others that would stop it too are off, and with
//! the layer off as well the attack succeeds.

use std::os::unix::fs::PermissionsExt;

use crate::{
    client::Client,
    harness::{Host, Setup, eventually},
    sandbox::{NOBODY, attempt, is_alive, own_folder, setup},
    scenario::ready,
};

/// One attack is answered with a refusal.
async fn refused(host: &Host, attack: &str) -> Result<(), String> {
    ready(host).await?;
    let said = attempt(&mut Client::connect(host, "mallory").await?, attack).await?;
    if said.starts_with("refused: ") { Ok(()) } else { Err(format!("{attack}: {said}")) }
}

async fn the_host_is_not_killed(host: &Host) -> Result<(), String> {
    ready(host).await?;
    let mut client = Client::connect(host, "mallory").await?;
    // What is said of it does not matter, nor whether anybody is left to say it.
    let said = attempt(&mut client, &format!("kill {}", host.pid())).await;
    // A connection that broke may be a host that is dying just now: its end is waited for.
    for _ in 0..if said.is_err() { 2_000 } else { 1 } {
        if !is_alive(host.pid()) {
            return Err("the host was killed".to_owned());
        }
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    said.map(drop)
}

async fn the_configuration_is_not_read(host: &Host) -> Result<(), String> {
    refused(host, &format!("read {}/host.toml", host.folder().display())).await
}

async fn the_hosts_limits_are_its_own(host: &Host) -> Result<(), String> {
    refused(host, &format!("prlimit {}", host.pid())).await
}

async fn the_admin_listener_is_not_reached(host: &Host) -> Result<(), String> {
    refused(host, &format!("tcp {}", host.admin)).await
}

async fn no_datagram_is_sent(host: &Host) -> Result<(), String> {
    refused(host, "udp").await
}

async fn no_other_process_is_made(host: &Host) -> Result<(), String> {
    refused(host, "fork-bomb").await
}

async fn no_crowd_of_threads_is_made(host: &Host) -> Result<(), String> {
    refused(host, "thread-bomb").await
}

async fn address_space_is_bounded(host: &Host) -> Result<(), String> {
    refused(host, "reserve").await
}

async fn files_are_bounded(host: &Host) -> Result<(), String> {
    refused(host, "large-file").await
}

async fn an_abstract_socket_is_not_reached(host: &Host) -> Result<(), String> {
    use std::os::linux::net::SocketAddrExt as _;
    let name = format!("agent-host-suite-{}", host.pid());
    let address = std::os::unix::net::SocketAddr::from_abstract_name(&name).map_err(|e| e.to_string())?;
    let _door = std::os::unix::net::UnixListener::bind_addr(&address).map_err(|e| e.to_string())?;
    refused(host, &format!("abstract {name}")).await
}

/// A sibling of the same user does not open its memory.
async fn a_sibling_is_closed(host: &Host) -> Result<(), String> {
    ready(host).await?;
    let mut client = Client::connect(host, "mallory").await?;
    for worker in host.worker_ids() {
        let said = attempt(&mut client, &format!("open /proc/{worker}/mem")).await?;
        // One of them is itself.
        if said.starts_with("SUCCEEDED") && !is_itself(&mut client, worker).await? {
            return Err(format!("{worker}: {said}"));
        }
    }
    Ok(())
}

async fn is_itself(client: &mut Client, worker: u32) -> Result<bool, String> {
    let said = attempt(client, "read /proc/self/stat").await?;
    Ok(said.starts_with(&format!("SUCCEEDED: {worker} ")))
}

/// A file of another user, closed to all others, stays closed to a worker of root.
async fn anothers_file_is_closed(host: &Host) -> Result<(), String> {
    ready(host).await?;
    let file = host.folder().join("anothers");
    std::fs::write(&file, "private").map_err(|e| e.to_string())?;
    std::fs::set_permissions(&file, PermissionsExt::from_mode(0o600)).map_err(|e| e.to_string())?;
    if rustix::process::geteuid().is_root() {
        std::os::unix::fs::lchown(&file, Some(NOBODY - 1), Some(NOBODY - 1)).map_err(|e| e.to_string())?;
    }
    refused(host, &format!("read {}", file.display())).await
}

/// The kernel would choose a worker before the host.
async fn workers_go_before_the_host(host: &Host) -> Result<(), String> {
    ready(host).await?;
    for worker in host.worker_ids() {
        let score =
            std::fs::read_to_string(format!("/proc/{worker}/oom_score_adj")).map_err(|e| e.to_string())?;
        if score.trim() != "1000" {
            return Err(format!("the score of a worker is {}", score.trim()));
        }
    }
    Ok(())
}

/// A worker works in its own folder, so a bare name is a file of its own.
async fn a_bare_name_is_its_own(host: &Host) -> Result<(), String> {
    ready(host).await?;
    let mut client = Client::connect(host, "mallory").await?;
    let made = attempt(&mut client, "make a-bare-name").await?;
    let place = own_folder(host, "bad").join("a-bare-name");
    if place.exists() { Ok(()) } else { Err(format!("made elsewhere: {made}")) }
}

/// A worker whose threads are all kept busy cannot notice the end of its host: it is ended all the same.
async fn a_deaf_worker_ends_with_its_host(host: &Host) -> Result<(), String> {
    ready(host).await?;
    let workers = host.worker_ids();
    let mut client = Client::connect(host, "mallory").await?;
    client.say("!grow-deaf", serde_json::json!({ "agent": "bad" })).await?;
    let sign = own_folder(host, "bad").join("deaf");
    eventually("it is deaf", async || if sign.exists() { Ok(()) } else { Err("it still hears".to_owned()) })
        .await?;
    host.signal(rustix::process::Signal::KILL);
    let gone = eventually("the workers are gone", async || {
        let left: Vec<_> = workers.iter().filter(|pid| is_alive(**pid)).collect();
        if left.is_empty() { Ok(()) } else { Err(format!("{left:?} are left")) }
    })
    .await;
    for worker in workers.iter().filter(|pid| is_alive(**pid)) {
        let pid = i32::try_from(*worker).ok().and_then(rustix::process::Pid::from_raw);
        let _ = pid.map(|pid| rustix::process::kill_process(pid, rustix::process::Signal::KILL));
    }
    gone
}

/// As an ordinary user: some layers do not hold root, and say so.
fn of_a_user() -> Setup {
    setup().user(NOBODY)
}

twin! {
    seccomp_alone_saves_the_host(the_host_is_not_killed) on setup();
    faults "sandbox.namespace=off;sandbox.landlock_scopes=off";
    broken by "sandbox.seccomp=off", says "the host was killed"
}

twin! {
    the_namespace_alone_saves_the_host(the_host_is_not_killed) on setup();
    faults "sandbox.seccomp=off;sandbox.landlock_scopes=off";
    broken by "sandbox.namespace=off", says "the host was killed"
}

twin! {
    landlock_scopes_alone_save_the_host(the_host_is_not_killed) on setup();
    faults "sandbox.seccomp=off;sandbox.namespace=off";
    broken by "sandbox.landlock_scopes=off", says "the host was killed"
}

twin! {
    landlock_files_alone_keep_the_configuration(the_configuration_is_not_read) on setup();
    faults "sandbox.seccomp=off;sandbox.namespace=off";
    broken by "sandbox.landlock_files=off", says "SUCCEEDED"
}

twin! {
    seccomp_alone_keeps_the_hosts_limits(the_hosts_limits_are_its_own) on setup();
    faults "sandbox.namespace=off";
    broken by "sandbox.seccomp=off", says "SUCCEEDED"
}

twin! {
    seccomp_alone_refuses_datagrams(no_datagram_is_sent) on setup();
    faults "sandbox.namespace=off";
    broken by "sandbox.seccomp=off", says "SUCCEEDED"
}

twin! {
    seccomp_alone_stops_a_fork_bomb(no_other_process_is_made) on setup();
    faults "sandbox.process_limit=off;sandbox.cgroup=off";
    broken by "sandbox.seccomp=off", says "SUCCEEDED"
}

twin! {
    the_process_limit_alone_stops_a_fork_bomb(no_other_process_is_made) on of_a_user();
    faults "sandbox.seccomp=off;sandbox.cgroup=off";
    broken by "sandbox.process_limit=off", says "SUCCEEDED"
}

twin! {
    the_process_limit_alone_stops_a_thread_bomb(no_crowd_of_threads_is_made) on of_a_user();
    faults "sandbox.cgroup=off";
    broken by "sandbox.process_limit=off", says "SUCCEEDED"
}

twin! {
    landlock_network_alone_keeps_the_admin_listener(the_admin_listener_is_not_reached) on setup();
    faults "sandbox.seccomp=off";
    broken by "sandbox.landlock_network=off", says "SUCCEEDED"
}

twin! {
    landlock_scopes_alone_keep_abstract_sockets(an_abstract_socket_is_not_reached) on setup();
    faults "sandbox.seccomp=off";
    broken by "sandbox.landlock_scopes=off", says "SUCCEEDED"
}

twin! {
    the_memory_limit_bounds_address_space(address_space_is_bounded) on setup();
    faults "sandbox.cgroup=off";
    broken by "sandbox.memory_limit=off", says "SUCCEEDED"
}

twin! {
    resource_limits_bound_files(files_are_bounded) on setup();
    faults "sandbox.cgroup=off";
    broken by "sandbox.rlimits=off", says "SUCCEEDED"
}

twin! {
    being_hidden_closes_a_sibling(a_sibling_is_closed) on of_a_user();
    faults "sandbox.seccomp=off;sandbox.namespace=off;sandbox.landlock_files=off;sandbox.landlock_scopes=off;sandbox.landlock_network=off";
    broken by "sandbox.hidden=off", says "SUCCEEDED"
}

twin! {
    the_score_puts_workers_first(workers_go_before_the_host) on setup();
    faults "sandbox.cgroup=off";
    broken by "sandbox.oom_score=off", says "the score of a worker is 0"
}

twin! {
    the_working_folder_is_its_own(a_bare_name_is_its_own) on of_a_user();
    faults "sandbox.landlock_files=off";
    broken by "sandbox.working_folder=off", says "made elsewhere"
}

twin! {
    the_parent_death_signal_ends_a_deaf_worker(a_deaf_worker_ends_with_its_host) on setup();
    faults "sandbox.namespace=off";
    broken by "sandbox.parent_death_signal=off", says "are left"
}

/// Both need a host that is root: without one there is nothing to give up.
mod of_root {
    use super::*;

    const ALONE: &str =
        "sandbox.seccomp=off;sandbox.namespace=off;sandbox.landlock_files=off;sandbox.landlock_scopes=off";

    async fn held_and_broken(setup: Setup, layer: &str) {
        if !rustix::process::geteuid().is_root() {
            return;
        }
        let host = setup.clone().failpoints(ALONE).start();
        anothers_file_is_closed(&host).await.unwrap();
        let host = setup.failpoints(&format!("{ALONE};{layer}")).start();
        let objection = anothers_file_is_closed(&host).await.expect_err("the layer is off");
        assert!(objection.contains("SUCCEEDED"), "{objection}");
    }

    #[tokio::test]
    async fn without_capabilities_anothers_file_is_closed_to_root() {
        held_and_broken(setup(), "sandbox.capabilities=off").await;
    }

    #[tokio::test]
    async fn with_a_user_of_its_own_anothers_file_is_closed() {
        let setup = setup().set("isolation.uid_range", "\"3999600000-3999600009\"");
        held_and_broken(setup, "sandbox.own_user=off;sandbox.capabilities=off").await;
    }
}

/// Where the kernel's first interface has its groups of threads, on machines that have it.
const GROUPS: &str = "/sys/fs/cgroup/pids";

/// How many control groups a host has made, alive or not.
fn groups_of(pid: u32) -> usize {
    let begins = format!("agent-host-{pid}-");
    let entries = std::fs::read_dir(GROUPS).into_iter().flatten().flatten();
    entries.filter(|entry| entry.file_name().to_string_lossy().starts_with(&begins)).count()
}

/// Whether this machine lets a host that runs bound threads by a control group; says so where it does not.
fn has_groups(host: &Host) -> bool {
    let has = groups_of(host.pid()) > 0;
    if !has {
        println!("no control group can be made in {GROUPS}: not tested");
    }
    has
}

/// A host whose only bound on a worker's threads is its control group.
#[tokio::test]
async fn the_control_group_alone_stops_bombs() {
    let host = setup().failpoints("sandbox.seccomp=off;sandbox.process_limit=off").start();
    ready(&host).await.unwrap();
    if !has_groups(&host) {
        return;
    }
    no_other_process_is_made(&host).await.unwrap();
    no_crowd_of_threads_is_made(&host).await.unwrap();
}

#[tokio::test]
async fn without_the_control_group_the_same_bombs_go_off() {
    let off = "sandbox.seccomp=off;sandbox.process_limit=off;sandbox.cgroup=off";
    let host = setup().failpoints(off).start();
    ready(&host).await.unwrap();
    let objection = no_other_process_is_made(&host).await.unwrap_err();
    assert!(objection.contains("SUCCEEDED"), "{objection}");
}

/// Groups go with their workers, and what a killed host left is removed by the next.
#[tokio::test]
async fn no_control_group_outlives_its_host_for_long() {
    let host = Setup::echo().start();
    ready(&host).await.unwrap();
    if !has_groups(&host) {
        return;
    }
    let pid = host.pid();
    // As kill -9 does: nobody is left to remove it.
    drop(host);
    let next = Setup::echo().start();
    ready(&next).await.unwrap();
    let mut client = Client::connect(&next, "alice").await.unwrap();
    client.run("hello").await.unwrap().answered_by("echo").unwrap();
    eventually("what the killed host left is gone", async || {
        // Its worker may have lived a moment longer than the next host's look: a third one looks again.
        match groups_of(pid) {
            0 => Ok(()),
            left => {
                let third = Setup::echo().start();
                ready(&third).await?;
                Err(format!("{left} left"))
            }
        }
    })
    .await
    .unwrap();
}

/// How often the kernel held a host's worker back.
fn held_back(pid: u32) -> Option<u64> {
    let begins = format!("agent-host-{pid}-");
    let entries = std::fs::read_dir("/sys/fs/cgroup/cpu").ok()?.flatten();
    let mut own = entries.filter(|entry| entry.file_name().to_string_lossy().starts_with(&begins));
    let stat = std::fs::read_to_string(own.next()?.path().join("cpu.stat")).ok()?;
    stat.lines().find_map(|line| line.strip_prefix("nr_throttled "))?.trim().parse().ok()
}

/// A plugin that spins is held back to its share, and others are answered meanwhile.
#[tokio::test]
async fn a_share_of_cpu_is_kept() {
    let greedy = crate::harness::Plugin::misbehaving("greedy")
        .key("limits", "{ cpu_percent = 10 }")
        .key("timeouts", "{ init = \"20s\", idle = \"20s\", run = \"20s\", grace = \"200ms\" }");
    let host = Setup::echo().plugin(greedy).set("routing.order", "[\"echo\"]").start();
    ready(&host).await.unwrap();
    if held_back(host.pid()).is_none() {
        println!("no control group can be made in /sys/fs/cgroup/cpu: not tested");
        return;
    }
    let mut client = Client::connect(&host, "alice").await.unwrap();
    client.say("!loop", serde_json::json!({ "agent": "greedy" })).await.unwrap();
    eventually("the kernel holds it back", async || match held_back(host.pid()) {
        Some(5..) => Ok(()),
        times => Err(format!("{times:?} times")),
    })
    .await
    .unwrap();
    let mut other = Client::connect(&host, "bob").await.unwrap();
    other.run("hello").await.unwrap().answered_by("echo").unwrap();
}
