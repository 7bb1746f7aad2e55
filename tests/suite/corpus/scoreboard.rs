//! The scoreboard: the whole table, several times over, among hundreds of other sessions; printed, and written to
//! `docs/scoreboard.md` by `tests/run scoreboard`.

use std::{collections::BTreeMap, fmt::Write as _, time::Duration};

use super::{
    case::{Case, InProcess, Tier, What},
    play::{Outcome, Played, play, promised, setup},
    table,
};
use crate::{
    client::Client,
    harness::{artifacts, host::plain_cli},
    sandbox,
    scenario::ready,
};

/// How often each case is played.
const ROUNDS: usize = 3;
/// Other sessions at the same time.
const OTHERS: usize = 500;

/// One line: a case in a tier.
struct Line {
    row: u8,
    name: String,
    tier: Tier,
    outcome: String,
    codes: Vec<String>,
    answered: Vec<Duration>,
    recovered: Vec<Duration>,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "five hundred sessions for a minute or two; part of tests/run long, and tests/run scoreboard"]
async fn the_whole_corpus_is_survived() {
    let mut lines = Vec::new();
    for tier in [Tier::Worker, Tier::InProcess] {
        let mut rounds: Vec<Played> = Vec::new();
        for round in 1..=ROUNDS {
            let folder = tempfile::tempdir().unwrap();
            let (starts, acts): (Vec<Case>, Vec<Case>) = promised(tier, table::all(folder.path()))
                .into_iter()
                .partition(|case| matches!(case.what, What::Start { .. } | What::Any { .. }));
            for cases in [starts, acts] {
                let begun = std::time::Instant::now();
                let mut host = setup(tier, &cases).start();
                rounds.extend(play(&mut host, &cases, OTHERS).await);
                println!("{}, round {round}: {} cases in {:?}", tier.name(), cases.len(), begun.elapsed());
            }
        }
        lines.extend(gathered(tier, rounds));
    }
    let folder = tempfile::tempdir().unwrap();
    let mut page = page(&lines, &table::all(folder.path()));
    attacks(&mut page).await;
    println!("{page}");
    let wrong: Vec<&Line> = lines.iter().filter(|line| line.outcome.starts_with("WRONG")).collect();
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(artifacts::root().join("docs/scoreboard.md"), &page).unwrap();
    }
    assert!(wrong.is_empty(), "{} lines are wrong; see above", wrong.len());
}

/// What the attacks of row 31 came to, by a plugin that means harm: `sandbox.rs` holds that each is refused.
async fn attacks(page: &mut String) {
    let host = sandbox::setup().start();
    ready(&host).await.unwrap();
    let mut client = Client::connect(&host, "mallory").await.unwrap();
    page.push_str("\n## Attacks from a worker\n\nThe host runs as root here, which is the harder case.\n\n| attack | came to |\n|---|---|\n");
    let mut told = std::collections::BTreeSet::new();
    for attack in sandbox::attacks(&host) {
        let said = sandbox::attempt(&mut client, &attack).await.unwrap();
        // Paths and process ids are this run's own.
        let name = attack.split(' ').next().unwrap_or_default();
        let what = attack.split(' ').nth(1).and_then(|what| what.rsplit('/').next()).unwrap_or_default();
        let what = if what.parse::<u32>().is_ok() { "another process" } else { what };
        let (came, _) = said.split_once(" (os error").unwrap_or((&said, ""));
        let row = format!("| {} | {} |", format!("{name} {what}").trim(), came.replace(['|', '\n'], " "));
        if told.insert(row.clone()) {
            page.push_str(&row);
            page.push('\n');
        }
    }
}

fn gathered(tier: Tier, rounds: Vec<Played>) -> Vec<Line> {
    let mut lines: BTreeMap<(u8, String), Line> = BTreeMap::new();
    for played in rounds {
        let line = lines.entry((played.row, played.name.clone())).or_insert_with(|| Line {
            row: played.row,
            name: played.name.clone(),
            tier,
            outcome: word(&played.outcome),
            codes: Vec::new(),
            answered: Vec::new(),
            recovered: Vec::new(),
        });
        if let Outcome::Wrong(_) = &played.outcome {
            line.outcome = word(&played.outcome);
        }
        if !played.code.is_empty() && !line.codes.contains(&played.code) {
            line.codes.push(played.code);
        }
        line.answered.push(played.answered);
        line.recovered.extend(played.recovered);
    }
    lines.into_values().collect()
}

fn word(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Refused => "refused; fallback answered".to_owned(),
        Outcome::Recovered => "run completed; healthy again".to_owned(),
        Outcome::Contained => "whole run; healthy".to_owned(),
        Outcome::Survived => "answered".to_owned(),
        Outcome::Wrong(objection) => format!("WRONG: {}", objection.replace(['|', '\n'], " ")),
    }
}

fn page(lines: &[Line], cases: &[Case]) -> String {
    let mut page = String::from("# Scoreboard\n\n");
    let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let survived = lines.iter().filter(|line| !line.outcome.starts_with("WRONG")).count();
    let _ = writeln!(
        page,
        "Made by `tests/run scoreboard`: every way to be bad that the suite knows, in each tier that promises to live \
         with it. {survived} of {} lines survived ({} cases).\n",
        lines.len(),
        cases.len()
    );
    let _ = writeln!(
        page,
        "A line is {ROUNDS} rounds against a debug build of the host, all cases of a kind at once in one host, beside \
         {OTHERS} other sessions that must lose nothing. *Answered* is the time from the message to the end of its run; \
         *well again* from there until the plugin itself answered: median and maximum, in milliseconds, on a machine \
         with two busy cores. A hang is answered when its clock of one second runs out. Times are quoted, not \
         asserted. Linux {}.\n",
        kernel.trim()
    );
    let _ = writeln!(page, "In force around a worker here: {}.\n", layers());
    page.push_str("| fault | case | tier | outcome | code | answered | well again |\n|---:|---|---|---|---|---:|---:|\n");
    for line in lines {
        let codes: Vec<String> = line.codes.iter().map(|code| format!("`{code}`")).collect();
        let _ = writeln!(
            page,
            "| {} | {} | {} | {} | {} | {} | {} |",
            line.row,
            line.name,
            line.tier.name(),
            line.outcome,
            codes.join(" "),
            spread(&line.answered),
            spread(&line.recovered)
        );
    }
    page.push_str("\n## What the tier in the host's process does not promise\n\n| case | why |\n|---|---|\n");
    for case in cases {
        if let InProcess::NotPromised(why) = case.in_process {
            let _ = writeln!(page, "| {} | {why} |", case.name);
        }
    }
    page
}

/// Median and maximum.
fn spread(times: &[Duration]) -> String {
    let mut times: Vec<u128> = times.iter().map(Duration::as_millis).collect();
    times.sort_unstable();
    match (times.get(times.len() / 2), times.last()) {
        (Some(median), Some(most)) => format!("{median} / {most}"),
        _ => String::new(),
    }
}

/// The layers of the sandbox, as `check` tells them.
fn layers() -> String {
    let path = artifacts::echo();
    let output = plain_cli(&["check", path.to_str().expect("UTF-8"), "--output", "json"], &[]);
    let checked: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
    let layers = checked["plugins"][0]["sandbox"].as_object().cloned().unwrap_or_default();
    // The word only: a reason may name what is this machine's alone.
    let told =
        layers.iter().map(|(layer, how)| format!("{layer} {}", how["state"].as_str().unwrap_or("unknown")));
    told.collect::<Vec<_>>().join(", ")
}
