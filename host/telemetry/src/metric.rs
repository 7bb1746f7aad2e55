//! The metrics' names: public API, each with its type, labels and meaning. `docs/metrics.md` is made from this list.

macro_rules! metrics_table {
    ($($const:ident $kind:ident $name:literal [$($label:literal),*] $help:literal;)*) => {
        $(#[doc = $help] pub const $const: &str = $name;)*

        /// Every metric of the host, those of its process apart.
        pub const ALL: &[Metric] = &[$(Metric {
            name: $name, kind: stringify!($kind), labels: &[$($label),*], help: $help,
        }),*];
    };
}

/// A row of `docs/metrics.md`.
#[derive(Debug, Clone, Copy)]
pub struct Metric {
    /// As scraped.
    pub name: &'static str,
    /// `counter`, `gauge` or `histogram`.
    pub kind: &'static str,
    /// Bounded label names; see [`LABELS`].
    pub labels: &'static [&'static str],
    /// What it says.
    pub help: &'static str,
}

metrics_table! {
    UPGRADES counter "agent_host_upgrades_total" ["status"] "WebSocket upgrades by HTTP status; 500 must not exist.";
    WELCOME_SECONDS histogram "agent_host_welcome_seconds" [] "From the accepted upgrade to the welcome frame written.";
    CONNECTIONS gauge "agent_host_connections" [] "Open client connections.";
    THREADS_FOLLOWED gauge "agent_host_threads_followed" [] "Threads that clients follow, each once for each connection.";
    THREAD_TASKS gauge "agent_host_thread_tasks" [] "Threads with a task of their own: those in use.";
    CONNECTIONS_CLOSED counter "agent_host_connections_closed_total" ["code"] "Closed connections by close code.";
    RUNS counter "agent_host_runs_total" ["plugin", "outcome"] "Runs that ended, by responder and status.";
    RUN_SECONDS histogram "agent_host_run_seconds" ["plugin"] "From the accepted message to agent_completed.";
    RUNS_WAITING gauge "agent_host_runs_waiting" ["plugin"] "Runs that wait for a place in a plugin that is full.";
    FIRST_EVENT_SECONDS histogram "agent_host_time_to_first_event_seconds" ["plugin"] "From the accepted message to the first event of a plugin.";
    ANSWERS counter "agent_host_answers_total" ["by"] "Answered runs: by a plugin, or by the built-in fallback. A run that failed is no answer.";
    RUNS_WITHOUT_TERMINAL counter "agent_host_runs_without_terminal_total" [] "Runs that ended without agent_completed: always 0.";
    RUN_EVENTS counter "agent_host_run_events_total" ["type", "by"] "Events in the log, by type and by who speaks.";
    EVENTS_DELIVERED counter "agent_host_events_delivered_total" ["surface", "by"] "Events handed to a client's socket.";
    EVENTS_DROPPED counter "agent_host_events_dropped_total" ["reason"] "What a plugin said and the host did not pass on, by reason.";
    SLOW_CONSUMERS counter "agent_host_slow_consumers_total" [] "Connections closed because they read too slowly.";
    PLUGIN_STATE gauge "agent_host_plugin_state" ["plugin", "state"] "1 for the state that the plugin is in.";
    PLUGIN_RESTARTS counter "agent_host_plugin_restarts_total" ["plugin"] "Generations started after a failure.";
    PLUGIN_CRASHES counter "agent_host_plugin_crashes_total" ["plugin", "signal"] "Generations that died, by signal or by what else ended them.";
    CRASH_REPORTS counter "agent_host_plugin_crash_reports_total" ["plugin", "backtrace"] "Crashes that a dying plugin told of, by what became of the backtrace.";
    BREAKER_STATE gauge "agent_host_breaker_state" ["plugin"] "0 closed, 1 half-open, 2 open.";
    PLUGIN_ROLLBACKS counter "agent_host_plugin_rollbacks_total" ["plugin"] "New generations that were taken back for the one before.";
    VERSION_FAILURES counter "agent_host_plugin_version_failures_total" ["plugin", "fault"] "New generations that do not serve: they could not be loaded, did not answer their probe, or were taken back.";
    CANARY_SHARE gauge "agent_host_canary_share" ["plugin"] "The share of the threads that a generation on trial has, 0 to 1; 0 while none is.";
    CANARY_RUNS counter "agent_host_canary_runs_total" ["plugin", "side", "result"] "Runs that ended during trials, of the generation on trial and of the one beside it.";
    CANARIES_ENDED counter "agent_host_canaries_ended_total" ["plugin", "end"] "Trials of new generations that ended.";
    SPARES_READY gauge "agent_host_plugin_spares_ready" ["plugin"] "Warm spares that are loaded, probed and idle.";
    SPARE_TAKEOVERS counter "agent_host_plugin_spare_takeovers_total" ["plugin"] "Deaths of a generation after which its spare served at once.";
    SERVICE_LEVEL gauge "agent_host_service_level" ["level"] "1 for the level that the service is at.";
    STORE_COMMIT_SECONDS histogram "agent_host_store_commit_seconds" [] "One group commit of the store.";
    STORE_FAILURES counter "agent_host_store_failures_total" ["operation"] "What the store was asked and did not do, by operation.";
    FALLBACK_FAILURES counter "agent_host_fallback_failures_total" [] "Runs that even the built-in fallback could not answer.";
    LLM_TOKENS counter "agent_host_llm_tokens_total" ["direction"] "Tokens read and written by models.";
    PEERS_REFUSED counter "agent_host_peers_refused_total" ["plugin"] "Connections that a plugin asked for and may not have.";
    ADMIN_REFUSALS counter "agent_host_admin_refusals_total" ["status"] "Requests to the admin API that were refused, by HTTP status.";
    KEY_SET_KEYS gauge "agent_host_key_set_keys" [] "Keys of another issuer by which tokens are verified now; 0 while auth.jwks_url is not set or they are not to be had.";
    KEY_SET_FETCHED gauge "agent_host_key_set_fetched_timestamp_seconds" [] "When the key set was last fetched, in seconds since 1970; 0 if never.";
    KEY_SET_FETCHES counter "agent_host_key_set_fetches_total" [] "Fetches of the key set, those that failed too.";
    KEY_SET_FAILURES counter "agent_host_key_set_fetch_failures_total" [] "Fetches of the key set that failed, or brought no key.";
    LOG_LINES_DROPPED counter "agent_host_log_lines_dropped_total" [] "Log lines that were dropped because stderr did not take them.";
    PANICS counter "agent_host_panics_total" [] "Panics in the host's own code that were caught.";
    SELF_CHECKS counter "agent_host_self_checks_total" ["outcome"] "The host's looks at itself through its own door: held, or failed.";
    SELF_CHECK_FAILURES gauge "agent_host_self_check_failures" [] "Self-checks that failed in a row; 0 after one that held.";
    SELF_CHECK_SECONDS histogram "agent_host_self_check_seconds" [] "One self-check, from the connect to the deletion of its thread.";
    FAULTS_ACTIVE gauge "agent_host_chaos_faults_active" ["injected"] "Faults that an operator injected and that are in force: what goes wrong meanwhile may be of them. Always 0 without chaos.enabled.";
    FAULT_HITS counter "agent_host_chaos_hits_total" ["injected"] "How often an injected fault hit something.";
    CONFIG_RELOAD_FAILURES counter "agent_host_config_reload_failures_total" [] "Configurations that were refused while running.";
}

/// Of the host's own process, read at each scrape. The names are those that every Prometheus client uses.
pub const PROCESS: &[Metric] = &[
    of_process("process_cpu_seconds_total", "counter", "CPU time used, user and system."),
    of_process("process_resident_memory_bytes", "gauge", "Resident memory."),
    of_process("process_virtual_memory_bytes", "gauge", "Virtual memory."),
    of_process("process_open_fds", "gauge", "Open file descriptors."),
    of_process("process_max_fds", "gauge", "Limit of open file descriptors."),
    of_process("process_threads", "gauge", "Threads."),
    of_process("process_start_time_seconds", "gauge", "When the process began, in seconds since 1970."),
];

const fn of_process(name: &'static str, kind: &'static str, help: &'static str) -> Metric {
    Metric { name, kind, labels: &[], help }
}

/// A label, and what bounds its values. No label names a person, a thread or a run.
#[derive(Debug, Clone, Copy)]
pub struct Label {
    /// As scraped.
    pub name: &'static str,
    /// Every value; empty where `meaning` says what bounds it.
    pub values: &'static [&'static str],
    /// What it says.
    pub meaning: &'static str,
}

/// Every label.
pub const LABELS: &[Label] = &[
    Label {
        name: "backtrace",
        values: BACKTRACES,
        meaning: "found; or why not: the plugin crashed again before its turn, too many crashed at a time, the library's tables make no sense",
    },
    Label {
        name: "by",
        values: &["plugin", "fallback", "host", "user"],
        meaning: "who answers or speaks; `user` is the person's own message, `host` speaks for a run that nobody took",
    },
    Label {
        name: "code",
        values: &[],
        meaning: "WebSocket close code: those of the protocol, 1005 and 1006 for none, 3000 for any other of a client",
    },
    Label { name: "direction", values: &["read", "written"], meaning: "from the model's side" },
    Label {
        name: "end",
        values: CANARY_ENDS,
        meaning: "what became of the generation on trial; `withdrawn` made room for another order",
    },
    Label { name: "fault", values: &[], meaning: "the stable code of what is wrong; see `codes.md`" },
    Label {
        name: "injected",
        values: FAULTS,
        meaning: "the fault that was injected, as `agent-host chaos list` names it",
    },
    Label { name: "level", values: LEVELS, meaning: "service level" },
    Label { name: "operation", values: STORE_OPERATIONS, meaning: "what the store was asked for" },
    Label {
        name: "outcome",
        values: OUTCOMES,
        meaning: "the `status` of `agent_completed`; a self-check's is `ok` or `failed`",
    },
    Label {
        name: "plugin",
        values: &[],
        meaning: "a configured plugin, `fallback`, or `host` for a run that nobody took",
    },
    Label { name: "reason", values: REASONS, meaning: "why it was not passed on" },
    Label { name: "result", values: &CANARY_RESULTS, meaning: "whether the plugin failed it" },
    Label {
        name: "side",
        values: CANARY_SIDES,
        meaning: "the generation on trial, or the one that serves the rest meanwhile",
    },
    Label { name: "signal", values: SIGNALS, meaning: "what ended the process" },
    Label { name: "state", values: &[], meaning: "a state of a plugin's life" },
    Label { name: "status", values: &[], meaning: "HTTP status" },
    Label { name: "surface", values: &[], meaning: "the client protocol" },
    Label { name: "type", values: &[], meaning: "an event's type, as on the wire" },
];

/// What may become of a crash's backtrace.
pub const BACKTRACES: &[&str] = &["found", "superseded", "crowded", "unreadable"];
pub(crate) const CANARY_ENDS: &[&str] = &["promoted", "rolled_back", "withdrawn"];
pub(crate) const CANARY_SIDES: &[&str] = &["canary", "serving"];
pub(crate) const CANARY_RESULTS: [&str; 2] = ["ok", "failed"];
/// What can be injected.
pub const FAULTS: &[&str] = &[
    "worker-kill",
    "worker-crash",
    "worker-hang",
    "runs-fail",
    "runs-slow",
    "store-fail",
    "store-full",
    "store-slow",
    "tools-fail",
    "tools-slow",
    "network-fail",
    "network-slow",
    "service-down",
    "connections-cut",
];
/// Least first.
pub(crate) const LEVELS: &[&str] = &["basic", "fallback", "partial", "full"];
pub(crate) const OUTCOMES: &[&str] =
    &["ok", "degraded", "failed", "cancelled", "interrupted", "input_required"];
pub(crate) const STORE_OPERATIONS: &[&str] = &["append", "begin", "delete", "set_state", "unfinished"];
/// Those of the run's grammar, of its calls, and of what workers say outside of calls.
pub(crate) const REASONS: &[&str] = &[
    "unknown_kind",
    "too_large",
    "malformed",
    "out_of_range",
    "wrong_message",
    "before_start",
    "started_twice",
    "duplicate_id",
    "unknown_id",
    "after_completion",
    "late",
    "stray",
    "out_of_turn",
    "log_malformed",
];
pub(crate) const SIGNALS: &[&str] = &[
    "SIGABRT",
    "SIGBUS",
    "SIGFPE",
    "SIGILL",
    "SIGINT",
    "SIGKILL",
    "SIGSEGV",
    "SIGSYS",
    "SIGTERM",
    "SIGTRAP",
    "SIGXCPU",
    "other_signal",
    "exit",
    "hung",
    "stopped",
    "memory",
    "flood",
    "protocol",
    "unknown",
];
/// What an upgrade is answered with. There is no 500: one that came would be counted, and seen at once.
pub(crate) const STATUSES: &[u16] = &[101, 400, 401, 403, 404, 405, 408, 429, 431, 503];
/// What the admin API refuses with. 429 is an address that sent too many bad tokens.
pub(crate) const ADMIN_STATUSES: &[u16] = &[400, 401, 403, 404, 405, 408, 409, 413, 429, 503];
/// What connections are closed with.
pub(crate) const CLOSE_CODES: &[u16] = &[
    1000, 1001, 1002, 1003, 1005, 1006, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 3000, 4401, 4403, 4404,
    4405, 4406, 4503,
];
