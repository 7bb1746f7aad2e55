//! What can be written to judge plugins before they serve, and to look a code up.

use std::{path::PathBuf, time::Duration};

use agent_plugin_protocol::PluginKind;
use clap::{Args, ValueEnum};

use super::{
    Output,
    read::{json, lifetime},
};

#[derive(Debug, Clone, Args)]
pub(crate) struct CheckArgs {
    /// The libraries
    #[arg(required = true, value_name = "FILE.so")]
    pub(crate) files: Vec<PathBuf>,
    /// For people or for programs
    #[arg(long, value_enum, value_name = "FORM", default_value = "table")]
    pub(crate) output: Output,
    /// What each has to be; left out, it is what it says of itself
    #[arg(long, value_enum)]
    pub(crate) kind: Option<Kind>,
    /// What the operator would write under [plugins.<id>.config], as JSON
    #[arg(long, value_name = "JSON", value_parser = json)]
    pub(crate) plugin_config: Option<serde_json::Value>,
    /// A public minisign key (the line that begins with RW): the signature beside each file must be one of its; may be repeated
    #[arg(long = "key", value_name = "KEY")]
    pub(crate) keys: Vec<String>,
    /// How long one call of the suite may take
    #[arg(long, value_name = "TIME", default_value = "20s", value_parser = lifetime)]
    pub(crate) patience: Duration,
}

/// The kind of a plugin, as it is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Kind {
    /// Answers messages
    Agent,
    /// Chooses which agent answers
    Supervisor,
}

impl From<Kind> for PluginKind {
    fn from(kind: Kind) -> Self {
        match kind {
            Kind::Agent => Self::Agent,
            Kind::Supervisor => Self::Supervisor,
        }
    }
}

#[derive(Debug, Clone, Args)]
pub(crate) struct ExplainArgs {
    /// The code, for example plugin.crashed, or a group of them; left out, all are listed
    pub(crate) code: Option<String>,
    /// For people or for programs
    #[arg(long, value_enum, value_name = "FORM", default_value = "table")]
    pub(crate) output: Output,
}
