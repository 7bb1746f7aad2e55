//! A crowd that replays at once: few read at a time, each gets all of it, and what comes live waits for nobody's turn.

use std::time::Duration;

use agent_plugin_protocol::{EventKind, Seq, ThreadId};
use tokio::task::JoinSet;

use super::{
    fake::{FakeRuntime, echo},
    host::{Client, Host, message},
};
use crate::Incoming;

/// Who replays.
const CROWD: usize = 12;
/// Who may at once, on a machine with any number of cores.
const AT_ONCE: usize = 4;

async fn replayed(mut client: Client, thread: ThreadId) -> usize {
    client.session.handle(Incoming::Subscribe { thread, after: Seq(0), epoch: None }).await;
    let mut seen = 1;
    while client.event().await.event.kind != EventKind::AgentCompleted {
        seen += 1;
    }
    seen
}

#[tokio::test(start_paused = true)]
async fn few_read_at_once_and_all_get_everything() {
    let host = Host::healthy(&["echo"], FakeRuntime::default().with("echo", echo())).await;
    let mut ann = host.client("ann");
    let thread = ann.ask(message("m1", "hi")).await.accepted.thread;
    let events = host.log("ann", &thread).await.len();
    host.store.reads.lock().unwrap().each_takes = Duration::from_secs(5);
    let mut crowd = JoinSet::new();
    for _ in 0..CROWD {
        crowd.spawn(replayed(host.client("ann"), thread.clone()));
    }
    // Nobody is through yet, and she is answered.
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(crowd.try_join_next().is_none());
    let asked = tokio::time::Instant::now();
    ann.ask(message("m2", "are you there?")).await;
    assert!(asked.elapsed() < Duration::from_secs(1), "she waited for a turn: {:?}", asked.elapsed());
    for seen in crowd.join_all().await {
        assert_eq!(seen, events);
    }
    let most = host.store.reads.lock().unwrap().most_at_once;
    assert!((1..=AT_ONCE).contains(&most), "{most} read at once");
}

/// A host without turns is found out, in a process of its own: failpoints are set by the environment.
#[cfg(feature = "failpoints")]
#[test]
fn a_host_that_lets_all_of_them_read_is_found_out() {
    let output = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "tests::crowding::few_read_at_once_and_all_get_everything"])
        .env("AGENT_HOST_FAILPOINTS", "engine.turns=off")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    assert!(!output.status.success() && said.contains("12 read at once"), "{said}");
}
