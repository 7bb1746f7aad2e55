//! `[routing]`: which agent answers a message that names none.

use std::time::Duration;

use agent_plugin_protocol::{Code, PluginId};

use super::Roster;
use crate::{error::did_you_mean, reader::Reader, value::Located};

/// Which agent answers a message that names none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RoutingConfig {
    /// The supervisor that chooses; `None`: the enabled one, if there is one.
    pub supervisor: Option<PluginId>,
    /// Agents in the order in which they are tried; those not named follow, by id.
    pub order: Vec<PluginId>,
    /// How long a message waits for an agent that is still starting.
    pub wait: Duration,
    /// Whether a message whose agent failed before it said anything is tried again.
    pub retry: bool,
}

impl RoutingConfig {
    pub(crate) fn read(r: &Reader<'_>, roster: &Roster) -> Self {
        let supervisor: Option<Located<PluginId>> = r.value("supervisor");
        if let Some(named) = &supervisor
            && roster.check(r, "supervisor", named)
            && !roster.supervisors.contains(&named.value)
        {
            let reason = format!("names `{}`, which is an agent", named.value);
            let hint = Some("name a plugin with kind = \"supervisor\"".to_owned());
            r.error_at(Code::ConfigReference, "supervisor", named.origin.clone(), reason, hint);
        }
        Self {
            supervisor: supervisor.map(|located| located.value),
            order: roster.agents(r, "order"),
            wait: r.within("wait", Duration::from_secs(2), Duration::ZERO..=Duration::from_secs(60)),
            retry: r.or("retry", true),
        }
    }
}

impl Roster {
    /// A list of configured agents.
    pub(crate) fn agents(&self, r: &Reader<'_>, key: &'static str) -> Vec<PluginId> {
        let written: Vec<Located<PluginId>> = r.or(key, Vec::new());
        for (index, named) in written.iter().enumerate() {
            if !self.check(r, key, named) {
                continue;
            }
            if self.supervisors.contains(&named.value) {
                let reason = format!("names `{}`, which is a supervisor and not an agent", named.value);
                r.error_at(Code::ConfigReference, key, named.origin.clone(), reason, None);
            }
            if written[..index].iter().any(|earlier| earlier.value == named.value) {
                let reason = format!("names `{}` twice", named.value);
                r.error_at(Code::ConfigDuplicate, key, named.origin.clone(), reason, None);
            }
        }
        written.into_iter().map(|located| located.value).collect()
    }

    /// Whether the plugin is configured; an error if not.
    fn check(&self, r: &Reader<'_>, key: &str, named: &Located<PluginId>) -> bool {
        let id = named.value.as_str();
        let known = self.ids.iter().any(|known| known == id);
        if !known {
            let reason = format!("names `{id}`, which is not configured");
            let hint = did_you_mean(id, self.ids.iter().map(String::as_str))
                .unwrap_or_else(|| format!("add [plugins.{id}], or take the name out"));
            r.error_at(Code::ConfigReference, key, named.origin.clone(), reason, Some(hint));
        }
        known
    }
}
