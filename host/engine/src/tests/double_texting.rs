//! A second message while the first is being answered, and a cancellation that is ignored.

use agent_plugin_protocol::{Code, EventKind};
use serde_json::json;

use super::{
    fake::{FakeRuntime, Script, Step, echo},
    host::{Client, Host, message, plugin},
};
use crate::{
    Incoming,
    session::{Accepted, Message},
    settings::{DoubleTexting, PluginSettings},
};

fn waiting() -> Script {
    Script { handle: vec![Step::Think("hm"), Step::UntilCancelled, Step::Reply("never mind")], ..echo() }
}

async fn at_work(policy: DoubleTexting) -> (Host, Client, Accepted) {
    let slot = PluginSettings { double_texting: policy, ..plugin("slow") };
    let host = Host::new(vec![slot], FakeRuntime::default().with("slow", waiting()));
    host.level(agent_host_core::level::ServiceLevel::Full).await;
    let mut client = host.client("ann");
    client.send(message("m1", "first")).await;
    let first = client.accepted().await;
    client.event_of(EventKind::AgentThinking).await;
    (host, client, first)
}

fn second(first: &Accepted) -> Message {
    Message { thread: Some(first.thread.clone()), ..message("m2", "second") }
}

#[tokio::test(start_paused = true)]
async fn reject_refuses_the_second_message_before_it_is_accepted() {
    let (host, mut client, first) = at_work(DoubleTexting::Reject).await;
    client.send(second(&first)).await;
    let problem = client.problem().await;
    assert_eq!((problem.code, problem.retry_after.is_some()), (Code::RunBusy, true));
    let log = host.log_open("ann", &first.thread).await;
    assert!(log.iter().all(|entry| entry.event.run == first.run), "nothing of it is in the log");
}

#[tokio::test(start_paused = true)]
async fn interrupt_ends_the_first_as_cancelled_and_answers_the_second() {
    let (host, mut client, first) = at_work(DoubleTexting::Interrupt).await;
    client.send(second(&first)).await;
    let next = client.accepted().await;
    let ended = client.finish(first).await;
    assert_eq!(ended.last["status"], "cancelled");
    client.event_of(EventKind::AgentThinking).await;
    client.session.handle(Incoming::Cancel { run: next.run.clone() }).await;
    let ended = client.finish(next).await;
    assert_eq!(ended.last["status"], "cancelled");
    host.log("ann", &ended.accepted.thread).await;
}

#[tokio::test(start_paused = true)]
async fn enqueue_answers_both_in_order() {
    let (host, mut client, first) = at_work(DoubleTexting::Enqueue).await;
    client.send(second(&first)).await;
    let next = client.accepted().await;
    client.session.handle(Incoming::Cancel { run: first.run.clone() }).await;
    client.finish(first).await;
    client.session.handle(Incoming::Cancel { run: next.run.clone() }).await;
    let ended = client.finish(next).await;
    host.log("ann", &ended.accepted.thread).await;
}

#[tokio::test(start_paused = true)]
async fn an_ignored_cancel_ends_the_generation_only_when_nobody_else_is_in_it() {
    let deaf = Script { handle: vec![Step::Think("hm"), Step::Never], ..echo() };
    let host = Host::healthy(&["deaf"], FakeRuntime::default().with("deaf", deaf)).await;
    let (mut ann, mut bob) = (host.client("ann"), host.client("bob"));
    let mut runs = Vec::new();
    for client in [&mut ann, &mut bob] {
        client.send(message("m1", "hi")).await;
        runs.push(client.accepted().await);
        client.event_of(EventKind::AgentThinking).await;
    }
    let bobs = runs.pop().unwrap();
    let anns = runs.pop().unwrap();
    ann.session.handle(Incoming::Cancel { run: anns.run.clone() }).await;
    assert_eq!(ann.finish(anns).await.last["status"], json!("cancelled"));
    assert_eq!(host.told("kill"), 0, "bob's run is in there");
    bob.session.handle(Incoming::Cancel { run: bobs.run.clone() }).await;
    assert_eq!(bob.finish(bobs).await.last["status"], json!("cancelled"));
    host.until(|status| status.plugins[0].generation.0 == 2 && status.plugins[0].state == "healthy").await;
    assert_eq!(host.told("kill"), 1);
}
