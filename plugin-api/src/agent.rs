//! The trait that an agent implements.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::Arc,
};

use agent_plugin_protocol::Secret;
use serde::de::DeserializeOwned;

use crate::{AgentError, Context, InitError, Message, Reply};

/// An agent: it answers messages. Export it with [`export_agent!`](crate::export_agent).
///
/// One value serves all messages of a plugin, several at once; what is remembered between the messages of a
/// conversation belongs into the [thread's state](crate::Thread::set_state), which survives a restart.
///
/// All of it runs on the plugin's own tokio runtime. A panic ends its own call and nothing else.
pub trait Agent: Sized + Send + Sync + 'static {
    /// The type of `[plugins.<id>.config]`; `()` for a plugin that has none.
    type Config: DeserializeOwned + Send + 'static;

    /// Makes the agent. An error here marks the plugin as failed, with this reason, and the host tries again later.
    fn create(config: Self::Config, setup: Setup) -> impl Future<Output = Result<Self, InitError>> + Send;

    /// Answers one message.
    ///
    /// When the run is cancelled this future is *not* dropped: every wait on `ctx` then ends with an error, so that
    /// `?` leaves orderly, and [`Context::cancelled`] tells waits on other things. An agent that goes on all the same
    /// is ended with its process after the grace period.
    fn handle(
        &self,
        ctx: &Context,
        message: Message,
    ) -> impl Future<Output = Result<Reply, AgentError>> + Send;

    /// Whether the agent is fit to answer; asked after `create` and then regularly. The default says yes: that it is
    /// answered at all shows that the plugin's runtime lives.
    fn probe(&self) -> impl Future<Output = Result<(), AgentError>> + Send {
        async { Ok(()) }
    }

    /// JSON schema of [`Config`](Self::Config), for the host to check the configuration against.
    fn config_schema() -> Option<serde_json::Value> {
        None
    }
}

/// What a plugin learns about itself when it is created.
#[derive(Debug, Clone)]
pub struct Setup {
    pub(crate) plugin: String,
    pub(crate) generation: u32,
    pub(crate) data_dir: Option<PathBuf>,
    pub(crate) secrets: Arc<BTreeMap<String, Secret>>,
}

impl Setup {
    /// The name under which the operator configured it.
    pub fn plugin(&self) -> &str {
        &self.plugin
    }

    /// Which loading of the plugin this is: 1 for the first.
    pub fn generation(&self) -> u32 {
        self.generation
    }

    /// A secret that the operator gave this plugin, by its name under `[plugins.<id>.secrets]`; `None`: there is none of
    /// that name. No other plugin has it, and nothing shows it but [`expose`](Secret::expose).
    pub fn secret(&self, name: &str) -> Option<&Secret> {
        self.secrets.get(name)
    }

    /// The plugin's own folder, kept between restarts; `None` where the host could make none.
    pub fn data_dir(&self) -> Option<&Path> {
        self.data_dir.as_deref()
    }
}
