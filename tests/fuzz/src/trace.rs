//! What an input brought about, as far as a target can tell: what makes it worth keeping.

use std::hash::{DefaultHasher, Hash, Hasher};

/// The things that an input brought about: a code, a kind of frame, about how many of something.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Trace {
    pub(crate) seen: Vec<u64>,
}

impl Trace {
    /// Notes a thing. Two things are the same if their hashes are.
    pub fn saw(&mut self, thing: impl Hash) {
        self.seen.push(hash(&thing));
    }

    /// Whether it has everything of another.
    pub fn contains(&self, other: &Self) -> bool {
        other.seen.iter().all(|thing| self.seen.contains(thing))
    }

    /// Notes about how many there were: 0, 1, 2, 3, 4–7, 8–15, …
    pub fn counted(&mut self, what: &str, number: usize) {
        let about = if number < 4 { number as u32 } else { 2 + number.ilog2() };
        self.saw((what, about));
    }
}

pub(crate) fn hash(thing: &impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    thing.hash(&mut hasher);
    hasher.finish()
}
