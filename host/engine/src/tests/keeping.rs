//! Threads are listed and deleted, and a run whose log is deleted under it harms nobody.

use std::time::Duration;

use agent_host_core::{identity::Scope, level::ServiceLevel};
use agent_plugin_protocol::{Code, EventKind};

use super::{
    fake::{FakeRuntime, Step, echo, script},
    host::{Host, message},
};

fn scope(user: &str) -> Scope {
    Scope { tenant: "t".into(), user: user.into() }
}

#[tokio::test(start_paused = true)]
async fn a_deleted_thread_is_gone_for_its_owner_and_only_its_owner_deletes_it() {
    let host = Host::healthy(&["echo"], FakeRuntime::default().with("echo", echo())).await;
    let seen = host.client("ann").ask(message("m1", "hi")).await;
    let thread = &seen.accepted.thread;
    assert_eq!(host.engine.threads(&scope("ann"), None, 10).await.unwrap()[0].thread, *thread);
    assert_eq!(host.engine.delete_thread(&scope("bob"), thread).await, Ok(false));
    assert_eq!(host.engine.delete_thread(&scope("ann"), thread).await, Ok(true));
    assert_eq!(host.engine.delete_thread(&scope("ann"), thread).await, Ok(false));
    assert_eq!(host.engine.threads(&scope("ann"), None, 10).await, Ok(Vec::new()));
}

#[tokio::test(start_paused = true)]
async fn a_thread_is_not_deleted_under_its_run() {
    let slow = script([Step::Sleep(Duration::from_secs(1)), Step::Reply("done")]);
    let host = Host::healthy(&["echo"], FakeRuntime::default().with("echo", slow)).await;
    let mut client = host.client("ann");
    client.send(message("m1", "hi")).await;
    let accepted = client.accepted().await;
    client.event_of(EventKind::AgentStarted).await;
    let refused = host.engine.delete_thread(&scope("ann"), &accepted.thread).await.unwrap_err();
    assert_eq!(refused.code, Code::RunBusy);
    let thread = accepted.thread.clone();
    client.finish(accepted).await;
    assert_eq!(host.engine.delete_thread(&scope("ann"), &thread).await, Ok(true));
}

#[tokio::test(start_paused = true)]
async fn a_run_whose_user_is_deleted_ends_unheard_and_the_store_is_none_the_worse() {
    let slow = script([Step::Sleep(Duration::from_secs(1)), Step::Think("x"), Step::Reply("done")]);
    let host = Host::healthy(&["echo"], FakeRuntime::default().with("echo", slow)).await;
    let mut client = host.client("ann");
    client.send(message("m1", "hi")).await;
    client.accepted().await;
    client.event_of(EventKind::AgentStarted).await;
    assert_eq!(host.engine.delete_user(&scope("ann")).await, Ok(1));
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(host.engine.status().level, ServiceLevel::Full);
    host.client("ann").ask(message("m2", "hi")).await;
    assert_eq!(host.engine.drain(Duration::from_secs(8)).await, 0, "nothing is left running");
}
