//! Searches for inputs that break a function over bytes. On the stable toolchain, and without anything else.
//!
//! A *target* stands beside the code that it is about, as one of its unit tests: there it sees what is private. It judges
//! an input, and answers with an objection or with a [`Trace`] of what the input brought about. An input that brings
//! about something new is kept, and the next ones are made from those that are kept. Where the build counts the edges
//! that are taken (`coverage.rs`), a new edge is something new as well.
//!
//! ```sh
//! AGENT_HOST_FUZZ_SECONDS=60 cargo nextest run fuzz     # longer than the short run of `tests/run`
//! AGENT_HOST_FUZZ_SEED=7 cargo nextest run fuzz         # the same choices again
//! tests/run fuzz                                        # guided by coverage, five minutes a target
//! ```
//!
//! What breaks a target is made smaller and kept in `tests/fuzz/regressions/TARGET/`: from then on it is played first.

mod coverage;
mod mutation;
mod random;
mod search;
mod trace;

use std::{path::PathBuf, time::Duration};

use self::search::Search;
pub use self::{mutation::Words, trace::Trace};

/// What is fuzzed: where the inputs come from. The function that judges them is given to [`Target::survives`].
#[derive(Debug, Clone, Copy)]
pub struct Target<'a> {
    /// The name of its folder of regressions.
    pub name: &'a str,
    /// Valid inputs, and others worth beginning with.
    pub seeds: &'a [Vec<u8>],
    /// What inputs are made of.
    pub words: Words<'a>,
    /// The longest input.
    pub longest: usize,
}

/// The shortest input that was found to break a target.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// The input.
    pub input: Vec<u8>,
    /// What is wrong: the objection, or what the panic said.
    pub objection: String,
}

/// How long a search goes on where nothing says otherwise.
const SHORT: Duration = Duration::from_secs(5);
/// How long one for a bug that was planted goes on: it is found in far less, or the target is blind.
const PATIENCE: Duration = Duration::from_secs(120);

impl Target<'_> {
    /// The test: plays what once broke it, then searches for as long as `AGENT_HOST_FUZZ_SECONDS` says (5 s). Prints
    /// seed, speed and what came about.
    ///
    /// # Panics
    /// If an input breaks it. The input is kept as a regression.
    #[allow(clippy::panic, reason = "what a test does when it finds something")]
    pub fn survives(&self, judge: impl Fn(&[u8]) -> Result<Trace, String>) {
        let regressions = self.regressions();
        let mut search = Search::new(*self, random::seed(), &judge);
        for input in &regressions {
            if let Some(found) = search.play(input) {
                panic!("{}: what broke it once breaks it again: {}\n{:?}", self.name, found.objection, input);
            }
        }
        let budget = std::env::var("AGENT_HOST_FUZZ_SECONDS").ok().and_then(|text| text.parse().ok());
        let found = search.run(budget.map_or(SHORT, Duration::from_secs_f64));
        println!("fuzz {}: {}", self.name, search.report());
        if let Some(found) = found {
            let kept = self.keep(&found.input);
            let shown = String::from_utf8_lossy(&found.input);
            panic!("{}: {}\nkept as {}: {shown:?}", self.name, found.objection, kept.display());
        }
    }

    /// The twin: the same target around a planted bug must find it. Nothing is kept.
    ///
    /// # Panics
    /// If it does not within two minutes.
    #[allow(clippy::expect_used, reason = "what a test does when it finds nothing")]
    pub fn finds(&self, judge: impl Fn(&[u8]) -> Result<Trace, String>) -> Found {
        let mut search = Search::new(*self, random::seed(), &judge);
        let found = search.run(PATIENCE);
        println!("fuzz {}, with a bug: {}", self.name, search.report());
        found.expect("the target is blind: a planted bug was not found")
    }

    /// A search of so many inputs from a fixed seed: for tests of the driver.
    #[cfg(test)]
    fn tries(
        &self,
        inputs: u64,
        judge: impl Fn(&[u8]) -> Result<Trace, String>,
    ) -> (Option<Found>, search::Report) {
        let mut search = Search::new(*self, 1, &judge);
        let found = search.run_inputs(inputs);
        (found, search.report())
    }

    fn folder(&self) -> PathBuf {
        PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("regressions").join(self.name)
    }

    /// What broke it once, in the order of the names. A file that cannot be read is no input.
    fn regressions(&self) -> Vec<Vec<u8>> {
        let entries = std::fs::read_dir(self.folder()).into_iter().flatten();
        let mut paths: Vec<PathBuf> = entries.filter_map(Result::ok).map(|entry| entry.path()).collect();
        paths.sort();
        paths.iter().filter_map(|path| std::fs::read(path).ok()).collect()
    }

    /// Writes an input where the next run finds it. Where that cannot be done, the panic shows it all the same.
    fn keep(&self, input: &[u8]) -> PathBuf {
        let path = self.folder().join(format!("{:016x}", trace::hash(&input)));
        let _ = std::fs::create_dir_all(self.folder());
        let _ = std::fs::write(&path, input);
        path
    }
}

#[cfg(test)]
mod tests;
