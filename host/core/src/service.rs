//! What the host offers plugins, and whether each of it is there.

use std::{collections::BTreeMap, fmt};

use agent_plugin_protocol::Code;
use serde::Serialize;

/// A service of the host. The set is closed: it is a metric label and a word in `requires`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum ServiceName {
    /// Models.
    Llm,
    /// The thread's history and a plugin's state in it.
    Threads,
    /// Tools that the host runs.
    Tools,
    /// Handing work to another agent.
    Delegate,
    /// Events to the person.
    Events,
}

impl ServiceName {
    /// Every service.
    pub const ALL: [Self; 5] = [Self::Llm, Self::Threads, Self::Tools, Self::Delegate, Self::Events];

    /// The word in `requires`, views and metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Llm => "llm",
            Self::Threads => "threads",
            Self::Tools => "tools",
            Self::Delegate => "delegate",
            Self::Events => "events",
        }
    }

    /// The service of that name.
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|name| name.as_str() == word)
    }
}

impl fmt::Display for ServiceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Whether a service is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ServiceState {
    /// Plugins can use it.
    Available,
    /// The operator did not ask for it: missed only where a plugin requires it.
    NotConfigured,
    /// It should be there and is not.
    Unavailable {
        /// Why, as a stable code.
        code: Code,
        /// Why, for people.
        reason: String,
    },
}

/// All services: an immutable snapshot, published whole at each change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServiceTable {
    states: BTreeMap<ServiceName, ServiceState>,
}

impl ServiceTable {
    /// A table in which every service that is not named is not configured.
    pub fn new(states: impl IntoIterator<Item = (ServiceName, ServiceState)>) -> Self {
        let mut all: BTreeMap<_, _> =
            ServiceName::ALL.into_iter().map(|name| (name, ServiceState::NotConfigured)).collect();
        all.extend(states);
        Self { states: all }
    }

    /// The state of one service.
    pub fn state(&self, name: ServiceName) -> &ServiceState {
        self.states.get(&name).unwrap_or(&ServiceState::NotConfigured)
    }

    /// Whether plugins can use it.
    pub fn is_available(&self, name: ServiceName) -> bool {
        *self.state(name) == ServiceState::Available
    }

    /// The names of those that are there, as the runtime's `start` wants them.
    pub fn available(&self) -> Vec<String> {
        self.iter()
            .filter(|(_, s)| **s == ServiceState::Available)
            .map(|(n, _)| n.as_str().to_owned())
            .collect()
    }

    /// All, in order.
    pub fn iter(&self) -> impl Iterator<Item = (ServiceName, &ServiceState)> {
        self.states.iter().map(|(name, state)| (*name, state))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_knows_every_service_and_names_those_that_are_there() {
        let table = ServiceTable::new([(ServiceName::Tools, ServiceState::Available)]);
        assert_eq!(table.iter().count(), ServiceName::ALL.len());
        assert_eq!(table.available(), ["tools"]);
        assert!(!table.is_available(ServiceName::Llm));
    }

    #[test]
    fn names_parse_back() {
        for name in ServiceName::ALL {
            assert_eq!(ServiceName::parse(name.as_str()), Some(name));
        }
        assert_eq!(ServiceName::parse("llm "), None);
    }
}
