//! The SDK across the border: a plugin's module table, driven as a host drives it.
// Helpers of tests are tests to clippy only inside `#[test]`.
#![allow(missing_docs, unreachable_pub, clippy::unwrap_used)]

mod agents;
mod host;
mod law;

use agent_plugin_api::protocol::call::{Answer, Completion, CreateErrorKind, InvokeStatus};
use agents::{First, Scripted, Unwell};
use host::{Host, Said, text};
use serde_json::{Value, json};

const CALL: u64 = 0xfeed_beef;

fn scripted() -> Host {
    Host::agent::<Scripted>(Value::Null).unwrap()
}

fn ok(value: Value) -> Answer {
    Answer::Ok { value }
}

#[test]
fn events_come_in_order_and_then_the_last_word() {
    let mut host = scripted();
    host.handle(CALL, "events");
    assert_eq!(host.event(CALL), (1, json!({"text": "hm", "step": 1, "progress": 1.0})));
    assert_eq!(host.event(CALL), (2, json!({"message_id": "m", "text": "a"})));
    assert_eq!(host.event(CALL), (2, json!({"message_id": "m", "text": "b"})));
    assert_eq!(host.completion(CALL), Completion::Ok { value: json!({}) });
}

#[test]
fn an_event_beyond_the_window_waits_for_credit() {
    let mut host = scripted();
    host.handle(CALL, "window");
    let (request, ..) = host.request(CALL);
    assert_eq!(host.unread_events(CALL), 128);
    host.respond(CALL, request, &ok(json!([])));
    host.credit(CALL, 1);
    assert_eq!(host.completion(CALL), text("0"));
    assert_eq!(host.unread_events(CALL), 129);
}

#[test]
fn credit_never_grows_beyond_the_window() {
    let mut host = scripted();
    host.handle(CALL, "window");
    let (request, ..) = host.request(CALL);
    for _ in 0..3 {
        host.credit(CALL, u32::MAX);
    }
    host.respond(CALL, request, &ok(json!([])));
    assert_eq!(host.completion(CALL), text("128"));
}

#[test]
fn a_flood_is_paced_by_the_host() {
    let mut host = scripted();
    host.handle(CALL, "many");
    for _ in 0..1000 {
        host.event(CALL);
        host.credit(CALL, 1);
    }
    assert_eq!(host.completion(CALL), Completion::Ok { value: json!({}) });
}

#[test]
fn a_request_brings_the_host_s_answer() {
    let mut host = scripted();
    host.handle(CALL, "tool");
    let (request, method, params) = host.request(CALL);
    assert_eq!(method, "tools.call");
    assert_eq!(params, json!({"name": "clock", "arguments": {"zone": "utc"}}));
    // Answers to others, and a second one, are nothing.
    host.respond(CALL, request + 7, &ok(json!("not this")));
    host.respond(CALL + 1, request, &ok(json!("nor this")));
    host.respond(CALL, request, &ok(json!("noon")));
    host.respond(CALL, request, &ok(json!("midnight")));
    assert_eq!(host.completion(CALL), text("\"noon\""));
}

#[test]
fn a_refused_request_keeps_its_code() {
    let mut host = scripted();
    host.handle(CALL, "tool");
    let (request, ..) = host.request(CALL);
    let refused = Answer::Error { code: "tool.denied".into(), message: "no".into(), retryable: false };
    host.respond(CALL, request, &refused);
    assert_eq!(
        host.completion(CALL),
        Completion::Error { code: "tool.denied".into(), message: "no".into(), retryable: false }
    );
}

#[test]
fn state_is_read_and_kept() {
    let mut host = scripted();
    host.handle(CALL, "state");
    let (request, method, _) = host.request(CALL);
    assert_eq!(method, "thread.state.get");
    host.respond(CALL, request, &ok(json!(41)));
    let (request, method, params) = host.request(CALL);
    assert_eq!((method.as_str(), params), ("thread.state.set", json!(42)));
    host.respond(CALL, request, &ok(Value::Null));
    assert_eq!(host.completion(CALL), text("kept"));
}

#[test]
fn what_create_does_is_a_value() {
    let check = |script: Value, kind: CreateErrorKind| {
        let error = Host::agent::<Scripted>(script.clone()).err().unwrap();
        assert_eq!(error.kind, kind, "{script}: {}", error.message);
    };
    check(json!({"create": "error"}), CreateErrorKind::Error);
    check(json!({"create": "panic"}), CreateErrorKind::Panicked);
    check(json!({"create": "bomb"}), CreateErrorKind::Panicked);
    check(json!({"typo": 1}), CreateErrorKind::Config);
    check(json!(7), CreateErrorKind::Config);
    let error = Host::agent::<Scripted>(json!({"create": 7})).err().unwrap();
    assert!(error.message.starts_with("create: "), "{}", error.message);
}

#[test]
fn a_plugin_without_configuration_takes_none_or_an_empty_one() {
    assert!(Host::agent::<Unwell>(Value::Null).is_ok());
    assert!(Host::agent::<Unwell>(json!({})).is_ok());
    let error = Host::agent::<Unwell>(json!({"a": 1})).err().unwrap();
    assert_eq!(error.kind, CreateErrorKind::Config);
    assert!(Host::agent::<Scripted>(json!({})).is_ok());
}

#[test]
fn panics_and_errors_end_their_own_call_only() {
    let mut host = scripted();
    host.handle(1, "wait");
    host.handle(2, "panic");
    assert_eq!(host.completion(2), Completion::Panicked { message: "handle panicked".into() });
    host.handle(3, "bomb");
    assert!(matches!(host.completion(3), Completion::Panicked { .. }));
    host.handle(4, "error");
    assert_eq!(
        host.completion(4),
        Completion::Error { code: "my_code".into(), message: "sorry".into(), retryable: true }
    );
    host.handle(5, "hello");
    assert_eq!(host.completion(5), text("hello"));
    host.cancel(1);
    assert_eq!(host.completion(1), Completion::Cancelled);
}

#[test]
fn a_panic_is_logged_with_its_place() {
    let mut host = scripted();
    host.handle(CALL, "panic");
    let line = host.expect(|said| match said {
        Said::Log(line) if line.target == "panic" => Some(line.clone()),
        _ => None,
    });
    assert_eq!((line.level.as_str(), line.message.as_str()), ("error", "handle panicked"));
    assert_eq!(line.run_id.unwrap().as_str(), format!("run-{CALL}"));
    assert!(line.fields["location"].as_str().unwrap().contains("agents.rs"));
}

#[test]
fn destroy_contains_drops_that_panic_and_completes_what_is_open() {
    let mut host = Host::agent::<Scripted>(json!({"create": "drop"})).unwrap();
    host.handle(CALL, "hold");
    host.event(CALL);
    let rest = host.destroy_completing(1);
    let last: Vec<_> = rest
        .iter()
        .filter_map(|said| match said {
            Said::Complete { completion, .. } => Some(completion),
            _ => None,
        })
        .collect();
    assert!(
        matches!(last[..], [Completion::Error { code, retryable: true, .. }] if code == "sdk.stopped"),
        "{last:?}"
    );
}

#[test]
fn cancelling_ends_waits_but_not_the_future() {
    let mut host = scripted();
    host.handle(1, "tool");
    host.request(1);
    host.cancel(1);
    assert_eq!(host.completion(1), Completion::Cancelled);

    host.handle(2, "stubborn");
    host.cancel(2);
    let (request, method, _) = host.request(2);
    assert_eq!(method, "thread.state.set");
    host.respond(2, request, &ok(Value::Null));
    assert_eq!(host.completion(2), text("done all the same"));

    // Waiting for credit is a wait as well.
    host.handle(3, "many");
    for _ in 0..128 {
        host.event(3);
    }
    host.cancel(3);
    assert_eq!(host.completion(3), Completion::Cancelled);
}

#[test]
fn a_context_outlives_its_call_without_effect() {
    let mut host = scripted();
    host.handle(1, "keep");
    host.completion(1);
    host.handle(2, "use");
    assert_eq!(host.completion(2), text("Over cancelled"));
    assert_eq!((host.unread_events(1), host.completions(1)), (0, 0));
}

#[test]
fn late_callbacks_are_nothing() {
    let mut host = scripted();
    host.handle(CALL, "hello");
    host.completion(CALL);
    host.cancel(CALL);
    host.credit(CALL, 5);
    host.respond(CALL, 1, &ok(Value::Null));

    let stranger = scripted();
    let mut ghost = scripted();
    ghost.instance = stranger.instance + 1_000_000;
    ghost.cancel(CALL);
    ghost.credit(CALL, 1);
    ghost.respond(CALL, 1, &ok(Value::Null));
    ghost.drain();
    assert_eq!(ghost.invoke(CALL, "probe", &json!({})), InvokeStatus::Refused);
    ghost.destroy();

    host.handle(CALL, "the id is free again");
    assert_eq!(host.completion(CALL), text("the id is free again"));
    assert_eq!(host.completions(CALL), 0);
}

#[test]
fn calls_that_cannot_begin_are_refused_without_a_completion() {
    let mut host = scripted();
    assert_eq!(host.invoke(1, "no.such", &json!({})), InvokeStatus::Unimplemented);
    assert_eq!(host.invoke(1, "route", &json!({})), InvokeStatus::Unimplemented);
    host.handle(2, "wait");
    assert_eq!(host.invoke(2, "probe", &json!({})), InvokeStatus::Refused, "the id is in use");
    host.drain();
    assert_eq!(host.invoke(3, "probe", &json!({})), InvokeStatus::Refused);
    host.cancel(2);
    assert_eq!(host.completion(2), Completion::Cancelled, "what runs may end");
    assert_eq!(host.completions(1) + host.completions(3), 0);
}

#[test]
fn parameters_that_do_not_fit_are_an_error_of_the_call() {
    let mut host = scripted();
    assert_eq!(host.invoke(CALL, "handle", &json!({"run_id": 1})), InvokeStatus::Accepted);
    assert!(matches!(host.completion(CALL), Completion::Error { code, .. } if code == "sdk.invalid"));
}

#[test]
fn the_probe_is_the_author_s_or_yes() {
    let mut host = scripted();
    assert_eq!(host.invoke(CALL, "probe", &json!({})), InvokeStatus::Accepted);
    assert_eq!(host.completion(CALL), Completion::Ok { value: Value::Null });
    let mut host = Host::agent::<Unwell>(Value::Null).unwrap();
    host.invoke(CALL, "probe", &json!({}));
    assert!(matches!(host.completion(CALL), Completion::Error { code, .. } if code == "unwell"));
}

#[test]
fn a_supervisor_routes_and_delegates() {
    let mut host = Host::supervisor::<First>(Value::Null).unwrap();
    let params = |content: &str| {
        json!({
            "run_id": "r", "thread_id": "t", "message": {"id": "c", "content": content},
            "roster": [{"name": "echo", "description": ""}],
        })
    };
    assert_eq!(host.invoke(1, "route", &params("x")), InvokeStatus::Accepted);
    assert_eq!(host.completion(1), Completion::Ok { value: json!({"to": "echo"}) });
    host.invoke(2, "route", &params("self"));
    assert_eq!(host.completion(2), Completion::Ok { value: json!("handle") });
    host.handle(3, "work");
    let (request, method, params) = host.request(3);
    assert_eq!((method.as_str(), params), ("delegate", json!({"agent": "echo", "input": "work"})));
    host.respond(3, request, &ok(json!({"status": "ok", "text": "done"})));
    assert_eq!(host.completion(3), text("Ok { text: \"done\" }"));
}

#[test]
fn what_is_logged_names_its_run() {
    let mut host = scripted();
    host.handle(CALL, "log");
    host.completion(CALL);
    let mut line = |message: &str| {
        host.expect(|said| match said {
            Said::Log(line) if line.message == message => Some(line.clone()),
            Said::Log(line) => {
                assert_ne!(line.message, "not wanted");
                None
            }
            _ => None,
        })
    };
    let run = format!("run-{CALL}");
    let inside = line("inside");
    assert_eq!(inside.run_id.unwrap().as_str(), run);
    assert_eq!((inside.level.as_str(), &inside.fields["answer"]), ("info", &json!(42)));
    assert_eq!(line("in a task").run_id.unwrap().as_str(), run);
}

#[test]
fn the_runtime_tells_that_it_lives_and_flushes_before_it_rests() {
    let mut host = scripted();
    host.expect(|said| matches!(said, Said::Heartbeat).then_some(()));
    host.expect(|said| matches!(said, Said::Flush).then_some(()));
}
