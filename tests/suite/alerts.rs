//! What ships for watching: recording rules and alerts, their own tests, the dashboard. Each name in them is one that the
//! host has, each alert fires on the host that it is for and on no steady one.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    process::Command,
};

use serde_json::{Value, json};

use crate::harness::{artifacts, yaml};

const RULES: &str = "deploy/alerts.yaml";
const CASES: &str = "deploy/alerts.test.yaml";

/// Runs `promtool` in a folder; what it said, and whether it was content.
fn promtool(folder: &Path, arguments: &[&str]) -> (bool, String) {
    let run = Command::new("promtool").args(arguments).current_dir(folder).output();
    let output = run.unwrap_or_else(|error| {
        panic!("promtool: {error}; it is in Debian's package prometheus, which `tests/run tools` installs")
    });
    let said =
        format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    (output.status.success(), said)
}

/// A rule of the file.
#[derive(Debug)]
struct Rule {
    name: String,
    alert: bool,
    whole: Value,
}

impl Rule {
    fn expression(&self) -> &str {
        self.whole["expr"].as_str().expect("a rule has an expression")
    }
}

fn rules() -> Vec<Rule> {
    let file = yaml::read(RULES).remove(0);
    let groups = file["groups"].as_array().unwrap();
    let rules = groups.iter().flat_map(|group| group["rules"].as_array().unwrap());
    rules
        .map(|rule| {
            let alert = rule["alert"].is_string();
            let name = rule[if alert { "alert" } else { "record" }].as_str().unwrap().to_owned();
            Rule { name, alert, whole: rule.clone() }
        })
        .collect()
}

fn alerts() -> Vec<Rule> {
    rules().into_iter().filter(|rule| rule.alert).collect()
}

#[test]
fn the_rules_are_sound_and_each_alert_fires_and_stays_silent_as_its_cases_say() {
    let deploy = artifacts::root().join("deploy");
    let (sound, said) = promtool(&deploy, &["check", "rules", "alerts.yaml"]);
    assert!(sound && said.contains(&format!("{} rules found", rules().len())), "{said}");
    let (content, said) = promtool(&deploy, &["test", "rules", "alerts.test.yaml"]);
    assert!(content, "{said}");
}

#[test]
fn every_alert_has_a_case_in_which_it_fires_and_is_silent_on_the_steady_host() {
    let cases = yaml::read(CASES).remove(0);
    let (mut fires, mut silent) = (BTreeSet::new(), BTreeSet::new());
    for case in cases["tests"].as_array().unwrap() {
        for check in case["alert_rule_test"].as_array().unwrap() {
            let name = check["alertname"].as_str().unwrap().to_owned();
            match check["exp_alerts"].as_array().unwrap().is_empty() {
                true => assert!(case["name"] == "a steady host" && silent.insert(name)),
                false => assert!(fires.insert(name)),
            }
        }
    }
    let all: BTreeSet<String> = alerts().into_iter().map(|rule| rule.name).collect();
    assert_eq!((&fires, &silent), (&all, &all));
}

/// The twin: with alerts that never fire, or always do, the cases are red, and for each of them.
#[test]
fn the_cases_are_red_for_each_alert_that_never_or_always_fires() {
    let cases = yaml::read(CASES).remove(0);
    let steady = |case: &&Value| case["name"] == "a steady host";
    let all = cases["tests"].as_array().unwrap().iter();
    let (quiet, loud): (Vec<_>, Vec<_>) = all.partition(steady);
    for (cases, broken) in [(loud, "vector(1) > 2"), (quiet, "vector(1)")] {
        let mut rules = yaml::read(RULES).remove(0);
        for group in rules["groups"].as_array_mut().unwrap() {
            for rule in
                group["rules"].as_array_mut().unwrap().iter_mut().filter(|rule| rule["alert"].is_string())
            {
                rule["expr"] = broken.into();
            }
        }
        let folder = tempfile::tempdir().unwrap();
        let tests = json!({ "rule_files": ["alerts.yaml"], "evaluation_interval": "30s", "tests": cases });
        // JSON is YAML.
        std::fs::write(folder.path().join("alerts.yaml"), rules.to_string()).unwrap();
        std::fs::write(folder.path().join("alerts.test.yaml"), tests.to_string()).unwrap();
        let (content, said) = promtool(folder.path(), &["test", "rules", "alerts.test.yaml"]);
        assert!(!content, "{broken}: {said}");
        for alert in alerts() {
            assert!(
                said.contains(&format!("alertname: {},", alert.name)),
                "{} with {broken}: {said}",
                alert.name
            );
        }
    }
}

/// A metric as `docs/metrics.md` has it, which a test of its own holds against the declarations.
struct Declared {
    kind: String,
    labels: BTreeSet<String>,
}

/// The declared metrics, and the values of each label that has a list of them.
fn declared() -> (BTreeMap<String, Declared>, BTreeMap<String, BTreeSet<String>>) {
    let page = artifacts::read("docs/metrics.md");
    let words = |cell: &str| -> BTreeSet<String> {
        let words = cell.split(',').map(|word| word.trim().trim_matches('`').to_owned());
        words.filter(|word| !word.is_empty()).collect()
    };
    let (mut metrics, mut labels) = (BTreeMap::new(), BTreeMap::new());
    for line in page.lines().filter(|line| line.starts_with("| `")) {
        let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
        let name = cells[0].trim_matches('`').to_owned();
        match cells.len() {
            4 => {
                let of = Declared { kind: cells[1].to_owned(), labels: words(cells[2]) };
                metrics.insert(name, of);
            }
            _ => {
                labels.insert(name, words(cells[2]));
            }
        }
    }
    (metrics, labels)
}

/// A selector of an expression: `name{label="value", …}`.
#[derive(Debug, PartialEq, Eq)]
struct Selector {
    name: String,
    matchers: Vec<(String, String)>,
}

/// The selectors of an expression whose metric begins as the host's do.
fn selectors(expression: &str) -> Vec<Selector> {
    let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == ':';
    let mut found = Vec::new();
    let mut rest = expression;
    while let Some(at) = rest.find(is_name) {
        let name: String = rest[at..].chars().take_while(|c| is_name(*c)).collect();
        rest = &rest[at + name.len()..];
        if !name.starts_with("agent_host") && !name.starts_with("process_") {
            continue;
        }
        let mut matchers = Vec::new();
        if let Some(body) = rest.strip_prefix('{') {
            let (inside, after) = body.split_once('}').expect("a selector ends");
            let pairs = inside.split("\",").filter(|pair| !pair.trim().is_empty());
            matchers = pairs
                .map(|pair| {
                    let (label, value) = pair.split_once('=').expect("a matcher has a value");
                    let value = value.trim_matches(|c| matches!(c, '~' | '"' | ' '));
                    (label.trim().trim_end_matches('!').to_owned(), value.to_owned())
                })
                .collect();
            rest = after;
        }
        found.push(Selector { name, matchers });
    }
    found
}

/// What Prometheus adds to every series, and to buckets.
const OF_PROMETHEUS: [&str; 3] = ["job", "instance", "le"];

/// What is wrong about the names in an expression.
fn objections(expression: &str, recorded: &BTreeSet<String>) -> Vec<String> {
    let (metrics, values) = declared();
    let mut found = Vec::new();
    for selector in selectors(expression) {
        if recorded.contains(&selector.name) {
            continue;
        }
        let stem = ["_bucket", "_count", "_sum"].iter().find_map(|end| selector.name.strip_suffix(end));
        let histogram = stem.and_then(|stem| metrics.get(stem)).filter(|of| of.kind == "histogram");
        let Some(metric) = histogram.or_else(|| metrics.get(&selector.name)) else {
            found.push(format!("{} is no metric", selector.name));
            continue;
        };
        if histogram.is_none() && metric.kind == "histogram" {
            found.push(format!("{} is a histogram", selector.name));
        }
        for (label, value) in selector.matchers {
            if OF_PROMETHEUS.contains(&label.as_str()) {
                continue;
            }
            if !metric.labels.contains(&label) {
                found.push(format!("{} has no label {label}", selector.name));
            }
            let known = values.get(&label).filter(|known| !known.is_empty());
            for one in value.split('|') {
                if known.is_some_and(|known| !known.contains(one)) {
                    found.push(format!("{one} is no value of {label}"));
                }
            }
        }
    }
    found
}

fn recorded() -> BTreeSet<String> {
    rules().into_iter().filter(|rule| !rule.alert).map(|rule| rule.name).collect()
}

#[test]
fn every_metric_and_label_of_the_rules_is_one_that_the_host_has() {
    let recorded = recorded();
    for rule in rules() {
        assert_eq!(objections(rule.expression(), &recorded), [""; 0], "{}", rule.name);
    }
}

/// The twin.
#[test]
fn what_is_no_metric_no_label_or_no_value_is_objected_to() {
    let none = BTreeSet::new();
    for (expression, objection) in [
        ("rate(agent_host_upgrade_total[5m])", "agent_host_upgrade_total is no metric"),
        ("sum(agent_host_upgrades_total{state=\"101\"})", "agent_host_upgrades_total has no label state"),
        ("agent_host_service_level{level=\"ful\"} == 1", "ful is no value of level"),
        ("rate(agent_host_run_seconds[5m])", "agent_host_run_seconds is a histogram"),
        ("agent_host:unknown:ratio", "agent_host:unknown:ratio is no metric"),
        ("process_open_fds_bucket", "process_open_fds_bucket is no metric"),
    ] {
        assert_eq!(objections(expression, &none), [objection], "{expression}");
    }
    let fine = "histogram_quantile(0.9, sum by (le) (rate(agent_host_run_seconds_bucket{le=\"1\", plugin=~\"a|b\"}[5m])))";
    assert_eq!(objections(fine, &none), [""; 0]);
}

fn panels() -> Vec<Value> {
    let dashboard: Value = serde_json::from_str(&artifacts::read("deploy/grafana.json")).unwrap();
    dashboard["panels"].as_array().unwrap().clone()
}

/// An expression of the dashboard, with Grafana's variables filled in.
fn filled(expression: &str) -> String {
    let filled = expression.replace("$__rate_interval", "5m").replace("$job", "agent-host");
    let filled = filled.replace("$instance", ".*");
    assert!(!filled.contains('$'), "an unknown variable: {expression}");
    filled
}

fn queries() -> Vec<String> {
    let panels = panels();
    let targets = panels.iter().filter_map(|panel| panel["targets"].as_array()).flatten();
    targets.map(|target| filled(target["expr"].as_str().unwrap())).collect()
}

#[test]
fn the_dashboard_asks_for_what_there_is_and_shows_every_metric() {
    let (recorded, queries) = (recorded(), queries());
    for query in &queries {
        assert_eq!(objections(query, &recorded), [""; 0], "{query}");
    }
    let asked: BTreeSet<String> =
        queries.iter().flat_map(|query| selectors(query)).map(|selector| selector.name).collect();
    let (metrics, _) = declared();
    for name in metrics.keys() {
        let shown = ["", "_bucket"].iter().any(|end| asked.contains(&format!("{name}{end}")));
        assert!(shown, "{name} is on no panel");
    }
    // Whether Prometheus can read them: each as a rule of its own.
    let rules: Vec<Value> = queries
        .iter()
        .enumerate()
        .map(|(n, query)| json!({ "record": format!("q:{n}"), "expr": query }))
        .collect();
    let folder = tempfile::tempdir().unwrap();
    let file = json!({ "groups": [{ "name": "dashboard", "rules": rules }] }).to_string();
    std::fs::write(folder.path().join("queries.yaml"), file).unwrap();
    let (sound, said) = promtool(folder.path(), &["check", "rules", "queries.yaml"]);
    assert!(sound, "{said}");
}

#[test]
fn the_dashboards_panels_lie_beside_each_other() {
    let panels = panels();
    let ids: BTreeSet<u64> = panels.iter().map(|panel| panel["id"].as_u64().unwrap()).collect();
    assert_eq!(ids.len(), panels.len(), "each has an id of its own");
    let mut taken = BTreeSet::new();
    for panel in &panels {
        let at = |key: &str| panel["gridPos"][key].as_u64().unwrap();
        for (x, y) in
            (at("x")..at("x") + at("w")).flat_map(|x| (at("y")..at("y") + at("h")).map(move |y| (x, y)))
        {
            assert!(x < 24 && taken.insert((x, y)), "{} lies over another", panel["title"]);
        }
    }
}
