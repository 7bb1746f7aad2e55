//! Says what the kit's host has: configuration, tools, models, agents, a conversation.

use std::{collections::BTreeMap, marker::PhantomData, sync::Arc, time::Duration};

use agent_plugin_api::{
    Agent, HistoryEntry, PluginId, RosterEntry, Supervisor, ToolInfo, Value, json,
    protocol::call::CreateError,
};
use serde::Serialize;

use crate::{
    desk::{Desk, ToolAnswer},
    local::{Creation, Ear, Local},
    plugin::Plugin,
    subject::{LocalCalls, Switchboard},
    transcript::Transcript,
};

/// A host for one plugin of type `P`; see the crate.
pub struct Testkit<P> {
    make: fn(&Creation, Ear) -> Result<Local, CreateError>,
    creation: Creation,
    desk: Desk,
    history: Vec<HistoryEntry>,
    state: Value,
    patience: Duration,
    plugin: PhantomData<fn() -> P>,
}

impl<A: Agent> Testkit<A> {
    /// A kit for an agent: no configuration, no tools, an empty conversation.
    #[allow(clippy::new_without_default, reason = "an agent and a supervisor begin otherwise")]
    pub fn new() -> Self {
        Self::of(Local::agent::<A>)
    }
}

impl<S: Supervisor> Testkit<S> {
    /// A kit for a supervisor: as [`Testkit::new`], and an empty roster.
    pub fn supervisor() -> Self {
        Self::of(Local::supervisor::<S>)
    }
}

impl<P> Testkit<P> {
    fn of(make: fn(&Creation, Ear) -> Result<Local, CreateError>) -> Self {
        let creation = Creation {
            plugin: "under-test".to_owned(),
            generation: 1,
            config: Value::Null,
            secrets: BTreeMap::new(),
            data_dir: None,
            threads: 2,
            log_level: "debug".to_owned(),
        };
        Self {
            make,
            creation,
            desk: Desk::default(),
            history: Vec::new(),
            state: Value::Null,
            // Long enough for a busy machine; a test that needs it has failed.
            patience: Duration::from_secs(20),
            plugin: PhantomData,
        }
    }

    /// What the operator wrote under `[plugins.<id>.config]`.
    #[must_use]
    pub fn config(mut self, config: Value) -> Self {
        self.creation.config = config;
        self
    }

    /// A secret that the operator gave under `[plugins.<id>.secrets]`.
    #[must_use]
    pub fn secret(mut self, name: &str, text: &str) -> Self {
        self.creation.secrets.insert(name.to_owned(), text.to_owned());
        self
    }

    /// A tool that the operator granted. What it answers is a [`Value`], a `Result` of one, or a [`ToolAnswer`].
    /// Every other tool is denied.
    #[must_use]
    pub fn tool<R: Into<ToolAnswer>>(
        self,
        name: &str,
        handler: impl Fn(Value) -> R + Send + Sync + 'static,
    ) -> Self {
        let info = ToolInfo {
            name: name.to_owned(),
            description: format!("the tool {name}"),
            input_schema: json!({"type": "object"}),
        };
        self.described_tool(info, handler)
    }

    /// As [`tool`](Self::tool), for an agent that reads what the list says of its tools.
    #[must_use]
    pub fn described_tool<R: Into<ToolAnswer>>(
        mut self,
        info: ToolInfo,
        handler: impl Fn(Value) -> R + Send + Sync + 'static,
    ) -> Self {
        self.desk.add_tool(info, Arc::new(move |arguments| handler(arguments).into()));
        self
    }

    /// The host's model, as `ctx.llm()` reaches it. Without it, it is unavailable.
    #[must_use]
    pub fn llm<R: Into<ToolAnswer>>(mut self, handler: impl Fn(Value) -> R + Send + Sync + 'static) -> Self {
        self.desk.set_llm(Arc::new(move |request| handler(request).into()));
        self
    }

    /// A peer, `host:port`, that the operator allows: the handler gets what the agent writes, piece by piece, and answers
    /// with what the peer sends. A read with nothing left of that is the end of the stream. Every other peer is denied.
    #[must_use]
    pub fn peer(mut self, peer: &str, handler: impl Fn(&[u8]) -> Vec<u8> + Send + Sync + 'static) -> Self {
        self.desk.add_peer(peer, Arc::new(handler));
        self
    }

    /// A healthy agent that a supervisor finds in its roster; an `Err` of the handler is a failed delegation.
    ///
    /// # Panics
    /// When the name is no plugin id.
    #[must_use]
    pub fn agent(
        mut self,
        name: &str,
        description: &str,
        handler: impl Fn(&str) -> Result<String, String> + Send + Sync + 'static,
    ) -> Self {
        let name = PluginId::new(name).unwrap_or_else(|error| panic!("{error}"));
        let entry = RosterEntry { name, description: description.to_owned() };
        self.desk.add_agent(entry, Arc::new(handler));
        self
    }

    /// What was said before, oldest first: pairs of `user` or `agent`, and the text. Each run adds its own two.
    #[must_use]
    pub fn history<'a>(mut self, turns: impl IntoIterator<Item = (&'a str, &'a str)>) -> Self {
        let entry = |(role, text): (&str, &str)| HistoryEntry {
            role: role.to_owned(),
            agent: (role == "agent").then(|| self.creation.plugin.clone()),
            text: text.to_owned(),
        };
        self.history = turns.into_iter().map(entry).collect();
        self
    }

    /// What the agent kept about the conversation in earlier runs.
    ///
    /// # Panics
    /// When it cannot be written as JSON.
    #[must_use]
    pub fn state(mut self, state: &impl Serialize) -> Self {
        self.state = serde_json::to_value(state).unwrap_or_else(|error| panic!("the state: {error}"));
        self
    }

    /// The plugin's own folder.
    #[must_use]
    pub fn data_dir(mut self, folder: impl Into<String>) -> Self {
        self.creation.data_dir = Some(folder.into());
        self
    }

    /// How long the agent may be silent before the test fails; 20 s unless told.
    #[must_use]
    pub fn patience(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }

    /// Makes the agent. Blocks for as long as its `create` takes.
    ///
    /// # Errors
    /// What `create` answered, a configuration that does not fit and a panic included.
    pub fn start(&self) -> Result<Plugin, CreateError> {
        let switchboard = Arc::new(Switchboard::default());
        let local = (self.make)(&self.creation, switchboard.ear())?;
        Ok(Plugin {
            calls: LocalCalls::new(local, switchboard),
            desk: self.desk.clone(),
            history: self.history.clone(),
            state: self.state.clone(),
            patience: self.patience,
        })
    }

    /// Makes the agent and has it handle one message.
    ///
    /// # Panics
    /// When it cannot be made, or is silent for too long.
    pub async fn run(&self, content: &str) -> Transcript {
        match self.start() {
            Ok(mut plugin) => plugin.run(content).await,
            Err(error) => panic!("create failed: {:?}: {}", error.kind, error.message),
        }
    }
}

impl<P> std::fmt::Debug for Testkit<P> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Testkit").field("creation", &self.creation).finish_non_exhaustive()
    }
}
