//! What an agent has at hand while it handles a message.

use std::{path::Path, sync::Arc, time::Instant};

use agent_plugin_protocol::{
    PluginId, Secret,
    call::{DelegateParams, DelegateResult, InputAnswer, RosterEntry, request},
};

use crate::{
    Connection, EmitError, Llm, RequestError, Setup, Thread, Tools, call::Call, emit, emit::ThinkingEvent,
};

/// One call: to emit events, and to ask the host for tools, models and the conversation.
///
/// Cheap to clone, for tasks of the author's own. Once the call is over, everything on it answers an error and does
/// nothing. Every wait ends when the call is cancelled.
#[derive(Clone)]
pub struct Context(Arc<Inner>);

pub(crate) struct Inner {
    pub(crate) call: Arc<Call>,
    pub(crate) run_id: String,
    pub(crate) thread_id: String,
    /// `None` where there is no answer to stream (`route`).
    pub(crate) message_id: Option<String>,
    pub(crate) retry: bool,
    pub(crate) answer: Option<InputAnswer>,
    pub(crate) roster: Vec<RosterEntry>,
    pub(crate) setup: Setup,
}

impl Context {
    pub(crate) fn new(inner: Inner) -> Self {
        Self(Arc::new(inner))
    }

    pub(crate) fn call(&self) -> &Call {
        &self.0.call
    }

    /// Tells people what the agent is doing. Await it; before that, [`step`](ThinkingEvent::step) and
    /// [`progress`](ThinkingEvent::progress) may be added.
    ///
    /// Waits while the host has too many events of this call unread. Cancel safe.
    pub fn thinking<'a>(&'a self, text: &'a str) -> ThinkingEvent<'a> {
        ThinkingEvent::new(self, text)
    }

    /// Streams a piece of the answer. Waits as [`thinking`](Self::thinking) does.
    ///
    /// A piece that is too large for one event goes out as several; only between those, dropping it half-way leaves
    /// the rest unsaid.
    ///
    /// # Errors
    /// [`EmitError::NotHere`] in `route`, where there is nothing to answer yet.
    pub async fn delta(&self, text: &str) -> Result<(), EmitError> {
        let message_id = self.0.message_id.as_deref().ok_or(EmitError::NotHere)?;
        emit::delta(self.call(), message_id, text).await
    }

    /// The tools that the operator granted.
    pub fn tools(&self) -> Tools<'_> {
        Tools::new(self)
    }

    /// The conversation: what was said before, and what this plugin keeps about it.
    pub fn thread(&self) -> Thread<'_> {
        Thread::new(self)
    }

    /// The host's models; their keys stay with the host.
    pub fn llm(&self) -> Llm<'_> {
        Llm::new(self)
    }

    /// Connects to a peer, `host:port`, through the host: the only way out that a plugin has. The operator lists the
    /// peers: `network = ["api.example.com:443"]`. Cancel safe: a connection that nobody waits for ends with the call.
    ///
    /// # Errors
    /// [`RequestError`] with `network.denied`, which says what the operator would have to write, `network.unreachable`,
    /// `network.limit`, or `cancelled`.
    pub async fn connect(&self, peer: &str) -> Result<Connection, RequestError> {
        Connection::open(self, peer).await
    }

    /// Hands work to an agent and waits for what comes back; supervisors only. That the agent failed is a value.
    ///
    /// # Errors
    /// [`RequestError`] where the host would not: this is no supervisor, or there is no such agent.
    pub async fn delegate(&self, agent: &str, input: &str) -> Result<DelegateResult, RequestError> {
        let invalid = |e: agent_plugin_protocol::id::InvalidId| {
            RequestError::new(request::DELEGATE, "agent.unknown", e.to_string(), false)
        };
        let params =
            DelegateParams { agent: PluginId::new(agent).map_err(invalid)?, input: input.to_owned() };
        self.call().request(request::DELEGATE, &params).await
    }

    /// The agents that are healthy now, for a supervisor to choose from or delegate to; empty for an agent.
    pub fn roster(&self) -> &[RosterEntry] {
        &self.0.roster
    }

    /// The person's answer, where an earlier run of this thread ended with [`Reply::ask`](crate::Reply::ask).
    pub fn answer(&self) -> Option<&InputAnswer> {
        self.0.answer.as_ref()
    }

    /// Whether an earlier try of this message failed.
    pub fn is_retry(&self) -> bool {
        self.0.retry
    }

    /// When the host gives up on this call; `None`: it set no limit.
    pub fn deadline(&self) -> Option<Instant> {
        self.0.call.deadline()
    }

    /// Ends when the call is cancelled. Cancel safe: for `tokio::select!` beside waits that are not the context's.
    pub async fn cancelled(&self) {
        self.0.call.cancelled().cancelled().await;
    }

    /// Whether the call was cancelled; for loops that compute.
    pub fn is_cancelled(&self) -> bool {
        self.0.call.cancelled().is_cancelled()
    }

    /// A secret of this plugin's own; see [`Setup::secret`].
    pub fn secret(&self, name: &str) -> Option<&Secret> {
        self.0.setup.secret(name)
    }

    /// The plugin's own folder; `None` where the host could make none.
    pub fn data_dir(&self) -> Option<&Path> {
        self.0.setup.data_dir()
    }

    /// The run that this call belongs to.
    pub fn run_id(&self) -> &str {
        &self.0.run_id
    }

    /// The conversation that this call belongs to.
    pub fn thread_id(&self) -> &str {
        &self.0.thread_id
    }
}
