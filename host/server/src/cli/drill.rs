//! `drill`: what can be written.

use std::{path::PathBuf, time::Duration};

use clap::{Args, builder::PossibleValuesParser};

use super::{AdminArgs, read::lifetime};
use crate::drill::SCENARIOS;

#[derive(Debug, Clone, Args)]
pub(crate) struct DrillArgs {
    /// The host's public listener, as http://HOST:PORT; left out, the one of --config, else the `dev` of this workspace, else this machine's 8080
    #[arg(value_name = "URL")]
    pub(crate) url: Option<String>,
    /// A file with a user's token: that user's threads are made and deleted; left out, the key of --config or of `dev` makes one for `drill`, or AGENT_HOST_TOKEN has one
    #[arg(long, value_name = "FILE")]
    pub(crate) user_token_file: Option<PathBuf>,
    /// The agent that is talked to, and harmed; left out, the first healthy one
    #[arg(long, value_name = "PLUGIN")]
    pub(crate) plugin: Option<agent_plugin_protocol::PluginId>,
    /// Only these scenarios, by their names; may be repeated
    #[arg(long, value_name = "SCENARIO", value_parser = PossibleValuesParser::new(SCENARIOS), hide_possible_values = true)]
    pub(crate) only: Vec<String>,
    /// Lists the scenarios, and does nothing
    #[arg(long)]
    pub(crate) list: bool,
    /// How long each fault is in force, 2s to 5m
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = in_force)]
    pub(crate) duration: Duration,
    /// How long the host may take to be as before, after each fault, 1s to 10m: a breaker, or a pause before a restart, may be in it
    #[arg(long, value_name = "TIME", default_value = "60s", value_parser = recovery)]
    pub(crate) recover_within: Duration,
    /// What the drill's people say; may be repeated, and is said by turns: so that the agent uses tools, or its peers
    #[arg(long, value_name = "TEXT", value_parser = clap::builder::NonEmptyStringValueParser::new())]
    pub(crate) message: Vec<String>,
    /// How many runs of other people may end badly before all is undone; 0: nobody else may be connected
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub(crate) may_hurt: u64,
    /// Writes the report into this file, which must not exist yet: Markdown, or JSON if its name ends with .json
    #[arg(long, value_name = "FILE")]
    pub(crate) report: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) admin: AdminArgs,
}

fn in_force(text: &str) -> Result<Duration, String> {
    within(text, 2, 300, "write a time from 2s to 5m")
}

fn recovery(text: &str) -> Result<Duration, String> {
    within(text, 1, 600, "write a time from 1s to 10m")
}

fn within(text: &str, least: u64, most: u64, otherwise: &str) -> Result<Duration, String> {
    let time = lifetime(text).ok().filter(|time| (least..=most).contains(&time.as_secs()));
    time.ok_or_else(|| otherwise.to_owned())
}
