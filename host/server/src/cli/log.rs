//! What can be written of the log on the disk.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::{AdminArgs, ConfigArgs, Output};

#[derive(Debug, Subcommand)]
pub(crate) enum ThreadsCommand {
    /// Lists threads, the last used first
    List(ThreadsListArgs),
    /// Says whose a thread is, what it holds and how its runs ended
    Show(ThreadArgs),
    /// Prints its events, one JSON object a line, as the protocol shows them
    Export(ThreadArgs),
    /// Has a running host delete all that a tenant, or one user of it, has stored: for good
    Delete(ThreadsDeleteArgs),
}

#[derive(Debug, Subcommand)]
pub(crate) enum DbCommand {
    /// Looks at every row; ends with 1 if something is wrong
    Check(DbCheckArgs),
    /// Copies the log into a new file; a host may go on writing
    Backup(DbFileArgs),
    /// Puts a backup in the log's place, while no host is running; what was there is set aside
    Restore(DbFileArgs),
}

/// Where the log is.
#[derive(Debug, Clone, Args)]
pub(crate) struct StoreArgs {
    /// The store's folder, in place of the configuration's store.path
    #[arg(long, value_name = "DIR")]
    pub(crate) store: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) config: ConfigArgs,
}

#[derive(Debug, Clone, Args)]
#[command(group = clap::ArgGroup::new("whom").args(["user", "all_users"]).required(true))]
pub(crate) struct ThreadsDeleteArgs {
    /// Whose
    #[arg(long, value_name = "TENANT")]
    pub(crate) tenant: String,
    /// Only this user's
    #[arg(long, value_name = "USER")]
    pub(crate) user: Option<String>,
    /// Everybody's in the tenant
    #[arg(long)]
    pub(crate) all_users: bool,
    #[command(flatten)]
    pub(crate) admin: AdminArgs,
}

#[derive(Debug, Clone, Args)]
pub(crate) struct ThreadsListArgs {
    #[command(flatten)]
    pub(crate) store: StoreArgs,
    /// Whose; left out, everybody's
    #[arg(long, value_name = "USER")]
    pub(crate) user: Option<String>,
    /// The user's tenant
    #[arg(long, value_name = "TENANT", default_value = "default")]
    pub(crate) tenant: String,
    /// How many at most
    #[arg(long, value_name = "N", default_value_t = 50)]
    pub(crate) limit: usize,
    /// For people or for programs
    #[arg(long, value_enum, value_name = "FORM", default_value = "table")]
    pub(crate) output: Output,
}

#[derive(Debug, Clone, Args)]
pub(crate) struct ThreadArgs {
    /// The thread's id
    pub(crate) thread: String,
    #[command(flatten)]
    pub(crate) store: StoreArgs,
    /// For people or for programs; an export is always for programs
    #[arg(long, value_enum, value_name = "FORM", default_value = "table")]
    pub(crate) output: Output,
}

#[derive(Debug, Clone, Args)]
pub(crate) struct DbCheckArgs {
    #[command(flatten)]
    pub(crate) store: StoreArgs,
    /// For people or for programs
    #[arg(long, value_enum, value_name = "FORM", default_value = "table")]
    pub(crate) output: Output,
}

#[derive(Debug, Clone, Args)]
pub(crate) struct DbFileArgs {
    /// The backup
    pub(crate) file: PathBuf,
    #[command(flatten)]
    pub(crate) store: StoreArgs,
}
