//! Subscriptions: replay and live without gap or duplicate, and slow clients that hurt only themselves.

use std::time::Duration;

use agent_plugin_protocol::{Code, Epoch, EventKind, Seq, ThreadId};

use super::{
    fake::{FakeRuntime, Step, echo, script},
    host::{Client, Host, message, plugin},
};
use crate::{Incoming, Settings, session::Message, thread::IDLE};

async fn subscribe(
    client: &mut Client,
    thread: &ThreadId,
    after: u64,
    epoch: Option<Epoch>,
) -> crate::session::Subscribed {
    client.session.handle(Incoming::Subscribe { thread: thread.clone(), after: Seq(after), epoch }).await;
    client.subscribed().await
}

#[tokio::test(start_paused = true)]
async fn a_client_resumes_from_its_position_without_gap_or_duplicate() {
    let steps: Vec<Step> = (0..300)
        .flat_map(|_| [Step::Delta("x"), Step::Sleep(Duration::from_millis(10))])
        .chain([Step::Reply("done")])
        .collect();
    let host = Host::healthy(&["echo"], FakeRuntime::default().with("echo", script(steps))).await;
    let mut first = host.client("ann");
    first.send(message("m1", "hi")).await;
    let accepted = first.accepted().await;
    while first.event().await.seq < Seq(100) {}
    drop(first);
    tokio::time::sleep(Duration::from_secs(1)).await;
    let mut second = host.client("ann");
    let subscribed = subscribe(&mut second, &accepted.thread, 42, Some(accepted.epoch.clone())).await;
    assert!(subscribed.recovered && subscribed.from == Seq(43));
    let mut expected = Seq(43);
    loop {
        let entry = second.event().await;
        assert_eq!(entry.seq, expected);
        expected = expected.next();
        if entry.event.kind == EventKind::AgentCompleted {
            break;
        }
    }
    assert_eq!(host.log("ann", &accepted.thread).await.len(), 303);
}

#[tokio::test(start_paused = true)]
async fn a_position_of_another_life_of_the_log_is_not_joined() {
    let host = Host::healthy(&["echo"], FakeRuntime::default().with("echo", echo())).await;
    let mut client = host.client("ann");
    let seen = client.ask(message("m1", "hi")).await;
    let mut other = host.client("ann");
    let subscribed = subscribe(&mut other, &seen.accepted.thread, 2, Some(Epoch::random())).await;
    assert_eq!((subscribed.recovered, subscribed.reason), (false, Some("epoch")));
    assert_eq!((subscribed.from, subscribed.to), (Seq(6), Seq(5)));
    let thread = Some(seen.accepted.thread.clone());
    client.ask(Message { thread, ..message("m2", "hi") }).await;
    assert_eq!(other.event().await.seq, Seq(6), "live from the head");
}

#[tokio::test(start_paused = true)]
async fn who_unsubscribed_hears_no_more() {
    let host = Host::healthy(&["echo"], FakeRuntime::default().with("echo", echo())).await;
    let mut client = host.client("ann");
    let seen = client.ask(message("m1", "hi")).await;
    let mut other = host.client("ann");
    subscribe(&mut other, &seen.accepted.thread, 5, None).await;
    other.session.handle(Incoming::Unsubscribe { thread: seen.accepted.thread.clone() }).await;
    client.ask(Message { thread: Some(seen.accepted.thread), ..message("m2", "hi") }).await;
    assert!(other.session.try_next().is_none() && other.session.positions().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_slow_client_is_cut_off_and_neither_the_run_nor_others_wait() {
    // It begins a little later, so that the slow client sees that its message was accepted.
    let mut steps = vec![Step::Sleep(Duration::from_secs(1))];
    steps.extend(vec![Step::Delta("some text that fills the queue"); 500]);
    steps.push(Step::Reply("done"));
    let settings = Settings { plugins: vec![plugin("echo")], outbox_bytes: 96 * 1024, ..Settings::default() };
    let host = Host::with(settings, FakeRuntime::default().with("echo", script(steps)));
    host.until(|status| !status.starting).await;
    let mut slow = host.client("ann");
    slow.send(message("m1", "hi")).await;
    let accepted = slow.accepted().await;
    let mut quick = host.client("bob");
    // A task of its own: the test's own future is polled rarely, and would be a slow client too.
    let quick = tokio::spawn(async move { quick.ask(message("m1", "hi")).await });
    assert_eq!(quick.await.unwrap().last["status"], "ok");
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert!(slow.session.next().await.is_none(), "4404");
    let mut back = host.client("ann");
    assert!(subscribe(&mut back, &accepted.thread, 1, Some(accepted.epoch)).await.recovered);
    assert_eq!(back.event_of(EventKind::AgentCompleted).await.seq, Seq(503));
    host.log("ann", &accepted.thread).await;
}

#[tokio::test(start_paused = true)]
async fn a_thread_that_idled_out_is_found_again() {
    let host = Host::healthy(&["echo"], FakeRuntime::default().with("echo", echo())).await;
    let mut client = host.client("ann");
    let seen = client.ask(message("m1", "hi")).await;
    drop(client);
    tokio::time::sleep(Duration::from_secs(200)).await;
    let mut client = host.client("ann");
    let thread = Some(seen.accepted.thread.clone());
    let again = client.ask(Message { thread, ..message("m2", "hi") }).await;
    assert_eq!(again.accepted.seq, Seq(6));
    host.log("ann", &seen.accepted.thread).await;
}

#[tokio::test(start_paused = true)]
async fn a_followed_thread_at_rest_has_no_task_and_its_followers_hear_what_comes() {
    let host = Host::healthy(&["echo"], FakeRuntime::default().with("echo", echo())).await;
    let (mut client, mut other) = (host.client("ann"), host.client("ann"));
    let thread = client.ask(message("m1", "hi")).await.accepted.thread;
    subscribe(&mut other, &thread, 5, None).await;
    tokio::time::sleep(2 * IDLE).await;
    assert_eq!(host.engine.thread_tasks(), 0);
    client.ask(Message { thread: Some(thread.clone()), ..message("m2", "hi") }).await;
    let heard = other.event_of(EventKind::AgentCompleted).await;
    assert_eq!(heard.seq, Seq(10));
    tokio::time::sleep(2 * IDLE).await;
    other.session.handle(Incoming::Unsubscribe { thread: thread.clone() }).await;
    client.ask(Message { thread: Some(thread), ..message("m3", "hi") }).await;
    assert!(other.session.try_next().is_none(), "no thread's task had to hear of it");
}

#[tokio::test(start_paused = true)]
async fn a_look_at_a_thread_leaves_no_task_behind() {
    let host = Host::healthy(&["echo"], FakeRuntime::default().with("echo", echo())).await;
    let thread = host.client("ann").ask(message("m1", "hi")).await.accepted.thread;
    tokio::time::sleep(2 * IDLE).await;
    let mut client = host.client("ann");
    subscribe(&mut client, &thread, 5, None).await;
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_eq!(host.engine.thread_tasks(), 0);
}

#[tokio::test(start_paused = true)]
async fn who_follows_as_many_threads_as_allowed_is_refused_more_until_one_is_given_up() {
    let settings = Settings { plugins: vec![plugin("echo")], subscriptions: 2, ..Settings::default() };
    let host = Host::with(settings, FakeRuntime::default().with("echo", echo()));
    host.until(|status| !status.starting).await;
    let mut client = host.client("ann");
    let first = client.ask(message("m1", "hi")).await.accepted.thread;
    let second = client.ask(message("m2", "hi")).await.accepted.thread;
    client.send(message("m3", "hi")).await;
    let refused = client.problem().await;
    assert_eq!((refused.code, refused.id.unwrap().as_str()), (Code::LimitSubscriptions, "m3"));
    // It counts for all connections, and a thread that is followed is no further one.
    let mut other = host.client("ann");
    other.session.handle(Incoming::Subscribe { thread: first.clone(), after: Seq(0), epoch: None }).await;
    let refused = other.problem().await;
    assert!(refused.code == Code::LimitSubscriptions && refused.message.contains(first.as_str()));
    client.ask(Message { thread: Some(second), ..message("m4", "hi") }).await;
    // What was accepted is known to be, room or not.
    client.send(message("m2", "hi")).await;
    assert!(client.accepted().await.duplicate);
    host.client("bob").ask(message("m1", "hi")).await;
    client.session.handle(Incoming::Unsubscribe { thread: first.clone() }).await;
    subscribe(&mut other, &first, 0, None).await;
    drop(client);
    other.ask(message("m5", "hi")).await;
}

#[tokio::test(start_paused = true)]
async fn commands_around_the_moment_of_idling_out_are_never_lost() {
    let host = Host::healthy(&["echo"], FakeRuntime::default().with("echo", echo())).await;
    let thread = host.client("ann").ask(message("m0", "hi")).await.accepted.thread;
    for n in 1..200_u64 {
        // Around the end of its task, to the millisecond before and after.
        tokio::time::sleep(IDLE - Duration::from_millis(100) + Duration::from_millis(n)).await;
        let mut client = host.client("ann");
        client.send(Message { thread: Some(thread.clone()), ..message(&format!("m{n}"), "hi") }).await;
        let accepted = client.accepted().await;
        client.finish(accepted).await;
    }
    assert_eq!(host.log("ann", &thread).await.len(), 5 * 200);
}

#[tokio::test(start_paused = true)]
async fn an_unknown_thread_cannot_be_subscribed() {
    let host = Host::new(Vec::new(), FakeRuntime::default());
    let mut client = host.client("ann");
    let thread = ThreadId::new("nowhere").unwrap();
    client.session.handle(Incoming::Subscribe { thread, after: Seq(0), epoch: None }).await;
    assert_eq!(client.problem().await.code, Code::ThreadNotFound);
}
