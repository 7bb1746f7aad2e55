//! What can be written of a host's clients: people at a terminal, and the gate after a deployment.

use std::{path::PathBuf, time::Duration};

use clap::Args;

use super::{Output, read::lifetime};

#[derive(Debug, Clone, Args)]
pub(crate) struct ChatArgs {
    /// The host, as ws://HOST:PORT/ws; left out, the one of --config, else the `dev` of this workspace, else this machine's 8080
    #[arg(value_name = "URL")]
    pub(crate) url: Option<String>,
    /// The token; who can list processes can read it, so better in a file or in AGENT_HOST_TOKEN
    #[arg(long, value_name = "TOKEN", conflicts_with_all = ["token_file", "config"])]
    pub(crate) token: Option<String>,
    /// A file with the token, read for each connection
    #[arg(long, value_name = "FILE", conflicts_with = "config")]
    pub(crate) token_file: Option<PathBuf>,
    /// The host's configuration: its key makes a token for --user
    #[arg(long, value_name = "DIR")]
    pub(crate) config: Option<PathBuf>,
    /// Whose token to make, with --config or beside `dev`
    #[arg(long, value_name = "USER", value_parser = clap::builder::NonEmptyStringValueParser::new())]
    pub(crate) user: Option<String>,
    /// Who should answer; left out, the host chooses
    #[arg(long, value_name = "AGENT")]
    pub(crate) agent: Option<String>,
    /// Goes on in this conversation, which is shown from its beginning
    #[arg(long, value_name = "THREAD")]
    pub(crate) thread: Option<agent_plugin_protocol::ThreadId>,
    /// How long to try to connect again after a connection was lost
    #[arg(long, value_name = "TIME", default_value = "2m", value_parser = lifetime)]
    pub(crate) retry_for: Duration,
    /// For people, or for programs: each frame of the host as a line of JSON
    #[arg(long, value_enum, value_name = "FORM", default_value = "table")]
    pub(crate) output: Output,
}

#[derive(Debug, Clone, Args)]
pub(crate) struct VerifyArgs {
    /// The host, as http://HOST:PORT
    #[arg(value_name = "URL")]
    pub(crate) url: String,
    /// A file with a user's token: that user's threads are made and deleted
    #[arg(long, value_name = "FILE")]
    pub(crate) token_file: PathBuf,
    /// A file with another user's token, to see that it finds nothing
    #[arg(long, value_name = "FILE")]
    pub(crate) other_token_file: Option<PathBuf>,
    /// The service level that there must be: full, partial, fallback or basic
    #[arg(long, value_name = "LEVEL", value_parser = level)]
    pub(crate) expect_level: Option<agent_host_core::level::ServiceLevel>,
    /// How long the host may take to be there and ready before it is looked at, as after a restart
    #[arg(long, value_name = "TIME", value_parser = lifetime)]
    pub(crate) wait: Option<Duration>,
    /// For people, or for programs
    #[arg(long, value_enum, value_name = "FORM", default_value = "table")]
    pub(crate) output: Output,
}

/// A level by its word.
fn level(word: &str) -> Result<agent_host_core::level::ServiceLevel, String> {
    let mut all = agent_host_core::level::ServiceLevel::ALL.into_iter();
    all.find(|level| level.as_str() == word)
        .ok_or_else(|| "a level is full, partial, fallback or basic".to_owned())
}
