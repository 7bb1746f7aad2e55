//! Law 3 in every failure of a plugin, the fallback and the store.

use std::time::Duration;

use agent_host_core::{level::ServiceLevel, outcome::Exit};
use agent_plugin_protocol::{
    Code, EventKind, PluginId,
    call::{Completion, request},
    event::emit_kind,
};
use serde_json::json;

use super::{
    fake::{FakeRuntime, Step, echo, script},
    host::{Host, Seen1, message},
};
use crate::{Incoming, session::Message};

/// Runs one message on a plugin of that script; the log is checked.
async fn run(steps: impl IntoIterator<Item = Step>) -> (Host, Seen1) {
    let host = Host::healthy(&["bad"], FakeRuntime::default().with("bad", script(steps))).await;
    let seen = host.client("ann").ask(message("m1", "hi")).await;
    host.log("ann", &seen.accepted.thread).await;
    (host, seen)
}

fn status(seen: &Seen1) -> (&str, &str) {
    (seen.last["status"].as_str().unwrap(), seen.last["error"]["code"].as_str().unwrap_or(""))
}

#[tokio::test(start_paused = true)]
async fn a_crash_before_the_first_event_ends_with_the_fallback() {
    let (host, seen) = run([Step::Die(Exit::Signal(11))]).await;
    assert_eq!(status(&seen), ("degraded", "plugin.crashed"));
    assert!(seen.kinds.contains(&EventKind::RunDegraded));
    assert!(host.told("handle") <= 2, "a poison message is not tried a third time");
}

#[tokio::test(start_paused = true)]
async fn a_crash_before_the_first_event_is_tried_on_the_next_generation() {
    let runtime = FakeRuntime::default().starting("bad", |generation| {
        Box::pin(async move {
            tokio::time::sleep(Duration::from_millis(100)).await;
            Ok(if generation.0 == 1 { script([Step::Die(Exit::Signal(11))]) } else { echo() })
        })
    });
    let host = Host::healthy(&["bad"], runtime).await;
    let seen = host.client("ann").ask(message("m1", "hi")).await;
    assert_eq!((seen.agent.as_str(), status(&seen)), ("bad", ("ok", "")));
    assert_eq!(seen.last["responder"]["generation"], 2);
    host.log("ann", &seen.accepted.thread).await;
}

#[tokio::test(start_paused = true)]
async fn a_crash_before_the_first_event_is_tried_on_the_next_agent() {
    let runtime =
        FakeRuntime::default().with("bad", script([Step::Die(Exit::Signal(11))])).with("good", echo());
    let host = Host::healthy(&["bad", "good"], runtime).await;
    let seen = host.client("ann").ask(message("m1", "hi")).await;
    assert_eq!((seen.agent.as_str(), status(&seen)), ("good", ("ok", "")));
    assert_eq!(host.told("handle"), 2);
    host.log("ann", &seen.accepted.thread).await;
}

#[tokio::test(start_paused = true)]
async fn a_message_that_crashed_two_plugins_is_given_to_no_third() {
    let poison = || script([Step::Die(Exit::Signal(11))]);
    let runtime = FakeRuntime::default().with("one", poison()).with("two", poison()).with("three", poison());
    let host = Host::healthy(&["one", "two", "three"], runtime).await;
    let seen = host.client("ann").ask(message("m1", "hi")).await;
    assert_eq!(status(&seen).0, "degraded");
    assert_eq!(host.told("handle"), 2);
    host.log("ann", &seen.accepted.thread).await;
}

#[tokio::test(start_paused = true)]
async fn a_crash_after_the_first_event_fails_the_run_and_closes_its_tools() {
    let (_, seen) = run([Step::Think("x"), Step::Die(Exit::Signal(6))]).await;
    assert_eq!(status(&seen), ("failed", "plugin.crashed"));
    let tool = Step::Request(request::TOOLS_CALL, json!({"name": "slow", "arguments": {}}));
    let host = Host::healthy(&["bad"], FakeRuntime::default().with("bad", script([tool]))).await;
    let mut client = host.client("ann");
    client.send(message("m1", "hi")).await;
    let accepted = client.accepted().await;
    client.event_of(EventKind::ToolExecuting).await;
    host.kill("bad", Exit::Memory);
    let seen = client.finish(accepted).await;
    assert_eq!(
        (seen.kinds.first(), status(&seen)),
        (Some(&EventKind::ToolCompleted), ("failed", "plugin.memory"))
    );
    host.log("ann", &seen.accepted.thread).await;
}

#[tokio::test(start_paused = true)]
async fn each_lie_ends_in_a_well_formed_run() {
    let error = Completion::Error { code: "x".to_owned(), message: "no".to_owned(), retryable: false };
    let panicked = Completion::Panicked { message: "boom".to_owned() };
    let cases = [
        (vec![Step::Complete(error)], "degraded", "plugin.error"),
        (vec![Step::Think("x"), Step::Complete(panicked)], "failed", "plugin.panicked"),
        (vec![Step::Think("x"), Step::CompleteRaw("not json")], "failed", "plugin.protocol_violation"),
        (
            vec![Step::Think("x"), Step::Complete(Completion::Cancelled)],
            "failed",
            "plugin.protocol_violation",
        ),
        (
            vec![
                Step::Raw(99, "{}"),
                Step::Raw(emit_kind::THINKING, "{\"text\":\"\\ud800\"}"),
                Step::Reply("ok"),
            ],
            "ok",
            "",
        ),
        (vec![Step::Request("tools.call", json!(7)), Step::Reply("ok")], "ok", ""),
    ];
    for (steps, word, code) in cases {
        let (_, seen) = run(steps).await;
        assert_eq!(status(&seen), (word, code));
    }
}

#[tokio::test(start_paused = true)]
async fn a_silent_plugin_meets_the_idle_clock_and_one_that_ignores_the_cancel_is_killed() {
    let (host, seen) =
        run([Step::Think("x"), Step::UntilCancelled, Step::Complete(Completion::Cancelled)]).await;
    assert_eq!(status(&seen), ("failed", "plugin.timeout_idle"));
    assert_eq!((host.told("cancel"), host.told("kill")), (1, 0));
    let (host, seen) = run([Step::Think("x"), Step::Never]).await;
    assert_eq!(status(&seen), ("failed", "plugin.timeout_idle"));
    assert_eq!(host.told("kill"), 1);
}

#[tokio::test(start_paused = true)]
async fn a_plugin_that_talks_for_ever_meets_the_run_clock() {
    let steps = std::iter::repeat_n([Step::Think("x"), Step::Sleep(Duration::from_secs(5))], 100).flatten();
    let (_, seen) = run(steps).await;
    assert_eq!(status(&seen), ("failed", "plugin.timeout_run"));
}

#[tokio::test(start_paused = true)]
async fn a_cancelled_run_is_cancelled_even_if_the_plugin_ignores_it() {
    let host =
        Host::healthy(&["bad"], FakeRuntime::default().with("bad", script([Step::Think("x"), Step::Never])))
            .await;
    let mut client = host.client("ann");
    client.send(message("m1", "hi")).await;
    let accepted = client.accepted().await;
    client.event_of(EventKind::AgentThinking).await;

    let mut stranger = host.client("bob");
    stranger.session.handle(Incoming::Cancel { run: accepted.run.clone() }).await;
    assert_eq!(stranger.problem().await.code, Code::RunNotFound);

    client.session.handle(Incoming::Cancel { run: accepted.run.clone() }).await;
    let seen = client.finish(accepted.clone()).await;
    assert_eq!(status(&seen), ("cancelled", ""));
    assert_eq!(host.told("abandon"), 1);
    host.log("ann", &accepted.thread).await;
    client.session.handle(Incoming::Cancel { run: accepted.run.clone() }).await;
    assert_eq!(client.problem().await.code, Code::RunNotCancellable);
    stranger.session.handle(Incoming::Cancel { run: accepted.run }).await;
    assert_eq!(stranger.problem().await.code, Code::RunNotFound);
}

#[tokio::test(start_paused = true)]
async fn a_message_that_waits_can_be_cancelled_before_it_runs() {
    let host = Host::healthy(&["bad"], FakeRuntime::default().with("bad", script([Step::Never]))).await;
    let mut client = host.client("ann");
    client.send(message("m1", "hi")).await;
    let first = client.accepted().await;
    client.send(Message { thread: Some(first.thread.clone()), ..message("m2", "hi") }).await;
    let second = client.accepted().await;
    client.session.handle(Incoming::Cancel { run: second.run.clone() }).await;
    assert_eq!(status(&client.finish(second).await).0, "cancelled");
    client.session.handle(Incoming::Cancel { run: first.run.clone() }).await;
    assert_eq!(status(&client.finish(first.clone()).await).0, "cancelled");
    host.log("ann", &first.thread).await;
}

#[tokio::test(start_paused = true)]
async fn a_full_plugin_refuses_and_another_answers() {
    let mut full = super::host::plugin("full");
    let mut spec = (*full.spec).clone();
    spec.limits.concurrent_runs = 1;
    full.spec = std::sync::Arc::new(spec);
    let runtime = FakeRuntime::default().with("full", script([Step::Never])).with("other", echo());
    let host = Host::new(vec![full, super::host::plugin("other")], runtime);
    host.level(ServiceLevel::Full).await;
    let mut client = host.client("ann");
    client.send(message("m1", "hi")).await;
    client.event_of(EventKind::AgentStarted).await;
    let seen = client.ask(message("m2", "hi")).await;
    assert_eq!((seen.agent.as_str(), status(&seen).0), ("other", "ok"));
    host.log("ann", &seen.accepted.thread).await;
}

#[tokio::test(start_paused = true)]
async fn while_the_store_is_gone_nothing_is_accepted_and_nothing_begun_is_lost() {
    let slow = script([Step::Sleep(Duration::from_secs(1)), Step::Think("x"), Step::Reply("done")]);
    let host = Host::healthy(&["echo"], FakeRuntime::default().with("echo", slow)).await;
    let mut client = host.client("ann");
    client.send(message("m1", "hi")).await;
    let accepted = client.accepted().await;
    client.event_of(EventKind::AgentStarted).await;
    host.store.set_broken(true);
    assert_eq!(client.problem().await.code, Code::StoreUnavailable);
    host.level(ServiceLevel::Basic).await;
    client.send(message("m2", "hi")).await;
    let refused = client.problem().await;
    assert_eq!((refused.code, refused.retry_after.is_some()), (Code::StoreUnavailable, true));
    tokio::time::sleep(Duration::from_secs(60)).await;
    host.store.set_broken(false);
    let seen = client.finish(accepted).await;
    assert_eq!(status(&seen), ("ok", ""));
    host.level(ServiceLevel::Full).await;
    host.log("ann", &seen.accepted.thread).await;
}

#[tokio::test(start_paused = true)]
async fn a_named_agent_is_not_replaced_after_it_failed() {
    let runtime = FakeRuntime::default().with("bad", script([Step::CompleteRaw("x")])).with("good", echo());
    let host = Host::healthy(&["bad", "good"], runtime).await;
    let named = Message { agent: Some(PluginId::new("bad").unwrap()), ..message("m1", "hi") };
    let seen = host.client("ann").ask(named).await;
    assert_eq!(seen.agent, "fallback");
    host.log("ann", &seen.accepted.thread).await;
}

/// Run by the next test, in a process of its own: failpoints are set by the environment.
#[cfg(feature = "failpoints")]
#[tokio::test(start_paused = true)]
#[ignore = "run by another test, with a failpoint set"]
async fn inner_fallback_fails() {
    let host = Host::new(Vec::new(), FakeRuntime::default());
    let mut client = host.client("ann");
    client.send(message("m1", "hi")).await;
    let accepted = client.accepted().await;
    let seen = client.finish(accepted).await;
    assert_eq!(status(&seen), ("failed", "host.internal"));
    let problem = client.problem().await;
    assert_eq!((problem.code, problem.id.unwrap().as_str()), (Code::HostInternal, "m1"));
    host.level(ServiceLevel::Basic).await;
    host.log("ann", &seen.accepted.thread).await;
}

#[cfg(feature = "failpoints")]
#[test]
fn if_even_the_fallback_fails_the_run_ends_and_the_connection_is_told() {
    let status = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "--ignored", "tests::failing::inner_fallback_fails"])
        .env("AGENT_HOST_FAILPOINTS", "fallback.answer=error")
        .status()
        .unwrap();
    assert!(status.success());
}
