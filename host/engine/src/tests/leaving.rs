//! The drain: clients are told, runs finish or end as interrupted, plugins stop.

use std::time::Duration;

use agent_plugin_protocol::{Code, EventKind};

use super::{
    fake::{FakeRuntime, Step, script},
    host::{Host, message},
};
use crate::Outgoing;

#[tokio::test(start_paused = true)]
async fn a_drain_tells_refuses_waits_and_interrupts_what_is_left() {
    let host = Host::healthy(&["echo"], FakeRuntime::default().with("echo", script([Step::Never]))).await;
    let mut client = host.client("ann");
    client.send(message("m1", "hi")).await;
    let accepted = client.accepted().await;
    client.event_of(EventKind::AgentStarted).await;
    let begun = tokio::time::Instant::now();
    let drain = tokio::spawn({
        let engine = host.engine.clone();
        async move { engine.drain(Duration::from_secs(8)).await }
    });
    loop {
        if let Outgoing::GoingAway { reconnect_after, deadline } = client.next().await {
            assert!(reconnect_after <= Duration::from_secs(5));
            assert_eq!(deadline, Duration::from_secs(6), "two seconds before the end of the grace");
            break;
        }
    }
    assert!(host.engine.is_draining());
    client.send(message("m2", "hi")).await;
    assert_eq!(client.problem().await.code, Code::HostDraining);
    assert_eq!(host.engine.drain(Duration::from_secs(8)).await, 1, "a second call joins the first");
    assert_eq!(drain.await.unwrap(), 1);
    assert!(begun.elapsed() <= Duration::from_secs(9));
    let seen = client.finish(accepted).await;
    assert_eq!(seen.last["status"], "interrupted");
    host.log("ann", &seen.accepted.thread).await;
    assert!(host.engine.status().draining);
}

#[tokio::test(start_paused = true)]
async fn a_drain_lets_runs_finish_and_starts_nothing_anew() {
    let slow = script([Step::Sleep(Duration::from_secs(3)), Step::Reply("done")]);
    let host = Host::healthy(&["echo"], FakeRuntime::default().with("echo", slow)).await;
    let mut client = host.client("ann");
    client.send(message("m1", "hi")).await;
    let accepted = client.accepted().await;
    assert_eq!(host.engine.drain(Duration::from_secs(8)).await, 0);
    assert_eq!(client.finish(accepted).await.last["status"], "ok");
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(host.engine.status().plugins[0].generation.0, 1);
    assert_eq!(host.engine.status().plugins[0].state, "unloaded");
}
