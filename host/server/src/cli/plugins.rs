//! What can be ordered of a running host's plugins.

use clap::{Args, Subcommand};

use super::{
    AdminArgs, HowArgs,
    read::{span, word},
};

/// Orders end with 0 only if the plugin then has the verdict that the order is for.
#[derive(Debug, Subcommand)]
pub(crate) enum PluginsCommand {
    /// Lists all, the verdict first
    List {
        /// Only those with this verdict (healthy, failed, disabled) or in this state
        #[arg(long, value_name = "STATE", value_parser = word)]
        state: Option<String>,
        #[command(flatten)]
        admin: AdminArgs,
    },
    /// Shows all there is to know of one: fault, breaker, restarts, isolation, history, last crash
    Show(PluginArgs),
    /// Says in one sentence how it is, why, who has its traffic, and what to do
    Why(PluginArgs),
    /// Switches it on and starts it
    Enable(ToggleArgs),
    /// Switches it off: its runs finish, new ones go elsewhere, connections stay
    Disable(ToggleArgs),
    /// Takes it out of rotation for now: its runs finish, new ones go elsewhere, and it ends; enable brings it back
    Drain(OrderArgs),
    /// Reads its file again: the new generation takes over once it is healthy; one that fails leaves the old
    Reload(OrderArgs),
    /// Ends a quarantine: forgets crashes and the breaker, and starts it if it does not run
    Reset(OrderArgs),
    /// Asks it for a self-test now
    Probe(OrderArgs),
    /// Gives the generation that is on trial everything
    Promote(OrderArgs),
    /// Takes back the generation that is on trial; else goes back to the generation that served before, while it is kept
    Rollback(OrderArgs),
}

#[derive(Debug, Clone, Args)]
pub(crate) struct ToggleArgs {
    /// For how long, as in 10m; left out, from now on: the file that says otherwise is changed
    #[arg(long = "for", value_name = "TIME", value_parser = span)]
    pub(crate) lasting: Option<String>,
    #[command(flatten)]
    pub(crate) order: OrderArgs,
}

#[derive(Debug, Clone, Args)]
pub(crate) struct OrderArgs {
    #[command(flatten)]
    pub(crate) how: HowArgs,
    #[command(flatten)]
    pub(crate) plugin: PluginArgs,
}

#[derive(Debug, Clone, Args)]
pub(crate) struct PluginArgs {
    /// Its name in the configuration
    #[arg(value_name = "PLUGIN")]
    pub(crate) plugin: agent_plugin_protocol::PluginId,
    #[command(flatten)]
    pub(crate) admin: AdminArgs,
}
