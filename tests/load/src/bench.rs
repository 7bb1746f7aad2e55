//! Runs scenarios in interleaved rounds and keeps what they gave.

use std::time::Duration;

use serde::Serialize;

use crate::{
    error::Error,
    machine::{Cores, load_average},
    server::{Programs, Server, Subject},
};

/// What is measured with, and what was measured.
#[derive(Debug)]
pub struct Bench {
    /// The servers' programs.
    pub programs: Programs,
    /// Whose core is which.
    pub cores: Cores,
    /// How often each subject's turn comes.
    pub rounds: usize,
    /// How long one turn measures.
    pub span: Duration,
    /// Small sizes and short waits, to see that everything works; the figures mean little.
    pub quick: bool,
    figures: Vec<Figure>,
    failures: Vec<String>,
}

/// One quantity of one subject at one size, over all rounds.
#[derive(Debug, Clone, Serialize)]
pub struct Figure {
    /// What was measured, unit included.
    pub what: &'static str,
    /// Of which server.
    pub subject: &'static str,
    /// At how many connections.
    pub size: usize,
    /// One value for each round.
    pub samples: Vec<f64>,
    /// The load average at each.
    pub load: Vec<f64>,
}

impl Bench {
    /// Nothing measured yet.
    pub fn new(programs: Programs, cores: Cores, rounds: usize, span: Duration, quick: bool) -> Self {
        Self { programs, cores, rounds, span, quick, figures: Vec::new(), failures: Vec::new() }
    }

    /// Gives each subject its turn in each of `rounds`: A B A B. One that fails is left out from then on, with its reason.
    pub fn interleave(
        &mut self,
        rounds: usize,
        subjects: &[Subject],
        turn: impl Fn(&mut Self, Subject) -> Result<(), Error>,
    ) {
        let mut subjects = subjects.to_vec();
        for _ in 0..rounds {
            subjects.retain(|subject| match turn(self, *subject) {
                Ok(()) => true,
                Err(error) => {
                    let failure: String = format!("{}: {error}", subject.name()).chars().take(240).collect();
                    eprintln!("  {failure}");
                    if !self.failures.contains(&failure) {
                        self.failures.push(failure);
                    }
                    false
                }
            });
        }
    }

    /// Starts a subject pinned to its core.
    ///
    /// # Errors
    /// It does not start.
    pub fn start(&self, subject: Subject) -> Result<Server, Error> {
        subject.start(&self.programs, self.cores)
    }

    /// Keeps one value.
    pub fn record(&mut self, what: &'static str, subject: Subject, size: usize, value: f64) {
        eprintln!("  {what} · {} · {size}: {value:.2}", subject.name());
        let load = load_average();
        let same =
            |figure: &&mut Figure| (figure.what, figure.subject, figure.size) == (what, subject.name(), size);
        match self.figures.iter_mut().find(same) {
            Some(figure) => {
                figure.samples.push(value);
                figure.load.push(load);
            }
            None => self.figures.push(Figure {
                what,
                subject: subject.name(),
                size,
                samples: vec![value],
                load: vec![load],
            }),
        }
    }

    /// What was measured, in the order in which it was first.
    pub fn figures(&self) -> &[Figure] {
        &self.figures
    }

    /// What could not be measured, and why.
    pub fn failures(&self) -> &[String] {
        &self.failures
    }

    /// The median of what was measured at that size.
    pub fn median(&self, what: &str, subject: Subject, size: usize) -> Option<f64> {
        let wanted = (what, subject.name(), size);
        self.figures
            .iter()
            .find(|figure| (figure.what, figure.subject, figure.size) == wanted)
            .map(Figure::median)
    }
}

impl Figure {
    /// The middle value.
    pub fn median(&self) -> f64 {
        median(&self.samples)
    }

    /// The least value.
    pub fn min(&self) -> f64 {
        self.samples.iter().copied().fold(f64::INFINITY, f64::min)
    }

    /// The largest value.
    pub fn max(&self) -> f64 {
        self.samples.iter().copied().fold(f64::NEG_INFINITY, f64::max)
    }
}

/// The middle of the values; between the two middle ones if their number is even.
pub fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    match (sorted.get(middle), sorted.len() % 2) {
        (None, _) => 0.0,
        (Some(upper), 0) => (sorted[middle - 1] + upper) / 2.0,
        (Some(value), _) => *value,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_in_the_middle() {
        assert_eq!(median(&[3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(&[4.0, 1.0, 2.0, 3.0]), 2.5);
        assert_eq!(median(&[]), 0.0);
    }
}
