//! What can go wrong, in the author's words: one type for each place.

use std::{error::Error, fmt};

use agent_plugin_protocol::call::{Completion, CreateError, CreateErrorKind};

/// Why a plugin could not be created. Any `std::error::Error` becomes one with `?`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InitError {
    kind: CreateErrorKind,
    message: String,
}

impl InitError {
    /// The plugin cannot work; the host tries again later.
    pub fn new(message: impl Into<String>) -> Self {
        Self { kind: CreateErrorKind::Error, message: message.into() }
    }

    /// The configuration is of the right shape but makes no sense; the operator must change it.
    pub fn config(message: impl Into<String>) -> Self {
        Self { kind: CreateErrorKind::Config, message: message.into() }
    }

    pub(crate) fn into_create_error(self) -> CreateError {
        CreateError { kind: self.kind, message: self.message }
    }
}

impl fmt::Display for InitError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl<E: Error + Send + Sync + 'static> From<E> for InitError {
    fn from(error: E) -> Self {
        Self::new(chain(&error))
    }
}

/// Why a call could not be answered. Any `std::error::Error` becomes one with `?`; those of the [`Context`] keep
/// their code. (For that it is, as `anyhow::Error`, no `std::error::Error` itself.)
///
/// [`Context`]: crate::Context
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AgentError(Failure);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Failure {
    Cancelled,
    Failed { code: String, message: String, retryable: bool },
}

impl AgentError {
    /// A failure with the author's own code (`[a-z0-9_.]`, 64 characters at most; others are replaced) and a text
    /// for people.
    pub fn new(code: impl Into<String>, message: impl Into<String>) -> Self {
        Self(Failure::Failed { code: code.into(), message: message.into(), retryable: false })
    }

    /// The call was cancelled and the agent stopped because of it.
    pub fn cancelled() -> Self {
        Self(Failure::Cancelled)
    }

    /// The same message may succeed later: the host may try again.
    #[must_use]
    pub fn retryable(mut self) -> Self {
        if let Failure::Failed { retryable, .. } = &mut self.0 {
            *retryable = true;
        }
        self
    }

    pub(crate) fn into_completion(self) -> Completion {
        match self.0 {
            Failure::Cancelled => Completion::Cancelled,
            Failure::Failed { code, message, retryable } => {
                Completion::Error { code: clean(&code), message, retryable }
            }
        }
    }
}

impl fmt::Display for AgentError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Failure::Cancelled => f.write_str("cancelled"),
            Failure::Failed { code, message, .. } => write!(f, "{message} ({code})"),
        }
    }
}

impl<E: Error + Send + Sync + 'static> From<E> for AgentError {
    fn from(error: E) -> Self {
        let any: &dyn Error = &error;
        if let Some(refused) = any.downcast_ref::<RequestError>() {
            return refused.as_agent_error();
        }
        match any.downcast_ref::<EmitError>() {
            Some(EmitError::Cancelled | EmitError::Over) => Self::cancelled(),
            Some(EmitError::NotHere) | None => Self::new("failed", chain(&error)),
        }
    }
}

/// Why the host did not do what was asked of it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{method}: {message} ({code})")]
pub struct RequestError {
    method: &'static str,
    code: String,
    message: String,
    retryable: bool,
}

impl RequestError {
    pub(crate) fn new(method: &'static str, code: &str, message: impl Into<String>, retryable: bool) -> Self {
        Self { method, code: code.to_owned(), message: message.into(), retryable }
    }

    /// The stable code: `tool.denied`, `llm.unavailable`, …; `cancelled` if the call was cancelled meanwhile.
    pub fn code(&self) -> &str {
        &self.code
    }

    /// What happened, for people.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// Whether the same request may succeed later.
    pub fn is_retryable(&self) -> bool {
        self.retryable
    }

    fn as_agent_error(&self) -> AgentError {
        if self.code == CANCELLED {
            return AgentError::cancelled();
        }
        let error = AgentError::new(self.code.clone(), self.message.clone());
        if self.retryable { error.retryable() } else { error }
    }
}

/// The code of a [`RequestError`] whose call was cancelled while it waited.
pub(crate) const CANCELLED: &str = "cancelled";

/// Why an event was not emitted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum EmitError {
    /// The call was cancelled while this event waited for the host to catch up.
    #[error("the call was cancelled")]
    Cancelled,
    /// The call is over.
    #[error("the call is over")]
    Over,
    /// Only a call of `handle` has an answer to stream.
    #[error("this call has no answer to stream")]
    NotHere,
}

/// The error and its sources, in one line.
fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}

/// An author's code in the alphabet of codes.
fn clean(code: &str) -> String {
    let code: String = code
        .chars()
        .take(64)
        .map(|c| c.to_ascii_lowercase())
        .map(|c| if c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '_' | '.') { c } else { '_' })
        .collect();
    if code.is_empty() { "failed".to_owned() } else { code }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refused_request_keeps_its_code() {
        let error: AgentError = RequestError::new("tools.call", "tool.denied", "no", true).into();
        assert_eq!(error, AgentError::new("tool.denied", "no").retryable());
    }

    #[test]
    fn what_ended_because_of_a_cancellation_is_cancelled() {
        for error in [AgentError::from(EmitError::Cancelled), EmitError::Over.into()] {
            assert_eq!(error.into_completion(), Completion::Cancelled);
        }
        let error: AgentError = RequestError::new("tools.call", CANCELLED, "", false).into();
        assert_eq!(error, AgentError::cancelled());
    }

    #[test]
    fn any_error_is_told_with_its_sources() {
        #[derive(Debug, thiserror::Error)]
        #[error("outer")]
        struct Outer(#[source] fmt::Error);
        let AgentError(Failure::Failed { message, .. }) = Outer(fmt::Error).into() else { panic!("failed") };
        assert_eq!(message, format!("outer: {}", fmt::Error));
    }

    #[test]
    fn an_author_s_code_is_brought_into_the_alphabet() {
        assert_eq!(clean("No Such-Thing.é"), "no_such_thing._");
        assert_eq!(clean(""), "failed");
        assert_eq!(clean(&"a".repeat(100)).len(), 64);
    }
}
