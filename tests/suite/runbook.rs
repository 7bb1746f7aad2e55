//! The runbook: complete, its links lead somewhere, its switches are keys that there are, and its commands do what it says
//! when they are run word for word.

use std::{collections::BTreeSet, path::Path, process::Command};

use crate::{
    harness::{Host, Setup, artifacts, eventually, host::cli, tokens, yaml},
    scenario::ready,
    switches,
};

const PAGE: &str = "docs/runbook.md";

/// A heading's anchor, as the common renderers make it.
fn anchor(heading: &str) -> String {
    let kept = heading.chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
    kept.collect::<String>().trim().to_lowercase().replace(' ', "-")
}

fn headings(page: &str) -> impl Iterator<Item = &str> {
    page.lines().filter_map(|line| line.strip_prefix('#').map(|rest| rest.trim_start_matches('#').trim()))
}

/// The text of a section, up to the next heading.
fn section<'a>(page: &'a str, heading: &str) -> Option<&'a str> {
    let (_, rest) = page.split_once(&format!("\n### {heading}\n"))?;
    Some(rest.split("\n#").next().unwrap_or(rest))
}

/// What is missing in a page: a section, its two halves, or a row.
fn gaps(page: &str) -> Vec<String> {
    let rules = yaml::read("deploy/alerts.yaml").remove(0);
    let groups = rules["groups"].as_array().unwrap().iter();
    let rules: Vec<_> = groups.flat_map(|group| group["rules"].as_array().unwrap().clone()).collect();
    let mut found = Vec::new();
    let mut known = BTreeSet::new();
    for rule in rules.iter().filter(|rule| rule["alert"].is_string()) {
        let name = rule["alert"].as_str().unwrap();
        known.insert(name.to_owned());
        let wanted = format!("{PAGE}#{}", anchor(name));
        if rule["annotations"]["runbook"] != wanted.as_str() {
            found.push(format!("{name} does not lead to {wanted}"));
        }
        match section(page, name) {
            None => found.push(format!("no section for {name}")),
            Some(text) => match text.split_once("\nDo: ") {
                Some((means, acts)) if means.trim().len() > 20 && acts.trim().len() > 20 => {}
                _ => found.push(format!("{name}: no meaning, or nothing to do")),
            },
        }
    }
    let stray =
        headings(page).filter(|heading| heading.starts_with("AgentHost") && !known.contains(*heading));
    found.extend(stray.map(|heading| format!("{heading} is no alert")));

    let cells = |line: &str| -> Vec<String> {
        line.trim_matches('|').split('|').map(|cell| cell.trim().trim_matches('`').to_owned()).collect()
    };
    let events = artifacts::read("docs/log-events.md");
    let events = events.split("\n## ").next().unwrap_or_default();
    let events: Vec<_> = events.lines().filter(|line| line.starts_with("| `")).map(cells).collect();
    assert!(events.len() > 40, "the page of events is read");
    let (_, table) = page.split_once("\n## Log events\n").unwrap_or_default();
    let rows: Vec<_> = table.split("\n## ").next().unwrap_or_default().lines().map(cells).collect();
    for event in &events {
        let row = rows.iter().find(|row| row[0] == event[0]);
        match (row, event[2].as_str()) {
            (None, "warning" | "critical") => found.push(format!("no row for {}", event[0])),
            (Some(row), _) if row.len() != 3 || row[1].len() < 10 || row[2].len() < 10 => {
                found.push(format!("{}: no meaning, or nothing to do", event[0]));
            }
            _ => {}
        }
    }
    let names: BTreeSet<_> = events.iter().map(|event| event[0].clone()).collect();
    let stray = rows.iter().filter(|row| row.len() == 3 && row[0].starts_with(char::is_uppercase));
    found.extend(stray.filter(|row| !names.contains(&row[0])).map(|row| format!("{} is no event", row[0])));
    found
}

#[test]
fn every_alert_and_every_event_that_wants_somebody_to_look_says_what_it_means_and_what_to_do() {
    assert_eq!(gaps(&artifacts::read(PAGE)), [""; 0]);
}

/// The twin.
#[test]
fn a_section_a_row_or_an_action_that_is_missing_is_found() {
    let page = artifacts::read(PAGE);
    for (from, to, gap) in [
        ("### AgentHostDown\n", "### AgentHostGone\n", "no section for AgentHostDown"),
        ("### AgentHostDown\n", "### AgentHostGone\n", "AgentHostGone is no alert"),
        (
            "\nDo: roll back, keep the log, report it.",
            "",
            "AgentHostAnswered500: no meaning, or nothing to do",
        ),
        ("| `StoreFailed` |", "| `StoreBroke` |", "no row for StoreFailed"),
        ("| `StoreFailed` |", "| `StoreBroke` |", "StoreBroke is no event"),
    ] {
        assert!(page.contains(from), "{from}");
        let found = gaps(&page.replace(from, to));
        assert!(found.iter().any(|one| one == gap), "{gap}: {found:?}");
    }
}

#[test]
fn every_link_leads_somewhere() {
    let page = artifacts::read(PAGE);
    let own: BTreeSet<String> = headings(&page).map(anchor).collect();
    let mut links = 0;
    for target in page.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
        links += 1;
        let (file, part) = target.split_once('#').unwrap_or((target, ""));
        if file.is_empty() {
            assert!(own.contains(part), "no heading for #{part}");
        } else {
            let path = artifacts::root().join("docs").join(file);
            let text = std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{target}: {e}"));
            assert!(part.is_empty() || headings(&text).any(|h| anchor(h) == part), "no heading for {target}");
        }
    }
    assert!(links > 20, "links are found");
}

/// The first fenced block of shell below these words.
fn block<'a>(page: &'a str, below: &str) -> &'a str {
    let (_, rest) = page.split_once(below).unwrap_or_else(|| panic!("{below:?} is not in the page"));
    let (_, rest) = rest.split_once("```sh\n").expect("a block follows");
    rest.split("```").next().expect("it ends")
}

/// Runs a block word for word, with the variables that the page speaks of.
fn run(block: &str, host: &Host, folder: &Path) -> String {
    let bin = artifacts::host().parent().expect("it lies in a folder").to_owned();
    let path = format!("{}:{}", bin.display(), std::env::var("PATH").unwrap());
    let output = Command::new("sh")
        .args(["-c", block])
        .env("TOKEN", tokens::of("alice"))
        .env("HOST", format!("http://{}", host.address))
        .env("PATH", path)
        .current_dir(folder)
        .output()
        .expect("a shell");
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

#[tokio::test]
async fn the_whole_curl_line_gets_its_101_and_the_welcome_and_the_reports_own_says_what_it_lacks() {
    let host = Setup::echo().start();
    ready(&host).await.unwrap();
    let (page, folder) = (artifacts::read(PAGE), tempfile::tempdir().unwrap());
    let whole = block(&page, "whole upgrade");
    let said = run(whole, &host, folder.path());
    assert!(said.starts_with("HTTP/1.1 101 Switching Protocols"), "{said}");
    assert!(said.contains(r#""type":"welcome""#) && said.contains(r#""level":"full""#), "{said}");

    let incomplete = block(&page, "has no key");
    assert_eq!(incomplete.lines().count() + 1, whole.lines().count(), "all of it but the key");
    let said = run(incomplete, &host, folder.path());
    assert!(said.starts_with("HTTP/1.1 400 Bad Request") && said.contains("upgrade.missing_key"), "{said}");
    assert!(said.contains("no Sec-WebSocket-Key header"), "it says what is missing: {said}");
    // And the command that it shows works as it stands.
    let (_, body) = said.split_once("\r\n\r\n").expect("a body");
    // What follows is curl's own talk.
    let mut values = serde_json::Deserializer::from_str(body).into_iter::<serde_json::Value>();
    let problem = values.next().expect("a problem document").unwrap();
    let hint = problem["hint"].as_str().expect("a hint").to_owned();
    let said = run(&hint, &host, folder.path());
    assert!(said.starts_with("HTTP/1.1 101") && said.contains(r#""type":"welcome""#), "{hint}: {said}");
}

#[tokio::test]
async fn the_first_looks_commands_work_as_they_stand() {
    let host = Setup::echo().set("limits.messages_per_minute", "0").start();
    ready(&host).await.unwrap();
    let (page, folder) = (artifacts::read(PAGE), tempfile::tempdir().unwrap());
    std::fs::write(folder.path().join("token"), tokens::of("alice")).unwrap();
    let commands = block(&page, "in this order:");
    let line = |begins: &str| {
        let found = commands.lines().find(|line| line.starts_with(begins));
        found.unwrap_or_else(|| panic!("no {begins}")).to_owned()
    };
    // It has limits of its own: what it says of a machine that stalls is right, and another matter.
    let verify = line("agent-host verify");
    eventually("the host is well", async || match run(&verify, &host, folder.path()) {
        said if said.contains("run (echo)") && !said.contains("FAILED") => Ok(()),
        said => Err(said),
    })
    .await
    .unwrap();
    let said = run(&line("curl -s"), &host, folder.path());
    assert!(said.contains(r#""level":"full""#) && said.contains(r#""self_check""#), "{said}");
    let said = run("agent-host explain store.unavailable", &host, folder.path());
    assert!(said.contains("store.unavailable"), "{said}");
    // Those that need the operators' listener are held to what the program knows.
    for begins in ["agent-host status", "agent-host plugins list", "agent-host plugins why ID"] {
        let line = line(begins);
        let known = run(&format!("{} --help", begins.replace("ID", "echo")), &host, folder.path());
        assert!(known.contains("--config"), "{line}: {known}");
    }
}

/// The rows of the table of switches.
fn rows(page: &str) -> impl Iterator<Item = &str> {
    let (_, table) = page.split_once("\n### Switching off one behaviour\n").expect("the section");
    table.lines().filter(|line| line.starts_with("| ") && line.contains("`["))
}

/// `[section]` `key = value`, for each row of the table of switches.
fn switches(page: &str) -> Vec<(String, String)> {
    let rows = rows(page).map(|row| {
        let codes: Vec<&str> = row.split('`').skip(1).step_by(2).collect();
        (codes[0].to_owned(), codes[1].to_owned())
    });
    rows.collect()
}

/// What the runbook says of switches and the suite does not show, and the other way round.
fn unproved(page: &str) -> Vec<String> {
    let named: BTreeSet<(String, String)> = switches(page).into_iter().collect();
    let held = switches::all().map(|one| (one.section.to_owned(), one.off.to_owned())).collect();
    named.symmetric_difference(&held).map(|(section, key)| format!("{section} {key}")).collect()
}

#[test]
fn every_switch_is_tried_in_a_host_that_serves() {
    assert_eq!(unproved(&artifacts::read(PAGE)), [""; 0]);
}

/// The twin.
#[test]
fn a_switch_that_is_not_tried_is_found() {
    let page = artifacts::read(PAGE);
    for (from, to, gap) in [
        ("`spares = 0`", "`network = []`", "[plugins.ID] network = []"),
        ("`spares = 0`", "`network = []`", "[plugins.ID] spares = 0"),
    ] {
        assert!(page.contains(from), "{from}");
        let found = unproved(&page.replace(from, to));
        assert!(found.iter().any(|one| one == gap), "{gap}: {found:?}");
    }
}

#[test]
fn every_switch_is_a_key_of_the_configuration() {
    let switches = switches(&artifacts::read(PAGE));
    for behaviour in ["enabled = false", "retry = false", "breaker = false", "spares = 0"] {
        assert!(switches.iter().any(|(_, key)| key == behaviour), "{behaviour}: {switches:?}");
    }
    for (section, key) in switches {
        let section = section.replace("ID", "other").replace("plugins.supervisor", "plugins.other");
        let mut text = format!("\n{section}\n{key}\n");
        if section.contains("plugins.other") {
            text = format!(
                "\n[plugins.other]\npath = \"libother.so\"\n{}",
                match section.as_str() {
                    "[plugins.other]" => format!("{key}\n"),
                    _ => text,
                }
            );
        }
        let setup = match section.as_str() {
            "[gateway]" | "[self_check]" => {
                let name = section.trim_matches(['[', ']']);
                let (key, value) = key.split_once(" = ").unwrap();
                Setup::new().set(&format!("{name}.{key}"), value)
            }
            _ => Setup::new().append(&text),
        };
        let output = cli(&["config", "validate"], &setup);
        assert_eq!(output.status.code(), Some(0), "{section} {key}: {output:?}");
    }
}
