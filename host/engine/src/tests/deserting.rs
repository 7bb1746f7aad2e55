//! Whoever followed a run is lost: it goes on or ends, as its agent's `on_disconnect` says.

use std::time::Duration;

use agent_host_core::level::ServiceLevel;
use agent_plugin_protocol::{EventKind, PluginId, Seq};
use serde_json::{Value, json};
use tokio::time::sleep;

use super::{
    fake::{FakeRuntime, Script, Step, echo},
    host::{Client, Host, message, plugin},
};
use crate::{
    Incoming, Settings,
    session::{Accepted, Message},
    settings::{OnDisconnect, PluginSettings},
};

/// Longer than a client may be away.
const LONG: Duration = Duration::from_secs(60);

fn waiting() -> Script {
    Script { handle: vec![Step::Think("hm"), Step::UntilCancelled, Step::Reply("never mind")], ..echo() }
}

fn slot(id: &str, policy: OnDisconnect) -> PluginSettings {
    let mut slot = PluginSettings { on_disconnect: policy, ..plugin(id) };
    // No clock but the one of the test ends a run.
    let spec = std::sync::Arc::make_mut(&mut slot.spec);
    (spec.timeouts.idle, spec.timeouts.run) = (LONG * 100, LONG * 100);
    slot
}

fn slots(policy: OnDisconnect) -> Vec<PluginSettings> {
    vec![slot("slow", policy)]
}

async fn host(policy: OnDisconnect) -> Host {
    let host = Host::new(slots(policy), FakeRuntime::default().with("slow", waiting()));
    host.level(ServiceLevel::Full).await;
    host
}

/// A run under way, and who sent its message.
async fn at_work(host: &Host) -> (Client, Accepted) {
    let mut client = host.client("ann");
    client.send(message("m1", "first")).await;
    let accepted = client.accepted().await;
    client.event_of(EventKind::AgentThinking).await;
    (client, accepted)
}

async fn follow(host: &Host, run: &Accepted) -> Client {
    let mut client = host.client("ann");
    let subscribe = Incoming::Subscribe { thread: run.thread.clone(), after: Seq(0), epoch: None };
    client.session.handle(subscribe).await;
    client.subscribed().await;
    client
}

fn lose(mut client: Client) {
    client.session.lost();
}

/// How the run ended, if it has.
async fn end(host: &Host, run: &Accepted) -> Option<Value> {
    let log = host.log_open("ann", &run.thread).await;
    let of_run = |kind| log.iter().find(|entry| entry.event.run == run.run && entry.event.kind == kind);
    of_run(EventKind::AgentCompleted).map(|entry| serde_json::from_slice(&entry.event.payload).unwrap())
}

async fn assert_deserted(host: &Host, run: &Accepted) {
    let end = end(host, run).await.expect("it is over");
    assert_eq!(
        (&end["status"], &end["error"]["code"]),
        (&json!("cancelled"), &json!("run.connection_lost")),
        "{end}"
    );
    assert_eq!(end["error"]["retryable"], true);
    host.log("ann", &run.thread).await;
}

#[tokio::test(start_paused = true)]
async fn a_deserted_run_is_cancelled_after_a_moment_and_says_why() {
    let host = host(OnDisconnect::Cancel).await;
    let (client, run) = at_work(&host).await;
    lose(client);
    sleep(Duration::from_secs(9)).await;
    assert_eq!(end(&host, &run).await, None, "its client may come back");
    sleep(Duration::from_secs(2)).await;
    assert_deserted(&host, &run).await;
}

#[tokio::test(start_paused = true)]
async fn a_deserted_run_goes_on_where_its_agent_wants_it_so() {
    let host = host(OnDisconnect::Continue).await;
    let (client, run) = at_work(&host).await;
    lose(client);
    sleep(LONG).await;
    assert_eq!(end(&host, &run).await, None);
}

#[tokio::test(start_paused = true)]
async fn what_waits_behind_it_ends_with_it_and_is_never_begun() {
    let host = host(OnDisconnect::Cancel).await;
    let (mut client, run) = at_work(&host).await;
    let second = Message { thread: Some(run.thread.clone()), ..message("m2", "second") };
    client.send(second).await;
    let next = client.accepted().await;
    lose(client);
    sleep(LONG).await;
    assert_deserted(&host, &run).await;
    assert_deserted(&host, &next).await;
    let log = host.log("ann", &run.thread).await;
    let thoughts = log.iter().filter(|entry| entry.event.kind == EventKind::AgentThinking).count();
    assert_eq!(thoughts, 1, "the second was never given to the agent");
}

#[tokio::test(start_paused = true)]
async fn who_comes_back_in_time_keeps_the_run_and_may_be_lost_again() {
    let host = host(OnDisconnect::Cancel).await;
    let (client, run) = at_work(&host).await;
    lose(client);
    sleep(Duration::from_secs(9)).await;
    let back = follow(&host, &run).await;
    sleep(LONG).await;
    assert_eq!(end(&host, &run).await, None);
    lose(back);
    sleep(Duration::from_secs(9)).await;
    assert_eq!(end(&host, &run).await, None, "the moment begins anew");
    sleep(LONG).await;
    assert_deserted(&host, &run).await;
}

#[tokio::test(start_paused = true)]
async fn a_second_connection_keeps_it_and_a_follower_of_another_thread_does_not() {
    let host = host(OnDisconnect::Cancel).await;
    let (client, run) = at_work(&host).await;
    let tab = follow(&host, &run).await;
    lose(client);
    sleep(LONG).await;
    assert_eq!(end(&host, &run).await, None);
    let mut other = host.client("ann");
    other.send(message("m2", "elsewhere")).await;
    let elsewhere = other.accepted().await;
    lose(tab);
    sleep(LONG).await;
    assert_deserted(&host, &run).await;
    assert_eq!(end(&host, &elsewhere).await, None);
}

#[tokio::test(start_paused = true)]
async fn whom_the_host_lets_go_or_who_listens_no_more_leaves_it_to_go_on() {
    let host = host(OnDisconnect::Cancel).await;
    let (client, closed) = at_work(&host).await;
    drop(client);
    let mut client = host.client("ann");
    client.send(message("m2", "second")).await;
    let unheard = client.accepted().await;
    client.session.handle(Incoming::Unsubscribe { thread: unheard.thread.clone() }).await;
    // By the thread's task, which is asked before it is told of a loss.
    client.session.handle(Incoming::Cancel { run: unheard.run.clone() }).await;
    lose(client);
    sleep(LONG).await;
    assert_eq!(end(&host, &closed).await, None, "the host closed that connection");
    let ended = end(&host, &unheard).await.unwrap();
    assert_eq!((&ended["status"], &ended["error"]), (&json!("cancelled"), &Value::Null), "by the person");
}

#[tokio::test(start_paused = true)]
async fn who_only_sent_a_message_and_was_gone_before_it_was_accepted_is_lost_too() {
    let host = host(OnDisconnect::Cancel).await;
    let (client, run) = at_work(&host).await;
    let mut gone = host.client("ann");
    gone.send(Message { thread: Some(run.thread.clone()), ..message("m2", "second") }).await;
    lose(client);
    lose(gone);
    sleep(LONG).await;
    assert_deserted(&host, &run).await;
    let log = host.log("ann", &run.thread).await;
    assert_eq!(log.iter().filter(|entry| entry.event.kind == EventKind::AgentCompleted).count(), 2);

    let mut hasty = host.client("ann");
    hasty.send(message("m3", "third")).await;
    let directory = |host: &Host| host.engine.runs_of(&hasty_scope());
    lose(hasty);
    sleep(LONG).await;
    assert_eq!(directory(&host), 0, "no run is left");
}

fn hasty_scope() -> agent_host_core::identity::Scope {
    agent_host_core::identity::Scope { tenant: "t".into(), user: "ann".into() }
}

#[tokio::test(start_paused = true)]
async fn a_deserted_run_that_waits_for_a_place_there_ends_too() {
    let mut full = slot("slow", OnDisconnect::Cancel);
    let spec = std::sync::Arc::make_mut(&mut full.spec);
    spec.limits.concurrent_runs = 1;
    spec.timeouts.queue = LONG * 100;
    let host = Host::new(vec![full], FakeRuntime::default().with("slow", waiting()));
    host.level(ServiceLevel::Full).await;
    let (_keeps, running) = at_work(&host).await;
    let mut client = host.client("ann");
    client.send(message("m2", "second")).await;
    let waits = client.accepted().await;
    lose(client);
    sleep(LONG).await;
    assert_deserted(&host, &waits).await;
    assert_eq!(end(&host, &running).await, None);
}

#[tokio::test(start_paused = true)]
async fn the_policy_counts_that_is_in_force() {
    let host = host(OnDisconnect::Continue).await;
    let (client, run) = at_work(&host).await;
    let changed = Settings { plugins: slots(OnDisconnect::Cancel), ..Settings::default() };
    host.engine.configure(changed).await.unwrap();
    lose(client);
    sleep(LONG).await;
    assert_deserted(&host, &run).await;
    assert_eq!(host.engine.status().plugins[0].generation.0, 1, "no generation was replaced for it");
}

#[tokio::test(start_paused = true)]
async fn a_run_that_a_message_names_another_agent_for_follows_that_one_s_policy() {
    let both = vec![slot("slow", OnDisconnect::Continue), slot("strict", OnDisconnect::Cancel)];
    let runtime = FakeRuntime::default().with("slow", waiting()).with("strict", waiting());
    let host = Host::new(both, runtime);
    host.level(ServiceLevel::Full).await;
    let (mut client, first) = at_work(&host).await;
    let agent = PluginId::new("strict").unwrap();
    client.send(Message { agent: Some(agent), ..message("m2", "second") }).await;
    let second = client.accepted().await;
    lose(client);
    sleep(LONG).await;
    assert_eq!(end(&host, &first).await, None);
    assert_deserted(&host, &second).await;
}

#[tokio::test(start_paused = true)]
async fn a_host_that_goes_away_loses_no_run_by_its_clients_leaving() {
    let host = host(OnDisconnect::Cancel).await;
    let (client, run) = at_work(&host).await;
    let drain = tokio::spawn({
        let engine = host.engine.clone();
        async move { engine.drain(Duration::from_secs(30)).await }
    });
    while !host.engine.is_draining() {
        tokio::task::yield_now().await;
    }
    lose(client);
    assert_eq!(drain.await.unwrap(), 1);
    assert_eq!(end(&host, &run).await.unwrap()["status"], "interrupted");
}
