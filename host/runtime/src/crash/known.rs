//! Remembers the frames of the last crashes: one that happens again at the same place costs no second search for names.

use std::{
    collections::VecDeque,
    sync::{Mutex, PoisonError},
};

use agent_host_core::crash::Frame;

use super::backtrace::Place;

/// Crashes whose frames are remembered.
const REMEMBERED: usize = 32;

/// Which crash: the digest of the library, and the way there.
pub(super) type Key = (String, Vec<Place>);

/// See the module. The oldest is forgotten for the newest.
#[derive(Debug, Default)]
pub(super) struct Known(Mutex<VecDeque<(Key, Vec<Frame>)>>);

impl Known {
    /// The frames of a crash that happened before.
    pub(super) fn recall(&self, key: &Key) -> Option<Vec<Frame>> {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.iter().find(|(other, _)| other == key).map(|(_, frames)| frames.clone())
    }

    /// From now on they are known.
    pub(super) fn remember(&self, key: Key, frames: &[Frame]) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() == REMEMBERED {
            known.pop_front();
        }
        known.push_back((key, frames.to_vec()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_ones_are_remembered() {
        let known = Known::default();
        let key = |n: usize| (n.to_string(), Vec::new());
        let frame = Frame { module: "a.so".into(), offset: 1, symbol: None, file: None, line: None };
        for n in 0..=REMEMBERED {
            known.remember(key(n), std::slice::from_ref(&frame));
        }
        assert_eq!(known.recall(&key(0)), None);
        assert_eq!(known.recall(&key(1)), Some(vec![frame.clone()]));
        assert_eq!(known.recall(&key(REMEMBERED)), Some(vec![frame]));
    }
}
