//! The command line: what can be written, as types. A file each for what belongs together.

mod chaos;
mod check;
mod client;
mod config;
mod drill;
mod log;
mod plugins;
mod read;
mod running;
mod token;

use clap::{Args, Parser, Subcommand, ValueEnum};

pub(crate) use chaos::{ChaosCommand, ChaosHowArgs, ChaosStartArgs};
pub(crate) use check::{CheckArgs, ExplainArgs};
pub(crate) use client::{ChatArgs, VerifyArgs};
pub(crate) use config::{ConfigArgs, ConfigCommand, DevArgs, DiffArgs, PrintArgs, ReloadArgs, SetArgs};
pub(crate) use drill::DrillArgs;
pub(crate) use log::{
    DbCheckArgs, DbCommand, StoreArgs, ThreadArgs, ThreadsCommand, ThreadsDeleteArgs, ThreadsListArgs,
};
pub(crate) use plugins::{OrderArgs, PluginArgs, PluginsCommand, ToggleArgs};
pub(crate) use running::{
    AdminArgs, ConnectionsCommand, EventsArgs, HowArgs, LogLevelArgs, OperationsCommand, StatusArgs,
    SupportArgs, TopArgs, WatchArgs,
};
pub(crate) use token::{InspectArgs, MintArgs, RevokeArgs, TokenCommand};

/// A server for AI agents shipped as plugins, which a bad plugin degrades and never takes down.
///
/// Exit status: 0 done, 1 failed, 2 wrong usage, 69 the host cannot be reached, 78 the configuration is wrong.
#[derive(Debug, Parser)]
#[command(name = "agent-host", version, arg_required_else_help = true)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Serves people and operators until it is told to end (SIGTERM drains, a second one ends at once)
    Serve(ConfigArgs),
    /// Serves the plugins of this workspace, with a key of its own and a token for you
    Dev(DevArgs),
    /// Checks and shows the configuration
    #[command(subcommand)]
    Config(ConfigCommand),
    /// Talks to a host from the terminal: lines in, events out; connects again by itself
    Chat(ChatArgs),
    /// Says how a running host fares: its level, what is missing, its plugins by verdict
    Status(WatchArgs),
    /// Shows a running host as it goes: plugins, runs, latency, the fallback's share
    Top(TopArgs),
    /// Shows the plugins of a running host, and gives them an operator's orders
    #[command(subcommand)]
    Plugins(PluginsCommand),
    /// Shows who is connected to a running host, and closes connections
    #[command(subcommand)]
    Connections(ConnectionsCommand),
    /// Shows orders to a running host that go on by themselves, and how the last ones ended
    #[command(subcommand)]
    Operations(OperationsCommand),
    /// Shows what happened at a running host, and what happens
    Events(EventsArgs),
    /// Takes a running host out of rotation: not ready, no new connections; what is open goes on
    Drain(StatusArgs),
    /// Takes a running host back into rotation
    Undrain(StatusArgs),
    /// Injects faults into a running host that allows it ([chaos] enabled), and shows those in force
    #[command(subcommand)]
    Chaos(ChaosCommand),
    /// Writes how a running host fares and is set up into a file for whoever helps: no secrets, no people
    SupportBundle(SupportArgs),
    /// Shows which lines the log of a running host has, or changes it
    LogLevel(LogLevelArgs),
    /// Makes tokens
    #[command(subcommand)]
    Token(TokenCommand),
    /// Says whether plugins are fit to ship: loads each in a process of its own and holds it against the contract
    Check(CheckArgs),
    /// Goes through a running host as its clients do, and says which step does not hold: the gate after a deployment
    ///
    /// Exit status: 0 every step that was tried holds, 1 one does not, 2 it was not called as below, 69 nobody was there. A step that
    /// cannot be tried is skipped, and says why.
    Verify(VerifyArgs),
    /// Has a running host that allows it ([chaos] enabled) suffer fault after fault, and reports what held
    ///
    /// Exit status: 0 something was tried and all that was tried held, 1 not, 2 it was not called as below, 69 nobody was there.
    Drill(DrillArgs),
    /// Shows conversations of the log, whether or not a host is running
    #[command(subcommand)]
    Threads(ThreadsCommand),
    /// Checks, backs up and restores the log
    #[command(subcommand)]
    Db(DbCommand),
    /// Says what an error code means and what to do, offline
    Explain(ExplainArgs),
    /// Prints the completions of a shell
    Completions {
        /// Which shell
        shell: clap_complete::Shell,
    },
    /// Prints the manual page, for `man -l -`
    Man,
    /// Runs one plugin for a host: started by the host, never by hand
    #[command(hide = true)]
    Worker(WorkerArgs),
}

/// For whom a command prints.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Output {
    /// For people
    Table,
    /// For programs
    Json,
}

#[derive(Debug, Clone, Args)]
pub(crate) struct WorkerArgs {
    /// What the host hands on
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    pub(crate) arguments: Vec<String>,
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use clap::CommandFactory as _;

    use super::*;

    fn parse(line: &str) -> Result<Command, clap::Error> {
        Cli::try_parse_from(line.split(' ')).map(|cli| cli.command)
    }

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn a_mint_is_read_whole() {
        let line =
            "agent-host token mint --config c --user u --ttl 15m --permission a --permission b --set x=y=z";
        let Ok(Command::Token(TokenCommand::Mint(args))) = parse(line) else { panic!("it is a mint") };
        assert_eq!((args.user.as_str(), args.ttl), ("u", Duration::from_secs(900)));
        assert_eq!(args.permissions, ["a", "b"]);
        assert_eq!(args.config.overrides, [("x".to_owned(), "y=z".to_owned())]);
    }

    #[test]
    fn wrong_usage_ends_with_2() {
        for line in [
            "agent-host token mint",
            "agent-host token mint --user u --ttl soon",
            "agent-host token mint --user u --ttl 10ms",
            "agent-host token mint --user u --scope admin:everything",
            "agent-host token mint --user u --scope admin:read --permission x",
            "agent-host serve --set grace",
            "agent-host sreve",
            "agent-host check",
            "agent-host check x.so --kind plugin",
            "agent-host check x.so --plugin-config {",
            "agent-host explain plugin.crashed --output yaml",
            "agent-host completions tcl",
            "agent-host plugins",
            "agent-host plugins show",
            "agent-host plugins show ../x",
            "agent-host plugins explode echo",
            "agent-host plugins list --state a&b",
            "agent-host status --output yaml",
            "agent-host connections",
            "agent-host support-bundle",
            "agent-host top --every 0s",
            "agent-host connections close ../x",
            "agent-host operations show ../x",
            "agent-host plugins reload echo --dry-run --no-wait",
            "agent-host plugins disable echo --for soon",
            "agent-host log-level loud",
            "agent-host log-level --for 10m",
            "agent-host log-level debug --for 10",
            "agent-host chaos",
            "agent-host chaos start",
            "agent-host chaos start host-kill",
            "agent-host chaos start store-fail --for soon",
            "agent-host chaos start store-fail --share 101",
            "agent-host chaos stop all",
        ] {
            assert_eq!(parse(line).unwrap_err().exit_code(), 2, "{line}");
        }
    }
}
