//! The built-in fallback: linked, not loaded; it needs no plugin, no configuration and no service, and it is honest.
//!
//! It says that no agent answered, why, what is missing, since when, and when to try again. It never works on the
//! person's text, nor repeats it.

use std::{fmt::Write as _, time::SystemTime};

use agent_host_core::{failpoint, failpoint::Action, routing::FallbackReason, timestamp};
use agent_plugin_protocol::event::{Responder, Thinking, emit_kind};
use bytes::Bytes;
use serde_json::{Value, json};

use crate::view::Status;

/// Its name in events.
pub(crate) const NAME: &str = "fallback";
/// What its tool pair names: it really looks at the service's state.
pub(crate) const TOOL: &str = "host.diagnostics";

/// Why the fallback could not answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("injected by a test")]
pub(crate) struct FallbackError;

/// What it says, in the order in which it says it.
pub(crate) struct FallbackAnswer {
    /// `agent_thinking`: the kind's number and its payload.
    pub(crate) thinking: (u32, Bytes),
    /// The result of [`TOOL`].
    pub(crate) diagnostics: Value,
    /// The answer.
    pub(crate) text: String,
}

/// How events name it.
pub(crate) fn responder() -> Responder {
    Responder {
        plugin: NAME.to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        generation: 0,
        built_in: true,
    }
}

/// Answers one message. It does not get the message: it could only pretend to have worked on it.
///
/// # Errors
/// Only where a test injects it.
pub(crate) fn answer(status: &Status, reason: &FallbackReason) -> Result<FallbackAnswer, FallbackError> {
    self_test()?;
    let thinking = Thinking {
        text: "No agent can answer; looking at what is missing.".into(),
        step: Some(1),
        progress: None,
    };
    let thinking = serde_json::to_vec(&thinking).map_err(|_| FallbackError)?;
    Ok(FallbackAnswer {
        thinking: (emit_kind::THINKING, thinking.into()),
        diagnostics: diagnostics(status, reason),
        text: text(status, reason),
    })
}

/// Whether it can answer.
///
/// # Errors
/// Only where a test injects it.
pub(crate) fn self_test() -> Result<(), FallbackError> {
    match failpoint!("fallback.answer") {
        Some(Action::Error) => Err(FallbackError),
        Some(Action::Panic | Action::Delay(_) | Action::Hang | Action::Off) | None => Ok(()),
    }
}

fn diagnostics(status: &Status, reason: &FallbackReason) -> Value {
    let since = |name: &str| {
        status
            .plugins
            .iter()
            .find(|plugin| plugin.id.as_str() == name)
            .map(|plugin| timestamp::rfc3339(plugin.since))
    };
    let missing: Vec<Value> = status
        .missing
        .iter()
        .map(|missing| {
            json!({
                "name": missing.name,
                "kind": missing.kind,
                "code": missing.code,
                "reason": missing.reason,
                "since": since(&missing.name),
                "retry_after_ms": missing.retry_after_ms,
            })
        })
        .collect();
    json!({
        "level": status.level,
        "starting": status.starting,
        "cause": { "code": reason.code(), "reason": reason.to_string() },
        "missing": missing,
    })
}

fn text(status: &Status, reason: &FallbackReason) -> String {
    let mut text =
        format!("No agent worked on this message: {reason}. This is the host's built-in fallback.");
    for missing in status.missing.iter().take(SHOWN) {
        let since = status
            .plugins
            .iter()
            .find(|plugin| plugin.id.as_str() == missing.name)
            .map(|plugin| plugin.since);
        sentence(&mut text, missing.kind, &missing.name, &missing.reason, since);
    }
    if status.missing.len() > SHOWN {
        // Writing to a text cannot fail.
        let _ = write!(text, " {} more are missing.", status.missing.len() - SHOWN);
    }
    let soonest = status.missing.iter().filter_map(|missing| missing.retry_after_ms).min();
    // Who would fail again is not asked again, whatever comes back.
    let in_vain = matches!(reason, FallbackReason::AgentFailed { retryable: false, .. });
    let soonest = soonest.filter(|_| !in_vain);
    let soonest = reason.retry_after().map(|after| after.as_millis()).or(soonest.map(u128::from));
    match soonest {
        Some(ms) => {
            let _ = write!(text, " Try again in about {} s.", ms.div_ceil(1000).max(1));
        }
        None => text.push_str(advice(status, reason)),
    }
    text
}

/// What the person can do where no time is known; that the operator has to act, only where it is so.
fn advice(status: &Status, reason: &FallbackReason) -> &'static str {
    match reason {
        FallbackReason::AgentFailed { retryable: false, .. } => {
            " Sending the same message again is of no use."
        }
        FallbackReason::AgentFailed { retryable: true, .. } => " An agent may answer if you send it again.",
        FallbackReason::NamedUnhealthy { code, .. } if code.retryable() => " Try again in a few seconds.",
        FallbackReason::Starting | FallbackReason::SelfCheck => " Try again in a few seconds.",
        _ if status.starting => " Try again in a few seconds.",
        FallbackReason::NoneConfigured
        | FallbackReason::NoneHealthy
        | FallbackReason::NamedUnhealthy { .. } => {
            " The operator has to act before an agent can answer; try again later."
        }
    }
}

/// Named one by one; the diagnostics have all.
const SHOWN: usize = 5;

fn sentence(text: &mut String, kind: &str, name: &str, reason: &str, since: Option<SystemTime>) {
    let _ = write!(text, " Missing: {kind} {name} ({reason}");
    if let Some(since) = since {
        let _ = write!(text, ", since {}", timestamp::rfc3339(since));
    }
    text.push_str(").");
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use agent_plugin_protocol::{Code, PluginId};

    use super::*;

    fn said(reason: &FallbackReason) -> String {
        let status = Status { starting: false, ..Status::unknown("host") };
        text(&status, reason)
    }

    #[test]
    fn the_operator_has_to_act_only_where_nothing_comes_back_by_itself() {
        let agent = PluginId::new("billing").unwrap();
        let failed = |code, retryable| FallbackReason::AgentFailed { agent: agent.clone(), code, retryable };
        let unhealthy = |code, retry_after| FallbackReason::NamedUnhealthy {
            agent: agent.clone(),
            code,
            reason: "why".to_owned(),
            retry_after,
        };
        for (reason, operator, advice) in [
            (failed(Code::PluginError, true), false, "may answer"),
            (failed(Code::PluginError, false), false, "of no use"),
            (failed(Code::PluginCrashed, true), false, "may answer"),
            (unhealthy(Code::PluginStarting, None), false, "in a few seconds"),
            (unhealthy(Code::PluginCrashLoop, Some(Duration::from_secs(7))), false, "in about 7 s"),
            (unhealthy(Code::PluginQuarantined, None), true, "try again later"),
            (unhealthy(Code::PluginDisabled, None), true, "try again later"),
            (FallbackReason::NoneConfigured, true, "try again later"),
        ] {
            let text = said(&reason);
            assert_eq!(text.contains("operator has to act"), operator, "{text}");
            assert!(text.contains(advice), "{text}");
        }
    }
}
