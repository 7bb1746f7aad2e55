//! What can be written of the configuration.

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};

use super::{AdminArgs, HowArgs, Output, read::key_and_value};
use crate::exit::{Exit, Failure};

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
    /// Shows what the files would change in a running host, or an edited copy of them (--edited); or where two profiles
    /// differ (--profile twice)
    Diff(DiffArgs),
    /// Shows what a running host has in force, what waits for a restart, and why an edit is not in force
    Show(AdminArgs),
    /// Has a running host take up its files now; it does so by itself when one changes
    Reload(ReloadArgs),
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
    /// Twice: the profiles to compare, in the folder of --config, else in `config`. Once, beside --edited: under which
    #[arg(long = "profile", value_name = "NAME")]
    pub(crate) profiles: Vec<String>,
    /// An edited copy of the folder of --config, else of `config`: says what it would change in its place
    #[arg(long, value_name = "DIR")]
    pub(crate) edited: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) admin: AdminArgs,
}

/// What is to be compared.
#[derive(Debug)]
pub(crate) enum Compared<'a> {
    /// A running host with its files.
    Running,
    Profiles([&'a String; 2]),
    /// A folder with its edited copy.
    Edited(&'a Path, Option<&'a String>),
}

impl DiffArgs {
    /// What the arguments ask for; an error of usage where they do not go together.
    pub(crate) fn compared(&self) -> Result<Compared<'_>, Failure> {
        match (self.profiles.as_slice(), &self.edited) {
            ([], None) => Ok(Compared::Running),
            ([first, second], None) => Ok(Compared::Profiles([first, second])),
            ([], Some(edited)) => Ok(Compared::Edited(edited, None)),
            ([profile], Some(edited)) => Ok(Compared::Edited(edited, Some(profile))),
            (profiles, None) => {
                let given =
                    format!("--profile was given {} times: two profiles are compared", profiles.len());
                Err(Failure::new(Exit::Usage, given).with_remedy(
                    "config diff --profile A --profile B; without --profile, a running host is asked",
                ))
            }
            (_, Some(_)) => Err(Failure::new(Exit::Usage, "with --edited, name one profile or none")),
        }
    }

    /// The folder.
    pub(crate) fn folder(&self) -> &Path {
        self.admin.config.as_deref().unwrap_or(Path::new("config"))
    }
}

#[derive(Debug, Clone, Args)]
pub(crate) struct ReloadArgs {
    #[command(flatten)]
    pub(crate) how: HowArgs,
    #[command(flatten)]
    pub(crate) admin: AdminArgs,
}

#[derive(Debug, Clone, Args)]
pub(crate) struct SetArgs {
    /// As in limits.runs_at_once=8; `null` takes a key out
    #[arg(value_name = "KEY=VALUE", required = true, value_parser = key_and_value)]
    pub(crate) keys: Vec<(String, String)>,
    #[command(flatten)]
    pub(crate) how: HowArgs,
    #[command(flatten)]
    pub(crate) admin: AdminArgs,
}
