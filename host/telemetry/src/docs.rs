//! Makes `docs/log-events.md` and `docs/metrics.md` from the lists, and holds the pages to them.
//!
//! `UPDATE_DOCS=1 cargo test -p agent-host-telemetry` writes them.

mod watched;

use std::{fmt::Write as _, path::Path};

use self::watched::WATCHED;
use crate::{
    Declared, Mark, happening,
    metric::{self, Label, Metric},
};

fn log_events() -> String {
    let mut page = String::from(
        "# Log events\n\n\
         What happens is declared once, in `host/telemetry/src/happening.rs`: the log line, the counted metric and the\n\
         event that the admin listener streams come from there. The log field `event` has the name. No line holds a\n\
         message's text or a token. What happens for every message is logged at DEBUG, and counted always. This page is\n\
         made from the list by `UPDATE_DOCS=1 cargo test -p agent-host-telemetry`.\n\n\
         | event | level | mark | what it means | what to do | fields |\n|---|---|---|---|---|---|\n",
    );
    for event in happening::ALL {
        let Declared { name, level, fields, meaning, action, mark, message: _ } = event;
        let fields = fields.iter().map(|field| format!("`{field}`")).collect::<Vec<_>>().join(", ");
        let (meaning, mark) = (cell(meaning), word(*mark));
        writeln!(page, "| `{name}` | {level} | {mark} | {meaning} | {} | {fields} |", cell(action)).unwrap();
    }
    page.push_str(
        "\n## What the incident told people to watch\n\n\
         The service that this host replaces failed for every connection while its dashboards were green\n\
         ([the incident](incidents/0001-every-connection-500.md)). Each pattern that people were told to look for then,\n\
         and where it shows now:\n\n\
         | then | mark | log event | metric | now |\n|---|---|---|---|---|\n",
    );
    for row in WATCHED {
        let names = |all: &[&str]| all.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
        let (events, metrics) = (names(row.events), names(row.metrics));
        writeln!(page, "| {} | {} | {events} | {metrics} | {} |", row.then, word(row.mark), row.now).unwrap();
    }
    page
}

fn metrics() -> String {
    let mut page = String::from(
        "# Metrics\n\n\
         `/metrics` on the admin listener, in Prometheus' text format. Every metric is there from the first scrape on,\n\
         with 0 where nothing happened yet; those labelled `plugin` from when that plugin is configured. Names and labels\n\
         are added, never renamed. This page is made from `host/telemetry/src/metric.rs` by\n\
         `UPDATE_DOCS=1 cargo test -p agent-host-telemetry`.\n\n\
         | metric | type | labels | what it says |\n|---|---|---|---|\n",
    );
    for Metric { name, kind, labels, help } in metric::ALL.iter().chain(metric::PROCESS) {
        let labels = labels.iter().map(|label| format!("`{label}`")).collect::<Vec<_>>().join(", ");
        writeln!(page, "| `{name}` | {kind} | {labels} | {} |", cell(help)).unwrap();
    }
    page.push_str(
        "\n## Labels\n\nNo label names a person, a thread or a run.\n\n\
         | label | what it says | values |\n|---|---|---|\n",
    );
    for Label { name, values, meaning } in metric::LABELS {
        let values = values.iter().map(|value| format!("`{value}`")).collect::<Vec<_>>().join(", ");
        writeln!(page, "| `{name}` | {} | {values} |", cell(meaning)).unwrap();
    }
    page
}

fn cell(text: &str) -> String {
    text.trim().replace('|', "\\|").replace('<', "&lt;")
}

fn word(mark: Mark) -> &'static str {
    match mark {
        Mark::Success => "success",
        Mark::Warning => "warning",
        Mark::Critical => "critical",
    }
}

fn hold(name: &str, current: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs").join(name);
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(&path, current).unwrap();
    }
    let page = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        page == current,
        "docs/{name} is not current; run UPDATE_DOCS=1 cargo test -p agent-host-telemetry"
    );
}

#[test]
fn the_page_of_log_events_is_the_list_of_happenings() {
    hold("log-events.md", &log_events());
}

#[test]
fn the_page_of_metrics_is_the_list_of_metrics() {
    hold("metrics.md", &metrics());
}

#[test]
fn what_is_to_be_watched_shows_somewhere_that_exists() {
    for row in WATCHED {
        assert!(!row.events.is_empty() || !row.metrics.is_empty(), "{} shows nowhere", row.then);
        for event in row.events {
            assert!(happening::ALL.iter().any(|known| known.name == *event), "{event}");
        }
        for name in row.metrics {
            let known = metric::ALL.iter().any(|known| known.name == *name);
            assert!(known, "{name}");
        }
    }
}

#[test]
fn each_happening_says_what_it_means_and_what_to_do() {
    for event in happening::ALL {
        assert!(event.meaning.trim().ends_with('.') && event.action.ends_with('.'), "{}", event.name);
        // Someone must act, exactly where it is an error.
        assert_eq!(event.level == "ERROR", event.mark == Mark::Critical, "{}", event.name);
    }
}
