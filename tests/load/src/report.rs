//! What was measured, as a table to read and as JSON to compare.

use std::fmt::Write;

use serde::Serialize;

use crate::{
    bench::{Bench, Figure, median},
    goal::{self, Goal},
    machine::Place,
    server::Subject,
};

/// A whole run.
#[derive(Debug, Serialize)]
pub struct Report<'a> {
    place: Place,
    quick: bool,
    rounds: usize,
    goals: Vec<Goal>,
    figures: &'a [Figure],
    failures: &'a [String],
}

impl<'a> Report<'a> {
    /// Of what the bench has measured.
    pub fn of(bench: &'a Bench) -> Self {
        Self {
            place: Place::here(),
            quick: bench.quick,
            rounds: bench.rounds,
            goals: goal::judge(bench),
            figures: bench.figures(),
            failures: bench.failures(),
        }
    }

    /// As Markdown, to be pasted into `docs/performance.md`.
    pub fn markdown(&self) -> String {
        let mut text = self.head();
        text.push_str("\n| goal | at most | measured | |\n|---|---:|---:|---|\n");
        for goal in &self.goals {
            let measured = goal.measured.map_or_else(|| "–".to_owned(), number);
            let (at_most, verdict) = (number(goal.at_most), goal.verdict());
            line(&mut text, format!("| {} | {at_most} {} | {measured} | {verdict} |", goal.what, goal.unit));
        }
        text.push_str("\n| what | server | connections | median | min | max | × floor | load |\n");
        text.push_str("|---|---|---:|---:|---:|---:|---:|---:|\n");
        for figure in self.figures {
            line(&mut text, self.row(figure));
        }
        if !self.failures.is_empty() {
            text.push_str("\nNot measured:\n");
            self.failures
                .iter()
                .for_each(|failure| line(&mut text, format!("* {}", failure.replace('\n', " "))));
        }
        text
    }

    fn head(&self) -> String {
        let Place { processor, cores, kernel, commit, at } = &self.place;
        let quick = if self.quick {
            " **Quick mode: it shows that all works, the figures mean little.**"
        } else {
            ""
        };
        format!(
            "{at} UTC, commit `{commit}`, {processor}, {cores} cores, Linux {kernel}; {} rounds.{quick}\n",
            self.rounds
        )
    }

    fn row(&self, figure: &Figure) -> String {
        let Figure { what, subject, size, load, .. } = figure;
        let floor = self
            .figures
            .iter()
            .find(|floor| (floor.what, floor.subject, floor.size) == (*what, Subject::Floor.name(), *size));
        let ratio = floor.map(|floor| figure.median() / floor.median()).filter(|ratio| ratio.is_finite());
        let [middle, min, max, load] =
            [figure.median(), figure.min(), figure.max(), median(load)].map(number);
        let ratio = ratio.map_or_else(|| "–".to_owned(), number);
        format!("| {what} | {subject} | {size} | {middle} | {min} | {max} | {ratio} | {load} |")
    }
}

fn line(text: &mut String, line: String) {
    writeln!(text, "{line}").expect("a String takes all that is written");
}

/// Three digits that say something.
fn number(value: f64) -> String {
    match value.abs() {
        large if large >= 100.0 => format!("{value:.0}"),
        medium if medium >= 10.0 => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_three_digits() {
        assert_eq!([1234.4, 12.34, 1.234, 0.0].map(number), ["1234", "12.3", "1.23", "0.00"]);
    }
}
