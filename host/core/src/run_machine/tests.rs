//! Facts about single runs, and the law for any input.

mod any_input;

use agent_plugin_protocol::{
    ThreadId,
    call::{DelegateResult, Question, Reply, Usage},
    event::{EventError, emit_kind},
};
use serde_json::json;

use super::*;
use crate::outcome::{Clock, Exit, ExitReport};

const MESSAGE: &str = "msg-1";

fn head() -> RunHead {
    RunHead {
        run: RunId::new("run-1").unwrap(),
        thread: ThreadId::new("thread-1").unwrap(),
        message_id: MESSAGE.into(),
        level: ServiceLevel::Fallback,
    }
}

fn agent(name: &str) -> Responder {
    Responder { plugin: name.into(), version: "1.2.0".into(), generation: 3, built_in: false }
}

fn fallback() -> Responder {
    Responder { plugin: "fallback".into(), version: "0.1.0".into(), generation: 0, built_in: true }
}

fn started(responder: Responder) -> RunInput {
    RunInput::Started { responder, level: ServiceLevel::Full, message: "on it".into() }
}

fn delta(text: &str) -> RunInput {
    let payload = json!({"message_id": MESSAGE, "text": text}).to_string().into();
    RunInput::Emitted { within: None, kind: emit_kind::MESSAGE_DELTA, payload }
}

fn thinking(text: &str) -> RunInput {
    RunInput::Emitted {
        within: None,
        kind: emit_kind::THINKING,
        payload: json!({ "text": text }).to_string().into(),
    }
}

fn tool(id: &str) -> RunInput {
    let tool_call_id = ToolCallId::new(id).unwrap();
    RunInput::ToolStarted {
        within: None,
        tool_call_id,
        tool: "calculator".into(),
        arguments: json!({"expression": "1+1"}),
    }
}

fn tool_done(id: &str) -> RunInput {
    let duration = Duration::from_millis(7);
    RunInput::ToolFinished {
        tool_call_id: ToolCallId::new(id).unwrap(),
        result: Ok(json!({"result": 2})),
        duration,
    }
}

fn degraded(to: Responder) -> RunInput {
    RunInput::Degraded {
        from: "echo".into(),
        to,
        code: Code::PluginCrashed,
        reason: "signal 11".into(),
        retryable: true,
    }
}

#[test]
fn a_fallback_s_answer_says_whether_its_author_called_the_error_retryable() {
    for retryable in [true, false] {
        let to = fallback();
        let (code, reason) = (Code::PluginError, "no such order".to_owned());
        let moved = RunInput::Degraded { from: "echo".into(), to, code, reason, retryable };
        let last = last_payload([started(agent("echo")), moved, answered(Some("away"))]);
        assert_eq!(last["error"]["retryable"], retryable, "{last}");
    }
}

fn answered(text: Option<&str>) -> RunInput {
    RunInput::Finished(Outcome::Ok(Reply { text: text.map(Into::into), ..Reply::default() }))
}

fn lost(exit: Exit) -> Outcome {
    Outcome::Lost(ExitReport {
        exit,
        uptime: Duration::from_secs(1),
        stderr_tail: vec!["secret".into()],
        crash: None,
    })
}

/// A run as a test reads it: `kind agent payload` a line, and the faults.
fn run(inputs: impl IntoIterator<Item = RunInput>) -> (Vec<NewRunEvent>, Vec<&'static str>) {
    let mut machine = RunMachine::new(head());
    let (mut events, mut faults) = (Vec::new(), Vec::new());
    for (at, input) in (0..).zip(inputs) {
        let out = machine.push(input, Duration::from_millis(at * 10));
        events.extend(out.events);
        faults.extend(out.fault.map(RunFault::as_str));
    }
    if machine.is_over() {
        grammar::check(&events).unwrap_or_else(|e| panic!("{e}\n{}", lines(&events)));
    }
    (events, faults)
}

fn lines(events: &[NewRunEvent]) -> String {
    let line = |e: &NewRunEvent| format!("{} {} {}", e.kind, e.agent, String::from_utf8_lossy(&e.payload));
    events.iter().map(line).collect::<Vec<_>>().join("\n")
}

fn last_payload(inputs: impl IntoIterator<Item = RunInput>) -> Value {
    let (events, _) = run(inputs);
    serde_json::from_slice(&events.last().unwrap().payload).unwrap()
}

#[test]
fn a_whole_run_in_the_words_of_the_protocol() {
    let usage = Some(Usage { input_tokens: 10, output_tokens: 4 });
    let reply = Reply { text: None, ask: None, usage };
    let inputs = [
        started(agent("echo")),
        thinking("hm"),
        tool("t1"),
        tool_done("t1"),
        delta("hello "),
        delta("wörld"),
        RunInput::Finished(Outcome::Ok(reply)),
    ];
    let (events, faults) = run(inputs);
    insta::assert_snapshot!("whole_run", lines(&events));
    assert!(faults.is_empty());
}

#[test]
fn the_fallback_completes_what_an_agent_began() {
    let inputs = [
        started(agent("echo")),
        delta("half an ans"),
        tool("t1"),
        degraded(fallback()),
        tool("t2"),
        tool_done("t2"),
        answered(Some("the agent is away")),
    ];
    let (events, faults) = run(inputs);
    insta::assert_snapshot!("degraded_run", lines(&events));
    assert!(faults.is_empty());
}

#[test]
fn a_plugin_s_bytes_go_out_as_they_came() {
    let payload = Bytes::from_static(br#"{ "text" : "a\u00e9\/", "step":1 }"#);
    let input = RunInput::Emitted { within: None, kind: emit_kind::THINKING, payload: payload.clone() };
    let (events, _) = run([started(agent("echo")), input]);
    assert_eq!(events[1].payload.as_ptr(), payload.as_ptr(), "the same bytes, not even copied");
}

#[test]
fn lies_are_counted_and_never_passed_on() {
    let emit = |kind, payload: &str| RunInput::Emitted {
        within: None,
        kind,
        payload: Bytes::copy_from_slice(payload.as_bytes()),
    };
    let inputs = [
        delta("too early"),
        started(agent("echo")),
        started(agent("echo")),
        emit(99, "{}"),
        emit(emit_kind::THINKING, "not json"),
        emit(emit_kind::THINKING, r#"{"text":"x","progress":-1}"#),
        emit(emit_kind::THINKING, &"x".repeat(300_000)),
        emit(emit_kind::MESSAGE_DELTA, r#"{"message_id":"another","text":"x"}"#),
        emit(emit_kind::MESSAGE_DELTA, r#"{"message_id":"msg-1","text":"\ud800"}"#),
        tool_done("t1"),
        tool("t1"),
        tool("t1"),
        tool_done("t1"),
        tool_done("t1"),
        answered(Some("done")),
        answered(Some("done again")),
        delta("still here"),
        RunInput::Cancelled,
    ];
    let (events, faults) = run(inputs);
    let expected = [
        "before_start",
        "started_twice",
        "unknown_kind",
        "malformed",
        "out_of_range",
        "too_large",
        "wrong_message",
        "malformed",
        "unknown_id",
        "duplicate_id",
        "unknown_id",
        "after_completion",
        "after_completion",
        "after_completion",
    ];
    assert_eq!(faults, expected);
    assert_eq!(events.len(), 4, "{}", lines(&events));
}

#[test]
fn a_crash_during_a_tool_call_still_closes_it_and_completes_the_run() {
    let crash = RunInput::Finished(lost(Exit::Signal(11)));
    let (events, _) = run([started(agent("echo")), delta("half"), tool("t1"), tool("t2"), crash]);
    insta::assert_snapshot!("crashed_run", lines(&events));
}

#[test]
fn delegated_work_that_does_not_come_back_is_closed() {
    let delegated = |n: &str| RunInput::Delegated {
        within: None,
        agent: PluginId::new("worker").unwrap(),
        sub_run: RunId::new(n).unwrap(),
    };
    let back = RunInput::Returned {
        sub_run: RunId::new("s1").unwrap(),
        result: DelegateResult::Ok { text: "done".into() },
    };
    let (events, faults) =
        run([started(agent("boss")), delegated("s1"), delegated("s2"), back, RunInput::Interrupted]);
    insta::assert_snapshot!("delegated_run", lines(&events));
    assert!(faults.is_empty());
}

fn run_id(id: &str) -> RunId {
    RunId::new(id).unwrap()
}

fn handed(within: Option<&str>, agent: &str, sub_run: &str) -> RunInput {
    RunInput::Delegated {
        within: within.map(run_id),
        agent: PluginId::new(agent).unwrap(),
        sub_run: run_id(sub_run),
    }
}

/// The same, said within delegated work.
fn inside(sub_run: &str, input: RunInput) -> RunInput {
    let within = Some(run_id(sub_run));
    match input {
        RunInput::Emitted { kind, payload, .. } => RunInput::Emitted { within, kind, payload },
        RunInput::ToolStarted { tool_call_id, tool, arguments, .. } => {
            RunInput::ToolStarted { within, tool_call_id, tool, arguments }
        }
        other => other,
    }
}

fn piece(message: &str, text: &str) -> RunInput {
    let payload = json!({"message_id": message, "text": text}).to_string().into();
    RunInput::Emitted { within: None, kind: emit_kind::MESSAGE_DELTA, payload }
}

#[test]
fn delegated_work_is_told_under_its_agent_s_name_and_is_no_part_of_the_answer() {
    let back = RunInput::Returned {
        sub_run: run_id("s1"),
        result: DelegateResult::Ok { text: "half an answer".into() },
    };
    let inputs = [
        started(agent("boss")),
        handed(None, "worker", "s1"),
        inside("s1", thinking("hm")),
        inside("s1", tool("t1")),
        inside("s1", piece("s1", "half an ")),
        handed(Some("s1"), "helper", "s2"),
        inside("s2", tool("t2")),
        inside("s2", piece("s2", "mine")),
        tool_done("t1"),
        inside("s1", piece("s1", "answer")),
        back,
        delta("the worker says so"),
        answered(None),
    ];
    let (events, faults) = run(inputs);
    insta::assert_snapshot!("nested_run", lines(&events));
    assert!(faults.is_empty());
}

#[test]
fn who_has_work_may_not_speak_as_another_nor_after_it() {
    let back =
        RunInput::Returned { sub_run: run_id("s1"), result: DelegateResult::Ok { text: "done".into() } };
    let inputs = [
        started(agent("boss")),
        inside("s1", thinking("before it is asked")),
        handed(None, "worker", "s1"),
        inside("s1", delta("as if it were the answer")),
        piece("s1", "as if it were the work"),
        handed(Some("s0"), "helper", "s2"),
        handed(None, "worker", "s1"),
        back,
        inside("s1", tool("t1")),
        inside("s1", piece("s1", "late")),
        answered(None),
    ];
    let (events, faults) = run(inputs);
    let expected = [
        "unknown_id",
        "wrong_message",
        "wrong_message",
        "unknown_id",
        "duplicate_id",
        "unknown_id",
        "unknown_id",
    ];
    assert_eq!(faults, expected);
    assert_eq!(events.len(), 4, "{}", lines(&events));
}

#[test]
fn what_was_streamed_in_delegated_work_is_kept_until_it_is_asked_for() {
    let mut machine = RunMachine::new(head());
    let inputs = [
        started(agent("boss")),
        handed(None, "worker", "s1"),
        inside("s1", piece("s1", "a")),
        inside("s1", piece("s1", "b")),
    ];
    for input in inputs {
        machine.push(input, Duration::ZERO);
    }
    assert_eq!(machine.answer_to(&run_id("s1"), None), "ab");
    assert_eq!(machine.answer_to(&run_id("s1"), Some("at its end")), "at its end");
    assert_eq!(machine.answer_to(&run_id("s2"), None), "");
}

#[test]
fn every_outcome_has_its_status_and_its_code() {
    let question = Question { prompt: "which?".into(), schema: None };
    let asking = Reply { ask: Some(question), ..Reply::default() };
    let error = Outcome::PluginError { code: "x.y".into(), message: "no".into(), retryable: true };
    let cases = [
        (Outcome::Ok(Reply::default()), "ok", None),
        (Outcome::Ok(asking), "input_required", None),
        (error, "failed", Some("plugin.error")),
        (Outcome::Panicked { message: "boom".into() }, "failed", Some("plugin.panicked")),
        (Outcome::TimedOut(Clock::Idle), "failed", Some("plugin.timeout_idle")),
        (Outcome::TimedOut(Clock::Tool), "failed", Some("plugin.timeout_tool")),
        (Outcome::TimedOut(Clock::Run), "failed", Some("plugin.timeout_run")),
        (lost(Exit::Signal(6)), "failed", Some("plugin.crashed")),
        (lost(Exit::Status(0)), "failed", Some("plugin.exited")),
        (lost(Exit::Hung), "failed", Some("plugin.hung")),
        (lost(Exit::Flood), "failed", Some("plugin.flood")),
        (lost(Exit::Memory), "failed", Some("plugin.memory")),
        (Outcome::Refused(Code::PluginBreakerOpen), "failed", Some("plugin.breaker_open")),
        (Outcome::Violation("two answers".into()), "failed", Some("plugin.protocol_violation")),
        (Outcome::Cancelled, "cancelled", None),
        (Outcome::Deserted, "cancelled", Some("run.connection_lost")),
        (Outcome::Interrupted, "interrupted", Some("interrupted")),
    ];
    for (outcome, status, code) in cases {
        let payload = last_payload([started(agent("echo")), RunInput::Finished(outcome.clone())]);
        assert_eq!(payload["status"], status, "{outcome:?}");
        assert_eq!(payload["error"]["code"].as_str(), code, "{outcome:?}");
        assert!(!payload.to_string().contains("secret"), "stderr is the operator's");
    }
}

#[test]
fn an_answer_by_the_fallback_is_degraded_and_says_why() {
    let routed = last_payload([started(fallback()), answered(Some("away"))]);
    assert_eq!((&routed["status"], &routed["error"]["code"]), (&json!("degraded"), &json!("agent.fallback")));
    let moved = last_payload([started(agent("echo")), degraded(fallback()), answered(Some("away"))]);
    assert_eq!((&moved["status"], &moved["error"]["code"]), (&json!("degraded"), &json!("plugin.crashed")));
    let again = last_payload([started(agent("echo")), degraded(agent("echo")), answered(Some("here"))]);
    assert_eq!(
        (&again["status"], again.get("error")),
        (&json!("ok"), None),
        "a second agent's answer is an answer"
    );
}

#[test]
fn a_run_that_nobody_took_is_started_and_completed_by_the_host() {
    let (events, faults) = run([RunInput::Interrupted]);
    let kinds: Vec<_> = events.iter().map(|e| (e.kind, &*e.agent)).collect();
    assert_eq!(kinds, [(EventKind::AgentStarted, "host"), (EventKind::AgentCompleted, "host")]);
    assert!(faults.is_empty());
    let (events, _) = run([degraded(fallback()), answered(Some("away"))]);
    let kinds: Vec<_> = events.iter().map(|e| (e.kind, &*e.agent)).collect();
    let expected = [EventKind::AgentStarted, EventKind::RunDegraded, EventKind::AgentCompleted];
    assert_eq!(kinds, expected.map(|kind| (kind, "fallback")));
}

#[test]
fn a_try_is_free_until_something_came_out() {
    let mut machine = RunMachine::new(head());
    machine.push(started(agent("echo")), Duration::ZERO);
    machine.push(RunInput::Emitted { within: None, kind: 99, payload: Bytes::new() }, Duration::ZERO);
    assert!(machine.is_started() && machine.is_before_first_event(), "a lie that nobody saw costs nothing");
    machine.push(tool("t1"), Duration::ZERO);
    assert!(!machine.is_before_first_event() && !machine.is_over());
    machine.push(RunInput::Cancelled, Duration::ZERO);
    assert!(machine.is_over());
}

#[test]
fn the_reply_s_own_text_wins_over_the_deltas() {
    let payload = last_payload([started(agent("echo")), delta("draft"), answered(Some("final"))]);
    assert_eq!(payload["text"], "final");
}

#[test]
fn a_long_answer_is_cut_and_says_so() {
    let piece = "é".repeat(100_000);
    let pieces = (0..8).map(|_| delta(&piece));
    let payload = last_payload([started(agent("echo"))].into_iter().chain(pieces).chain([answered(None)]));
    let text = payload["text"].as_str().unwrap();
    assert!(text.len() < text::MAX_ANSWER_BYTES + 100 && text.ends_with("1 MiB]"));
    let whole = last_payload([started(agent("echo")), answered(Some(&"x".repeat(3 << 20)))]);
    assert!(whole["text"].as_str().unwrap().ends_with("1 MiB]"));
}

#[test]
fn what_a_plugin_says_in_an_error_is_one_safe_bounded_line() {
    let message = format!("\u{1b}[31mboom\nsecond \u{202e}line{}", "x".repeat(10_000));
    let payload = last_payload([started(agent("echo")), RunInput::Finished(Outcome::Panicked { message })]);
    let said = payload["error"]["message"].as_str().unwrap();
    assert!(said.contains("boom second line") && said.chars().count() <= 1000);
    assert!(!said.chars().any(char::is_control));
}

#[test]
fn too_large_arguments_and_results_are_left_out_and_said() {
    let huge = json!({"x": "y".repeat(300_000)});
    let id = ToolCallId::new("t1").unwrap();
    let begin = RunInput::ToolStarted {
        within: None,
        tool_call_id: id.clone(),
        tool: "big".into(),
        arguments: huge.clone(),
    };
    let end = RunInput::ToolFinished { tool_call_id: id, result: Ok(huge), duration: Duration::ZERO };
    let (events, _) = run([started(agent("echo")), begin, end, answered(None)]);
    assert!(events.iter().all(|e| e.payload.len() < 1000));
    assert_eq!(lines(&events).matches("too large").count(), 2);
}
