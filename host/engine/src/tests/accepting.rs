//! What is accepted, what is refused, and that no user sees another's data.

use agent_plugin_protocol::{Code, EventKind, RunId, Seq, ThreadId};

use super::{
    fake::{FakeRuntime, Step, echo, script},
    host::{Host, message, plugin},
};
use crate::{Incoming, Outgoing, Settings, session::Message};

#[tokio::test(start_paused = true)]
async fn the_same_message_again_is_the_same_run_and_its_events_come_again() {
    let host = Host::healthy(&["echo"], FakeRuntime::default().with("echo", echo())).await;
    let first = host.client("ann").ask(message("m1", "hi")).await;
    let mut again = host.client("ann");
    again.send(message("m1", "hi")).await;
    let accepted = again.accepted().await;
    assert!(accepted.duplicate);
    assert_eq!((&accepted.run, &accepted.thread), (&first.accepted.run, &first.accepted.thread));
    assert_eq!(again.finish(accepted).await.kinds, first.kinds);
    assert_eq!(host.told("handle"), 1);
    again.send(message("m1", "another body")).await;
    let refused = again.problem().await;
    assert_eq!((refused.code, refused.id.unwrap().as_str()), (Code::IdempotencyConflict, "m1"));
}

#[tokio::test(start_paused = true)]
async fn a_duplicate_sees_what_is_still_to_come() {
    let slow = script([Step::Sleep(std::time::Duration::from_secs(5)), Step::Reply("done")]);
    let host = Host::healthy(&["echo"], FakeRuntime::default().with("echo", slow)).await;
    let mut first = host.client("ann");
    first.send(message("m1", "hi")).await;
    first.accepted().await;
    let mut again = host.client("ann");
    again.send(message("m1", "hi")).await;
    let accepted = again.accepted().await;
    assert_eq!(again.finish(accepted).await.last["status"], "ok");
}

#[tokio::test(start_paused = true)]
async fn two_users_with_the_same_ids_see_nothing_of_each_other() {
    let host = Host::healthy(&["echo"], FakeRuntime::default().with("echo", echo())).await;
    let ann = host.client("ann").ask(message("m1", "hi")).await;
    let mut bob = host.client("bob");
    let same = bob.ask(message("m1", "hi")).await;
    assert_ne!((&same.accepted.thread, &same.accepted.run), (&ann.accepted.thread, &ann.accepted.run));

    let unknown = ThreadId::new("unknown").unwrap();
    for thread in [ann.accepted.thread, unknown] {
        bob.send(Message { thread: Some(thread.clone()), ..message("m2", "hi") }).await;
        assert_eq!(bob.problem().await.code, Code::ThreadNotFound);
        bob.session.handle(Incoming::Subscribe { thread, after: Seq(0), epoch: None }).await;
        assert_eq!(bob.problem().await.code, Code::ThreadNotFound);
    }
}

#[tokio::test(start_paused = true)]
async fn ids_given_out_before_a_message_are_its_thread_and_run_and_nobody_s_before() {
    let host = Host::healthy(&["echo"], FakeRuntime::default().with("echo", echo())).await;
    let (thread, run) = (ThreadId::random(), RunId::random());
    let first = || Message { thread: Some(thread.clone()), given: Some(run.clone()), ..message("m1", "hi") };
    let mut client = host.client("ann");
    client.send(Message { given: None, ..first() }).await;
    assert_eq!(client.problem().await.code, Code::ThreadNotFound, "an id alone makes no thread");
    let seen = client.ask(first()).await;
    assert_eq!((&seen.accepted.thread, &seen.accepted.run), (&thread, &run));
    assert_eq!(seen.last["status"], "ok");
    // The thread goes on as any other, and the same message again, which now names it, is the same run.
    let second = client
        .ask(Message { given: None, ..Message { thread: Some(thread.clone()), ..message("m2", "on") } });
    assert_eq!(second.await.accepted.thread, thread);
    client.send(Message { given: None, ..first() }).await;
    let again = client.accepted().await;
    assert!(again.duplicate && again.run == run);
    // Even if another's connection were given the same ids by mistake, it is not let in.
    let mut bob = host.client("bob");
    bob.send(Message { id: agent_plugin_protocol::MessageId::random(), ..first() }).await;
    assert_eq!(bob.problem().await.code, Code::ThreadNotFound);
}

#[tokio::test(start_paused = true)]
async fn a_user_has_so_many_runs_at_once_and_gets_them_back() {
    let plugins = vec![plugin("echo")];
    let settings = Settings { plugins, runs_at_once: 1, queued_messages: 1, ..Settings::default() };
    let host = Host::with(settings, FakeRuntime::default().with("echo", script([Step::Never])));
    host.until(|status| !status.starting).await;
    let mut client = host.client("ann");
    client.send(message("m1", "hi")).await;
    let first = client.accepted().await;
    client.send(message("m2", "hi")).await;
    assert_eq!(client.problem().await.code, Code::LimitRuns);
    let thread = Some(first.thread.clone());
    client.send(Message { thread: thread.clone(), ..message("m3", "hi") }).await;
    let second = client.accepted().await;
    client.send(Message { thread, ..message("m4", "hi") }).await;
    assert_eq!(client.problem().await.code, Code::RunBusy);
    // What was accepted is known all the same, where there is room for nothing new.
    client.send(message("m1", "hi")).await;
    let again = client.accepted().await;
    assert_eq!((again.run, again.duplicate), (first.run.clone(), true));
    let mut other = host.client("bob");
    other.send(message("m1", "hi")).await;
    other.accepted().await;
    for run in [second, first] {
        client.session.handle(Incoming::Cancel { run: run.run.clone() }).await;
        client.finish(run).await;
    }
    client.send(message("m2", "hi")).await;
    client.accepted().await;
}

#[tokio::test(start_paused = true)]
async fn a_message_while_the_host_starts_waits_for_its_agent() {
    let starting = |_| -> agent_host_core::ports::BoxFuture<'static, _> {
        Box::pin(async {
            tokio::time::sleep(std::time::Duration::from_secs(1)).await;
            Ok(echo())
        })
    };
    let host = Host::new(vec![plugin("echo")], FakeRuntime::default().starting("echo", starting));
    let mut client = host.client("ann");
    assert!(client.session.status().starting);
    assert_eq!(client.ask(message("m1", "hi")).await.agent, "echo");
}

#[tokio::test(start_paused = true)]
async fn an_agent_that_takes_too_long_to_start_is_not_waited_for() {
    let stuck = |_| -> agent_host_core::ports::BoxFuture<'static, _> { Box::pin(std::future::pending()) };
    let runtime = FakeRuntime::default().starting("stuck", stuck);
    let host = Host::new(vec![plugin("stuck")], runtime);
    let seen = host.client("ann").ask(message("m1", "hi")).await;
    assert_eq!(seen.agent, "fallback");
    assert!(seen.last["text"].as_str().unwrap().contains("starting"));
    host.log("ann", &seen.accepted.thread).await;
}

#[tokio::test(start_paused = true)]
async fn acknowledged_comes_before_the_event() {
    let host = Host::healthy(&["echo"], FakeRuntime::default().with("echo", echo())).await;
    let mut client = host.client("ann");
    for n in 0..20 {
        client.send(message(&format!("m{n}"), "hi")).await;
        let mut accepted = None;
        loop {
            match client.next().await {
                Outgoing::Accepted(a) => accepted = Some(a.run),
                Outgoing::Event(e) => {
                    assert_eq!(accepted.as_ref(), Some(&e.entry.event.run));
                    if e.entry.event.kind == EventKind::AgentCompleted {
                        break;
                    }
                }
                other => panic!("{other:?}"),
            }
        }
    }
}
