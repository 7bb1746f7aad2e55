//! What came of each step: a table for people, JSON for programs, and the exit status.

use std::{fmt::Write as _, time::Instant};

use agent_host_core::sanitise;
use serde_json::json;

use super::Not;
use crate::{cli::Output, exit::Exit};

/// How a step went.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// With what was seen.
    Held(String),
    /// With why.
    Failed(String),
    /// With why it was not tried.
    Skipped(&'static str),
}

/// One step.
#[derive(Debug)]
struct Step {
    name: String,
    outcome: Outcome,
    ms: u128,
}

/// All steps, in order.
#[derive(Debug)]
pub(super) struct Report {
    url: String,
    steps: Vec<Step>,
    /// Nobody was there.
    pub(super) unreachable: bool,
}

impl Report {
    pub(super) fn new(url: String) -> Self {
        Self { url, steps: Vec::new(), unreachable: false }
    }

    /// Notes a step that began then.
    pub(super) fn note(&mut self, name: &str, begun: Instant, result: Result<String, Not>) {
        self.steps.push(Step {
            name: name.to_owned(),
            outcome: result.into(),
            ms: begun.elapsed().as_millis(),
        });
    }

    fn failed(&self) -> usize {
        self.steps.iter().filter(|step| matches!(step.outcome, Outcome::Failed(_))).count()
    }

    /// `None`: all that was tried held.
    pub(super) fn exit(&self) -> Option<Exit> {
        match (self.failed(), self.unreachable) {
            (0, _) => None,
            (_, true) => Some(Exit::Unreachable),
            (_, false) => Some(Exit::Failed),
        }
    }

    pub(super) fn shown(&self, form: Output) -> String {
        match form {
            Output::Table => self.table(),
            Output::Json => self.json(),
        }
    }

    fn table(&self) -> String {
        let mut out = String::new();
        for Step { name, outcome, ms } in &self.steps {
            let (word, detail) = words(outcome);
            // Writing to a `String` cannot fail.
            let _ = writeln!(out, "{word:<8}{name:<22}{ms:>6} ms   {}", sanitise::line(detail, 300));
        }
        let _ = match self.failed() {
            0 => write!(out, "{} holds", self.url),
            1 => write!(out, "{}: 1 step failed", self.url),
            failed => write!(out, "{}: {failed} steps failed", self.url),
        };
        out
    }

    fn json(&self) -> String {
        let steps = self.steps.iter().map(|Step { name, outcome, ms }| {
            let (word, detail) = words(outcome);
            json!({ "step": name, "outcome": word, "ms": ms, "detail": detail })
        });
        json!({ "url": self.url, "ok": self.failed() == 0, "steps": steps.collect::<Vec<_>>() }).to_string()
    }
}

fn words(outcome: &Outcome) -> (&'static str, &str) {
    match outcome {
        Outcome::Held(detail) => ("ok", detail),
        Outcome::Failed(reason) => ("FAILED", reason),
        Outcome::Skipped(why) => ("skipped", why),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_failure_is_the_whole_s_and_a_skipped_step_is_none() {
        let mut report = Report::new("ws://x/ws".to_owned());
        report.note("level", Instant::now(), Ok("full".to_owned()));
        report.note("stranger", Instant::now(), Err(Not::Tried("no other token")));
        assert!(report.exit().is_none() && report.table().ends_with("ws://x/ws holds"));
        report.note("cancel", Instant::now(), Err(Not::Held("no end\u{1b}[31m".to_owned())));
        assert_eq!(report.exit(), Some(Exit::Failed));
        let table = report.table();
        assert!(
            table.contains("FAILED  cancel") && table.ends_with("1 step failed") && !table.contains('\u{1b}')
        );
        let json: serde_json::Value = serde_json::from_str(&report.json()).unwrap();
        assert_eq!((&json["ok"], &json["steps"][1]["outcome"]), (&false.into(), &"skipped".into()));
    }
}
