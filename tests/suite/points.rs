//! Each point at which the host can be made to fail is used by a test, and each protection that can be switched off has a
//! test that is red without it: a point that nobody uses proves nothing, and hides that something is not tested.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

use crate::{failpoints::upgrade_points, harness::artifacts, start_faults};

/// A point of the source: `area.name`, or the kind of many, `area.`, whose words are made while the host runs.
type Points = BTreeMap<String, Use>;

#[derive(Debug, Default, Clone, Copy)]
struct Use {
    /// The code there asks for `off`.
    protects: bool,
}

/// The text of every Rust file below a folder, by whether it is tests.
fn sources(folder: &Path, texts: &mut Vec<(bool, String)>) {
    for entry in std::fs::read_dir(folder).unwrap().map(Result::unwrap) {
        let path = entry.path();
        let is_rust = path.extension().is_some_and(|extension| extension == "rs");
        if path.is_dir() {
            sources(&path, texts);
        } else if is_rust {
            let within = path.strip_prefix(artifacts::root()).unwrap().to_string_lossy().into_owned();
            let tests =
                within.starts_with("tests/") || within.contains("/tests/") || within.ends_with("/tests.rs");
            texts.push((tests, std::fs::read_to_string(&path).unwrap()));
        }
    }
}

/// Every `failpoint!("…")` and `failpoint!("…" / word)`, and what its statement goes on with.
fn points(source: &str, points: &mut Points) {
    for begin in source.split("failpoint!(").skip(1) {
        // The macro's own definition and its documentation name no point.
        let Some((name, rest)) = begin.trim_start().strip_prefix('"').and_then(|rest| rest.split_once('"'))
        else {
            continue;
        };
        let statement = rest.split([';', '{']).next().unwrap_or_default();
        let of_many = statement.trim_start().starts_with('/');
        let name = if of_many { format!("{name}.") } else { name.to_owned() };
        let asks = statement.contains("== Some(") || statement.contains("!= Some(");
        points.entry(name).or_default().protects |= asks && statement.contains("Action::Off");
    }
}

fn found() -> (Points, String) {
    let (mut texts, mut all) = (Vec::new(), Points::new());
    for folder in ["host", "tests/suite"] {
        sources(&artifacts::root().join(folder), &mut texts);
    }
    let mut tests = String::new();
    for (is_test, text) in &texts {
        if *is_test {
            tests.push_str(text);
        } else {
            points(text, &mut all);
        }
    }
    (all, tests)
}

/// Whether a test sets that point to `off`: by its name, or, of a kind, by a word or a place for one.
fn is_switched_off(point: &str, tests: &str) -> bool {
    let uses = tests.split(point).skip(1).map(|rest| rest.split(['"', ';']).next().unwrap_or_default());
    let mut uses = uses.map(|rest| rest.split_once('='));
    uses.any(|set| {
        set.is_some_and(|(word, how)| how.starts_with("off") && (word.is_empty() || point.ends_with('.')))
    })
}

#[test]
fn each_point_is_used_and_each_protection_has_been_red() {
    let (points, tests) = found();
    assert!(points.len() > 100, "too few points to prove anything: {}", points.len());
    // Those that are looked up in the source by the tests that play them.
    let played: BTreeSet<String> = upgrade_points().into_iter().chain(start_faults::points()).collect();
    let is_used = |point: &str| {
        let of_kind = point.ends_with('.') && played.iter().any(|one| one.starts_with(point));
        let named =
            tests.split(point).skip(1).any(|rest| point.ends_with('.') || rest.starts_with(['=', '"']));
        of_kind || named || played.contains(point)
    };
    let unused: Vec<_> = points.keys().filter(|point| !is_used(point)).collect();
    assert!(unused.is_empty(), "no test makes the host fail there: {unused:?}");
    let protections = points.iter().filter(|(_, used)| used.protects).map(|(point, _)| point);
    let never_red: Vec<_> = protections.filter(|point| !is_switched_off(point, &tests)).collect();
    assert!(never_red.is_empty(), "no test shows what a host without it does: {never_red:?}");
}

#[test]
fn a_point_that_is_not_used_is_found() {
    let mut found = Points::new();
    let source = r#"
        let off = failpoint!("a.protection") == Some(Action::Off);
        match failpoint!("a.fault") { None => {} }
        if agent_host_core::failpoint!("a.kind" / word) != Some(agent_host_core::failpoint::Action::Off) {}
    "#;
    points(source, &mut found);
    let found: Vec<_> = found.iter().map(|(name, used)| (name.as_str(), used.protects)).collect();
    assert_eq!(found, [("a.fault", false), ("a.kind.", true), ("a.protection", true)]);
    assert!(is_switched_off("a.protection", r#"broken by "a.other=off;a.protection=off", says"#));
    assert!(!is_switched_off("a.protection", r#"host.inject("a.protection=error");"#));
    assert!(!is_switched_off("a.protection", r#"broken by "a.protection.of=off", says"#));
    assert!(is_switched_off("a.kind.", r#"format!("a.kind.{word}=off")"#));
}
