//! The law: any inputs, then an end, give a well-formed run; and the checker that says so can say no.

use proptest::prelude::*;

use super::*;

/// Few ids, so that they collide.
fn ids() -> impl Strategy<Value = String> {
    (0u8..4).prop_map(|n| format!("id-{n}"))
}

/// The responder's own, or of delegated work: often of some that is open.
fn withins() -> impl Strategy<Value = Option<RunId>> {
    prop::option::of(ids().prop_map(|id| RunId::new(&id).unwrap()))
}

fn responders() -> impl Strategy<Value = Responder> {
    prop_oneof![
        Just(agent("echo")),
        Just(agent("other")),
        Just(fallback()),
        ".{0,20}".prop_map(|name| agent(&name))
    ]
}

fn outcomes() -> impl Strategy<Value = Outcome> {
    let reply = (any::<Option<String>>(), any::<bool>()).prop_map(|(text, asks)| Reply {
        text,
        ask: asks.then(|| Question { prompt: "which?".into(), schema: Some(json!({"type": "string"})) }),
        usage: None,
    });
    prop_oneof![
        reply.prop_map(Outcome::Ok),
        (any::<String>(), any::<String>(), any::<bool>())
            .prop_map(|(code, message, retryable)| Outcome::PluginError { code, message, retryable }),
        any::<String>().prop_map(|message| Outcome::Panicked { message }),
        any::<String>().prop_map(|what| lost(Exit::Protocol(what))),
        any::<i32>().prop_map(|signal| lost(Exit::Signal(signal))),
        Just(Outcome::TimedOut(Clock::Idle)),
        Just(Outcome::Refused(Code::PluginOverloaded)),
        Just(Outcome::Cancelled),
        Just(Outcome::Deserted),
        Just(Outcome::Interrupted),
        any::<String>().prop_map(Outcome::Violation),
    ]
}

fn emitted() -> impl Strategy<Value = RunInput> {
    let payload = prop_oneof![
        prop::collection::vec(any::<u8>(), 0..40),
        any::<String>().prop_map(|text| json!({ "text": text }).to_string().into_bytes()),
        any::<String>()
            .prop_map(|text| json!({"message_id": MESSAGE, "text": text}).to_string().into_bytes()),
        (ids(), any::<String>())
            .prop_map(|(id, text)| json!({"message_id": id, "text": text}).to_string().into_bytes()),
        any::<String>().prop_map(|id| json!({"message_id": id, "text": "x"}).to_string().into_bytes()),
        Just(br#"{"text":"\ud800"}"#.to_vec()),
        Just(b"{\"text\":\n\"x\"}".to_vec()),
        Just(br#"{"text":"a","text":"b"}"#.to_vec()),
        Just(br#"{"text":"a","progress":1e999}"#.to_vec()),
    ];
    (withins(), 0u32..4, payload).prop_map(|(within, kind, payload)| RunInput::Emitted {
        within,
        kind,
        payload: payload.into(),
    })
}

fn tools() -> impl Strategy<Value = RunInput> {
    let begin =
        (withins(), ids(), any::<String>(), any::<String>()).prop_map(|(within, id, tool, argument)| {
            RunInput::ToolStarted {
                within,
                tool_call_id: ToolCallId::new(&id).unwrap(),
                tool,
                arguments: json!({ argument: 1 }),
            }
        });
    let end = (ids(), any::<Result<String, String>>(), any::<u64>()).prop_map(|(id, result, ms)| {
        let error = |text: String| EventError { code: text.clone(), message: text, retryable: false };
        RunInput::ToolFinished {
            tool_call_id: ToolCallId::new(&id).unwrap(),
            result: result.map(Value::from).map_err(error),
            duration: Duration::from_millis(ms),
        }
    });
    prop_oneof![begin, end]
}

fn delegations() -> impl Strategy<Value = RunInput> {
    let agents = prop_oneof![Just("worker"), Just("helper"), Just("echo")];
    let begin = (withins(), agents, ids()).prop_map(|(within, agent, id)| RunInput::Delegated {
        within,
        agent: PluginId::new(agent).unwrap(),
        sub_run: RunId::new(&id).unwrap(),
    });
    let end =
        (ids(), any::<Result<String, (String, String)>>()).prop_map(|(id, result)| RunInput::Returned {
            sub_run: RunId::new(&id).unwrap(),
            result: match result {
                Ok(text) => DelegateResult::Ok { text },
                Err((code, message)) => DelegateResult::Failed { code, message },
            },
        });
    prop_oneof![begin, end]
}

fn inputs() -> impl Strategy<Value = RunInput> {
    let starts = (responders(), any::<String>()).prop_map(|(responder, message)| RunInput::Started {
        responder,
        level: ServiceLevel::Partial,
        message,
    });
    let moves = (any::<String>(), responders(), any::<String>(), any::<bool>()).prop_map(
        |(from, to, reason, retryable)| RunInput::Degraded {
            from,
            to,
            code: Code::PluginHung,
            reason,
            retryable,
        },
    );
    let ends = prop_oneof![
        outcomes().prop_map(RunInput::Finished),
        Just(RunInput::Cancelled),
        Just(RunInput::Interrupted)
    ];
    prop_oneof![4 => starts, 8 => emitted(), 8 => tools(), 6 => delegations(), 2 => moves, 1 => ends]
}

/// A run after any inputs and an end, and how many inputs gave nothing and no fault either.
fn any_run(inputs: Vec<RunInput>, end: Outcome) -> (Vec<NewRunEvent>, usize) {
    let mut machine = RunMachine::new(head());
    let mut silent = 0;
    let mut events = Vec::new();
    for (at, input) in (0..).zip(inputs.into_iter().chain([RunInput::Finished(end)])) {
        let out = machine.push(input, Duration::from_millis(at));
        silent += usize::from(out.events.is_empty() && out.fault.is_none());
        events.extend(out.events);
    }
    assert!(machine.is_over());
    (events, silent)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_inputs_and_an_end_give_a_well_formed_run(
        inputs in prop::collection::vec(inputs(), 0..40),
        end in outcomes(),
    ) {
        let (events, silent) = any_run(inputs, end);
        prop_assert_eq!(grammar::check(&events), Ok(()), "{}", lines(&events));
        prop_assert_eq!(silent, 0, "nothing is dropped in silence");
    }

    /// Wherever the end of the host cuts a run off, it is ended well and once.
    #[test]
    fn a_run_that_is_cut_off_anywhere_is_completed_once(
        inputs in prop::collection::vec(inputs(), 0..40),
        end in outcomes(),
        at in any::<prop::sample::Index>(),
    ) {
        let (whole, _) = any_run(inputs, end);
        let kept = &whole[..at.index(whole.len() + 1)];
        let time = std::time::SystemTime::UNIX_EPOCH;
        let (run, thread) = (RunId::new("run-1").unwrap(), ThreadId::new("thread-1").unwrap());
        let logged: Vec<_> = kept.iter().map(|event| crate::ports::store::NewEvent {
            run: run.clone(), kind: event.kind, agent: event.agent.clone(), time, payload: event.payload.clone(),
        }).collect();
        let ends = replay::interrupt(&run, &thread, ServiceLevel::Full, &logged, time);
        let all: Vec<_> = kept.iter().cloned().chain(ends.clone()).collect();
        prop_assert_eq!(grammar::check(&all), Ok(()), "{}", lines(&all));
        prop_assert_eq!(ends.is_empty(), kept.len() == whole.len(), "what is over is left alone");
    }

    /// The broken twins: each of these hosts is caught.
    #[test]
    fn a_run_that_is_tampered_with_is_not_well_formed(
        inputs in prop::collection::vec(inputs(), 0..20),
        end in outcomes(),
        at in any::<prop::sample::Index>(),
    ) {
        let (good, _) = any_run(inputs, end);
        let end = good.len() - 1;
        let at = at.index(good.len());

        for lost in [0, end] {
            prop_assert!(grammar::check(&without(&good, lost)).is_err(), "first or last event lost");
        }
        let structural = !matches!(good[at].kind,
            EventKind::AgentThinking | EventKind::AgentMessageDelta | EventKind::RunDegraded);
        if structural {
            prop_assert!(grammar::check(&without(&good, at)).is_err(), "{} lost", good[at].kind);
            prop_assert!(grammar::check(&with(&good, at, good[at].clone())).is_err(), "{} doubled", good[at].kind);
        }
        let after = NewRunEvent { kind: EventKind::AgentThinking, payload: r#"{"text":"x"}"#.into(), ..good[end].clone() };
        prop_assert!(grammar::check(&with(&good, end + 1, after)).is_err(), "something after the end");
        for garbage in ["", "nonsense", "[]", "{}\n", "{\"text\":\"\\ud800\"}"] {
            let mut bad = good.clone();
            bad[at].payload = Bytes::from_static(garbage.as_bytes());
            prop_assert!(grammar::check(&bad).is_err(), "payload {garbage:?}");
        }
        let mut bad = good.clone();
        bad[at].agent = "somebody else".into();
        prop_assert!(grammar::check(&bad).is_err(), "under another name");
    }
}

fn without(events: &[NewRunEvent], at: usize) -> Vec<NewRunEvent> {
    events.iter().enumerate().filter(|(i, _)| *i != at).map(|(_, e)| e.clone()).collect()
}

fn with(events: &[NewRunEvent], at: usize, event: NewRunEvent) -> Vec<NewRunEvent> {
    let mut more = events.to_vec();
    more.insert(at, event);
    more
}

#[test]
fn a_user_message_may_stand_before_the_run_and_nowhere_else() {
    let (run, _) = any_run(vec![started(agent("echo"))], Outcome::Cancelled);
    let asked = NewRunEvent { kind: EventKind::UserMessage, agent: "user".into(), payload: "{}".into() };
    assert_eq!(grammar::check(&with(&run, 0, asked.clone())), Ok(()));
    assert!(grammar::check(&with(&run, 1, asked)).is_err());
    assert!(grammar::check(&[] as &[NewRunEvent]).is_err());
}
