//! The command line: what can be written, as types.

mod chaos;
mod drill;

use std::{path::PathBuf, time::Duration};

use agent_plugin_protocol::PluginKind;
use clap::{Args, Parser, Subcommand, ValueEnum};

pub(crate) use self::{
    chaos::{ChaosCommand, ChaosStartArgs},
    drill::DrillArgs,
};

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
    Verify(VerifyArgs),
    /// Has a running host that allows it ([chaos] enabled) suffer fault after fault, and reports what held
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

/// Where the configuration is. Shared by every command that needs one.
#[derive(Debug, Clone, Args)]
pub(crate) struct ConfigArgs {
    /// The folder that holds host.toml
    #[arg(long, value_name = "DIR", default_value = "config")]
    pub(crate) config: PathBuf,
    /// The profile: <DIR>/<NAME>.toml is laid over the other files [env: AGENT_HOST_PROFILE]
    #[arg(long, value_name = "NAME")]
    pub(crate) profile: Option<String>,
    /// Sets one key over everything else, as in drain.grace=5s
    #[arg(long = "set", value_name = "KEY=VALUE", value_parser = key_and_value)]
    pub(crate) overrides: Vec<(String, String)>,
}

#[derive(Debug, Clone, Args)]
pub(crate) struct DevArgs {
    /// A folder that holds host.toml; left out, the built-in defaults hold
    #[arg(long, value_name = "DIR")]
    pub(crate) config: Option<PathBuf>,
    /// Sets one key over everything else, as in drain.grace=5s
    #[arg(long = "set", value_name = "KEY=VALUE", value_parser = key_and_value)]
    pub(crate) overrides: Vec<(String, String)>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum ConfigCommand {
    /// Checks it as a whole, and names everything that is wrong
    Validate(ConfigArgs),
    /// Shows what is set, by all layers together; secrets are shown as references, never as text
    Print(PrintArgs),
    /// Prints the JSON schema of a configuration file, for editors and other tools
    Schema,
    /// Shows what the files would change in a running host; or, with --profile twice, where two profiles differ
    Diff(DiffArgs),
    /// Shows what a running host has in force, what waits for a restart, and why an edit is not in force
    Show(AdminArgs),
    /// Has a running host take up its files now; it does so by itself when one changes
    Reload(AdminArgs),
    /// Sets keys in a running host and in its files: limits, routing, a plugin's switch, limits and own configuration
    Set(SetArgs),
}

#[derive(Debug, Clone, Args)]
pub(crate) struct PrintArgs {
    #[command(flatten)]
    pub(crate) config: ConfigArgs,
    /// Shows the built-in defaults too
    #[arg(long)]
    pub(crate) effective: bool,
    /// Says where each value came from: file:line:column, variable, command line or default
    #[arg(long)]
    pub(crate) show_origin: bool,
    /// For people or for programs
    #[arg(long, value_enum, value_name = "FORM", default_value = "table")]
    pub(crate) output: Output,
}

#[derive(Debug, Clone, Args)]
pub(crate) struct DiffArgs {
    /// Twice: the profiles to compare, in the folder of --config, else in `config`
    #[arg(long = "profile", value_name = "NAME")]
    pub(crate) profiles: Vec<String>,
    #[command(flatten)]
    pub(crate) admin: AdminArgs,
}

#[derive(Debug, Clone, Args)]
pub(crate) struct SetArgs {
    /// As in limits.runs_at_once=8; `null` takes a key out
    #[arg(value_name = "KEY=VALUE", required = true, value_parser = key_and_value)]
    pub(crate) keys: Vec<(String, String)>,
    #[command(flatten)]
    pub(crate) admin: AdminArgs,
}

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
pub(crate) struct SupportArgs {
    /// The file, which must not exist yet; only you may read it
    #[arg(long = "to", value_name = "FILE")]
    pub(crate) file: PathBuf,
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
    /// Reads its file again: the new generation takes over once it is healthy; one that fails leaves the old
    Reload(PluginArgs),
    /// Ends a quarantine: forgets crashes and the breaker, and starts it if it does not run
    Reset(PluginArgs),
    /// Asks it for a self-test now
    Probe(PluginArgs),
    /// Goes back to the generation that served before, while it is kept
    Rollback(PluginArgs),
}

#[derive(Debug, Clone, Args)]
pub(crate) struct ToggleArgs {
    /// For how long, as in 10m; left out, from now on: the file that says otherwise is changed
    #[arg(long = "for", value_name = "TIME")]
    pub(crate) lasting: Option<String>,
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

#[derive(Debug, Subcommand)]
pub(crate) enum TokenCommand {
    /// Makes a token with the first key of [auth], or of [admin] where --scope is given
    Mint(MintArgs),
    /// Has a running host refuse a token, or all that a user was given so far, and close their connections
    Revoke(RevokeArgs),
}

#[derive(Debug, Clone, Args)]
#[group(id = "which", required = true, multiple = false, args = ["jti", "user"])]
pub(crate) struct RevokeArgs {
    /// The one token with this `jti`
    #[arg(long, value_name = "ID")]
    pub(crate) jti: Option<String>,
    /// All tokens of this user that were issued up to now
    #[arg(long, value_name = "USER")]
    pub(crate) user: Option<String>,
    /// The user's tenant; left out, `default`
    #[arg(long, value_name = "TENANT", conflicts_with = "jti")]
    pub(crate) tenant: Option<String>,
    /// Those up to this second since 1970, instead of now
    #[arg(long, value_name = "SECONDS", conflicts_with = "jti")]
    pub(crate) before: Option<u64>,
    /// When the last of them has expired, in seconds since 1970: the host forgets it then; left out, it is kept
    #[arg(long, value_name = "SECONDS")]
    pub(crate) until: Option<u64>,
    #[command(flatten)]
    pub(crate) admin: AdminArgs,
}

#[derive(Debug, Clone, Args)]
pub(crate) struct MintArgs {
    #[command(flatten)]
    pub(crate) config: ConfigArgs,
    /// Whose token: the `sub` claim
    #[arg(long, value_name = "USER", value_parser = clap::builder::NonEmptyStringValueParser::new())]
    pub(crate) user: String,
    /// The `tenant` claim; a token without one is of the tenant `default`
    #[arg(long, value_name = "TENANT")]
    pub(crate) tenant: Option<String>,
    /// How long it holds
    #[arg(long, value_name = "TIME", default_value = "1h", value_parser = lifetime)]
    pub(crate) ttl: Duration,
    /// One of its permissions; may be repeated
    #[arg(long = "permission", value_name = "NAME")]
    pub(crate) permissions: Vec<String>,
    /// Makes an operator's token with this scope (admin:read, admin:toggle, admin:config, admin:debug, admin:chaos); may be repeated
    #[arg(long = "scope", value_name = "SCOPE", value_parser = SCOPES, conflicts_with = "permissions")]
    pub(crate) scopes: Vec<String>,
}

impl MintArgs {
    /// A plain token of that user, as `chat` and `dev` have it.
    pub(crate) fn for_user(user: &str) -> Self {
        Self {
            config: ConfigArgs { config: PathBuf::new(), profile: None, overrides: Vec::new() },
            user: user.to_owned(),
            tenant: None,
            // A day's work.
            ttl: Duration::from_secs(12 * 3600),
            permissions: Vec::new(),
            scopes: Vec::new(),
        }
    }
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

#[derive(Debug, Subcommand)]
pub(crate) enum ThreadsCommand {
    /// Lists threads, the last used first
    List(ThreadsListArgs),
    /// Says whose a thread is, what it holds and how its runs ended
    Show(ThreadArgs),
    /// Prints its events, one JSON object a line, as the protocol shows them
    Export(ThreadArgs),
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

#[derive(Debug, Clone, Args)]
pub(crate) struct WorkerArgs {
    /// What the host hands on
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    pub(crate) arguments: Vec<String>,
}

fn key_and_value(text: &str) -> Result<(String, String), String> {
    let parts = text.split_once('=').filter(|(key, _)| !key.is_empty());
    parts.map(|(key, value)| (key.to_owned(), value.to_owned())).ok_or_else(|| "write KEY=VALUE".to_owned())
}

fn word(text: &str) -> Result<String, String> {
    let letters = !text.is_empty() && text.chars().all(|c| c.is_ascii_lowercase() || c == '_');
    if letters { Ok(text.to_owned()) } else { Err("write a verdict or a state, such as failed".to_owned()) }
}

fn json(text: &str) -> Result<serde_json::Value, String> {
    serde_json::from_str(text).map_err(|error| format!("write JSON: {error}"))
}

fn lifetime(text: &str) -> Result<Duration, String> {
    let parsed = agent_host_config::parse_duration(text);
    // Claims count whole seconds.
    parsed.filter(|time| time.as_secs() > 0).ok_or_else(|| "write a time such as 15m, 1h or 30d".to_owned())
}

/// A connection's name is one part of a path.
fn connection(text: &str) -> Result<String, String> {
    let name = !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric());
    if name { Ok(text.to_owned()) } else { Err("write a name that `connections list` shows".to_owned()) }
}

/// A length of time, as the host reads it.
fn span(text: &str) -> Result<String, String> {
    lifetime(text).map(|_| text.to_owned())
}

const SCOPES: [&str; 5] = ["admin:read", "admin:toggle", "admin:config", "admin:debug", "admin:chaos"];

#[cfg(test)]
mod tests {
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
