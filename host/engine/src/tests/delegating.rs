//! Work that a supervisor hands to agents: who does it, what is told of it, and what becomes of it when somebody fails.

mod any_order;

use std::{sync::Arc, time::Duration};

use agent_host_core::{level::ServiceLevel, outcome::Exit};
use agent_plugin_protocol::{
    EventKind, ThreadId,
    call::{Completion, Question, Reply, RouteChoice, request},
};
use serde_json::{Value, json};

use super::{
    fake::{FakeRuntime, Script, Step, echo, script},
    host::{Host, Seen1, message, plugin},
};
use crate::{Incoming, settings::PluginSettings};

fn to(agent: &str) -> Value {
    json!({"agent": agent, "input": format!("work for {agent}")})
}

/// Hands work on and waits for what comes back.
fn ask(agent: &str) -> Step {
    Step::Request(request::DELEGATE, to(agent))
}

/// Hands work on and goes on.
fn post(agent: &str) -> Step {
    Step::Post(request::DELEGATE, to(agent))
}

/// A supervisor that answers itself.
fn boss(steps: impl IntoIterator<Item = Step>) -> Script {
    Script { route: Some(RouteChoice::Handle), ..script(steps) }
}

async fn run(runtime: FakeRuntime, plugins: &[&str]) -> (Host, Seen1) {
    let host = Host::healthy(plugins, runtime).await;
    let seen = host.client("ann").ask(message("m1", "hi")).await;
    (host, seen)
}

/// The run's events as `agent kind`, without those of the start and the end.
async fn told(host: &Host, thread: &ThreadId) -> Vec<String> {
    let log = host.log("ann", thread).await;
    let lines = log.iter().map(|entry| format!("{} {}", entry.event.agent, entry.event.kind));
    let edges = ["user_message", "agent_started", "agent_completed"];
    lines.filter(|line| !edges.iter().any(|edge| line.ends_with(edge))).collect()
}

#[tokio::test(start_paused = true)]
async fn work_is_done_one_after_the_other_and_told_under_its_agent_s_name() {
    let runtime = FakeRuntime::default()
        .with(
            "supervisor",
            boss([ask("one"), ask("two"), Step::Delta("both"), Step::Reply("both said hello")]),
        )
        .with("one", echo())
        .with("two", script([Step::Delta("hel"), Step::Delta("lo, too"), Step::Complete(streamed())]));
    let (host, seen) = run(runtime, &["one", "two", "supervisor"]).await;
    assert_eq!((seen.agent.as_str(), &seen.last["status"]), ("supervisor", &json!("ok")));
    assert_eq!(seen.last["text"], "both said hello");
    let expected = [
        "supervisor agent_delegated",
        "one agent_thinking",
        "one agent_message_delta",
        "supervisor agent_returned",
        "supervisor agent_delegated",
        "two agent_message_delta",
        "two agent_message_delta",
        "supervisor agent_returned",
        "supervisor agent_message_delta",
    ];
    assert_eq!(told(&host, &seen.accepted.thread).await, expected);
    assert_eq!(host.told("handle work for one"), 1);
    assert_eq!(host.told(r#"respond {"status":"ok","value":{"status":"ok","text":"hello"}}"#), 1);
    assert_eq!(
        host.told(r#""text":"hello, too""#),
        1,
        "what was streamed is the answer where there is no other"
    );
}

fn streamed() -> Completion {
    Completion::Ok { value: json!(Reply::default()) }
}

#[tokio::test(start_paused = true)]
async fn work_is_done_at_the_same_time() {
    let slow =
        |seconds| script([Step::Think("hm"), Step::Sleep(Duration::from_secs(seconds)), Step::Reply("x")]);
    let runtime = FakeRuntime::default()
        .with("supervisor", boss([post("one"), post("two"), Step::Answers(2), Step::Reply("both")]))
        .with("one", slow(5))
        .with("two", slow(4));
    let host = Host::healthy(&["one", "two", "supervisor"], runtime).await;
    let began = tokio::time::Instant::now();
    let seen = host.client("ann").ask(message("m1", "hi")).await;
    assert!(began.elapsed() < Duration::from_secs(6));
    assert_eq!(seen.last["text"], "both");
    let told = told(&host, &seen.accepted.thread).await;
    assert_eq!(told[..2], ["supervisor agent_delegated", "supervisor agent_delegated"]);
    assert_eq!(told[4..], ["supervisor agent_returned", "supervisor agent_returned"]);
}

/// What a supervisor is told of work that this agent does badly; its own run goes on.
async fn failure(agent: Script) -> (Host, Seen1, String) {
    let runtime = FakeRuntime::default()
        .with("supervisor", boss([ask("bad"), Step::Reply("nevertheless")]))
        .with("bad", agent);
    let host = Host::healthy(&["bad", "supervisor"], runtime).await;
    let seen = host.client("ann").ask(message("m1", "hi")).await;
    assert_eq!((&seen.last["status"], &seen.last["text"]), (&json!("ok"), &json!("nevertheless")));
    let log = host.log("ann", &seen.accepted.thread).await;
    let returned = log.iter().find(|entry| entry.event.kind == EventKind::AgentReturned).unwrap();
    let returned: Value = serde_json::from_slice(&returned.event.payload).unwrap();
    assert_eq!(returned["status"], "failed");
    let code = returned["error"]["code"].as_str().unwrap().to_owned();
    assert_eq!(host.told(&format!(r#"{{"code":"{code}""#)), 1, "the supervisor is told the same");
    (host, seen, code)
}

#[tokio::test(start_paused = true)]
async fn a_failure_of_an_agent_is_a_value_for_its_supervisor() {
    let question = Question { prompt: "which?".to_owned(), schema: None };
    let asks = Completion::Ok { value: json!(Reply { ask: Some(question), ..Reply::default() }) };
    let error = Completion::Error { code: "x".to_owned(), message: "no".to_owned(), retryable: false };
    let cases = [
        (vec![Step::Think("x"), Step::Die(Exit::Signal(11))], "plugin.crashed"),
        (vec![Step::Die(Exit::Memory)], "plugin.memory"),
        (vec![Step::Complete(error)], "plugin.error"),
        (vec![Step::Complete(Completion::Panicked { message: "boom".to_owned() })], "plugin.panicked"),
        (vec![Step::Complete(Completion::Cancelled)], "plugin.protocol_violation"),
        (vec![Step::CompleteRaw("nonsense")], "plugin.protocol_violation"),
        (vec![Step::Complete(asks)], "input_required"),
        (vec![Step::Think("x"), Step::UntilCancelled, Step::Reply("too late")], "plugin.timeout_idle"),
    ];
    for (steps, code) in cases {
        let (host, _, told) = failure(script(steps)).await;
        assert_eq!(told, code);
        assert_eq!(host.told("#1 kill"), 0);
    }
}

#[tokio::test(start_paused = true)]
async fn an_agent_that_ignores_its_cancellation_is_ended_and_the_supervisor_goes_on() {
    let (host, _, code) = failure(script([Step::Never])).await;
    assert_eq!(code, "plugin.timeout_idle");
    assert_eq!((host.told("bad#1 kill"), host.told("supervisor#1 kill")), (1, 0));
}

#[tokio::test(start_paused = true)]
async fn who_may_not_hand_on_is_told_so_and_nothing_is_begun() {
    let circle = FakeRuntime::default()
        .with("supervisor", boss([ask("super2"), Step::Reply("done")]))
        .with("super2", boss([ask("supervisor"), ask("super2"), Step::Reply("done")]))
        .with("echo", echo());
    let (host, seen) = run(circle, &["supervisor", "super2", "echo"]).await;
    assert_eq!(host.told("in a circle"), 2);
    assert_eq!(host.told("super2#1 handle"), 1);
    assert_eq!(seen.last["status"], "ok");
    host.log("ann", &seen.accepted.thread).await;

    let deep = FakeRuntime::default()
        .with("supervisor", boss([ask("super2"), Step::Reply("done")]))
        .with("super2", boss([ask("super3"), Step::Reply("done")]))
        .with("super3", boss([ask("super4"), Step::Reply("done")]))
        .with("super4", boss([ask("echo"), Step::Reply("done")]))
        .with("echo", echo());
    let (host, seen) = run(deep, &["supervisor", "super2", "super3", "super4", "echo"]).await;
    assert_eq!((host.told("three times already"), host.told("handle work for echo")), (1, 0));
    assert_eq!(told(&host, &seen.accepted.thread).await.len(), 6, "three handed on, three back");

    let agent =
        FakeRuntime::default().with("one", script([ask("two"), Step::Reply("alone")])).with("two", echo());
    let (host, seen) = run(agent, &["one", "two"]).await;
    assert_eq!((host.told("delegate.denied"), seen.last["text"].as_str()), (1, Some("alone")));
    assert!(!seen.kinds.contains(&EventKind::AgentDelegated));
}

#[tokio::test(start_paused = true)]
async fn who_is_not_to_be_had_is_a_failure_and_who_is_not_there_an_error() {
    let runtime = FakeRuntime::default()
        .with("supervisor", boss([ask("broken"), ask("nobody"), Step::Reply("alone")]))
        .starting("broken", super::plugins::failing("broken"));
    let host = Host::new(vec![plugin("broken"), plugin("supervisor")], runtime);
    host.level(ServiceLevel::Fallback).await;
    let seen = host.client("ann").ask(message("m1", "hi")).await;
    assert_eq!((seen.last["text"].as_str(), host.told("agent.unknown")), (Some("alone"), 1));
    let told = told(&host, &seen.accepted.thread).await;
    assert_eq!(told, ["supervisor agent_delegated", "supervisor agent_returned"]);
}

#[tokio::test(start_paused = true)]
async fn more_work_at_once_than_allowed_is_refused() {
    let posts = std::iter::repeat_n(post("slow"), 10);
    let steps = posts.chain([Step::Answers(10), Step::Reply("done")]);
    let slow = script([Step::Sleep(Duration::from_secs(1)), Step::Reply("x")]);
    let runtime = FakeRuntime::default().with("supervisor", boss(steps)).with("slow", slow);
    let (host, seen) = run(runtime, &["slow", "supervisor"]).await;
    assert_eq!(host.told("too much work"), 2);
    assert_eq!((host.told("handle work"), seen.last["status"].as_str()), (8, Some("ok")));
    host.log("ann", &seen.accepted.thread).await;
}

#[tokio::test(start_paused = true)]
async fn an_agent_that_is_full_takes_no_work_either() {
    let steps = [post("slow"), post("slow"), Step::Answers(2), Step::Reply("done")];
    let slow = script([Step::Sleep(Duration::from_secs(1)), Step::Reply("x")]);
    let runtime = FakeRuntime::default().with("supervisor", boss(steps)).with("slow", slow);
    let full = changed("slow", |spec| spec.limits.concurrent_runs = 1);
    let host = Host::new(vec![full, plugin("supervisor")], runtime);
    host.level(ServiceLevel::Full).await;
    let seen = host.client("ann").ask(message("m1", "hi")).await;
    assert_eq!((host.told("plugin.overloaded"), seen.last["status"].as_str()), (1, Some("ok")));
    host.log("ann", &seen.accepted.thread).await;
}

fn changed(
    id: &str,
    change: impl FnOnce(&mut agent_host_core::ports::instance::PluginSpec),
) -> PluginSettings {
    let mut settings = plugin(id);
    change(Arc::make_mut(&mut settings.spec));
    settings
}

#[tokio::test(start_paused = true)]
async fn work_has_the_tools_that_both_were_granted() {
    let call = |tool: &str| Step::Request(request::TOOLS_CALL, json!({"name": tool, "arguments": {"a": 1}}));
    let uses = script([
        call("add"),
        call("secret"),
        Step::Request(request::TOOLS_LIST, json!({})),
        Step::Reply("done"),
    ]);
    let runtime =
        FakeRuntime::default().with("supervisor", boss([ask("one"), Step::Reply("done")])).with("one", uses);
    let one = changed("one", |spec| spec.tools = vec!["add".into(), "secret".into()]);
    let host = Host::new(vec![one, plugin("supervisor")], runtime);
    host.level(ServiceLevel::Full).await;
    let seen = host.client("ann").ask(message("m1", "hi")).await;
    assert_eq!((host.told(r#""sum":2"#), host.told("tool.denied")), (1, 1));
    assert_eq!(host.told(r#""name":"slow""#) + host.told(r#""name":"secret""#), 0);
    let expected = [
        "supervisor agent_delegated",
        "one tool_executing",
        "one tool_completed",
        "supervisor agent_returned",
    ];
    assert_eq!(told(&host, &seen.accepted.thread).await, expected);
}

#[tokio::test(start_paused = true)]
async fn a_cancelled_run_cancels_its_work() {
    let runtime = FakeRuntime::default()
        .with("supervisor", boss([ask("super2"), Step::Never]))
        .with("super2", boss([post("one"), post("two"), Step::Never]))
        .with("one", script([Step::Never]))
        .with("two", script([Step::Request(request::TOOLS_CALL, json!({"name": "slow", "arguments": {}}))]));
    let host = Host::healthy(&["one", "two", "supervisor", "super2"], runtime).await;
    let mut client = host.client("ann");
    client.send(message("m1", "hi")).await;
    let accepted = client.accepted().await;
    client.event_of(EventKind::ToolExecuting).await;
    client.session.handle(Incoming::Cancel { run: accepted.run.clone() }).await;
    let seen = client.finish(accepted).await;
    assert_eq!(seen.last["status"], "cancelled");
    for plugin in ["one", "two", "supervisor", "super2"] {
        assert_eq!(host.told(&format!("{plugin}#1 cancel")), 1, "{plugin}");
        assert_eq!(host.told(&format!("{plugin}#1 abandon")), 1, "{plugin}");
    }
    assert_eq!(host.told("#1 kill"), host.told("supervisor#1 kill"), "the agents were not given their grace");
    host.log("ann", &seen.accepted.thread).await;
}

#[tokio::test(start_paused = true)]
async fn a_supervisor_s_end_is_its_work_s_end() {
    for (last, status) in [(Step::Die(Exit::Signal(11)), "failed"), (Step::Reply("without it"), "ok")] {
        let steps = [post("one"), Step::Sleep(Duration::from_secs(1)), last];
        let runtime = FakeRuntime::default()
            .with("supervisor", boss(steps))
            .with("one", script([Step::Think("x"), Step::Never]));
        let (host, seen) = run(runtime, &["one", "supervisor"]).await;
        assert_eq!(seen.last["status"], status);
        assert_eq!((host.told("one#1 cancel"), host.told("one#1 abandon")), (1, 1));
        assert!(seen.kinds.ends_with(&[EventKind::AgentReturned, EventKind::AgentCompleted]));
        host.log("ann", &seen.accepted.thread).await;
    }
}

#[tokio::test(start_paused = true)]
async fn an_agent_that_stops_takes_what_it_handed_on_with_it() {
    let runtime = FakeRuntime::default()
        .with("supervisor", boss([ask("super2"), Step::Reply("nevertheless")]))
        .with("super2", boss([post("one"), Step::Sleep(Duration::from_secs(1)), Step::Die(Exit::Status(1))]))
        .with("one", script([Step::Think("x"), Step::Never]));
    let (host, seen) = run(runtime, &["one", "supervisor", "super2"]).await;
    assert_eq!((seen.last["text"].as_str(), host.told("plugin.exited")), (Some("nevertheless"), 1));
    assert_eq!((host.told("one#1 cancel"), host.told("one#1 abandon")), (1, 1));
    host.log("ann", &seen.accepted.thread).await;
}

#[tokio::test(start_paused = true)]
async fn work_ends_with_the_time_of_who_handed_it_on() {
    let talks =
        || std::iter::repeat_n([Step::Think("x"), Step::Sleep(Duration::from_secs(5))], 100).flatten();
    let runtime = FakeRuntime::default().with("supervisor", boss([ask("one")])).with("one", script(talks()));
    let (host, seen) = run(runtime, &["one", "supervisor"]).await;
    assert_eq!(seen.last["error"]["code"], "plugin.timeout_run");
    assert_eq!(host.told("one#1 kill"), 0, "it was not it that took too long");
    host.log("ann", &seen.accepted.thread).await;
}

#[tokio::test(start_paused = true)]
async fn a_run_that_ended_two_processes_is_given_to_no_third() {
    let dies = || script([Step::Die(Exit::Signal(11))]);
    let runtime = FakeRuntime::default()
        .with("supervisor", boss([ask("one"), ask("two"), ask("three"), Step::Reply("enough")]))
        .with("one", dies())
        .with("two", dies())
        .with("three", dies());
    let (host, seen) = run(runtime, &["one", "two", "three", "supervisor"]).await;
    assert_eq!((host.told("handle work"), seen.last["text"].as_str()), (2, Some("enough")));
    assert_eq!(host.told("agent.failed"), 1);
}

#[tokio::test(start_paused = true)]
async fn agents_that_say_much_say_all_of_it_and_nobody_waits_for_ever() {
    let much = |n| std::iter::repeat_n(Step::Delta("x"), n).chain([Step::Complete(streamed())]);
    let runtime = FakeRuntime::default()
        .with("supervisor", boss([post("one"), post("two"), Step::Answers(2), Step::Reply("both")]))
        .with("one", script(much(1500)))
        .with("two", script(much(1500)));
    let (host, seen) = run(runtime, &["one", "two", "supervisor"]).await;
    assert_eq!(seen.last["text"], "both", "what agents stream is no part of the run's answer");
    assert_eq!(told(&host, &seen.accepted.thread).await.len(), 3004);
}

#[tokio::test(start_paused = true)]
async fn an_agent_cannot_speak_into_the_answer_of_the_run() {
    let runtime = FakeRuntime::default()
        .with("supervisor", boss([ask("one"), Step::Delta("mine"), Step::Complete(streamed())]))
        .with("one", script([Step::DeltaOf("guessed.answer", "forged"), Step::Reply("done")]));
    let (host, seen) = run(runtime, &["one", "supervisor"]).await;
    assert_eq!(seen.last["text"], "mine");
    assert_eq!(told(&host, &seen.accepted.thread).await.len(), 3);
}
