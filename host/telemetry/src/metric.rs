//! The metrics' names: public API, each with its type, labels and meaning.

use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};

macro_rules! metrics_table {
    ($($const:ident $kind:ident $name:literal [$($label:literal),*] $help:literal;)*) => {
        $(#[doc = $help] pub const $const: &str = $name;)*

        /// A row of `docs/metrics.md`.
        #[derive(Debug, Clone, Copy)]
        pub struct Metric {
            /// As scraped.
            pub name: &'static str,
            /// `counter`, `gauge` or `histogram`.
            pub kind: &'static str,
            /// Bounded label names.
            pub labels: &'static [&'static str],
            /// What it says.
            pub help: &'static str,
        }

        /// Every metric of the host.
        pub const ALL: &[Metric] = &[$(Metric {
            name: $name, kind: stringify!($kind), labels: &[$($label),*], help: $help,
        }),*];
    };
}

metrics_table! {
    UPGRADES counter "agent_host_upgrades_total" ["status"] "WebSocket upgrades by HTTP status; 500 must not exist.";
    WELCOME_SECONDS histogram "agent_host_welcome_seconds" [] "From the accepted upgrade to the welcome frame written.";
    CONNECTIONS gauge "agent_host_connections" [] "Open client connections.";
    CONNECTIONS_CLOSED counter "agent_host_connections_closed_total" ["code"] "Closed connections by close code.";
    RUNS counter "agent_host_runs_total" ["plugin", "outcome"] "Runs that ended, by responder and status.";
    RUN_SECONDS histogram "agent_host_run_seconds" ["plugin"] "From the accepted message to agent_completed.";
    FIRST_EVENT_SECONDS histogram "agent_host_time_to_first_event_seconds" ["plugin"] "From the accepted message to the first event of a plugin.";
    ANSWERS counter "agent_host_answers_total" ["by"] "Answered runs: by a plugin, or by the built-in fallback.";
    RUNS_WITHOUT_TERMINAL counter "agent_host_runs_without_terminal_total" [] "Runs that ended without agent_completed: always 0.";
    RUN_EVENTS counter "agent_host_run_events_total" ["type", "by"] "Events of runs, by type and by whether a plugin or the fallback answered.";
    EVENTS_DELIVERED counter "agent_host_events_delivered_total" ["surface", "by"] "Events handed to a client's socket.";
    EVENTS_DROPPED counter "agent_host_events_dropped_total" ["reason"] "What a plugin said and the host did not pass on, by reason.";
    SLOW_CONSUMERS counter "agent_host_slow_consumers_total" [] "Connections closed because they read too slowly.";
    PLUGIN_STATE gauge "agent_host_plugin_state" ["plugin", "state"] "1 for the state that the plugin is in.";
    PLUGIN_RESTARTS counter "agent_host_plugin_restarts_total" ["plugin"] "Generations started after a failure.";
    PLUGIN_CRASHES counter "agent_host_plugin_crashes_total" ["plugin", "signal"] "Generations that died, by signal or `exit`.";
    BREAKER_STATE gauge "agent_host_breaker_state" ["plugin"] "0 closed, 1 half-open, 2 open.";
    SERVICE_LEVEL gauge "agent_host_service_level" ["level"] "1 for the level that the service is at.";
    STORE_COMMIT_SECONDS histogram "agent_host_store_commit_seconds" [] "One group commit of the store.";
    LLM_TOKENS counter "agent_host_llm_tokens_total" ["direction"] "Tokens read and written by models.";
    CONFIG_RELOAD_FAILURES counter "agent_host_config_reload_failures_total" [] "Configurations that were refused while running.";
}

/// Makes this process's metrics scrapeable; the handle renders the page.
///
/// # Errors
/// If a recorder is installed already.
pub fn install() -> Result<PrometheusHandle, String> {
    let handle = PrometheusBuilder::new()
        .set_buckets(&[
            0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0,
            60.0,
        ])
        .map_err(|e| e.to_string())?
        .install_recorder()
        .map_err(|e| e.to_string())?;
    for metric in ALL {
        match metric.kind {
            "counter" => metrics::describe_counter!(metric.name, metric.help),
            "gauge" => metrics::describe_gauge!(metric.name, metric.help),
            _ => metrics::describe_histogram!(metric.name, metric.help),
        }
    }
    Ok(handle)
}
