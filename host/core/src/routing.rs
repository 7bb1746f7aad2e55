//! Chooses who answers a message; `retry` says what follows when that one fails.

mod heir;
mod retry;

use std::{fmt, time::Duration};

use agent_plugin_protocol::{Code, Generation, PluginId, ThreadId};

pub use self::retry::{FailedTry, NextMove, after_failure};
use crate::{level::ServiceLevel, share::Share};

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
    /// The generation that is tried on a share of the threads; it gets those whether or not the one that serves gets runs.
    pub canary: Option<CanaryRoute>,
    /// Who may answer in its place when it is named and not healthy, in order.
    pub substitutes: Vec<PluginId>,
}

/// A generation that is tried on a share of the threads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CanaryRoute {
    /// Which.
    pub generation: Generation,
    /// How many.
    pub share: Share,
}

impl RouteEntry {
    /// The generation that serves.
    fn serving(&self) -> Target {
        self.of(self.generation)
    }

    fn of(&self, generation: Generation) -> Target {
        Target { plugin: self.id.clone(), generation }
    }

    /// The generation that has that thread.
    pub fn target(&self, thread: &ThreadId) -> Target {
        let drawn = self.canary.filter(|canary| canary.share.takes(thread, &self.id, canary.generation));
        self.of(drawn.map_or(self.generation, |canary| canary.generation))
    }

    /// Who is to be asked here: the generation that has the thread; if that is one on trial and was tried, the one that
    /// serves. What that one has failed is not given to one on trial: it would be judged by what nobody can answer.
    fn open(&self, request: RouteRequest<'_>) -> Option<Target> {
        let (serving, first) = (self.serving(), self.target(request.thread));
        if request.tried.contains(&serving) {
            return None;
        }
        if first != serving && !request.tried.contains(&first) {
            return Some(first);
        }
        (self.health == RouteHealth::Healthy).then_some(serving)
    }

    /// Whether none of its generations was tried, but the one that has a share only.
    fn is_fresh(&self, tried: &[Target]) -> bool {
        let canary = |of: &Target| self.canary.is_some_and(|canary| canary.generation == of.generation);
        !tried.iter().any(|of| of.plugin == self.id && !canary(of))
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
    /// The message's thread: it stays with one generation where two of them serve.
    pub thread: &'a ThreadId,
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
        /// Whether the same message may succeed later.
        retryable: bool,
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
            Self::AgentFailed { agent, code, .. } => write!(f, "agent {agent} failed: {}", code.meaning()),
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
        Some(name) => choose_named(table, name, request),
        None => choose_unnamed(table, request),
    }
}

/// As [`choose`] for an unnamed message, past the supervisor: it was too slow, or chose nobody who can answer.
pub fn choose_in_order(table: &RouteTable, request: RouteRequest<'_>) -> Choice {
    let fresh = table.agents.iter().filter(|entry| entry.is_fresh(request.tried));
    match fresh.chain(&table.agents).find_map(|entry| entry.open(request)) {
        Some(target) => Choice::Agent(target),
        None if table.starting => Choice::Fallback(FallbackReason::Starting),
        None if table.agents.is_empty() => Choice::Fallback(FallbackReason::NoneConfigured),
        None => Choice::Fallback(FallbackReason::NoneHealthy),
    }
}

fn choose_named(table: &RouteTable, name: &PluginId, request: RouteRequest<'_>) -> Choice {
    let Some(entry) = table.agent(name) else { return Choice::Unknown };
    let substitutes = entry.substitutes.iter().filter_map(|id| table.agent(id));
    if let Some(open) = std::iter::once(entry).chain(substitutes).find_map(|e| e.open(request)) {
        return Choice::Agent(open);
    }
    Choice::Fallback(match &entry.health {
        // Healthy but tried: what failed was this message's own try.
        RouteHealth::Healthy => FallbackReason::AgentFailed {
            agent: name.clone(),
            code: Code::AgentFailed,
            retryable: Code::AgentFailed.retryable(),
        },
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

fn choose_unnamed(table: &RouteTable, request: RouteRequest<'_>) -> Choice {
    let supervisor = table.supervisor.as_ref().filter(|entry| entry.is_fresh(request.tried));
    match supervisor.and_then(|entry| entry.open(request)) {
        Some(target) => Choice::Supervisor(target),
        None => choose_in_order(table, request),
    }
}

/// The level that a run is served at: what `agent_started.level` says.
pub fn level_of_run(built_in: bool, now: ServiceLevel) -> ServiceLevel {
    if built_in { now.min(ServiceLevel::Fallback) } else { now }
}

#[cfg(test)]
mod tests;
