//! Says how capable the service is: derived from the state of plugins and services, never stored.

use std::{fmt, time::Duration};

use agent_plugin_protocol::Code;
use serde::{Serialize, Serializer};

/// What a user can expect now. The same word in the welcome frame, `/ready`, metrics and the console.
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum ServiceLevel {
    /// A stable connection and a clear error frame for each message.
    Basic,
    /// The built-in fallback answers.
    Fallback,
    /// What is healthy answers; the rest is named as missing.
    Partial,
    /// Everything.
    Full,
}

impl ServiceLevel {
    /// Every level, least first.
    pub const ALL: [Self; 4] = [Self::Basic, Self::Fallback, Self::Partial, Self::Full];

    /// The word on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Basic => "basic",
            Self::Fallback => "fallback",
            Self::Partial => "partial",
            Self::Full => "full",
        }
    }

    /// The level that these facts give: the first line of the table that applies.
    pub fn of(facts: &LevelFacts) -> Self {
        let agents = facts.healthy_agents > 0;
        if !facts.store_appends || (!agents && !facts.fallback_works) {
            Self::Basic
        } else if !agents {
            Self::Fallback
        } else if !facts.fallback_works || !facts.missing.is_empty() {
            Self::Partial
        } else {
            Self::Full
        }
    }
}

impl fmt::Display for ServiceLevel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What the level is derived from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LevelFacts {
    /// Whether the store took its last append (or answers its check).
    pub store_appends: bool,
    /// Whether the built-in fallback answers its self-test.
    pub fallback_works: bool,
    /// Healthy plugins of kind `agent`; a supervisor does not count.
    pub healthy_agents: usize,
    /// Whether the first start of the configured plugins is still going on.
    pub starting: bool,
    /// Each thing that is enabled or required and not healthy. Store and fallback need not be named here.
    pub missing: Vec<Missing>,
}

/// What a missing thing is.
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum MissingKind {
    /// A plugin that answers.
    Agent,
    /// A plugin that chooses.
    Supervisor,
    /// Something the host offers plugins: `llm`, `threads`, ….
    Service,
    /// The log.
    Store,
    /// What joins several hosts.
    Bus,
    /// The built-in fallback.
    Fallback,
}

/// One thing that is enabled or required and not healthy, as the welcome frame names it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Missing {
    /// Its name.
    pub name: String,
    /// What it is.
    pub kind: MissingKind,
    /// Why, as a stable code.
    pub code: Code,
    /// Why, for people; sanitised, as it may quote a plugin.
    pub reason: String,
    /// When it is tried again, where that is known; on the wire `retry_after_ms`.
    #[serde(rename = "retry_after_ms", skip_serializing_if = "Option::is_none", serialize_with = "millis")]
    pub retry_after: Option<Duration>,
}

fn millis<S: Serializer>(after: &Option<Duration>, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_u64(after.map_or(0, |d| u64::try_from(d.as_millis()).unwrap_or(u64::MAX)))
}

/// The level with its reason: `service` of the welcome frame and the body of `service_status`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ServiceStatus {
    /// The level.
    pub level: ServiceLevel,
    /// One line for people; empty at `full`.
    pub reason: String,
    /// What is missing, the level's own cause first.
    pub missing: Vec<Missing>,
}

impl ServiceStatus {
    /// Derives the status; store and fallback are named as missing where they are.
    pub fn of(facts: &LevelFacts) -> Self {
        let level = ServiceLevel::of(facts);
        let mut missing = Vec::with_capacity(facts.missing.len() + 2);
        if !facts.store_appends && !names(&facts.missing, MissingKind::Store) {
            missing.push(host_part("store", MissingKind::Store, Code::StoreUnavailable));
        }
        if !facts.fallback_works && !names(&facts.missing, MissingKind::Fallback) {
            missing.push(host_part("fallback", MissingKind::Fallback, Code::HostInternal));
        }
        missing.extend(facts.missing.iter().cloned());
        let reason = match level {
            ServiceLevel::Basic if !facts.store_appends => "the store cannot append".to_owned(),
            ServiceLevel::Basic => "no healthy agent, and the fallback is broken".to_owned(),
            ServiceLevel::Fallback if facts.starting => "starting".to_owned(),
            ServiceLevel::Fallback => "no healthy agent".to_owned(),
            ServiceLevel::Partial => format!("not healthy: {}", first_names(&missing)),
            ServiceLevel::Full => String::new(),
        };
        Self { level, reason, missing }
    }

    /// What differs between two statuses, by name: `changed` of `service_status`.
    pub fn changed_since(&self, earlier: &Self) -> Vec<String> {
        let gone = earlier.missing.iter().filter(|m| !self.missing.contains(m));
        let new = self.missing.iter().filter(|m| !earlier.missing.contains(m));
        let mut names: Vec<String> = gone.chain(new).map(|m| m.name.clone()).collect();
        names.sort();
        names.dedup();
        names
    }
}

fn names(missing: &[Missing], kind: MissingKind) -> bool {
    missing.iter().any(|m| m.kind == kind)
}

fn host_part(name: &str, kind: MissingKind, code: Code) -> Missing {
    Missing { name: name.to_owned(), kind, code, reason: code.meaning().to_owned(), retry_after: None }
}

/// The first few names, so that the reason stays one line with a hundred plugins.
fn first_names(missing: &[Missing]) -> String {
    const SHOWN: usize = 3;
    let shown: Vec<&str> = missing.iter().take(SHOWN).map(|m| m.name.as_str()).collect();
    match missing.len().saturating_sub(SHOWN) {
        0 => shown.join(", "),
        more => format!("{} and {more} more", shown.join(", ")),
    }
}

#[cfg(test)]
mod tests;
