//! What the host says of itself to machines: `/metrics` against `docs/metrics.md`, counts against a client's own, and
//! happenings against the places that emit them.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    time::Duration,
};

use serde_json::json;

use crate::{
    client::{Client, Run},
    harness::{Host, Plugin, Setup, artifacts, eventually, http},
    scenario::ready,
};

/// What a page of metrics holds.
#[derive(Debug, Default)]
pub(crate) struct Scrape {
    /// By metric.
    types: BTreeMap<String, String>,
    helps: BTreeMap<String, String>,
    samples: Vec<Sample>,
}

#[derive(Debug)]
struct Sample {
    name: String,
    labels: BTreeMap<String, String>,
    value: f64,
}

impl Scrape {
    pub(crate) async fn of(host: &Host) -> Result<Self, String> {
        let answer =
            http::get(host.admin, "/metrics", &[("Connection", "close")], Duration::from_secs(5)).await?;
        Self::parse(&answer.body)
    }

    fn parse(page: &str) -> Result<Self, String> {
        let mut scrape = Self::default();
        for line in page.lines().filter(|line| !line.is_empty()) {
            let words = || line.splitn(4, ' ').skip(2).map(str::to_owned);
            match line.split(' ').nth(1) {
                Some("TYPE") if line.starts_with('#') => scrape.types.extend(pair(words())),
                Some("HELP") if line.starts_with('#') => scrape.helps.extend(pair(words())),
                _ => scrape.samples.push(sample(line).ok_or_else(|| format!("no sample: {line}"))?),
            }
        }
        Ok(scrape)
    }

    /// The sum of the samples of this name whose labels hold these.
    pub(crate) fn sum(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        let matching = self.samples.iter().filter(|sample| {
            let has = |(label, value): &(&str, &str)| sample.labels.get(*label).is_some_and(|v| v == value);
            sample.name == name && labels.iter().all(has)
        });
        matching.map(|sample| sample.value).sum()
    }

    /// The declared metric that a sample belongs to: histograms have three names.
    fn metric_of(&self, sample: &Sample) -> Option<(&str, &str)> {
        let stems = ["", "_bucket", "_sum", "_count"].into_iter();
        let mut names = stems.filter_map(|end| sample.name.strip_suffix(end));
        names
            .find_map(|name| self.types.get_key_value(name))
            .map(|(name, kind)| (name.as_str(), kind.as_str()))
    }
}

fn pair(mut words: impl Iterator<Item = String>) -> Option<(String, String)> {
    Some((words.next()?, words.next().unwrap_or_default()))
}

fn sample(line: &str) -> Option<Sample> {
    let (series, value) = line.rsplit_once(' ')?;
    let (name, labels) = series.split_once('{').unwrap_or((series, ""));
    let labels = labels.trim_end_matches('}').split("\",").filter(|label| !label.is_empty()).map(|label| {
        let (name, value) = label.split_once("=\"")?;
        Some((name.to_owned(), value.trim_end_matches('"').to_owned()))
    });
    Some(Sample { name: name.to_owned(), labels: labels.collect::<Option<_>>()?, value: value.parse().ok()? })
}

/// The rows of the tables of a page, cells without marks; headings and rulers are no rows.
fn rows(page: &str) -> Vec<Vec<String>> {
    let text = artifacts::read(page);
    let lines = text.lines().filter(|line| line.starts_with("| `"));
    let cells = |line: &str| {
        let inner = line.trim_start_matches('|').trim_end_matches('|').replace("\\|", "¦");
        inner.split('|').map(|cell| cell.trim().replace('`', "").replace('¦', "|")).collect()
    };
    lines.map(cells).collect()
}

fn list(cell: &str) -> BTreeSet<String> {
    cell.split(", ").filter(|word| !word.is_empty()).map(str::to_owned).collect()
}

/// Every declared metric is there, as declared, and no other.
fn as_declared(scrape: &Scrape) -> Result<(), String> {
    let rows = rows("docs/metrics.md");
    let (metrics, labels): (Vec<_>, Vec<_>) = rows.into_iter().partition(|row| row.len() == 4);
    let metrics: BTreeMap<_, _> = metrics.into_iter().map(|row| (row[0].clone(), row)).collect();
    let values: BTreeMap<_, _> = labels.iter().map(|row| (row[0].clone(), list(&row[2]))).collect();
    for (name, row) in &metrics {
        let found = (scrape.types.get(name), scrape.helps.get(name));
        if found != (Some(&row[1]), Some(&row[3])) {
            return Err(format!("{name} is declared {row:?} and scraped as {found:?}"));
        }
        if !scrape.samples.iter().any(|sample| scrape.metric_of(sample).is_some_and(|(of, _)| of == name)) {
            return Err(format!("{name} has no sample"));
        }
    }
    for sample in &scrape.samples {
        let Some(row) = scrape.metric_of(sample).and_then(|(name, _)| metrics.get(name)) else {
            return Err(format!("{sample:?} is not declared"));
        };
        let labels: BTreeSet<_> = sample.labels.keys().filter(|label| *label != "le").cloned().collect();
        if labels != list(&row[2]) {
            return Err(format!("{sample:?} has other labels than {row:?}"));
        }
        for (label, value) in &sample.labels {
            let bound = values.get(label).is_some_and(|all| !all.is_empty() && !all.contains(value));
            if bound {
                return Err(format!("{sample:?}: {value} is no value of {label}"));
            }
        }
    }
    Ok(())
}

#[tokio::test]
async fn the_first_scrape_has_every_declared_metric_and_no_other() {
    let host = Setup::echo().start();
    let scrape = Scrape::of(&host).await.unwrap();
    as_declared(&scrape).unwrap();
    let counted: Vec<_> = scrape
        .samples
        .iter()
        .filter(|sample| {
            scrape
                .metric_of(sample)
                .is_some_and(|(name, kind)| kind == "counter" && name.starts_with("agent_host_"))
        })
        .filter(|sample| sample.value != 0.0)
        .collect();
    assert!(counted.is_empty(), "nothing happened yet: {counted:?}");
    assert_eq!(scrape.sum("agent_host_service_level", &[]), 1.0, "exactly one level");
}

#[tokio::test]
async fn each_metric_is_still_as_declared_after_all_kinds_of_trouble() {
    let bad = Plugin::misbehaving("bad").key("restart", "{ max = 1, within = \"60s\" }");
    let host = Setup::echo().plugin(bad).plugin(Plugin::at("down", "/nonexistent/libdown.so")).start();
    ready(&host).await.unwrap();
    let mut client = Client::connect(&host, "alice-the-canary").await.unwrap();
    client.run("hello").await.unwrap();
    client.run_with("!segv", json!({ "agent": "bad" })).await.unwrap();
    client.run_with("hello", json!({ "agent": "down" })).await.unwrap();
    http::upgrade(host.address, None).await.unwrap();
    let thread = client.run("again").await.unwrap().thread().to_owned();
    client.close().await.unwrap();
    let scrape = eventually("the crash is counted", async || {
        let scrape = Scrape::of(&host).await?;
        // Its message may have been tried on the next generation, too.
        let crashes =
            scrape.sum("agent_host_plugin_crashes_total", &[("plugin", "bad"), ("signal", "SIGSEGV")]);
        if crashes >= 1.0 { Ok(scrape) } else { Err(format!("{:?}", scrape.samples)) }
    })
    .await
    .unwrap();
    as_declared(&scrape).unwrap();
    for sample in &scrape.samples {
        let personal = |value: &String| value.contains("the-canary") || *value == thread;
        assert!(!sample.labels.values().any(personal), "{sample:?} names a person or a thread");
    }
    assert_eq!(scrape.sum("agent_host_plugin_state", &[("plugin", "down"), ("state", "failed")]), 1.0);
    // The one that crashed is being started again: a scrape may come between one state and the next.
    eventually("each has one state", async || {
        let scrape = Scrape::of(&host).await?;
        for plugin in ["echo", "bad", "down"] {
            match scrape.sum("agent_host_plugin_state", &[("plugin", plugin)]) {
                1.0 => {}
                states => return Err(format!("{plugin} has {states}")),
            }
        }
        Ok(())
    })
    .await
    .unwrap();
}

/// Events of one type under one kind of speaker, in what a client saw.
fn seen(runs: &[Run], kind: &str, fallback: bool) -> f64 {
    let events = runs.iter().flat_map(|run| &run.events);
    let matching = events.filter(|event| event["type"] == kind && (event["agent"] == "fallback") == fallback);
    matching.count() as f64
}

#[tokio::test]
async fn the_host_counts_what_its_client_counts() {
    let host = Setup::echo().plugin(Plugin::at("down", "/nonexistent/libdown.so")).start();
    ready(&host).await.unwrap();
    let mut client = Client::connect(&host, "alice").await.unwrap();
    let mut runs = Vec::new();
    for _ in 0..3 {
        runs.push(client.run("hello").await.unwrap());
    }
    for _ in 0..2 {
        runs.push(client.run_with("hello", json!({ "agent": "down" })).await.unwrap());
    }
    assert_eq!(http::upgrade(host.address, None).await.unwrap().status, 401);

    let events = runs.iter().map(|run| run.events.len()).sum::<usize>() as f64;
    let mut expected = vec![
        ("agent_host_runs_total", vec![], 5.0),
        ("agent_host_runs_total", vec![("plugin", "echo"), ("outcome", "ok")], 3.0),
        ("agent_host_runs_total", vec![("plugin", "fallback"), ("outcome", "degraded")], 2.0),
        ("agent_host_answers_total", vec![("by", "plugin")], 3.0),
        ("agent_host_answers_total", vec![("by", "fallback")], 2.0),
        ("agent_host_upgrades_total", vec![], 2.0),
        ("agent_host_upgrades_total", vec![("status", "101")], 1.0),
        ("agent_host_upgrades_total", vec![("status", "401")], 1.0),
        ("agent_host_upgrades_total", vec![("status", "500")], 0.0),
        ("agent_host_connections", vec![], 1.0),
        ("agent_host_welcome_seconds_count", vec![], 1.0),
        ("agent_host_run_seconds_count", vec![("plugin", "echo")], 3.0),
        ("agent_host_time_to_first_event_seconds_count", vec![("plugin", "echo")], 3.0),
        ("agent_host_time_to_first_event_seconds_count", vec![("plugin", "fallback")], 0.0),
        ("agent_host_runs_without_terminal_total", vec![], 0.0),
        ("agent_host_events_delivered_total", vec![("surface", "agent-host.v1")], events),
        ("agent_host_run_events_total", vec![], events),
        ("agent_host_run_events_total", vec![("type", "user_message"), ("by", "user")], 5.0),
    ];
    for kind in ["agent_started", "agent_thinking", "tool_executing", "tool_completed", "agent_completed"] {
        for (by, fallback) in [("plugin", false), ("fallback", true)] {
            expected.push((
                "agent_host_run_events_total",
                vec![("type", kind), ("by", by)],
                seen(&runs, kind, fallback),
            ));
        }
    }
    eventually("the host counts the same", async || {
        let scrape = Scrape::of(&host).await?;
        for (name, labels, value) in &expected {
            let found = scrape.sum(name, labels);
            if found != *value {
                return Err(format!("{name} {labels:?} is {found}, not {value}"));
            }
        }
        Ok(())
    })
    .await
    .unwrap();
    let scrape = Scrape::of(&host).await.unwrap();
    let answered_500 = scrape.samples.iter().find(|s| s.labels.get("status").is_some_and(|s| s == "500"));
    assert!(answered_500.is_none(), "a series for 500 exists: {answered_500:?}");
}

#[test]
fn the_judge_of_a_scrape_is_red_for_what_is_not_declared() {
    let mut scrape =
        Scrape::parse("# TYPE agent_host_secret_total counter\nagent_host_secret_total 1\n").unwrap();
    assert!(as_declared(&scrape).is_err(), "everything is missing");
    // Everything declared, as declared …
    for row in rows("docs/metrics.md").into_iter().filter(|row| row.len() == 4) {
        let labels = list(&row[2]).into_iter().map(|label| (label, String::new())).collect();
        scrape.types.insert(row[0].clone(), row[1].clone());
        scrape.helps.insert(row[0].clone(), row[3].clone());
        scrape.samples.push(Sample { name: row[0].clone(), labels, value: 0.0 });
    }
    // … and one that is not.
    assert!(as_declared(&scrape).unwrap_err().contains("secret"));
}

/// What other parts of the host emit once they are there.
const AWAITED: &[&str] = &["ConfigApplied", "ConfigRefused"];

#[test]
fn each_declared_happening_is_emitted_somewhere() {
    let mut sources = String::new();
    gather(&artifacts::root().join("host"), &mut sources);
    // The one happening of the log itself.
    sources
        .push_str(&std::fs::read_to_string(artifacts::root().join("host/telemetry/src/lines.rs")).unwrap());
    let events = rows("docs/log-events.md").into_iter().filter(|row| row.len() == 6);
    let names: Vec<String> = events.map(|row| row[0].clone()).collect();
    assert!(names.len() > 20, "{names:?}");
    for name in names {
        let emitted = sources.contains(&format!("{name} {{"));
        assert!(emitted || AWAITED.contains(&name.as_str()), "{name} is declared and never emitted");
    }
}

/// The host's sources but those that declare.
fn gather(dir: &Path, sources: &mut String) {
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        let source = path.extension().is_some_and(|end| end == "rs");
        if path.is_dir() {
            gather(&path, sources);
        } else if source && !path.ends_with("telemetry/src/happening.rs") {
            sources.push_str(&std::fs::read_to_string(&path).unwrap());
        }
    }
}
