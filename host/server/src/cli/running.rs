//! What can be asked of a running host, and ordered.

use std::{path::PathBuf, time::Duration};

use clap::{Args, Subcommand};

use super::{
    Output,
    read::{connection, lifetime, span},
};

/// Which host, as whom, and for whom it prints. Shared by every command that asks a running host.
#[derive(Debug, Clone, Args)]
pub(crate) struct AdminArgs {
    /// The host's admin listener, as http://HOST:PORT; left out, the one of --config, else the `dev` of this workspace, else this machine's 9901
    #[arg(long, value_name = "URL")]
    pub(crate) admin: Option<String>,
    /// A file with an admin token; without it, and without --config, AGENT_HOST_ADMIN_TOKEN has the token
    #[arg(long, value_name = "FILE")]
    pub(crate) token_file: Option<PathBuf>,
    /// The host's configuration: it says where the listener is, and its admin key makes a token
    #[arg(long, value_name = "DIR")]
    pub(crate) config: Option<PathBuf>,
    /// For people or for programs
    #[arg(long, value_enum, value_name = "FORM", default_value = "table")]
    pub(crate) output: Output,
}

#[derive(Debug, Clone, Args)]
pub(crate) struct StatusArgs {
    #[command(flatten)]
    pub(crate) admin: AdminArgs,
}

#[derive(Debug, Clone, Args)]
pub(crate) struct WatchArgs {
    /// Shows it again every two seconds, until it is interrupted
    #[arg(long)]
    pub(crate) watch: bool,
    #[command(flatten)]
    pub(crate) admin: AdminArgs,
}

#[derive(Debug, Clone, Args)]
pub(crate) struct TopArgs {
    /// Between two looks
    #[arg(long, value_name = "TIME", default_value = "2s", value_parser = lifetime)]
    pub(crate) every: Duration,
    /// Ends after so many looks; left out, it goes on until it is interrupted
    #[arg(long, value_name = "N")]
    pub(crate) looks: Option<u32>,
    #[command(flatten)]
    pub(crate) admin: AdminArgs,
}

#[derive(Debug, Clone, Args)]
pub(crate) struct EventsArgs {
    /// Goes on with what happens, until it is interrupted or its token has expired
    #[arg(long)]
    pub(crate) follow: bool,
    #[command(flatten)]
    pub(crate) admin: AdminArgs,
}

#[derive(Debug, Clone, Args)]
pub(crate) struct SupportArgs {
    /// The file, which must not exist yet; only you may read it
    #[arg(long = "to", value_name = "FILE")]
    pub(crate) file: PathBuf,
    #[command(flatten)]
    pub(crate) admin: AdminArgs,
}

#[derive(Debug, Clone, Args)]
pub(crate) struct LogLevelArgs {
    /// The least level that is to be written: error, warn, info, debug or trace; left out, it is shown
    #[arg(value_name = "LEVEL", value_parser = ["error", "warn", "info", "debug", "trace"])]
    pub(crate) level: Option<String>,
    /// For how long, up to a day, as in 10m; left out, until the host ends or its file says otherwise
    #[arg(long = "for", value_name = "TIME", value_parser = span, requires = "level")]
    pub(crate) lasting: Option<String>,
    #[command(flatten)]
    pub(crate) admin: AdminArgs,
}

#[derive(Debug, Subcommand)]
pub(crate) enum ConnectionsCommand {
    /// Lists them, in the order in which they were opened
    List {
        /// Only this user's
        #[arg(long, value_name = "USER")]
        user: Option<String>,
        /// Only this tenant's
        #[arg(long, value_name = "TENANT")]
        tenant: Option<String>,
        /// How many at most
        #[arg(long, value_name = "N", default_value_t = 100)]
        limit: usize,
        #[command(flatten)]
        admin: AdminArgs,
    },
    /// Closes one; its client may come back, and its runs go on
    Close {
        /// Its name, as it is listed
        #[arg(value_name = "CONNECTION", value_parser = connection)]
        connection: String,
        #[command(flatten)]
        admin: AdminArgs,
    },
}
