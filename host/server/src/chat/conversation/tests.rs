//! The conversation against a scripted host.

use agent_plugin_protocol::EventKind;

use super::*;

const LIMIT: usize = 65_536;

fn id(text: &str) -> MessageId {
    MessageId::new(text).unwrap()
}

fn read(frame: &Value) -> Frame {
    Frame::read(frame).unwrap()
}

fn accepted(id: &str, run: &str, seq: u64) -> Frame {
    read(&json!({"type": "accepted", "id": id, "thread_id": "t", "run_id": run, "epoch": "e", "seq": seq}))
}

fn event(kind: &str, run: &str, seq: u64, payload: Value) -> Frame {
    read(
        &json!({"type": kind, "seq": seq, "thread_id": "t", "run_id": run, "agent": "a", "payload": payload}),
    )
}

fn completed(run: &str, seq: u64, status: &str) -> Frame {
    event("agent_completed", run, seq, json!({"status": status, "text": "hi"}))
}

fn subscribed(to: u64, recovered: bool) -> Frame {
    read(
        &json!({"type": "subscribed", "thread_id": "t", "epoch": "e", "from_seq": 1, "to_seq": to, "recovered": recovered}),
    )
}

fn refusal(code: &str, id: Option<&str>, retryable: bool) -> Frame {
    read(
        &json!({"type": "error", "code": code, "message": "m", "id": id, "retryable": retryable, "retry_after_ms": 70}),
    )
}

fn sent(effects: &[Effect]) -> Vec<Value> {
    let frames = effects.iter().filter_map(|effect| match effect {
        Effect::Send(frame) => Some(serde_json::from_str(frame).unwrap()),
        Effect::Show(_) | Effect::Refused(_) | Effect::Note(_) | Effect::Again(_) | Effect::GiveUp(_) => None,
    });
    frames.collect()
}

fn shown(effects: &[Effect]) -> Vec<(EventKind, u64)> {
    let events = effects.iter().filter_map(|effect| match effect {
        Effect::Show(event) => event.kind.map(|kind| (kind, event.seq.0)),
        Effect::Send(_) | Effect::Refused(_) | Effect::Note(_) | Effect::Again(_) | Effect::GiveUp(_) => None,
    });
    events.collect()
}

/// A script's conversation, connected.
fn connected() -> Conversation {
    let mut talk = Conversation::new(None, None, true);
    assert_eq!(talk.connected(LIMIT), []);
    talk
}

/// One with a run `r` under way, of which two events were seen.
fn running() -> Conversation {
    let mut talk = connected();
    assert_eq!(sent(&talk.say(id("m"), "hello".to_owned())).len(), 1);
    assert_eq!(talk.frame(accepted("m", "r", 1)), []);
    assert_eq!(shown(&talk.frame(event("user_message", "r", 1, json!({})))), [], "one's own words");
    let started = talk.frame(event("agent_started", "r", 2, json!({})));
    assert_eq!(shown(&started), [(EventKind::AgentStarted, 2)]);
    talk
}

#[test]
fn a_conversation_goes_its_usual_way() {
    let mut talk = running();
    assert!(!talk.is_idle());
    assert_eq!(shown(&talk.frame(completed("r", 3, "ok"))), [(EventKind::AgentCompleted, 3)]);
    assert!(talk.is_idle() && !talk.has_failed());
    let second = &sent(&talk.say(id("m2"), "more".to_owned()))[0];
    assert_eq!((&second["thread_id"], &second["content"]), (&"t".into(), &"more".into()));
}

#[test]
fn messages_go_out_one_after_the_other_in_one_thread() {
    let mut talk = connected();
    assert_eq!(sent(&talk.say(id("m"), "one".to_owned())).len(), 1);
    assert_eq!(talk.say(id("m2"), "two".to_owned()), [], "its thread is not known yet");
    assert_eq!(talk.frame(accepted("m", "r", 1)), [], "a script waits for the answer");
    talk.frame(event("user_message", "r", 1, json!({})));
    let next = sent(&talk.frame(completed("r", 2, "ok")));
    assert_eq!((&next[0]["id"], &next[0]["thread_id"]), (&"m2".into(), &"t".into()));

    let mut person = Conversation::new(Some("a".to_owned()), None, false);
    person.connected(LIMIT);
    assert_eq!(sent(&person.say(id("m"), "one".to_owned()))[0]["agent"], "a");
    assert_eq!(person.say(id("m2"), "two".to_owned()), []);
    assert_eq!(sent(&person.frame(accepted("m", "r", 1)))[0]["id"], "m2", "a person does not wait");
}

#[test]
fn what_was_not_accepted_is_sent_again_with_the_same_words() {
    let mut talk = Conversation::new(None, None, true);
    assert_eq!(talk.say(id("m"), "hello".to_owned()), [], "nobody is there");
    let first = sent(&talk.connected(LIMIT));
    assert_eq!(first[0]["id"], "m");
    talk.disconnected();
    assert_eq!(sent(&talk.connected(LIMIT)), first);
}

#[test]
fn a_new_connection_resumes_after_what_was_seen_and_then_sends() {
    let mut talk = running();
    talk.disconnected();
    assert_eq!(talk.say(id("m2"), "more".to_owned()), []);
    let resume = sent(&talk.connected(LIMIT));
    assert_eq!(resume, [json!({"type": "subscribe", "thread_id": "t", "after_seq": 2, "epoch": "e"})]);
    assert_eq!(talk.frame(subscribed(3, true)), [], "a script waits for the answer");
    assert_eq!(shown(&talk.frame(event("agent_started", "r", 2, json!({})))), [], "it was seen");
    let end = talk.frame(completed("r", 3, "ok"));
    assert_eq!((shown(&end).len(), sent(&end).len()), (1, 1));
    assert!(!talk.has_failed());
}

#[test]
fn an_acceptance_after_the_end_of_its_run_leaves_nothing_open() {
    let mut talk = running();
    talk.frame(completed("r", 3, "ok"));
    talk.say(id("m2"), "more".to_owned());
    talk.disconnected();
    talk.connected(LIMIT);
    // The host had taken it; the log has it all, before the resend is answered.
    assert_eq!(sent(&talk.frame(subscribed(5, true))).len(), 1);
    talk.frame(event("user_message", "r2", 4, json!({})));
    talk.frame(completed("r2", 5, "ok"));
    talk.frame(accepted("m2", "r2", 4));
    assert!(talk.is_idle());
}

#[test]
fn a_hole_is_read_again() {
    let mut talk = running();
    let again = talk.frame(event("agent_thinking", "r", 4, json!({})));
    assert_eq!((shown(&again).len(), &sent(&again)[0]["after_seq"]), (0, &2.into()));
    assert_eq!(talk.frame(completed("r", 5, "ok")), [], "it comes again");
    talk.frame(subscribed(5, true));
    for (seq, kind) in [(3, "agent_thinking"), (4, "agent_thinking")] {
        assert_eq!(shown(&talk.frame(event(kind, "r", seq, json!({})))).len(), 1);
    }
    talk.frame(completed("r", 5, "ok"));
    assert!(talk.is_idle() && !talk.has_failed());
}

#[test]
fn a_ping_shows_a_hole_too() {
    let mut talk = running();
    let ping = |seq: u64| read(&json!({"type": "ping", "positions": {"t": seq, "other": 99}}));
    assert_eq!(sent(&talk.frame(ping(2))), [json!({"type": "pong"})]);
    assert_eq!(sent(&talk.frame(ping(3)))[1]["type"], "subscribe");
}

#[test]
fn a_kind_from_the_future_moves_the_position() {
    let mut talk = running();
    talk.frame(event("agent_dreaming", "r", 3, json!({})));
    assert_eq!(shown(&talk.frame(completed("r", 4, "ok"))).len(), 1);
}

#[test]
fn what_cannot_be_recovered_is_said_and_counts_as_unanswered() {
    let mut talk = running();
    talk.disconnected();
    talk.connected(LIMIT);
    assert!(matches!(talk.frame(subscribed(9, false)).as_slice(), [Effect::Note(_)]));
    assert!(talk.is_idle() && talk.has_failed());
    assert_eq!(sent(&talk.say(id("m2"), "x".to_owned()))[0]["thread_id"], "t");
}

#[test]
fn a_conversation_that_the_host_lost_begins_anew() {
    let mut talk = running();
    talk.disconnected();
    talk.say(id("m2"), "more".to_owned());
    talk.connected(LIMIT);
    let anew = talk.frame(refusal("thread.not_found", None, false));
    assert!(matches!(anew[0], Effect::Note(_)));
    let message = &sent(&anew)[0];
    assert_eq!((&message["content"], message.get("thread_id")), (&"more".into(), None));
    assert!(talk.has_failed(), "the run under way is lost");
}

#[test]
fn a_conversation_that_never_was_there_is_given_up() {
    let mut talk = Conversation::new(None, Some(ThreadId::new("t").unwrap()), true);
    let subscribe = sent(&talk.connected(LIMIT));
    assert_eq!(subscribe, [json!({"type": "subscribe", "thread_id": "t", "after_seq": 0})]);
    let end = talk.frame(refusal("thread.not_found", None, false));
    assert!(matches!(end.as_slice(), [Effect::Refused(_), Effect::GiveUp(_)]));
}

#[test]
fn a_refusal_that_passes_is_tried_again_and_not_for_ever() {
    let mut talk = connected();
    let first = sent(&talk.say(id("m"), "hello".to_owned()));
    for _ in 0..TRIES {
        let effects = talk.frame(refusal("limit.rate", Some("m"), true));
        assert!(
            matches!(effects.as_slice(), [Effect::Refused(_), Effect::Again(pause)] if pause.as_millis() == 70)
        );
        assert_eq!(sent(&talk.again()), first);
    }
    assert!(matches!(talk.frame(refusal("limit.rate", Some("m"), true)).as_slice(), [Effect::Refused(_)]));
    assert!(talk.is_idle() && talk.has_failed());
}

#[test]
fn a_refusal_that_stays_makes_room_for_the_next() {
    let mut talk = connected();
    talk.say(id("m"), "hello".to_owned());
    talk.say(id("m2"), "more".to_owned());
    let effects = talk.frame(refusal("agent.unknown", Some("m"), false));
    assert_eq!(sent(&effects)[0]["id"], "m2");
    assert!(talk.has_failed());
}

#[test]
fn what_is_too_large_is_never_sent() {
    let mut talk = Conversation::new(None, None, true);
    talk.connected(200);
    let effects = talk.say(id("m"), "x".repeat(200));
    assert!(matches!(effects.as_slice(), [Effect::Refused(refusal)] if refusal.code == "frame.too_large"));
    assert!(talk.is_idle() && talk.has_failed());
}

#[test]
fn cancelling_names_each_run_under_way() {
    assert_eq!(connected().cancel(), []);
    let mut talk = running();
    assert_eq!(sent(&talk.cancel()), [json!({"type": "cancel", "run_id": "r"})]);
    talk.frame(completed("r", 3, "cancelled"));
    assert!(talk.cancel().is_empty() && talk.has_failed());
}

#[test]
fn the_line_after_a_question_answers_it() {
    let mut talk = running();
    let asked = json!({"status": "input_required", "interrupts": [{"interrupt_id": "i", "prompt": "sure?"}]});
    talk.frame(event("agent_completed", "r", 3, asked));
    assert!(!talk.has_failed());
    let answer = &sent(&talk.say(id("m2"), "true".to_owned()))[0];
    assert_eq!((&answer["type"], &answer["run_id"]), (&"interrupt_response".into(), &"r".into()));
    assert_eq!((&answer["interrupt_id"], &answer["response"]), (&"i".into(), &true.into()));
    talk.frame(accepted("m2", "r2", 4));
    assert!(!talk.is_idle());
}
