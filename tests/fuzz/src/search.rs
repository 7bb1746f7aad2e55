//! The search: play an input, keep it if it brought about something new, make the next from those that are kept.

use std::{
    cell::Cell,
    collections::HashSet,
    fmt,
    panic::{self, AssertUnwindSafe},
    sync::Once,
    time::{Duration, Instant},
};

use crate::{Found, Target, coverage, mutation, random::Random, trace::Trace};

/// An input that takes longer is as good as one that hangs: what is fuzzed takes microseconds.
const HANGS: Duration = Duration::from_secs(20);
/// The most inputs that are kept. Further new ones take the place of others.
const KEPT: usize = 8192;

type Judge<'a> = &'a dyn Fn(&[u8]) -> Result<Trace, String>;

/// A search under way.
pub(crate) struct Search<'a> {
    target: Target<'a>,
    judge: Judge<'a>,
    seed: u64,
    random: Random,
    kept: Vec<Vec<u8>>,
    seen: HashSet<u64>,
    played: u64,
    slowest: Duration,
    took: Duration,
}

/// What a search has done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Report {
    pub(crate) seed: u64,
    pub(crate) played: u64,
    pub(crate) kept: usize,
    pub(crate) seen: usize,
    edges: Option<usize>,
    slowest: Duration,
    took: Duration,
}

impl<'a> Search<'a> {
    pub(crate) fn new(target: Target<'a>, seed: u64, judge: Judge<'a>) -> Self {
        quiet_while_judging();
        let (kept, seen) = (Vec::new(), HashSet::new());
        let (slowest, took) = (Duration::ZERO, Duration::ZERO);
        Self { target, judge, seed, random: Random::new(seed), kept, seen, played: 0, slowest, took }
    }

    /// Plays one input.
    pub(crate) fn play(&mut self, input: &[u8]) -> Option<Found> {
        let start = Instant::now();
        coverage::begin();
        let judged = judged(self.judge, input);
        let edges = coverage::end();
        let took = start.elapsed();
        self.played += 1;
        self.slowest = self.slowest.max(took);
        let objection = match judged {
            Ok(_) if took > HANGS => format!("it took {took:?}"),
            Ok(trace) => {
                self.consider(input, trace.seen.into_iter().chain(edges));
                return None;
            }
            Err(objection) => objection,
        };
        let (input, objection) = self.smaller(input.to_vec(), objection);
        Some(Found { input, objection })
    }

    /// Goes on until something is found, or for so long.
    pub(crate) fn run(&mut self, budget: Duration) -> Option<Found> {
        let start = Instant::now();
        let found = self.seeds().or_else(|| {
            // The clock is asked once in a while: it costs as much as a small target.
            while start.elapsed() < budget {
                for _ in 0..64 {
                    if let Some(found) = self.next() {
                        return Some(found);
                    }
                }
            }
            None
        });
        self.took += start.elapsed();
        found
    }

    /// Goes on until something is found, or for so many inputs.
    #[cfg(test)]
    pub(crate) fn run_inputs(&mut self, inputs: u64) -> Option<Found> {
        self.seeds().or_else(|| (0..inputs).find_map(|_| self.next()))
    }

    pub(crate) fn report(&self) -> Report {
        Report {
            seed: self.seed,
            played: self.played,
            kept: self.kept.len(),
            seen: self.seen.len(),
            edges: coverage::edges(),
            slowest: self.slowest,
            took: self.took,
        }
    }

    fn seeds(&mut self) -> Option<Found> {
        let seeds = self.target.seeds;
        self.kept.extend(seeds.iter().cloned());
        self.kept.push(Vec::new());
        seeds.iter().find_map(|seed| self.play(seed))
    }

    fn next(&mut self) -> Option<Found> {
        let fresh = self.kept.len().saturating_sub(64);
        // Half of the time from what is newest: there the frontier is.
        let from = if self.random.below(2) == 0 { fresh } else { 0 };
        let at = from + self.random.below(self.kept.len() - from);
        let other = self.random.below(self.kept.len());
        let (target, random) = (self.target, &mut self.random);
        let input =
            mutation::mutated(&self.kept[at], &self.kept[other], target.words, target.longest, random);
        self.play(&input)
    }

    fn consider(&mut self, input: &[u8], things: impl Iterator<Item = u64>) {
        let mut new = false;
        for thing in things {
            new |= self.seen.insert(thing);
        }
        if !new {
            return;
        }
        if self.kept.len() < KEPT {
            self.kept.push(input.to_vec());
        } else {
            let at = self.random.below(KEPT);
            self.kept[at] = input.to_vec();
        }
    }

    /// Leaves out what is not needed for an objection, in a bounded number of tries. The objection may be another one.
    fn smaller(&self, mut input: Vec<u8>, mut objection: String) -> (Vec<u8>, String) {
        let mut tries = 2000;
        let mut piece = input.len().div_ceil(2);
        while piece > 0 && tries > 0 {
            let mut at = 0;
            while at < input.len() && tries > 0 {
                tries -= 1;
                let mut less = input.clone();
                less.drain(at..(at + piece).min(input.len()));
                match judged(self.judge, &less) {
                    Err(still) => (input, objection) = (less, still),
                    Ok(_) => at += piece,
                }
            }
            piece /= 2;
        }
        (input, objection)
    }
}

thread_local! {
    /// Whether this thread plays an input: a panic is then a finding, and told once.
    static JUDGING: Cell<bool> = const { Cell::new(false) };
}

fn judged(judge: Judge<'_>, input: &[u8]) -> Result<Trace, String> {
    JUDGING.set(true);
    let judged = panic::catch_unwind(AssertUnwindSafe(|| judge(input)));
    JUDGING.set(false);
    judged.unwrap_or_else(|panic| {
        let said = panic.downcast_ref::<String>().cloned();
        let said = said.or_else(|| panic.downcast_ref::<&str>().map(|said| (*said).to_owned()));
        Err(format!("a panic: {}", said.unwrap_or_default()))
    })
}

/// Panics of inputs are not printed, thousands of times while an input is made smaller. All others are.
fn quiet_while_judging() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let loud = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            if !JUDGING.get() {
                loud(info);
            }
        }));
    });
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.took.as_secs_f64().max(0.001);
        write!(
            f,
            "seed {}, {} inputs in {seconds:.1} s ({:.0}/s, the slowest {:?}), {} kept, {} things seen",
            self.seed,
            self.played,
            self.played as f64 / seconds,
            self.slowest,
            self.kept,
            self.seen
        )?;
        match self.edges {
            Some(edges) => write!(f, ", {edges} edges counted"),
            None => write!(f, ", edges not counted"),
        }
    }
}
