//! An agent that is full: who waits for it, who is served first, and who is sent elsewhere.

use std::time::Duration;

use agent_host_core::{level::ServiceLevel, outcome::Exit};
use agent_plugin_protocol::{EventKind, PluginId};
use tokio::time::Instant;

use super::{
    fake::{FakeRuntime, Script, Step, echo, script},
    host::{Client, Host, message, plugin},
};
use crate::{
    Incoming,
    session::Accepted,
    settings::{PluginSettings, Settings},
};

const SECOND: Duration = Duration::from_secs(1);

/// One run at a time; two may wait, for five seconds.
fn narrow(id: &str) -> PluginSettings {
    let mut narrow = plugin(id);
    let mut spec = (*narrow.spec).clone();
    (spec.limits.concurrent_runs, spec.limits.queued_runs) = (1, 3);
    narrow.spec = std::sync::Arc::new(spec);
    narrow
}

async fn host(script: Script) -> Host {
    let settings = Settings { plugins: vec![narrow("slow")], runs_at_once: 0, ..Settings::default() };
    let host = Host::with(settings, FakeRuntime::default().with("slow", script));
    host.level(ServiceLevel::Full).await;
    host
}

fn one_second() -> Script {
    script([Step::Sleep(SECOND), Step::Reply("done")])
}

/// Sends without waiting for more than that it is accepted.
async fn sent(client: &mut Client, id: &str) -> Accepted {
    client.send(message(id, "hi")).await;
    client.accepted().await
}

fn waiting(host: &Host) -> (u32, usize) {
    let detail = &host.engine.plugins()[0];
    (detail.in_flight, detail.waiting)
}

#[tokio::test(start_paused = true)]
async fn users_are_served_by_turns() {
    let host = host(one_second()).await;
    let began = Instant::now();
    let mut ann: Vec<Client> = (0..3).map(|_| host.client("ann")).collect();
    let mut accepted = Vec::new();
    for (at, client) in ann.iter_mut().enumerate() {
        accepted.push(sent(client, &format!("a{at}")).await);
    }
    let mut bob = host.client("bob");
    let his = sent(&mut bob, "b").await;
    assert_eq!(waiting(&host), (1, 3));
    assert_eq!(bob.finish(his).await.agent, "slow");
    assert_eq!(began.elapsed(), 3 * SECOND, "after her first, and the one that waited before him");
    for (client, accepted) in ann.iter_mut().zip(accepted) {
        let seen = client.finish(accepted).await;
        assert_eq!((seen.agent.as_str(), &seen.last["status"]), ("slow", &"ok".into()));
    }
    assert_eq!((began.elapsed(), waiting(&host)), (4 * SECOND, (0, 0)));
}

#[tokio::test(start_paused = true)]
async fn nobody_waits_longer_than_is_said() {
    let host = host(script([Step::Never])).await;
    let (mut ann, mut bob) = (host.client("ann"), host.client("bob"));
    sent(&mut ann, "a").await;
    let began = Instant::now();
    let his = sent(&mut bob, "b").await;
    let seen = bob.finish(his).await;
    assert_eq!((seen.agent.as_str(), began.elapsed()), ("fallback", 5 * SECOND));
    assert!(seen.last["text"].as_str().is_some_and(|text| !text.is_empty()));
    assert_eq!(waiting(&host), (1, 0));
}

#[tokio::test(start_paused = true)]
async fn a_full_queue_sends_on_at_once() {
    let host = host(script([Step::Never])).await;
    let mut ann: Vec<Client> = (0..4).map(|_| host.client("ann")).collect();
    for (at, client) in ann.iter_mut().enumerate() {
        sent(client, &format!("a{at}")).await;
    }
    let began = Instant::now();
    assert_eq!(host.client("bob").ask(message("b", "hi")).await.agent, "fallback");
    assert_eq!((began.elapsed(), waiting(&host)), (Duration::ZERO, (1, 3)));
}

#[tokio::test(start_paused = true)]
async fn who_gives_up_keeps_no_place() {
    let host = host(one_second()).await;
    let mut ann: Vec<Client> = (0..4).map(|_| host.client("ann")).collect();
    let mut accepted = Vec::new();
    for (at, client) in ann.iter_mut().enumerate() {
        accepted.push(sent(client, &format!("a{at}")).await);
    }
    for at in [1, 2] {
        ann[at].session.handle(Incoming::Cancel { run: accepted[at].run.clone() }).await;
        let ended = ann[at].finish(accepted[at].clone()).await;
        assert_eq!(ended.last["status"], "cancelled");
    }
    assert_eq!(waiting(&host), (1, 1));
    let began = Instant::now();
    let seen = host.client("bob").ask(message("b", "hi")).await;
    assert_eq!((seen.agent.as_str(), began.elapsed()), ("slow", 3 * SECOND), "one waited before him");
    assert_eq!(waiting(&host), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn whoever_waits_for_a_generation_that_dies_gets_the_next() {
    let host = host(script([Step::Sleep(SECOND), Step::Reply("done")])).await;
    let (mut ann, mut bob) = (host.client("ann"), host.client("bob"));
    sent(&mut ann, "a").await;
    ann.event_of(EventKind::AgentStarted).await;
    let his = sent(&mut bob, "b").await;
    host.kill("slow", Exit::Signal(11));
    let seen = bob.finish(his).await;
    assert_eq!((seen.agent.as_str(), &seen.last["status"]), ("slow", &"ok".into()), "{:?}", seen.last);
}

#[tokio::test(start_paused = true)]
async fn whoever_waits_for_an_agent_that_is_switched_off_is_answered_at_once() {
    let host = host(script([Step::Never])).await;
    let (mut ann, mut bob) = (host.client("ann"), host.client("bob"));
    sent(&mut ann, "a").await;
    ann.event_of(EventKind::AgentStarted).await;
    let his = sent(&mut bob, "b").await;
    let began = Instant::now();
    let id = PluginId::new("slow").unwrap();
    let answered = async {
        let seen = bob.finish(his).await;
        (seen.agent, began.elapsed())
    };
    let (ordered, answered) = tokio::join!(host.engine.control(&id, crate::PluginOrder::Disable), answered);
    assert_eq!(ordered.unwrap().view.state, "disabled");
    assert_eq!(answered, ("fallback".to_owned(), Duration::ZERO));
}

#[tokio::test(start_paused = true)]
async fn nobody_waits_where_another_agent_would_answer() {
    let runtime = FakeRuntime::default().with("slow", script([Step::Never])).with("other", echo());
    let host = Host::new(vec![narrow("slow"), plugin("other")], runtime);
    host.level(ServiceLevel::Full).await;
    sent(&mut host.client("ann"), "a").await;
    let began = Instant::now();
    assert_eq!(host.client("bob").ask(message("b", "hi")).await.agent, "other");
    assert_eq!(began.elapsed(), Duration::ZERO);
}
