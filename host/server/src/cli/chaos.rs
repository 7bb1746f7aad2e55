//! `chaos …`: what can be written.

use agent_host_core::{chaos::Kind, service::ServiceName};
use clap::{Args, Subcommand, builder::PossibleValuesParser};

use super::AdminArgs;

#[derive(Debug, Subcommand)]
pub(crate) enum ChaosCommand {
    /// Lists the faults that there are: what each does, and what the host owes its users meanwhile
    List(AdminArgs),
    /// Injects a fault, for a time: it is undone by itself
    Start(ChaosStartArgs),
    /// Kills a plugin's worker (the fault worker-kill)
    Kill(ChaosPluginArgs),
    /// Stops a plugin's worker, so that it answers nothing (worker-hang)
    Hang(ChaosPluginArgs),
    /// Has a plugin's runs fail as by a panic (runs-fail)
    Panic(ChaosPluginArgs),
    /// Has a plugin's runs begin late (runs-slow)
    Slow(ChaosPluginArgs),
    /// Ends a fault now, or all of them
    Stop {
        /// Its number; left out, all
        #[arg(value_name = "ID")]
        id: Option<u32>,
        #[command(flatten)]
        admin: AdminArgs,
    },
    /// Says whether faults may be injected, which are, and how the last ones ended
    Status(AdminArgs),
}

#[derive(Debug, Clone, Args)]
pub(crate) struct ChaosStartArgs {
    /// Which, as `chaos list` names it
    #[arg(value_name = "FAULT", value_parser = PossibleValuesParser::new(Kind::ALL.map(Kind::name)))]
    pub(crate) fault: String,
    /// To which plugin
    #[arg(long, value_name = "PLUGIN")]
    pub(crate) plugin: Option<agent_plugin_protocol::PluginId>,
    /// To which service
    #[arg(long, value_name = "SERVICE", value_parser = PossibleValuesParser::new(ServiceName::ALL.map(ServiceName::as_str)))]
    pub(crate) service: Option<String>,
    #[command(flatten)]
    pub(crate) how: ChaosHowArgs,
    #[command(flatten)]
    pub(crate) admin: AdminArgs,
}

/// What the faults have in common that are done to one plugin.
#[derive(Debug, Clone, Args)]
pub(crate) struct ChaosPluginArgs {
    /// Its name in the configuration
    #[arg(value_name = "PLUGIN")]
    pub(crate) plugin: agent_plugin_protocol::PluginId,
    #[command(flatten)]
    pub(crate) how: ChaosHowArgs,
    #[command(flatten)]
    pub(crate) admin: AdminArgs,
}

impl ChaosPluginArgs {
    /// The same in full.
    pub(crate) fn to_start(&self, kind: Kind) -> ChaosStartArgs {
        ChaosStartArgs {
            fault: kind.name().to_owned(),
            plugin: Some(self.plugin.clone()),
            service: None,
            how: self.how.clone(),
            admin: self.admin.clone(),
        }
    }
}

/// How often, how much and for how long.
#[derive(Debug, Clone, Args)]
pub(crate) struct ChaosHowArgs {
    /// To how many of a hundred; left out, all
    #[arg(long, value_name = "PERCENT", value_parser = clap::value_parser!(u64).range(1..=100))]
    pub(crate) share: Option<u64>,
    /// How late, 10ms to 60s; left out, 1s
    #[arg(long, value_name = "TIME", value_parser = brief)]
    pub(crate) delay: Option<String>,
    /// How often it is done again, 100ms to 60s; left out, once
    #[arg(long, value_name = "TIME", value_parser = brief)]
    pub(crate) every: Option<String>,
    /// For how long, 1s to 10m; left out, 30s
    #[arg(long = "for", value_name = "TIME", value_parser = brief)]
    pub(crate) lasting: Option<String>,
}

/// A length of time that may be below a second.
fn brief(text: &str) -> Result<String, String> {
    let parsed = agent_host_config::parse_duration(text).filter(|time| !time.is_zero());
    parsed.map(|_| text.to_owned()).ok_or_else(|| "write a time such as 500ms or 2s".to_owned())
}
