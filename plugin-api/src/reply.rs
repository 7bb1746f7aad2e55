//! An agent's answer.

use agent_plugin_protocol::call::{self, Usage};

pub use agent_plugin_protocol::call::Question;

/// What `handle` answers: a text, the deltas already streamed, or a question to the person.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Reply(call::Reply);

impl Reply {
    /// The whole answer. If deltas were streamed as well, this is what the thread keeps.
    pub fn text(text: impl Into<String>) -> Self {
        Self(call::Reply { text: Some(text.into()), ..call::Reply::default() })
    }

    /// The answer is what was streamed with [`Context::delta`](crate::Context::delta).
    pub fn streamed() -> Self {
        Self::default()
    }

    /// Asks the person: the run ends as `input_required`. The answer begins a new run of the same thread, in which
    /// [`Context::answer`](crate::Context::answer) holds it; keep what is to be remembered in the thread's state.
    pub fn ask(question: impl Into<Question>) -> Self {
        Self(call::Reply { ask: Some(question.into()), ..call::Reply::default() })
    }

    /// Adds what the models used cost.
    #[must_use]
    pub fn with_usage(mut self, usage: Usage) -> Self {
        self.0.usage = Some(usage);
        self
    }

    pub(crate) fn into_protocol(self) -> call::Reply {
        self.0
    }
}

impl From<&str> for Reply {
    fn from(text: &str) -> Self {
        Self::text(text)
    }
}

impl From<String> for Reply {
    fn from(text: String) -> Self {
        Self::text(text)
    }
}
