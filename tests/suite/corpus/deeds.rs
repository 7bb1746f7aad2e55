//! What the misbehaving plugin does when it is told to: in create, in its probe, in a message, in words.

use super::case::Case;
use crate::harness::{Plugin, setup::SOON};

const CRASHED: &[&str] = &["plugin.crashed"];
const EXITED: &[&str] = &["plugin.exited"];
const PANICKED: &[&str] = &["plugin.panicked"];
const HUNG: &[&str] = &["plugin.timeout_idle", "plugin.timeout_run", "plugin.hung"];
const INIT_CRASHED: &[&str] = &["plugin.init_crashed", "plugin.crash_loop", "plugin.quarantined"];

const PROCESS_ENDS: &str = "the host is that process: only a preflight can catch it";
const THREAD_LOST: &str = "a thread of the host cannot be ended";
const NO_LIMITS: &str = "the limits are those of a process of its own";

/// Where a hundred begin at once, the time of one that hangs may be over before its deed: it is tried until it is met.
fn until_met(plugin: Plugin, deed: &str) -> Plugin {
    let hangs = ["hang", "sleep", "loop"].contains(&deed);
    if hangs { plugin.key("restart", "{ max = 1000, within = \"1h\" }") } else { plugin }
}

/// What goes wrong before the first message.
pub(crate) fn starts() -> Vec<Case> {
    let create = |deed: &str, row, codes| {
        let name = format!("create-{deed}");
        Case::start(&name, row, until_met(Plugin::bad_create(&name, deed), deed), codes)
    };
    let probe = |deed: &str, codes| {
        let name = format!("probe-{deed}");
        let plugin = Plugin::misbehaving(&name).config("probe", &format!("\"{deed}\""));
        let plugin = if deed == "hang" { plugin.key("timeouts", SOON) } else { plugin };
        Case::start(&name, 2, until_met(plugin, deed), codes)
    };
    vec![
        create("error", 2, &["plugin.init_error"]),
        create("config", 2, &["plugin.config_invalid"]),
        create("panic", 2, &["plugin.init_panicked"]),
        create("panic-drop", 2, &["plugin.init_panicked", "plugin.init_crashed"]),
        create("segv", 3, INIT_CRASHED),
        create("abort", 3, INIT_CRASHED),
        create("exit0", 2, INIT_CRASHED),
        create("exit1", 2, INIT_CRASHED),
        create("hang", 4, &["plugin.init_timeout"]),
        create("sleep", 4, &["plugin.init_timeout"]),
        create("loop", 4, &["plugin.init_timeout"]),
        probe("error", &["plugin.probe_failed"]),
        probe("panic", &["plugin.probe_failed"]),
        probe("hang", &["plugin.probe_failed"]),
        probe("segv", &["plugin.probe_failed", "plugin.crashed", "plugin.crash_loop", "plugin.quarantined"]),
    ]
}

/// What a message makes it do.
pub(crate) fn ends() -> Vec<Case> {
    let deed = Case::deed;
    vec![
        deed("segv", 1, "!segv", CRASHED).not_in_process(PROCESS_ENDS),
        deed("segv-in-mid-run", 1, "!think-segv", CRASHED).not_in_process(PROCESS_ENDS),
        deed("abort", 2, "!abort", CRASHED).not_in_process(PROCESS_ENDS),
        deed("stack-overflow", 2, "!stackoverflow", CRASHED).not_in_process(PROCESS_ENDS),
        deed("exit-0", 2, "!exit0", EXITED).not_in_process(PROCESS_ENDS),
        deed("exit-1", 2, "!exit1", EXITED).not_in_process(PROCESS_ENDS),
        deed("panic", 2, "!panic", PANICKED),
        deed("panic-with-a-bomb", 2, "!panic-drop", &["plugin.panicked", "plugin.crashed", "plugin.exited"])
            .not_in_process(PROCESS_ENDS),
        deed("error", 2, "!error", &["plugin.error"]),
        deed("error-retryable", 2, "!error-retryable", &["plugin.error"]),
        deed("loop", 4, "!loop", HUNG).endless().not_in_process(THREAD_LOST),
        deed("blocking-sleep", 4, "!sleep", HUNG).endless().not_in_process(THREAD_LOST),
        deed("never-ready", 4, "!hang", HUNG).endless().not_in_process(THREAD_LOST),
        deed("never-ready-in-mid-run", 4, "!think-hang", HUNG).endless().not_in_process(THREAD_LOST),
        deed("every-thread-blocked", 4, "!block-all", HUNG).endless().not_in_process(THREAD_LOST),
        deed(
            "tool-then-nothing",
            4,
            "!tool-hang clock",
            &["plugin.timeout_idle", "plugin.hung", "plugin.timeout_tool"],
        )
        .endless()
        .not_in_process(THREAD_LOST),
        deed("memory", 5, "!memory", &["plugin.crashed", "plugin.memory"]).not_in_process(NO_LIMITS),
        deed(
            "flood",
            9,
            "!flood",
            &["plugin.flood", "plugin.timeout_idle", "plugin.timeout_run", "plugin.hung"],
        )
        .endless()
        .not_in_process(THREAD_LOST),
    ]
}

/// What it says that is not so.
pub(crate) fn lies() -> Vec<Case> {
    const LIES: [&str; 29] = [
        "json",
        "empty",
        "kind",
        "utf8",
        "surrogate",
        "newline",
        "nul",
        "progress",
        "huge-number",
        "duplicate",
        "unknown-field",
        "deep",
        "large",
        "message-id",
        "credit",
        "foreign-emit",
        "foreign-complete",
        "foreign-request",
        "completion",
        "completion-value",
        "completion-large",
        "completion-code",
        "twice",
        "after",
        "method",
        "request",
        "request-flood",
        "log",
        "log-flood",
    ];
    LIES.into_iter().map(Case::lie).collect()
}
