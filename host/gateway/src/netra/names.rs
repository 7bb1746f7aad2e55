//! What is missing, by the names that the replaced platform's clients know.

use agent_host_engine::view::Missing;

/// Their name of it; what they had no name for keeps its own.
pub(super) fn theirs(missing: &Missing) -> &str {
    match (missing.kind, missing.name.as_str()) {
        ("supervisor", _) => "agent_supervisor",
        ("service", "llm") => "llm_manager",
        ("service", "threads") => "thread_service",
        ("service", "events") => "websocket_bridge",
        (_, own) => own,
    }
}

#[cfg(test)]
mod tests {
    use agent_plugin_protocol::Code;

    use super::*;

    #[test]
    fn the_four_dependencies_of_the_incident_have_their_old_names() {
        for (kind, name, expected) in [
            ("supervisor", "chooser", "agent_supervisor"),
            ("service", "llm", "llm_manager"),
            ("service", "threads", "thread_service"),
            ("service", "events", "websocket_bridge"),
            ("agent", "llm", "llm"),
            ("store", "store", "store"),
        ] {
            let missing = Missing {
                name: name.to_owned(),
                kind,
                code: Code::HostInternal,
                reason: String::new(),
                retry_after_ms: None,
            };
            assert_eq!(theirs(&missing), expected);
        }
    }
}
