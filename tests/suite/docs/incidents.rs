//! An incident's page names the tests that would be red if it happened again: those tests exist.

use std::{collections::BTreeSet, fs, path::Path};

use crate::harness::artifacts;

/// The names that a page gives as tests: behind `Held by:`, up to the paragraph's end, and in the last cell of a row.
fn named(page: &str) -> BTreeSet<String> {
    let held = page.split("Held by:").skip(1).filter_map(|rest| rest.split("\n\n").next());
    let cells = page.lines().filter(|line| line.starts_with('|')).filter_map(|line| line.rsplit('|').nth(1));
    held.chain(cells).flat_map(|text| text.split('`').skip(1).step_by(2)).map(str::to_owned).collect()
}

/// What a page tells without naming a test for it: a numbered why, a row of a table.
fn untested(page: &str) -> Vec<&str> {
    let whys = page.split("\n\n**").skip(1);
    let open = whys.filter(|why| !why.contains("\nHeld by: `")).filter_map(|why| why.lines().next());
    let rows = page.lines().filter(|line| line.starts_with('|')).filter(|line| {
        let last = line.rsplit('|').nth(1).unwrap_or_default().trim();
        // The head of a table, and the line below it, are no rows.
        !last.starts_with('`') && last != "test" && !last.starts_with("---")
    });
    open.chain(rows).collect()
}

/// Every function of a file of Rust that may be a test, and every twin.
fn gather(dir: &Path, names: &mut BTreeSet<String>) {
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() && !path.ends_with("target") {
            gather(&path, names);
        } else if path.extension().is_some_and(|end| end == "rs") {
            let text = fs::read_to_string(&path).unwrap();
            let mut after_test = false;
            for line in text.lines().map(str::trim) {
                let function = line.split_once("fn ").map(|(_, name)| word(name));
                match function {
                    Some(name) if after_test => drop(names.insert(name)),
                    // A twin's two hosts, each its own test, and the scenario that both are held against.
                    None if line.contains(") on ") && line.ends_with(';') => {
                        let (name, scenario) = line.split_once('(').unwrap_or((line, ""));
                        names.extend([word(name), word(scenario)]);
                    }
                    _ => {}
                }
                // Attributes and comments may stand between the mark and the function.
                after_test = match line {
                    _ if line.starts_with("#[test]") || line.starts_with("#[tokio::test") => true,
                    _ if line.starts_with("#[") || line.starts_with("//") => after_test,
                    _ => false,
                };
            }
        }
    }
}

fn word(text: &str) -> String {
    text.chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '_').collect()
}

#[test]
fn each_test_that_an_incident_names_exists() {
    let mut tests = BTreeSet::new();
    for dir in ["host", "plugin-api", "tests"] {
        gather(&artifacts::root().join(dir), &mut tests);
    }
    for entry in fs::read_dir(artifacts::root().join("docs/incidents")).unwrap() {
        let path = entry.unwrap().path();
        let page = fs::read_to_string(&path).unwrap();
        assert_eq!(untested(&page), [""; 0], "{path:?} tells of this without a test");
        let named = named(&page);
        assert!(named.len() >= 5, "{path:?} names too few tests: {named:?}");
        let unknown: Vec<_> = named.difference(&tests).collect();
        assert!(unknown.is_empty(), "{path:?} names tests that do not exist: {unknown:?}");
    }
}

#[test]
fn what_is_told_without_a_test_is_noticed() {
    let page = "# 1\n\n**1. Why?** Because.\n\nHeld by: `a`.\n\n**2. And why that?** Because.\n\n## More\n\n\
                | found | test |\n|---|---|\n| x | `b` |\n| y | none |\n";
    assert_eq!(untested(page), ["2. And why that?** Because.", "| y | none |"]);
}

#[test]
fn a_name_that_is_no_test_is_noticed() {
    let page =
        "Held by: `each_test_that_an_incident_names_exists`,\n`gather`.\n\nand `prose`\n| a | b | `row` |\n";
    let named = named(page);
    assert_eq!(
        named.iter().map(String::as_str).collect::<Vec<_>>(),
        ["each_test_that_an_incident_names_exists", "gather", "row"]
    );
    let mut tests = BTreeSet::new();
    gather(&artifacts::root().join("tests/suite/docs"), &mut tests);
    assert!(
        tests.contains("each_test_that_an_incident_names_exists") && !tests.contains("gather"),
        "{tests:?}"
    );
}
