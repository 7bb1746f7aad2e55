//! What a hostile plugin tries against the host, its siblings and the machine, with the whole sandbox around it: each
//! attack is refused, no secret comes out, and nobody else notices. For a host run as root and as an ordinary user.

use std::path::PathBuf;

use serde_json::json;

use crate::{
    client::Client,
    harness::{Host, Plugin, Setup, artifacts, tokens},
    scenario::ready,
};

/// Who has nothing on any Linux.
pub(crate) const NOBODY: u32 = 65534;
/// What must never come out, wherever it is read.
const CANARY: &str = "canary-0f8c1e5a";

/// The plugin that attacks, with clocks that an attack may take.
pub(crate) fn attacker() -> Plugin {
    Plugin::misbehaving("bad").key("restart", "{ max = 50, within = \"60s\" }").key(
        "timeouts",
        "{ init = \"10s\", tool = \"1s\", idle = \"15s\", run = \"20s\", grace = \"200ms\" }",
    )
}

pub(crate) fn setup() -> Setup {
    let setup = Setup::echo().plugin(attacker()).env("CANARY", CANARY);
    setup.set("limits.messages_per_minute", "0").set("limits.runs_at_once", "0")
}

/// Has the plugin try one attack; answers what it says came of it, or how it ended over it.
pub(crate) async fn attempt(client: &mut Client, attack: &str) -> Result<String, String> {
    let run = client.run_with(&format!("!attack {attack}"), json!({ "agent": "bad" })).await?;
    match run.status() {
        "ok" => Ok(run.text().to_owned()),
        status => Ok(format!("{status}: {:?}", run.codes())),
    }
}

/// Whether a process is there, and not only its remains.
pub(crate) fn is_alive(pid: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(')').is_some_and(|(_, rest)| !rest.trim_start().starts_with('Z'))
}

/// The plugins' own folders.
pub(crate) fn own_folder(host: &Host, plugin: &str) -> PathBuf {
    host.folder().join("data/plugins").join(plugin)
}

/// Every attack, with what it needs to know of this host.
pub(crate) fn attacks(host: &Host) -> Vec<String> {
    let (pid, admin, folder) = (host.pid(), host.admin, host.folder().display());
    let others = own_folder(host, "echo").join("secret").display().to_string();
    let mut attacks = vec![
        "kill-parent".to_owned(),
        "kill-group".to_owned(),
        "kill-all".to_owned(),
        "parent-death".to_owned(),
        "double-fork".to_owned(),
        "descriptors".to_owned(),
        // The host and its secrets.
        format!("read /proc/{pid}/environ"),
        format!("read /proc/{pid}/maps"),
        format!("read /proc/{pid}/cmdline"),
        format!("open /proc/{pid}/mem"),
        format!("list /proc/{pid}/fd"),
        "list /proc".to_owned(),
        "read /proc/self/environ".to_owned(),
        "write /proc/self/exe".to_owned(),
        format!("read {folder}/host.toml"),
        format!("write {folder}/host.toml"),
        format!("through-a-link {folder}/host.toml"),
        format!("make {folder}/plugins.d/99-planted.toml"),
        format!("remove {folder}/plugins.d/00-echo.toml"),
        format!("list {folder}/data"),
        format!("read {others}"),
        format!("make {others}.more"),
        format!("write {}", artifacts::misbehaving().display()),
        "read /etc/passwd".to_owned(),
        "read /etc/shadow".to_owned(),
        "list /root".to_owned(),
        "list /".to_owned(),
        "make /tmp/planted".to_owned(),
        "exec".to_owned(),
        // The network, and others on this machine.
        format!("tcp {admin}"),
        format!("tcp {}", host.address),
        "listen".to_owned(),
        "udp".to_owned(),
        format!("unix {folder}/door"),
        "unix-listen door".to_owned(),
        format!("unix-datagram {folder}/box"),
        "abstract agent-host-suite".to_owned(),
        "netlink".to_owned(),
        "raw-socket".to_owned(),
        // The kernel.
        "io-uring".to_owned(),
        "unshare".to_owned(),
        "mount".to_owned(),
        "bpf".to_owned(),
        "keyctl".to_owned(),
        "userfaultfd".to_owned(),
        // The machine.
        "memfd".to_owned(),
        "shm".to_owned(),
        format!("dev-shm agent-host-suite-{pid}"),
        "pipe".to_owned(),
        "reserve".to_owned(),
        "large-file".to_owned(),
        "fork-bomb".to_owned(),
    ];
    #[cfg(target_arch = "x86_64")]
    attacks.push("x32".to_owned());
    for other in host.worker_ids().into_iter().chain([pid]) {
        for attack in ["kill", "ptrace", "vm-write", "prlimit", "pidfd-getfd", "setpriority", "affinity"] {
            attacks.push(format!("{attack} {other}"));
        }
    }
    attacks
}

/// Every attack is refused, no answer holds a secret, the host is the one that it was, and another user is served.
async fn every_attack_is_refused(host: &Host) -> Result<(), String> {
    ready(host).await?;
    std::fs::write(own_folder(host, "echo").join("secret"), CANARY).map_err(|e| e.to_string())?;
    let _door =
        std::os::unix::net::UnixListener::bind(host.folder().join("door")).map_err(|e| e.to_string())?;
    let _box =
        std::os::unix::net::UnixDatagram::bind(host.folder().join("box")).map_err(|e| e.to_string())?;
    let mut hostile = Client::connect(host, "mallory").await?;
    let mut calm = Client::connect(host, "alice").await?;
    let attacks = attacks(host);
    let workers = host.worker_ids();
    let mut wrong = Vec::new();
    for attack in &attacks {
        let said = attempt(&mut hostile, attack).await?;
        // What it may read there is its own crash record: only a secret in it would be wrong.
        if !said.starts_with("refused: ") && attack != "descriptors" {
            wrong.push(format!("{attack}: {said}"));
        }
        if said.contains(CANARY) || said.contains(tokens::SECRET) {
            wrong.push(format!("{attack} told a secret: {said}"));
        }
    }
    // In force to the end: it is the same worker still, and the sibling's too.
    if host.worker_ids() != workers {
        wrong.push(format!("the workers were {workers:?} and are {:?}", host.worker_ids()));
    }
    calm.run_with("and you?", json!({ "agent": "echo" })).await?.answered_by("echo")?;
    if wrong.is_empty() { Ok(()) } else { Err(wrong.join("\n")) }
}

/// Bounded use: what is not refused outright ends at its bound.
async fn what_grows_is_bounded(host: &Host) -> Result<(), String> {
    ready(host).await?;
    let mut hostile = Client::connect(host, "mallory").await?;
    let files = attempt(&mut hostile, "fd-hog").await?;
    let open = files.strip_prefix("SUCCEEDED: ").and_then(|it| it.parse::<u32>().ok());
    if open.is_none_or(|open| open > 256) {
        return Err(format!("open files: {files}"));
    }
    // A process of the worker's own stops itself: the host ends it, and the next generation serves.
    let said = attempt(&mut hostile, "stop-self").await?;
    if !said.contains("plugin.hung") && !said.contains("plugin.timeout") {
        return Err(format!("stopped itself: {said}"));
    }
    crate::harness::eventually("the plugin is back", async || {
        let run = Client::connect(host, "alice").await?.run_with("back?", json!({ "agent": "bad" })).await?;
        run.answered_by("bad")
    })
    .await
}

/// Threads, names, time, certificates and its own folder are a plugin's by right.
async fn a_decent_plugin_misses_nothing(host: &Host) -> Result<(), String> {
    ready(host).await?;
    let mut client = Client::connect(host, "alice").await?;
    let run = client.run_with("!works", json!({ "agent": "bad" })).await?;
    match run.text() {
        "all of it works" => Ok(()),
        _ => Err(run.completed().to_string()),
    }
}

/// A host as an ordinary user; as root; and as root with a user for each plugin.
fn hosts() -> [(&'static str, Setup); 3] {
    let ranged = setup().set("isolation.uid_range", "\"3999600000-3999600009\"");
    [("user", setup().user(NOBODY)), ("root", setup()), ("range", ranged)]
}

#[tokio::test]
async fn every_attack_is_refused_to_a_plugin_of_an_ordinary_user() {
    let mut host = setup().user(NOBODY).start();
    every_attack_is_refused(&host).await.unwrap();
    assert!(host.is_running());
}

#[tokio::test]
async fn every_attack_is_refused_to_a_plugin_of_a_host_that_is_root() {
    let mut host = setup().start();
    every_attack_is_refused(&host).await.unwrap();
    assert!(host.is_running());
}

#[tokio::test]
async fn every_attack_is_refused_to_a_plugin_with_a_user_of_its_own() {
    let [.., (_, ranged)] = hosts();
    let mut host = ranged.start();
    every_attack_is_refused(&host).await.unwrap();
    assert!(host.is_running());
}

#[tokio::test]
async fn what_grows_is_bounded_for_every_user() {
    for (name, setup) in hosts() {
        what_grows_is_bounded(&setup.start()).await.unwrap_or_else(|e| panic!("{name}: {e}"));
    }
}

#[tokio::test]
async fn a_decent_plugin_misses_nothing_for_every_user() {
    for (name, setup) in hosts() {
        a_decent_plugin_misses_nothing(&setup.start()).await.unwrap_or_else(|e| panic!("{name}: {e}"));
    }
}
