//! What the kit's host answers when the agent asks: tools, models, other agents.

use std::{collections::BTreeMap, fmt, sync::Arc};

use agent_plugin_api::{
    DelegateResult, RosterEntry, ToolInfo, Value,
    protocol::call::{Answer, DelegateParams, ToolCallParams},
};
use serde::{Serialize, de::DeserializeOwned};

/// What a scripted tool or model answers: a value, or why there is none.
#[derive(Debug, Clone, PartialEq)]
pub struct ToolAnswer(Answer);

impl ToolAnswer {
    /// It answers.
    pub fn value(value: impl Into<Value>) -> Self {
        Self(Answer::Ok { value: value.into() })
    }

    /// It fails with a host's code, such as `tool.failed`, `tool.invalid_arguments` or `llm.rate_limited`.
    pub fn error(code: &str, message: &str) -> Self {
        Self(Answer::Error { code: code.to_owned(), message: message.to_owned(), retryable: false })
    }

    /// The same, and it may succeed later.
    #[must_use]
    pub fn retryable(mut self) -> Self {
        if let Answer::Error { retryable, .. } = &mut self.0 {
            *retryable = true;
        }
        self
    }
}

impl From<Value> for ToolAnswer {
    fn from(value: Value) -> Self {
        Self::value(value)
    }
}

impl<E: fmt::Display> From<Result<Value, E>> for ToolAnswer {
    /// An error is a `tool.failed`.
    fn from(result: Result<Value, E>) -> Self {
        match result {
            Ok(value) => Self::value(value),
            Err(error) => Self::error("tool.failed", &error.to_string()),
        }
    }
}

type Handler<I> = Arc<dyn Fn(I) -> ToolAnswer + Send + Sync>;
/// Answers what was written to a peer with what the peer sends.
pub(crate) type Peer = Arc<dyn Fn(&[u8]) -> Vec<u8> + Send + Sync>;
type Colleague = Arc<dyn Fn(&str) -> Result<String, String> + Send + Sync>;

/// See the module.
#[derive(Clone, Default)]
pub(crate) struct Desk {
    tools: BTreeMap<String, (ToolInfo, Handler<Value>)>,
    agents: Vec<(RosterEntry, Colleague)>,
    llm: Option<Handler<Value>>,
    peers: BTreeMap<String, Peer>,
}

impl Desk {
    pub(crate) fn add_tool(&mut self, info: ToolInfo, handler: Handler<Value>) {
        self.tools.insert(info.name.clone(), (info, handler));
    }

    pub(crate) fn add_agent(&mut self, entry: RosterEntry, colleague: Colleague) {
        self.agents.push((entry, colleague));
    }

    pub(crate) fn set_llm(&mut self, handler: Handler<Value>) {
        self.llm = Some(handler);
    }

    pub(crate) fn add_peer(&mut self, peer: &str, handler: Peer) {
        self.peers.insert(peer.to_owned(), handler);
    }

    /// A peer that is not there is not allowed.
    pub(crate) fn peer(&self, peer: &str) -> Result<Peer, Answer> {
        let denied = || error("network.denied", &format!("the kit has no peer {peer:?}: see Testkit::peer"));
        self.peers.get(peer).cloned().ok_or_else(denied)
    }

    /// The agents that there are.
    pub(crate) fn roster(&self) -> Vec<RosterEntry> {
        self.agents.iter().map(|(entry, _)| entry.clone()).collect()
    }

    /// The tools that are granted.
    pub(crate) fn tool_list(&self) -> Answer {
        ok(&self.tools.values().map(|(info, _)| info).collect::<Vec<_>>())
    }

    /// A tool that is not there was not granted.
    pub(crate) fn call_tool(&self, params: &ToolCallParams) -> Answer {
        match self.tools.get(&params.name) {
            Some((_, handler)) => handler(params.arguments.clone()).0,
            None => error("tool.denied", &format!("the kit has no tool {:?}", params.name)),
        }
    }

    /// Hands work to a scripted agent; `Err`: there is none of that name.
    pub(crate) fn delegate(&self, params: &DelegateParams) -> Result<DelegateResult, Answer> {
        match self.agents.iter().find(|(entry, _)| entry.name == params.agent) {
            Some((_, colleague)) => Ok(match colleague(&params.input) {
                Ok(text) => DelegateResult::Ok { text },
                Err(message) => DelegateResult::Failed { code: "agent.failed".to_owned(), message },
            }),
            None => Err(error("agent.unknown", &format!("the kit has no agent {:?}", params.agent.as_str()))),
        }
    }

    pub(crate) fn complete(&self, request: Value) -> Answer {
        match &self.llm {
            Some(llm) => llm(request).0,
            None => error("llm.unavailable", "the kit has no model: see Testkit::llm"),
        }
    }
}

pub(crate) fn ok(value: &impl Serialize) -> Answer {
    match serde_json::to_value(value) {
        Ok(value) => Answer::Ok { value },
        Err(why) => error("host.internal", &why.to_string()),
    }
}

pub(crate) fn error(code: &str, message: &str) -> Answer {
    Answer::Error { code: code.to_owned(), message: message.to_owned(), retryable: false }
}

/// Reads the parameters of a request.
pub(crate) fn parse<T: DeserializeOwned>(payload: &[u8]) -> Result<T, Answer> {
    serde_json::from_slice(payload).map_err(|why| error("frame.invalid", &format!("the parameters: {why}")))
}
