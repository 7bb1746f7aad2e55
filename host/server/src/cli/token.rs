//! What can be written of tokens.

use std::{path::PathBuf, time::Duration};

use clap::{Args, Subcommand};

use super::{AdminArgs, ConfigArgs, Output, read::lifetime};

#[derive(Debug, Subcommand)]
pub(crate) enum TokenCommand {
    /// Makes a token with the first key of [auth], or of [admin] where --scope is given
    Mint(MintArgs),
    /// Shows what a token says, and whether a host with that configuration lets it in; nothing is sent anywhere
    Inspect(InspectArgs),
    /// Has a running host refuse a token, or all that a user was given so far, and close their connections
    Revoke(RevokeArgs),
}

#[derive(Debug, Clone, Args)]
pub(crate) struct InspectArgs {
    /// A file with the token; left out, standard input: what is written here, everybody on the machine can read
    #[arg(value_name = "FILE")]
    pub(crate) file: Option<PathBuf>,
    /// The folder that holds the host's host.toml; left out, the token is shown and not judged
    #[arg(long, value_name = "DIR")]
    pub(crate) config: Option<PathBuf>,
    /// The profile: <DIR>/<NAME>.toml is laid over the other files [env: AGENT_HOST_PROFILE]
    #[arg(long, value_name = "NAME", requires = "config")]
    pub(crate) profile: Option<String>,
    /// For people or for programs
    #[arg(long, value_enum, value_name = "FORM", default_value = "table")]
    pub(crate) output: Output,
}

impl InspectArgs {
    /// The configuration by which it is judged, if it is.
    pub(crate) fn configuration(&self) -> Option<ConfigArgs> {
        let (config, profile) = (self.config.clone()?, self.profile.clone());
        Some(ConfigArgs { config, profile, overrides: Vec::new() })
    }
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

const SCOPES: [&str; 5] = ["admin:read", "admin:toggle", "admin:config", "admin:debug", "admin:chaos"];
