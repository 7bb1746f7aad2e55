//! Remembers which runs ended here lately, so that who wants to stop one hears that it is over, and not that there is none.

use std::{
    collections::{HashSet, VecDeque},
    hash::{BuildHasher as _, RandomState},
};

use agent_host_core::identity::Scope;
use agent_plugin_protocol::RunId;

/// So many, the newest: about 2 MiB. An older one, or one that ended before the host's start, is as one that never was.
const REMEMBERED: usize = 65_536;

/// Runs that ended, by a hash of the user and the run: one run in 10¹⁴ that never was would be taken for one that did.
#[derive(Debug, Default)]
pub(super) struct Over {
    hasher: RandomState,
    known: HashSet<u64>,
    order: VecDeque<u64>,
}

impl Over {
    pub(super) fn add(&mut self, scope: &Scope, run: &RunId) {
        let hash = self.hash(scope, run);
        if !self.known.insert(hash) {
            return;
        }
        self.order.push_back(hash);
        if self.order.len() > REMEMBERED
            && let Some(oldest) = self.order.pop_front()
        {
            self.known.remove(&oldest);
        }
    }

    pub(super) fn has(&self, scope: &Scope, run: &RunId) -> bool {
        self.known.contains(&self.hash(scope, run))
    }

    fn hash(&self, scope: &Scope, run: &RunId) -> u64 {
        self.hasher.hash_one((scope, run))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_are_remembered_and_no_more_than_those() {
        let scope = Scope { tenant: "t".into(), user: "u".into() };
        let run = |n: usize| RunId::new(&format!("r{n}")).unwrap();
        let mut over = Over::default();
        for n in 0..REMEMBERED + 2 {
            over.add(&scope, &run(n));
            over.add(&scope, &run(n));
        }
        assert!(!over.has(&scope, &run(0)) && !over.has(&scope, &run(1)));
        assert!(over.has(&scope, &run(2)) && over.has(&scope, &run(REMEMBERED + 1)));
        assert_eq!((over.known.len(), over.order.len()), (REMEMBERED, REMEMBERED));
    }
}
