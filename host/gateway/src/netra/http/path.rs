//! Which of the replaced platform's paths is meant.

/// One of its paths.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Path {
    /// How a WebSocket is to be opened.
    SocketConfig,
    /// How the host is: `/ws/health`, `/ws/beacon`, `/health`, `/api/health`.
    Health,
    /// How many are connected.
    Stats,
    /// Whether the process answers.
    Live,
    /// Whether traffic should come here.
    Ready,
    /// How each agent is.
    Agents,
    /// How this one is.
    Agent(String),
    /// What is served where.
    Services,
    /// The configuration of MCP servers, of which there are none.
    McpConfig,
    /// Those servers.
    McpServers,
    /// A message to whoever is chosen, or to the agent of this name where there is one.
    Ask(Option<&'static str>),
}

impl Path {
    /// Reads a path. A slash at its end is no difference.
    pub(super) fn find(path: &str) -> Option<Self> {
        Some(match path.strip_suffix('/').unwrap_or(path) {
            "/ws/config" => Self::SocketConfig,
            "/ws/health" | "/ws/beacon" | "/health" | "/api/health" => Self::Health,
            "/ws/stats" => Self::Stats,
            "/health/live" => Self::Live,
            "/health/ready" => Self::Ready,
            "/health/agents" => Self::Agents,
            "/api/discovery/services" => Self::Services,
            "/api/mcp/config" => Self::McpConfig,
            "/api/mcp/servers" => Self::McpServers,
            "/api/agents/execute" => Self::Ask(None),
            "/api/agents/triage" => Self::Ask(Some("triage")),
            "/api/agents/data" => Self::Ask(Some("data")),
            "/api/agents/optimization" => Self::Ask(Some("optimization")),
            other => match other.strip_prefix("/health/agents/") {
                Some(name) if !name.is_empty() && !name.contains('/') => Self::Agent(name.to_owned()),
                Some(_) | None => return None,
            },
        })
    }

    /// Whether it takes a message.
    pub(super) fn is_asked(&self) -> bool {
        matches!(self, Self::Ask(_))
    }

    /// What it takes, for `Allow`.
    pub(super) fn methods(&self) -> &'static str {
        if self.is_asked() { "POST, OPTIONS" } else { "GET, HEAD, OPTIONS" }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_found_with_and_without_a_slash_at_its_end() {
        for (path, expected) in [
            ("/health", Some(Path::Health)),
            ("/health/", Some(Path::Health)),
            ("/health/agents/echo", Some(Path::Agent("echo".to_owned()))),
            ("/health/agents/", Some(Path::Agents)),
            ("/health/agents/a/b", None),
            ("/api/agents/data", Some(Path::Ask(Some("data")))),
            ("/api/agents/other", None),
            ("/ws/test", None),
        ] {
            assert_eq!(Path::find(path), expected, "{path}");
        }
    }
}
