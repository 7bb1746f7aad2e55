//! What `readiness.require` asks for, and what of it is not there: one judgement for the level and for `/ready`.

use agent_host_core::level::{Missing, MissingKind};
use agent_plugin_protocol::{Code, PluginKind};

use super::{PluginView, ServiceView, Status};

impl Status {
    /// Whether what that name asks for is healthy: one plugin of a kind, a plugin, or something that the host offers.
    pub fn meets(&self, name: &str) -> bool {
        is_met(name, &self.plugins, &self.services)
    }
}

/// What is missing because it is required: what that name asks for, unless it is healthy, or named in `known` already.
pub(crate) fn missing(
    name: &str,
    plugins: &[PluginView],
    services: &[ServiceView],
    known: &[Missing],
) -> Option<Missing> {
    // Where these two fail, they are named anyway, and first.
    if matches!(name, "store" | "fallback") || is_met(name, plugins, services) {
        return None;
    }
    let (kind, code) = match kind_of(name) {
        Some(kind) => {
            let any = plugins.iter().find(|plugin| plugin.kind == kind);
            (of_plugin(kind), any.map_or(Code::PluginNotConfigured, code))
        }
        None => match plugins.iter().find(|plugin| plugin.id.as_str() == name) {
            Some(plugin) => (of_plugin(plugin.kind), code(plugin)),
            None => (MissingKind::Service, of_service(name, services)),
        },
    };
    // Of a kind, each plugin that is wanted and not healthy is named by itself.
    let stands = |one: &Missing| one.name == name || (kind_of(name).is_some() && one.kind == kind);
    if known.iter().any(stands) {
        return None;
    }
    Some(Missing { name: name.to_owned(), kind, code, reason: code.meaning().to_owned(), retry_after: None })
}

fn is_met(name: &str, plugins: &[PluginView], services: &[ServiceView]) -> bool {
    let healthy = |plugin: &PluginView| plugin.verdict == "healthy";
    match kind_of(name) {
        Some(kind) => plugins.iter().any(|plugin| plugin.kind == kind && healthy(plugin)),
        None => match plugins.iter().find(|plugin| plugin.id.as_str() == name) {
            Some(plugin) => healthy(plugin),
            None => services.iter().any(|service| service.name == name && service.verdict == "healthy"),
        },
    }
}

fn kind_of(name: &str) -> Option<PluginKind> {
    match name {
        "agent" => Some(PluginKind::Agent),
        "supervisor" => Some(PluginKind::Supervisor),
        _ => None,
    }
}

fn of_plugin(kind: PluginKind) -> MissingKind {
    match kind {
        PluginKind::Agent => MissingKind::Agent,
        PluginKind::Supervisor => MissingKind::Supervisor,
    }
}

/// Only what is switched off is not named already.
fn code(plugin: &PluginView) -> Code {
    plugin.fault.as_ref().filter(|_| plugin.verdict != "disabled").map_or(Code::PluginDisabled, |f| f.code)
}

fn of_service(name: &str, services: &[ServiceView]) -> Code {
    let service = services.iter().find(|service| service.name == name);
    service.and_then(|service| service.code).unwrap_or(Code::ServiceNotConfigured)
}
