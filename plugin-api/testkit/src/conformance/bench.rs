//! Takes one call to its end, with a host at hand that gives everything, or refuses everything.

use std::time::Duration;

use agent_plugin_api::{
    DelegateResult, RosterEntry, Value, json,
    protocol::{
        PluginId, RunId, ThreadId,
        call::{Answer, Completion, HandleParams, InvokeStatus, RouteParams, method, request},
        event::Emitted,
    },
};
use tokio::time::Instant;

use super::Plan;
use crate::{
    Output, Subject,
    desk::{error, ok},
    plugin::{bytes, message},
};

/// How the suite's host answers what a plugin asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Hospitality {
    /// With something plausible.
    Giving,
    /// With an error.
    Refusing,
}

/// What came of a call.
#[derive(Debug)]
pub(crate) struct Ended {
    /// Events that came.
    pub(crate) events: u64,
    /// The first that cannot be passed on, and why.
    pub(crate) malformed: Option<String>,
    /// The last thing.
    pub(crate) ending: Ending,
}

impl Ended {
    /// The last word, if it was one.
    pub(crate) fn completion(&self) -> Option<&Completion> {
        match &self.ending {
            Ending::Said(completion) => Some(completion),
            Ending::Unreadable(_) | Ending::Rejected(_) | Ending::Lost(_) | Ending::Silent(_) => None,
        }
    }
}

/// How a call ended.
#[derive(Debug)]
pub(crate) enum Ending {
    /// With a last word.
    Said(Completion),
    /// With something that is none.
    Unreadable(String),
    /// It was not taken.
    Rejected(InvokeStatus),
    /// With the plugin.
    Lost(String),
    /// Not in time.
    Silent(Duration),
}

/// A subject, and what is known of it.
pub(crate) struct Bench<'a, S> {
    pub(crate) subject: &'a mut S,
    pub(crate) plan: Plan,
    gone: Option<String>,
    mute: bool,
}

impl<'a, S: Subject> Bench<'a, S> {
    pub(crate) fn new(subject: &'a mut S, plan: Plan) -> Self {
        Self { subject, plan, gone: None, mute: false }
    }

    /// Why the plugin is no more, if it is so.
    pub(crate) fn gone(&self) -> Option<&str> {
        self.gone.as_deref()
    }

    /// Whether an ordinary message got no last word: others need not be waited for.
    pub(crate) fn mute(&self) -> bool {
        self.mute
    }

    /// A message, from its beginning to its end.
    pub(crate) async fn message(&mut self, content: &str, host: Hospitality) -> Ended {
        let call = self.begin(content).await;
        let ended = self.end(call, host).await;
        self.mute |= matches!(ended.ending, Ending::Silent(_));
        ended
    }

    /// Begins a message.
    pub(crate) async fn begin(&mut self, content: &str) -> u64 {
        self.subject.begin(method::HANDLE, handle_params(content)).await
    }

    /// A call without parameters worth naming.
    pub(crate) async fn call(&mut self, method: &'static str, payload: Vec<u8>) -> Ended {
        let call = self.subject.begin(method, payload).await;
        self.end(call, Hospitality::Giving).await
    }

    /// Asks a supervisor for its choice.
    pub(crate) async fn route(&mut self, roster: Vec<RosterEntry>) -> Ended {
        let params = RouteParams {
            run_id: RunId::random(),
            thread_id: ThreadId::random(),
            message: message(ORDINARY),
            roster,
        };
        self.call(method::ROUTE, bytes(&params)).await
    }

    /// Takes an open call to its end.
    pub(crate) async fn end(&mut self, call: u64, host: Hospitality) -> Ended {
        self.end_within(call, host, self.plan.patience).await
    }

    /// As [`end`](Self::end), with a deadline of its own.
    pub(crate) async fn end_within(&mut self, call: u64, host: Hospitality, within: Duration) -> Ended {
        let deadline = Instant::now() + within;
        let mut ended = Ended { events: 0, malformed: None, ending: Ending::Silent(within) };
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            match self.subject.next(call, left).await {
                Some(Output::Event { kind, payload }) => {
                    ended.events += 1;
                    if let Err(fault) = Emitted::decode(kind, &payload) {
                        ended.malformed.get_or_insert_with(|| format!("event {}: {fault}", ended.events));
                    }
                    // A plugin that emits for ever is not waited for, although it is not silent.
                    if !left.is_zero() {
                        continue;
                    }
                }
                Some(Output::Request { request, method, .. }) => {
                    self.subject.answer(call, request, answer(&method, host)).await;
                    continue;
                }
                Some(Output::Completed(body)) => ended.ending = read(&body),
                Some(Output::Rejected(status)) => ended.ending = Ending::Rejected(status),
                Some(Output::Lost(why)) => {
                    self.gone = Some(why.clone());
                    ended.ending = Ending::Lost(why);
                }
                None => {}
            }
            if let Ending::Silent(_) = ended.ending {
                // Nobody waits for it any more.
                self.subject.cancel(call).await;
            }
            return ended;
        }
    }
}

/// The message of the suite.
pub(crate) const ORDINARY: &str = "Hello! This is a check of the host; please answer in one short sentence.";

/// The roster of the suite.
pub(crate) fn roster() -> Vec<RosterEntry> {
    let entry = |name: &str, description: &str| {
        Some(RosterEntry { name: PluginId::new(name).ok()?, description: description.to_owned() })
    };
    [entry("first", "answers short messages"), entry("second", "answers questions about invoices")]
        .into_iter()
        .flatten()
        .collect()
}

fn handle_params(content: &str) -> Vec<u8> {
    bytes(&HandleParams {
        run_id: RunId::random(),
        thread_id: ThreadId::random(),
        message_id: "answer-1".to_owned(),
        message: message(content),
        retry: false,
        answer: None,
        roster: roster(),
    })
}

fn read(body: &[u8]) -> Ending {
    match serde_json::from_slice(body) {
        Ok(completion) => Ending::Said(completion),
        Err(why) => Ending::Unreadable(why.to_string()),
    }
}

fn answer(method: &str, host: Hospitality) -> Answer {
    match host {
        Hospitality::Giving => give(method),
        Hospitality::Refusing => error("tool.denied", "the suite refuses everything here"),
    }
}

fn give(method: &str) -> Answer {
    match method {
        request::TOOLS_LIST | request::THREAD_HISTORY => ok(&json!([])),
        request::TOOLS_CALL => ok(&json!({"result": "42"})),
        request::THREAD_STATE_GET | request::THREAD_STATE_SET => ok(&Value::Null),
        request::DELEGATE => ok(&DelegateResult::Ok { text: "delegated work".to_owned() }),
        request::LLM_COMPLETE => error("llm.unavailable", "the suite has no model"),
        _ => error("unimplemented", "the suite does not know this method"),
    }
}
