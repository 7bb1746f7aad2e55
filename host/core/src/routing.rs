//! Chooses who answers a message; `retry` says what follows when that one fails.

mod heir;
mod retry;

use std::{fmt, time::Duration};

use agent_plugin_protocol::{Code, Generation, PluginId};

pub use self::retry::{FailedTry, NextMove, after_failure};
use crate::level::ServiceLevel;

/// Who can answer: an immutable snapshot, published whole at each change.
///
/// It names instances by (id, generation); who holds the handles is the publisher's affair.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RouteTable {
    /// The enabled and disabled agents, in configured order.
    pub agents: Vec<RouteEntry>,
    /// The plugin that chooses, where one is configured.
    pub supervisor: Option<RouteEntry>,
    /// Whether the first start of the configured plugins is still going on.
    pub starting: bool,
}

impl RouteTable {
    /// The agent of that name.
    pub fn agent(&self, id: &PluginId) -> Option<&RouteEntry> {
        self.agents.iter().find(|entry| entry.id == *id)
    }

    /// Agents that would get a message now, in order.
    pub fn healthy_agents(&self) -> impl Iterator<Item = &RouteEntry> {
        self.agents.iter().filter(|entry| entry.health == RouteHealth::Healthy)
    }
}

/// One plugin in the table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RouteEntry {
    /// The slot's name.
    pub id: PluginId,
    /// The generation that gets new runs; meaningful while healthy.
    pub generation: Generation,
    /// Whether it gets new runs.
    pub health: RouteHealth,
    /// Who may answer in its place when it is named and not healthy, in order.
    pub substitutes: Vec<PluginId>,
}

impl RouteEntry {
    fn target(&self) -> Target {
        Target { plugin: self.id.clone(), generation: self.generation }
    }

    fn is_open(&self, tried: &[Target]) -> bool {
        self.health == RouteHealth::Healthy && !tried.iter().any(|t| *t == self.target())
    }
}

/// Whether a plugin gets new runs, and if not, why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RouteHealth {
    /// It gets new runs.
    Healthy,
    /// It gets none.
    Unhealthy {
        /// Why: `plugin.crash_loop`, `plugin.disabled`, `plugin.starting`, ….
        code: Code,
        /// Why, for people; sanitised.
        reason: String,
        /// When it is tried again, where that is known.
        retry_after: Option<Duration>,
    },
}

/// One generation of one plugin.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Target {
    /// The slot.
    pub plugin: PluginId,
    /// The generation.
    pub generation: Generation,
}

/// What is to be routed.
#[derive(Debug, Clone, Copy)]
pub struct RouteRequest<'a> {
    /// The agent that the message names.
    pub named: Option<&'a PluginId>,
    /// Who was tried for this message, or would not take it.
    pub tried: &'a [Target],
}

/// Who answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Choice {
    /// That agent.
    Agent(Target),
    /// The supervisor shall choose, or answer itself.
    Supervisor(Target),
    /// The built-in fallback, saying why.
    Fallback(FallbackReason),
    /// No agent of the message's name is configured: `agent.unknown`, no run.
    Unknown,
}

/// Why the fallback answers: told to the user, and counted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FallbackReason {
    /// The host's first start is still going on.
    Starting,
    /// No agent is configured.
    NoneConfigured,
    /// Agents are configured; none is healthy (or each was tried).
    NoneHealthy,
    /// The named agent gets no runs, and no substitute does.
    NamedUnhealthy {
        /// Who was named.
        agent: PluginId,
        /// Why it gets none.
        code: Code,
        /// The same for people.
        reason: String,
        /// When it is tried again, where that is known.
        retry_after: Option<Duration>,
    },
    /// The host looks whether it works: no agent is troubled for that.
    SelfCheck,
    /// An agent was tried, and its answer failed.
    AgentFailed {
        /// Who.
        agent: PluginId,
        /// How.
        code: Code,
    },
}

impl FallbackReason {
    /// The stable code.
    pub fn code(&self) -> Code {
        match self {
            Self::Starting => Code::HostStarting,
            Self::NoneConfigured | Self::NoneHealthy | Self::SelfCheck => Code::AgentFallback,
            Self::NamedUnhealthy { code, .. } | Self::AgentFailed { code, .. } => *code,
        }
    }

    /// The bounded metric label.
    pub const fn label(&self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::NoneConfigured => "none_configured",
            Self::NoneHealthy => "none_healthy",
            Self::NamedUnhealthy { .. } => "named_unhealthy",
            Self::SelfCheck => "self_check",
            Self::AgentFailed { .. } => "agent_failed",
        }
    }

    /// When to try again, where that is known.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::NamedUnhealthy { retry_after, .. } => *retry_after,
            Self::Starting
            | Self::NoneConfigured
            | Self::NoneHealthy
            | Self::SelfCheck
            | Self::AgentFailed { .. } => None,
        }
    }
}

impl fmt::Display for FallbackReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Starting => f.write_str("the host is still starting its agents"),
            Self::NoneConfigured => f.write_str("no agent is configured"),
            Self::NoneHealthy => f.write_str("no agent is healthy"),
            Self::SelfCheck => f.write_str("the host checks itself"),
            Self::NamedUnhealthy { agent, reason, .. } => write!(f, "agent {agent} is not healthy: {reason}"),
            Self::AgentFailed { agent, code } => write!(f, "agent {agent} failed: {}", code.meaning()),
        }
    }
}

/// Chooses who answers. Never waits for a plugin that is not healthy.
///
/// * Named: that agent, else its first healthy substitute, else the fallback; never another.
/// * Unnamed: the supervisor if healthy, else the first healthy agent in order that was not tried, else another
///   generation of one that was, else the fallback.
pub fn choose(table: &RouteTable, request: RouteRequest<'_>) -> Choice {
    match request.named {
        Some(name) => choose_named(table, name, request.tried),
        None => choose_unnamed(table, request.tried),
    }
}

/// As [`choose`] for an unnamed message, past the supervisor: it was too slow, or chose nobody who can answer.
pub fn choose_in_order(table: &RouteTable, tried: &[Target]) -> Choice {
    let fresh = |entry: &&RouteEntry| !tried.iter().any(|t| t.plugin == entry.id);
    let mut open = table.agents.iter().filter(|entry| entry.is_open(tried));
    let next = open.clone().find(fresh).or_else(|| open.next());
    match next {
        Some(entry) => Choice::Agent(entry.target()),
        None if table.starting => Choice::Fallback(FallbackReason::Starting),
        None if table.agents.is_empty() => Choice::Fallback(FallbackReason::NoneConfigured),
        None => Choice::Fallback(FallbackReason::NoneHealthy),
    }
}

fn choose_named(table: &RouteTable, name: &PluginId, tried: &[Target]) -> Choice {
    let Some(entry) = table.agent(name) else { return Choice::Unknown };
    let substitutes = entry.substitutes.iter().filter_map(|id| table.agent(id));
    if let Some(open) = std::iter::once(entry).chain(substitutes).find(|e| e.is_open(tried)) {
        return Choice::Agent(open.target());
    }
    Choice::Fallback(match &entry.health {
        // Healthy but tried: what failed was this message's own try.
        RouteHealth::Healthy => FallbackReason::AgentFailed { agent: name.clone(), code: Code::AgentFailed },
        RouteHealth::Unhealthy { code: Code::PluginStarting, .. } if table.starting => {
            FallbackReason::Starting
        }
        RouteHealth::Unhealthy { code, reason, retry_after } => FallbackReason::NamedUnhealthy {
            agent: name.clone(),
            code: *code,
            reason: reason.clone(),
            retry_after: *retry_after,
        },
    })
}

fn choose_unnamed(table: &RouteTable, tried: &[Target]) -> Choice {
    match &table.supervisor {
        Some(entry) if entry.is_open(tried) && !tried.iter().any(|t| t.plugin == entry.id) => {
            Choice::Supervisor(entry.target())
        }
        Some(_) | None => choose_in_order(table, tried),
    }
}

/// The level that a run is served at: what `agent_started.level` says.
pub fn level_of_run(built_in: bool, now: ServiceLevel) -> ServiceLevel {
    if built_in { now.min(ServiceLevel::Fallback) } else { now }
}

#[cfg(test)]
mod tests;
