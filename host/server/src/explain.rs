//! `explain CODE`: what an error code means and what to do, from the one table of codes.

use std::{collections::BTreeMap, fmt::Write as _};

use agent_plugin_protocol::Code;
use serde::Serialize;

use crate::{
    cli::{ExplainArgs, Output},
    exit::{self, Exit, Failure},
};

/// Explains a code, lists a group of codes, or lists all.
pub(crate) fn run(args: &ExplainArgs) -> Result<(), Failure> {
    let asked = asked(args.code.as_deref())?;
    let text = match (args.output, &asked) {
        (Output::Table, Asked::One(code)) => text(*code),
        (Output::Table, Asked::Several(codes)) => list(codes),
        (Output::Json, Asked::One(code)) => json(&Explained::from(*code))?,
        (Output::Json, Asked::Several(codes)) => {
            json(&codes.iter().copied().map(Explained::from).collect::<Vec<_>>())?
        }
    };
    exit::say(text.trim_end())
}

#[derive(Debug, PartialEq, Eq)]
enum Asked {
    One(Code),
    Several(Vec<Code>),
}

fn asked(name: Option<&str>) -> Result<Asked, Failure> {
    let Some(name) = name else { return Ok(Asked::Several(Code::ALL.to_vec())) };
    let name = name.trim().to_lowercase();
    if let Some(code) = Code::parse(&name) {
        return Ok(Asked::One(code));
    }
    let wanted = name.trim_end_matches(['.', '*']);
    let group: Vec<Code> = Code::ALL.iter().copied().filter(|code| group_of(*code) == wanted).collect();
    if group.is_empty() { Err(unknown(&name)) } else { Ok(Asked::Several(group)) }
}

fn unknown(name: &str) -> Failure {
    let shown = agent_host_core::sanitise::line(name, 80);
    let near = near(name);
    let hint = match near[..] {
        [] => "`agent-host explain` lists all".to_owned(),
        [one] => format!("did you mean {one}?"),
        _ => format!("did you mean one of {}?", near.join(", ")),
    };
    Failure::new(Exit::Failed, format!("there is no code {shown:?}; {hint}"))
}

/// Codes that look like it, or whose second half is it, the likest first.
fn near(name: &str) -> Vec<&'static str> {
    let mut near: Vec<(usize, &str)> = Code::ALL
        .iter()
        .map(|code| code.as_str())
        .filter_map(|code| {
            let whole = distance(name, code);
            let tail = code.split_once('.').map_or(whole, |(_, tail)| distance(name, tail) + 1);
            let least = whole.min(tail);
            (least <= 1 + name.chars().count() / 4).then_some((least, code))
        })
        .collect();
    near.sort();
    near.into_iter().take(3).map(|(_, code)| code).collect()
}

/// Letters to insert, take out or change, to make one text of the other.
fn distance(a: &str, b: &str) -> usize {
    // Bounded: the text may be anything that was pasted.
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().take(80).collect(), b.chars().collect());
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.iter().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let change = diagonal + usize::from(x != y);
            diagonal = row[j + 1];
            row[j + 1] = change.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}

#[derive(Serialize)]
struct Explained {
    code: &'static str,
    meaning: &'static str,
    retryable: bool,
    remedy: &'static str,
}

impl From<Code> for Explained {
    fn from(code: Code) -> Self {
        Self {
            code: code.as_str(),
            meaning: code.meaning(),
            retryable: code.retryable(),
            remedy: code.remedy(),
        }
    }
}

fn json(value: &impl Serialize) -> Result<String, Failure> {
    serde_json::to_string_pretty(value).map_err(|error| Failure::new(Exit::Failed, error.to_string()))
}

fn group_of(code: Code) -> &'static str {
    code.as_str().split('.').next().unwrap_or_default()
}

fn list(codes: &[Code]) -> String {
    let mut groups: BTreeMap<&str, Vec<Code>> = BTreeMap::new();
    for code in codes {
        groups.entry(group_of(*code)).or_default().push(*code);
    }
    let mut text = String::new();
    for (group, codes) in groups {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{group}");
        for code in codes {
            let _ = writeln!(text, "  {:<28} {}", code.as_str(), code.meaning());
        }
    }
    text
}

fn text(code: Code) -> String {
    let again = if code.retryable() { "the same may succeed later" } else { "the same will fail again" };
    format!(
        "{code}\n  what happened: {}\n  trying again:  {again}\n  what to do:    {}",
        code.meaning(),
        code.remedy()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_is_explained() {
        for code in Code::ALL {
            assert!(text(*code).contains(code.remedy()));
            assert_eq!(asked(Some(code.as_str())).unwrap(), Asked::One(*code));
        }
    }

    #[test]
    fn a_group_and_all_are_listed() {
        let Ok(Asked::Several(store)) = asked(Some("store.")) else { panic!("it is a group") };
        assert!(store.contains(&Code::StoreFull) && store.len() < Code::ALL.len());
        assert_eq!(asked(None).unwrap(), Asked::Several(Code::ALL.to_vec()));
        assert_eq!(list(Code::ALL).lines().filter(|line| line.starts_with("  ")).count(), Code::ALL.len());
    }

    #[test]
    fn a_near_miss_is_named_and_nonsense_is_not() {
        for (written, meant) in [
            ("plugin.crashd", "plugin.crashed"),
            ("crashed", "plugin.crashed"),
            ("auth.expird", "auth.expired"),
        ] {
            assert_eq!(near(written).first(), Some(&meant), "{written}");
            assert!(asked(Some(written)).is_err());
        }
        assert_eq!(near("what is this all about"), [""; 0]);
    }

    #[test]
    fn distances_are_those_of_letters() {
        for (a, b, expected) in [("", "abc", 3), ("abc", "abc", 0), ("kitten", "sitting", 3), ("ab", "ba", 2)]
        {
            assert_eq!(distance(a, b), expected, "{a} {b}");
        }
    }
}
