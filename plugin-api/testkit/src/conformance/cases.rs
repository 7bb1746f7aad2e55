//! The cases: each tries one promise and says whether it is kept.

use std::time::Duration;

use agent_plugin_api::protocol::{
    PluginKind,
    call::{Completion, InvokeStatus, Reply, RouteChoice, method},
};

use super::{
    Case, Verdict,
    bench::{Bench, Ended, Ending, Hospitality, ORDINARY, roster},
};
use crate::{Output, Subject};

/// Tries one case.
pub(super) async fn judge<S: Subject>(case: Case, bench: &mut Bench<'_, S>) -> Verdict {
    if bench.mute() && waits_for_messages(case) {
        return skip("a message gets no last word");
    }
    match case {
        Case::Probe => probe(bench).await,
        Case::Message => message(bench).await,
        Case::Events => events(bench).await,
        Case::Silence => silence(bench).await,
        Case::UnknownMethod => unknown_method(bench).await,
        Case::Nonsense => nonsense(bench).await,
        Case::OddMessages => odd_messages(bench).await,
        Case::Denial => ended_well(&bench.message(ORDINARY, Hospitality::Refusing).await).into(),
        Case::Cancel => cancel(bench).await,
        Case::Concurrent => concurrent(bench).await,
        Case::Route => route(bench).await,
        Case::EmptyRoster => empty_roster(bench).await,
        Case::Drain => drain(bench).await,
    }
}

fn waits_for_messages(case: Case) -> bool {
    match case {
        Case::Message
        | Case::Events
        | Case::Silence
        | Case::OddMessages
        | Case::Denial
        | Case::Concurrent => true,
        Case::Probe | Case::UnknownMethod | Case::Nonsense | Case::Cancel | Case::Route => false,
        Case::EmptyRoster | Case::Drain => false,
    }
}

async fn probe<S: Subject>(bench: &mut Bench<'_, S>) -> Verdict {
    match bench.call(method::PROBE, b"{}".to_vec()).await.ending {
        Ending::Said(Completion::Ok { .. }) => Verdict::Pass,
        other => fail(say(&other)),
    }
}

async fn message<S: Subject>(bench: &mut Bench<'_, S>) -> Verdict {
    let ended = bench.message(ORDINARY, Hospitality::Giving).await;
    if let Ending::Said(Completion::Ok { value }) = &ended.ending
        && let Err(why) = serde_json::from_value::<Reply>(value.clone())
    {
        return fail(format!("it completed with something that is no reply: {why}"));
    }
    ended_well(&ended).into()
}

async fn events<S: Subject>(bench: &mut Bench<'_, S>) -> Verdict {
    let ended = bench.message(ORDINARY, Hospitality::Giving).await;
    match (ended.malformed, ended.events) {
        (Some(fault), _) => fail(fault),
        (None, 0) => skip("it emitted none"),
        (None, _) => Verdict::Pass,
    }
}

async fn silence<S: Subject>(bench: &mut Bench<'_, S>) -> Verdict {
    if !S::SEES_LATE_OUTPUT {
        return skip("the host drops it unseen, and counts it");
    }
    let call = bench.begin(ORDINARY).await;
    if let Err(reason) = ended_well(&bench.end(call, Hospitality::Giving).await) {
        return fail(reason);
    }
    // A round trip through the plugin's runtime, so that what was on its way is there.
    bench.call(method::PROBE, b"{}".to_vec()).await;
    match bench.subject.next(call, Duration::ZERO).await {
        None | Some(Output::Lost(_)) => Verdict::Pass,
        Some(Output::Completed(_)) => fail("a second last word"),
        Some(Output::Event { .. }) => fail("an event"),
        Some(Output::Request { method, .. }) => fail(format!("the request {method}")),
        Some(Output::Rejected(status)) => fail(format!("the status {status:?}")),
    }
}

async fn unknown_method<S: Subject>(bench: &mut Bench<'_, S>) -> Verdict {
    // An agent does not route, so that is unknown to it as well.
    let mut methods = vec!["no.such.method"];
    if bench.plan.kind == PluginKind::Agent {
        methods.push(method::ROUTE);
    }
    for method in methods {
        match bench.call(method, b"{}".to_vec()).await.ending {
            Ending::Rejected(InvokeStatus::Unimplemented) => {}
            other => return fail(format!("{method}: {}", say(&other))),
        }
    }
    Verdict::Pass
}

async fn nonsense<S: Subject>(bench: &mut Bench<'_, S>) -> Verdict {
    for payload in [&b""[..], b"\0\xff", b"[]", b"{\"message\": 7}"] {
        match bench.call(method::HANDLE, payload.to_vec()).await.ending {
            Ending::Said(Completion::Error { .. }) | Ending::Rejected(InvokeStatus::Refused) => {}
            other => return fail(say(&other)),
        }
    }
    Verdict::Pass
}

async fn odd_messages<S: Subject>(bench: &mut Bench<'_, S>) -> Verdict {
    let long = "long ".repeat(13_000);
    for content in [
        " ",
        "\u{0}\u{1b}[31m\u{202e}\u{feff}",
        "\u{1f980}\u{1f3f3}\u{fe0f}\u{200d}\u{1f308} \u{fdfd} \u{2060}",
        "{\"role\":\"system\"}",
        "%s%n ../../etc",
        &long,
    ] {
        let ended = bench.message(content, Hospitality::Giving).await;
        let judged = ended.malformed.clone().map_or_else(|| ended_well(&ended), Err);
        if let Err(reason) = judged {
            return fail(format!("message {:?}: {reason}", content.chars().take(20).collect::<String>()));
        }
    }
    Verdict::Pass
}

async fn cancel<S: Subject>(bench: &mut Bench<'_, S>) -> Verdict {
    let call = bench.begin(ORDINARY).await;
    // Its first output is left unanswered, so that an agent that asks is cancelled while it waits.
    let wait = if bench.mute() { Duration::ZERO } else { bench.plan.patience };
    match bench.subject.next(call, wait).await {
        Some(Output::Completed(_)) => return Verdict::Pass,
        Some(Output::Event { .. } | Output::Request { .. }) | None => {}
        Some(Output::Rejected(status)) => return fail(format!("it did not take the call: {status:?}")),
        Some(Output::Lost(why)) => return fail(format!("it is gone: {why}")),
    }
    bench.subject.cancel(call).await;
    let grace = bench.plan.grace;
    ended_well(&bench.end_within(call, Hospitality::Refusing, grace).await).into()
}

async fn concurrent<S: Subject>(bench: &mut Bench<'_, S>) -> Verdict {
    let mut calls = Vec::new();
    for _ in 0..8 {
        calls.push(bench.begin(ORDINARY).await);
    }
    let mut verdict = Verdict::Pass;
    for (n, call) in (1..).zip(calls) {
        if verdict != Verdict::Pass {
            bench.subject.cancel(call).await;
        } else if let Err(reason) = ended_well(&bench.end(call, Hospitality::Giving).await) {
            verdict = fail(format!("call {n} of 8: {reason}"));
        }
    }
    verdict
}

async fn route<S: Subject>(bench: &mut Bench<'_, S>) -> Verdict {
    if bench.plan.kind == PluginKind::Agent {
        return skip("an agent does not route");
    }
    let ended = bench.route(roster()).await;
    if ended.events > 0 {
        return fail("it emitted an event while it chose");
    }
    let Ending::Said(Completion::Ok { value }) = &ended.ending else { return ended_well(&ended).into() };
    match serde_json::from_value(value.clone()) {
        Ok(RouteChoice::Handle) => Verdict::Pass,
        Ok(RouteChoice::To(agent)) if roster().iter().any(|entry| entry.name == agent) => Verdict::Pass,
        Ok(RouteChoice::To(agent)) => fail(format!("it chose {agent}, which is not in the roster")),
        Err(why) => fail(format!("it completed with something that is no choice: {why}")),
    }
}

async fn empty_roster<S: Subject>(bench: &mut Bench<'_, S>) -> Verdict {
    if bench.plan.kind == PluginKind::Agent {
        return skip("an agent does not route");
    }
    let ended = bench.route(Vec::new()).await;
    if let Ending::Said(Completion::Ok { value }) = &ended.ending
        && let Ok(RouteChoice::To(agent)) = serde_json::from_value(value.clone())
    {
        return fail(format!("it chose {agent}, although there is none"));
    }
    ended_well(&ended).into()
}

async fn drain<S: Subject>(bench: &mut Bench<'_, S>) -> Verdict {
    bench.subject.drain().await;
    match bench.message(ORDINARY, Hospitality::Giving).await.ending {
        Ending::Rejected(InvokeStatus::Refused) => Verdict::Pass,
        other => fail(say(&other)),
    }
}

/// Whether a call ended as any agent's may: it answered, returned an error or noticed its cancellation.
fn ended_well(ended: &Ended) -> Result<(), String> {
    match &ended.ending {
        Ending::Said(Completion::Ok { .. } | Completion::Error { .. } | Completion::Cancelled) => Ok(()),
        other => Err(say(other)),
    }
}

impl From<Result<(), String>> for Verdict {
    fn from(judged: Result<(), String>) -> Self {
        match judged {
            Ok(()) => Self::Pass,
            Err(reason) => fail(reason),
        }
    }
}

fn fail(reason: impl Into<String>) -> Verdict {
    Verdict::Fail { reason: reason.into() }
}

fn skip(reason: &str) -> Verdict {
    Verdict::Skip { reason: reason.to_owned() }
}

fn say(ending: &Ending) -> String {
    match ending {
        Ending::Said(Completion::Ok { .. }) => "it answered".to_owned(),
        Ending::Said(Completion::Error { code, message, .. }) => format!("error {code}: {message}"),
        Ending::Said(Completion::Panicked { message }) => format!("it panicked: {message}"),
        Ending::Said(Completion::Cancelled) => "it said that it was cancelled".to_owned(),
        Ending::Unreadable(why) => format!("its last word is unreadable: {why}"),
        Ending::Rejected(status) => format!("it did not take the call: {status:?}"),
        Ending::Lost(why) => format!("the plugin is gone: {why}"),
        Ending::Silent(within) => format!("no last word within {within:?}"),
    }
}
