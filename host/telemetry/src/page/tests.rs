use agent_plugin_protocol::EventKind;

use super::*;
use crate::happening::{RunCompleted, UpgradeAnswered};

/// The value of a series; an objection if it is not there.
fn value(page: &str, series: &str) -> f64 {
    let line = page.lines().find(|line| line.strip_prefix(series).is_some_and(|rest| rest.starts_with(' ')));
    let line = line.unwrap_or_else(|| panic!("no {series} in\n{page}"));
    line.rsplit(' ').next().and_then(|value| value.parse().ok()).unwrap_or(f64::NAN)
}

// One test: the recorder of a process can be set once.
#[test]
fn everything_is_there_from_the_first_scrape_on_and_counts() {
    let page = install().unwrap_or_else(|error| panic!("{error}"));
    series::plugin_listed("echo", "discovered", ["discovered", "healthy"]);
    let delivered = series::Delivered::on("agent-host.v1");
    let first = page.render();
    for metric in metric::ALL {
        assert!(
            first.contains(&format!("# TYPE {} {}\n", metric.name, metric.kind)),
            "{}:\n{first}",
            metric.name
        );
        assert!(first.contains(&format!("# HELP {} ", metric.name)), "{}", metric.name);
    }
    assert_eq!(value(&first, "agent_host_runs_without_terminal_total"), 0.0);
    assert_eq!(value(&first, "agent_host_plugin_state{plugin=\"echo\",state=\"discovered\"}"), 1.0);
    assert!(!first.contains("\"500\""), "nothing was answered 500");

    let completed = |plugin, outcome, by| {
        RunCompleted {
            plugin,
            generation: 1,
            run: &agent_plugin_protocol::RunId::random(),
            thread: &agent_plugin_protocol::ThreadId::random(),
            outcome,
            code: "",
            by,
            seconds: 0.01,
        }
        .emit()
    };
    completed("echo", "ok", "plugin");
    completed("echo", "failed", "plugin");
    completed("fallback", "degraded", "fallback");
    completed("host", "failed", "none");
    UpgradeAnswered { status: 500, code: String::new() }.emit();
    series::run_event(EventKind::AgentStarted, "echo");
    series::run_event(EventKind::UserMessage, "user");
    delivered.count("fallback");
    series::dropped("late", 3);

    let rendered = page.render();
    for (series, expected) in [
        ("agent_host_answers_total{by=\"plugin\"}", 1.0),
        ("agent_host_answers_total{by=\"fallback\"}", 1.0),
        ("agent_host_runs_total{plugin=\"echo\",outcome=\"ok\"}", 1.0),
        ("agent_host_runs_total{plugin=\"echo\",outcome=\"failed\"}", 1.0),
        ("agent_host_runs_total{plugin=\"host\",outcome=\"failed\"}", 1.0),
        ("agent_host_run_seconds_count{plugin=\"echo\"}", 2.0),
        ("agent_host_upgrades_total{status=\"500\"}", 1.0),
        ("agent_host_run_events_total{type=\"agent_started\",by=\"plugin\"}", 1.0),
        ("agent_host_run_events_total{type=\"user_message\",by=\"user\"}", 1.0),
        ("agent_host_events_delivered_total{surface=\"agent-host.v1\",by=\"fallback\"}", 1.0),
        ("agent_host_events_dropped_total{reason=\"late\"}", 3.0),
    ] {
        assert_eq!(value(&rendered, series), expected, "{series}");
    }

    // What never was in force leaves nothing behind, and comes back with its name.
    let listed = || series::plugin_listed("late", "disabled", ["disabled", "healthy"]);
    let state = "agent_host_plugin_state{plugin=\"late\",state=\"disabled\"}";
    listed();
    assert_eq!(value(&page.render(), state), 1.0);
    series::plugin_never_was("late");
    let gone = page.render();
    assert!(!gone.contains("plugin=\"late\"") && gone.contains("plugin=\"echo\""), "{gone}");
    assert!(gone.contains("# TYPE agent_host_plugin_state gauge\n"), "the metric is there: {gone}");
    listed();
    assert_eq!(value(&page.render(), state), 1.0);
}

#[test]
fn every_label_of_a_metric_is_declared() {
    for metric in metric::ALL {
        for label in metric.labels {
            assert!(metric::LABELS.iter().any(|known| known.name == *label), "{}: {label}", metric.name);
        }
    }
}
