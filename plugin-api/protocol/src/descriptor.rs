//! What a plugin library says of itself.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::id::PluginId;

/// What a plugin is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PluginKind {
    /// Answers messages.
    Agent,
    /// Chooses which agent answers, or delegates the work.
    Supervisor,
}

impl PluginKind {
    /// The word used in configuration, frames, logs and metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Agent => "agent",
            Self::Supervisor => "supervisor",
        }
    }
}

impl fmt::Display for PluginKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// How the library was built to panic. An aborting one cannot be loaded in-process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PanicStrategy {
    /// A panic unwinds and is caught inside the plugin.
    Unwind,
    /// A panic ends the process.
    Abort,
}

/// The identity of a library, read from its ELF section without running it (see [`crate::section`]).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PluginDescriptor {
    /// The name the author gave. The operator's name for the slot is the configuration's table name; the two
    /// may differ, so that one library can serve in two slots.
    pub id: PluginId,
    /// Agent or supervisor.
    pub kind: PluginKind,
    /// The plugin's own version (its `Cargo.toml`'s).
    pub version: String,
    /// One line for people and for a supervisor's roster.
    pub description: String,
    /// ABI version: the major must be known to the host, the minor only adds.
    pub abi: (u16, u16),
    /// Version of `agent-plugin-api` it was built with.
    pub sdk_version: String,
    /// The compiler that built it.
    pub rustc_version: String,
    /// How it panics.
    pub panic: PanicStrategy,
    /// Host services without which it is of no use (`llm`, `threads`, `tools`, …).
    pub requires: Vec<String>,
}
