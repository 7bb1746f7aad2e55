//! Who would get an agent's messages if it got none.

use agent_plugin_protocol::PluginId;

use super::{RouteHealth, RouteTable};

impl RouteTable {
    /// Its first substitute that is healthy, else the first other agent that is; `None`: the fallback. As messages are routed
    /// that name it.
    pub fn heir(&self, id: &PluginId) -> Option<&PluginId> {
        let healthy = |other: &&PluginId| {
            let entry = self.agent(other);
            *other != id && entry.is_some_and(|entry| entry.health == RouteHealth::Healthy)
        };
        let substitutes = self.agent(id).map(|entry| entry.substitutes.as_slice()).unwrap_or_default();
        let others = || self.healthy_agents().map(|entry| &entry.id).find(|other| *other != id);
        substitutes.iter().find(healthy).or_else(others)
    }
}

#[cfg(test)]
mod tests {
    use agent_plugin_protocol::{Code, Generation};

    use super::{super::RouteEntry, *};

    #[test]
    fn a_substitute_goes_first_then_the_order_then_nobody() {
        let id = |text: &str| PluginId::new(text).unwrap();
        let entry = |name: &str, healthy: bool, substitutes: &[&str]| RouteEntry {
            id: id(name),
            generation: Generation(1),
            health: match healthy {
                true => RouteHealth::Healthy,
                false => RouteHealth::Unhealthy {
                    code: Code::PluginDisabled,
                    reason: String::new(),
                    retry_after: None,
                },
            },
            canary: None,
            substitutes: substitutes.iter().map(|name| id(name)).collect(),
        };
        let table = |agents: Vec<RouteEntry>| RouteTable { agents, ..RouteTable::default() };
        let of = |table: &RouteTable, name: &str| table.heir(&id(name)).map(ToString::to_string);
        let all = table(vec![
            entry("a", true, &["c"]),
            entry("b", true, &["d"]),
            entry("c", true, &["c"]),
            entry("d", false, &[]),
        ]);
        assert_eq!(of(&all, "a").as_deref(), Some("c"));
        assert_eq!(of(&all, "b").as_deref(), Some("a"), "its substitute is not healthy");
        assert_eq!(of(&all, "c").as_deref(), Some("a"), "itself is nobody's heir");
        assert_eq!(of(&all, "stranger").as_deref(), Some("a"));
        assert_eq!(of(&table(vec![entry("a", true, &[])]), "a"), None);
    }
}
