//! The patterns that the report on the replaced service's outage told people to watch, and where each shows here.

use crate::Mark;

pub(super) struct Watched {
    /// What people were told to look for.
    pub(super) then: &'static str,
    /// How its appearance is to be taken.
    pub(super) mark: Mark,
    /// Happenings that show it.
    pub(super) events: &'static [&'static str],
    /// Metrics that show it.
    pub(super) metrics: &'static [&'static str],
    /// How to read them.
    pub(super) now: &'static str,
}

pub(super) const WATCHED: &[Watched] = &[
    Watched {
        then: "health checks are green while every connection fails",
        mark: Mark::Critical,
        events: &["SelfCheckFailed", "SelfCheckRecovered"],
        metrics: &["agent_host_self_check_failures", "agent_host_self_checks_total"],
        now: "the host connects to itself as a client does, and has a message answered; more than one failure in a row is an alert",
    },
    Watched {
        then: "connections succeed after a valid token",
        mark: Mark::Success,
        events: &["UpgradeAnswered", "ConnectionOpened"],
        metrics: &["agent_host_upgrades_total", "agent_host_connections"],
        now: "`status=\"101\"` over all but 401, 403 and 429, which are the client's; below 0.95 is an alert",
    },
    Watched {
        then: "\"HTTP 500\" on the upgrade",
        mark: Mark::Critical,
        events: &["PanicCaught", "UpgradeStepFailed"],
        metrics: &["agent_host_upgrades_total"],
        now: "`status=\"500\"` cannot be made: a panic or a stuck step answers 503 and says so here",
    },
    Watched {
        then: "an exception while the connection's services are built",
        mark: Mark::Critical,
        events: &["UpgradeStepFailed"],
        metrics: &["agent_host_upgrades_total"],
        now: "nothing is built on an upgrade, and nothing of plugins or store is asked before the 101",
    },
    Watched {
        then: "authentication refused (403 in bulk, errors while the token was read)",
        mark: Mark::Warning,
        events: &["UpgradeAnswered"],
        metrics: &["agent_host_upgrades_total"],
        now: "401 and 403 are counted apart from failures; the field `code` says which check refused",
    },
    Watched {
        then: "the welcome frame is sent",
        mark: Mark::Success,
        events: &["ConnectionOpened"],
        metrics: &["agent_host_welcome_seconds"],
        now: "one sample a connection; a share above 1 s breaks the promise",
    },
    Watched {
        then: "\"missing dependencies\": agent supervisor, LLM manager, thread service, WebSocket bridge",
        mark: Mark::Warning,
        events: &["PluginFailed", "ServiceLevelChanged", "StoreFailed"],
        metrics: &["agent_host_service_level", "agent_host_plugin_state"],
        now: "the field `missing` names them; the welcome frame tells each client the same",
    },
    Watched {
        then: "start-up is not complete",
        mark: Mark::Warning,
        events: &["HostListening", "PluginHealthy", "PluginFailed"],
        metrics: &["agent_host_plugin_state"],
        now: "the doors open first; a plugin in a state before `healthy` is still on its way, and delays nobody",
    },
    Watched {
        then: "the fallback is used",
        mark: Mark::Warning,
        events: &["RunFailed", "ServiceLevelChanged"],
        metrics: &["agent_host_answers_total"],
        now: "`by=\"fallback\"` over both: a dashboard that counts it as an answer was the second incident",
    },
    Watched {
        then: "the fallback itself fails",
        mark: Mark::Critical,
        events: &["FallbackFailed"],
        metrics: &["agent_host_service_level"],
        now: "the connection stays and gets an error frame; `level=\"basic\"` if no agent is healthy either",
    },
    Watched {
        then: "people get a response (\"Agent processed your message\" was none)",
        mark: Mark::Success,
        events: &["RunCompleted"],
        metrics: &["agent_host_answers_total", "agent_host_events_delivered_total", "agent_host_runs_total"],
        now: "answers, and events handed to sockets, by plugin and by fallback apart",
    },
    Watched {
        then: "five events for each run",
        mark: Mark::Success,
        events: &["RunCompleted", "RunAbandoned"],
        metrics: &["agent_host_run_events_total", "agent_host_runs_without_terminal_total"],
        now: "as many `agent_started` as `agent_completed`; runs without the last one stay 0",
    },
    Watched {
        then: "silence after a message",
        mark: Mark::Critical,
        events: &["RunAbandoned", "FallbackFailed"],
        metrics: &["agent_host_time_to_first_event_seconds", "agent_host_runs_without_terminal_total"],
        now: "an accepted message gets a run, a message without text an error frame",
    },
    Watched {
        then: "events are lost on their way (sends that failed silently)",
        mark: Mark::Warning,
        events: &["EventDropped", "SlowConsumer", "StoreFailed"],
        metrics: &["agent_host_events_dropped_total", "agent_host_slow_consumers_total"],
        now: "nothing is dropped without a reason counted; what a socket missed is in the log, by `seq`",
    },
    Watched {
        then: "breakers open",
        mark: Mark::Warning,
        events: &["BreakerMoved"],
        metrics: &["agent_host_breaker_state"],
        now: "one for each plugin, around its calls only; none stands before a connection",
    },
    Watched {
        then: "connections closed with 1000 by failures, or cut at the load balancer's 30 s",
        mark: Mark::Warning,
        events: &["ConnectionClosed"],
        metrics: &["agent_host_connections_closed_total"],
        now: "1000 is the client's word only; 1006 in bulk means a middlebox, 4403 no pong, 1011 a bug of ours",
    },
    Watched {
        then: "an agent crashes",
        mark: Mark::Warning,
        events: &["PluginExited", "PluginRestarted", "PluginQuarantined"],
        metrics: &["agent_host_plugin_crashes_total", "agent_host_plugin_restarts_total"],
        now: "one plugin's process; the next generation is started by itself",
    },
    Watched {
        then: "503 everywhere because of the database",
        mark: Mark::Critical,
        events: &["StoreFailed", "ServiceLevelChanged"],
        metrics: &["agent_host_service_level", "agent_host_store_commit_seconds"],
        now: "upgrades still get their 101; messages are refused with `store.unavailable` until it recovers",
    },
];
