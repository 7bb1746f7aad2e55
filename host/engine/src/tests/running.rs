//! A message on a healthy plugin, and on none.

use agent_host_core::level::ServiceLevel;
use agent_plugin_protocol::{
    EventKind, PluginId,
    call::{Completion, Question, Reply, RouteChoice, request},
};
use serde_json::json;

use super::{
    fake::{FakeRuntime, Script, Step, echo, script},
    host::{Client, Host, message, plugin},
};
use crate::{Incoming, Outgoing};

#[tokio::test(start_paused = true)]
async fn a_message_is_acknowledged_then_run_to_its_end() {
    let host = Host::healthy(&["echo"], FakeRuntime::default().with("echo", echo())).await;
    let mut client = host.client("ann");
    client.send(message("m1", "hi")).await;
    let Outgoing::Accepted(accepted) = client.next().await else { panic!("accepted comes first") };
    assert!(!accepted.duplicate && accepted.seq.0 == 1);
    let seen = client.finish(accepted).await;
    assert_eq!(
        seen.kinds,
        [
            EventKind::UserMessage,
            EventKind::AgentStarted,
            EventKind::AgentThinking,
            EventKind::AgentMessageDelta,
            EventKind::AgentCompleted
        ]
    );
    assert_eq!((&seen.last["status"], &seen.last["text"]), (&json!("ok"), &json!("hello")));
    assert_eq!(host.log("ann", &seen.accepted.thread).await.len(), 5);
    assert_eq!(client.session.positions(), [(seen.accepted.thread, agent_plugin_protocol::Seq(5))]);
}

#[tokio::test(start_paused = true)]
async fn without_plugins_the_fallback_answers_honestly() {
    let host = Host::new(Vec::new(), FakeRuntime::default());
    assert_eq!(host.engine.status().level, ServiceLevel::Fallback);
    let seen = host.client("ann").ask(message("m1", "my secret text")).await;
    assert_eq!(
        seen.kinds,
        [
            EventKind::UserMessage,
            EventKind::AgentStarted,
            EventKind::AgentThinking,
            EventKind::ToolExecuting,
            EventKind::ToolCompleted,
            EventKind::AgentCompleted
        ]
    );
    assert_eq!((seen.agent.as_str(), &seen.last["status"]), ("fallback", &json!("degraded")));
    assert_eq!(seen.last["responder"]["built_in"], true);
    assert!(!seen.last.to_string().contains("my secret text"));
    host.log("ann", &seen.accepted.thread).await;
}

#[tokio::test(start_paused = true)]
async fn many_events_come_in_order_without_a_gap_and_credit_comes_back() {
    let mut steps = vec![Step::Delta("x"); 2_000];
    steps.push(Step::Reply("done"));
    let host = Host::healthy(&["echo"], FakeRuntime::default().with("echo", script(steps))).await;
    let mut client = host.client("ann");
    client.send(message("m1", "hi")).await;
    let accepted = client.accepted().await;
    for seq in 1..=2_003 {
        assert_eq!(client.event().await.seq.0, seq);
    }
    assert_eq!(host.log("ann", &accepted.thread).await.len(), 2_003);
}

#[tokio::test(start_paused = true)]
async fn messages_of_one_thread_are_run_one_after_the_other() {
    let slow = script([Step::Sleep(std::time::Duration::from_secs(1)), Step::Reply("done")]);
    let host = Host::healthy(&["echo"], FakeRuntime::default().with("echo", slow)).await;
    let mut client = host.client("ann");
    client.send(message("m1", "one")).await;
    let first = client.accepted().await;
    let thread = Some(first.thread.clone());
    client.send(crate::session::Message { thread: thread.clone(), ..message("m2", "two") }).await;
    let second = client.accepted().await;
    let seen = client.finish(second).await;
    assert_eq!(seen.last["status"], "ok");
    let log = host.log("ann", &first.thread).await;
    let ends: Vec<_> =
        log.iter().filter(|e| e.event.kind == EventKind::AgentCompleted).map(|e| &e.event.run).collect();
    assert_eq!(ends, [&first.run, &seen.accepted.run]);
}

#[tokio::test(start_paused = true)]
async fn the_host_writes_the_events_of_a_tool_and_denies_what_was_not_granted() {
    let steps = script([
        Step::Request(request::TOOLS_CALL, json!({"name": "add", "arguments": {"a": 1}})),
        Step::Request(request::TOOLS_CALL, json!({"name": "secret", "arguments": {}})),
        Step::Request(request::TOOLS_LIST, json!({})),
        Step::Request(request::LLM_COMPLETE, json!({})),
        Step::Request("new.method", json!({})),
        Step::Reply("done"),
    ]);
    let host = Host::healthy(&["echo"], FakeRuntime::default().with("echo", steps)).await;
    let seen = host.client("ann").ask(message("m1", "hi")).await;
    let tools = seen.kinds.iter().filter(|kind| **kind == EventKind::ToolExecuting).count();
    assert_eq!((tools, &seen.last["status"]), (1, &json!("ok")));
    for told in [r#""sum":2"#, "tool.denied", r#""name":"slow""#, "llm.unavailable", "unimplemented"] {
        assert_eq!(host.told(told), 1, "{told}");
    }
    assert_eq!(host.told(r#""name":"secret""#), 0);
    host.log("ann", &seen.accepted.thread).await;
}

#[tokio::test(start_paused = true)]
async fn a_tool_that_takes_too_long_fails_and_the_run_goes_on() {
    let steps = script([
        Step::Request(request::TOOLS_CALL, json!({"name": "slow", "arguments": {}})),
        Step::Reply("without the tool"),
    ]);
    let host = Host::healthy(&["echo"], FakeRuntime::default().with("echo", steps)).await;
    let seen = host.client("ann").ask(message("m1", "hi")).await;
    assert_eq!(seen.last["status"], "ok");
    assert_eq!(host.told("plugin.timeout_tool"), 1);
    host.log("ann", &seen.accepted.thread).await;
}

#[tokio::test(start_paused = true)]
async fn a_plugin_reads_the_turns_before_and_keeps_state() {
    let steps = script([
        Step::Request(request::THREAD_HISTORY, json!({"limit": 10})),
        Step::Request(request::THREAD_STATE_GET, json!({})),
        Step::Request(request::THREAD_STATE_SET, json!({"count": 7})),
        Step::Reply("reply"),
    ]);
    let host = Host::healthy(&["echo"], FakeRuntime::default().with("echo", steps)).await;
    let mut client = host.client("ann");
    let first = client.ask(message("m1", "first words")).await;
    assert_eq!(host.told("first words\""), 0, "the present message is no earlier turn");
    let thread = Some(first.accepted.thread);
    client.ask(crate::session::Message { thread, ..message("m2", "second") }).await;
    assert_eq!(host.told(r#""role":"user""#), 1);
    assert_eq!(host.told(r#""text":"reply""#), 1);
    assert_eq!(host.told(r#"{"count":7}"#), 1);
}

#[tokio::test(start_paused = true)]
async fn a_supervisor_chooses() {
    let choose =
        Script { route: Some(RouteChoice::To(PluginId::new("second").unwrap())), ..Script::default() };
    let runtime =
        FakeRuntime::default().with("first", echo()).with("second", echo()).with("supervisor", choose);
    let host = Host::healthy(&["first", "second", "supervisor"], runtime).await;
    let seen = host.client("ann").ask(message("m1", "hi")).await;
    assert_eq!((seen.agent.as_str(), &seen.last["status"]), ("second", &json!("ok")));
}

#[tokio::test(start_paused = true)]
async fn a_supervisor_may_answer_itself() {
    let handle = Script { route: Some(RouteChoice::Handle), ..echo() };
    let runtime = FakeRuntime::default().with("first", echo()).with("supervisor", handle);
    let host = Host::healthy(&["first", "supervisor"], runtime).await;
    assert_eq!(host.client("ann").ask(message("m1", "hi")).await.agent, "supervisor");
}

#[tokio::test(start_paused = true)]
async fn a_supervisor_that_does_not_choose_in_time_is_passed_by() {
    let runtime = FakeRuntime::default().with("first", echo()).with("supervisor", Script::default());
    let host = Host::healthy(&["first", "supervisor"], runtime).await;
    let seen = host.client("ann").ask(message("m1", "hi")).await;
    assert_eq!((seen.agent.as_str(), &seen.last["status"]), ("first", &json!("ok")));
    host.log("ann", &seen.accepted.thread).await;
}

#[tokio::test(start_paused = true)]
async fn a_named_agent_answers_or_the_fallback_and_never_another() {
    let broken = super::plugins::failing("broken");
    let runtime = FakeRuntime::default().with("echo", echo()).starting("broken", broken);
    let host = Host::new(vec![plugin("echo"), plugin("broken")], runtime);
    host.level(ServiceLevel::Partial).await;
    let named = |agent: &str| crate::session::Message {
        agent: Some(PluginId::new(agent).unwrap()),
        ..message(agent, "hi")
    };
    let mut client = host.client("ann");
    assert_eq!(client.ask(named("echo")).await.agent, "echo");
    assert_eq!(client.ask(named("broken")).await.agent, "fallback");
    client.send(named("nobody")).await;
    assert_eq!(client.problem().await.code, agent_plugin_protocol::Code::AgentUnknown);
}

#[tokio::test(start_paused = true)]
async fn a_question_ends_the_run_and_its_answer_begins_another() {
    let question = Question { prompt: "which?".to_owned(), schema: None };
    let reply = Reply { ask: Some(question), ..Reply::default() };
    let asks = script([Step::Complete(Completion::Ok { value: json!(reply) })]);
    let host = Host::healthy(&["echo"], FakeRuntime::default().with("echo", asks)).await;
    let mut client = host.client("ann");
    let seen = client.ask(message("m1", "hi")).await;
    assert_eq!(seen.last["status"], "input_required");
    let answer = |id: &str, interrupt: &str| Incoming::Answer {
        id: agent_plugin_protocol::MessageId::new(id).unwrap(),
        run: seen.accepted.run.clone(),
        interrupt: interrupt.to_owned(),
        response: json!("this one"),
    };
    let interrupt = seen.last["interrupts"][0]["interrupt_id"].as_str().unwrap();
    let not_found =
        |problem: crate::session::Problem| problem.code == agent_plugin_protocol::Code::InterruptNotFound;

    client.session.handle(answer("a0", "another")).await;
    assert!(not_found(client.problem().await));
    let mut stranger: Client = host.client("bob");
    stranger.session.handle(answer("a0", interrupt)).await;
    assert!(not_found(stranger.problem().await));

    client.session.handle(answer("a1", interrupt)).await;
    let accepted = client.accepted().await;
    assert_eq!(accepted.resumes.as_ref(), Some(&seen.accepted.run));
    assert_eq!(accepted.thread, seen.accepted.thread);
    client.finish(accepted.clone()).await;
    assert_eq!(host.told(r#"answer "this one""#), 1);

    client.session.handle(answer("a1", interrupt)).await;
    let again = client.accepted().await;
    assert!(again.duplicate && again.run == accepted.run);
    client.session.handle(answer("a2", interrupt)).await;
    assert!(not_found(client.problem().await));
}
