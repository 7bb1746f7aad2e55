//! The law of the border: whatever the host does and in whatever order, a call that was accepted is completed once.

use std::collections::BTreeMap;

use agent_plugin_api::protocol::call::{Answer, InvokeStatus};
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::{
    agents::Scripted,
    host::{Host, Said},
};

/// What a host may do to one of a few calls.
#[derive(Debug, Clone)]
enum Act {
    Invoke(u64, &'static str),
    Respond(u64, u64),
    Credit(u64, u32),
    Cancel(u64),
    Drain,
    Yield,
}

fn act() -> impl Strategy<Value = Act> {
    let call = 1..4_u64;
    let message = prop::sample::select(vec![
        "events", "many", "tool", "state", "error", "panic", "wait", "stubborn", "hello", "hold",
    ]);
    prop_oneof![
        6 => (call.clone(), message).prop_map(|(call, message)| Act::Invoke(call, message)),
        3 => (call.clone(), 1..4_u64).prop_map(|(call, request)| Act::Respond(call, request)),
        3 => (call.clone(), prop::sample::select(vec![0, 1, 200, u32::MAX])).prop_map(|(c, n)| Act::Credit(c, n)),
        2 => call.prop_map(Act::Cancel),
        1 => Just(Act::Drain),
        3 => Just(Act::Yield),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn an_accepted_call_is_completed_once(acts in prop::collection::vec(act(), 0..40)) {
        let host = Host::agent::<Scripted>(Value::Null).unwrap();
        let mut accepted = BTreeMap::<u64, usize>::new();
        for act in acts {
            match act {
                Act::Invoke(call, message) => {
                    let params = json!({
                        "run_id": "r", "thread_id": "t", "message_id": "m",
                        "message": {"id": "c", "content": message},
                    });
                    if host.invoke(call, "handle", &params) == InvokeStatus::Accepted {
                        *accepted.entry(call).or_default() += 1;
                    }
                }
                Act::Respond(call, request) => host.respond(call, request, &Answer::Ok { value: json!(1) }),
                Act::Credit(call, n) => host.credit(call, n),
                Act::Cancel(call) => host.cancel(call),
                Act::Drain => host.drain(),
                Act::Yield => std::thread::yield_now(),
            }
        }
        let mut completed = BTreeMap::<u64, usize>::new();
        for said in host.destroy_completing(accepted.values().sum()) {
            if let Said::Complete { call, .. } = said {
                *completed.entry(call).or_default() += 1;
            }
        }
        prop_assert_eq!(accepted, completed);
    }
}
