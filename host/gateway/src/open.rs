//! Which connections are open: who is at each, and the way to close one.
//!
//! The lock is held for a map operation when a connection begins and ends, and for one page when operators look.

use std::{
    collections::BTreeMap,
    net::IpAddr,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::SystemTime,
};

use agent_host_core::{chaos::Share, identity::Scope, ports::chaos::Doors};
use agent_host_engine::session::Load;
use tokio::sync::Notify;

use crate::surface::Surface;

/// The open connections, in the order in which they were opened.
#[derive(Debug, Default)]
pub(crate) struct OpenConnections(Mutex<Places>);

#[derive(Debug, Default)]
struct Places {
    last: u64,
    cards: BTreeMap<u64, Arc<Card>>,
}

/// What is known of a connection without asking it. No token, and nothing that anybody said.
#[derive(Debug)]
pub(crate) struct Card {
    /// Its name, as in the welcome and in the log.
    pub(crate) id: String,
    pub(crate) scope: Scope,
    pub(crate) surface: Surface,
    pub(crate) since: SystemTime,
    /// Where its client is, as far as trusted proxies tell; `None`: the host's own.
    pub(crate) address: Option<IpAddr>,
    pub(crate) load: Load,
    /// An operator wants it closed.
    pub(crate) dismissed: Notify,
    /// Without a word: as a network does it.
    pub(crate) cut: AtomicBool,
}

/// A connection's place among those that are open, until it is dropped.
#[derive(Debug)]
pub(crate) struct OpenPlace {
    number: u64,
    card: Arc<Card>,
    open: Arc<OpenConnections>,
}

impl OpenConnections {
    /// One more is open.
    pub(crate) fn enter(self: &Arc<Self>, card: Card) -> OpenPlace {
        let card = Arc::new(card);
        let mut places = self.places();
        places.last += 1;
        let number = places.last;
        places.cards.insert(number, Arc::clone(&card));
        OpenPlace { number, card, open: Arc::clone(self) }
    }

    /// Those opened after that one which fit, at most so many, and whether there are more.
    pub(crate) fn page(
        &self,
        after: u64,
        limit: usize,
        fits: impl Fn(&Card) -> bool,
    ) -> (Vec<(u64, Arc<Card>)>, bool) {
        let places = self.places();
        let mut fitting = places.cards.range(after.saturating_add(1)..).filter(|(_, card)| fits(card));
        let page = fitting.by_ref().take(limit).map(|(number, card)| (*number, Arc::clone(card))).collect();
        (page, fitting.next().is_some())
    }

    /// How many are open.
    pub(crate) fn len(&self) -> usize {
        self.places().cards.len()
    }

    /// The one of that name.
    pub(crate) fn find(&self, id: &str) -> Option<Arc<Card>> {
        self.places().cards.values().find(|card| card.id == id).cloned()
    }

    fn places(&self) -> MutexGuard<'_, Places> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Doors for OpenConnections {
    fn cut(&self, share: Share) -> usize {
        // The host's look at itself is no client's.
        let clients: Vec<Arc<Card>> =
            self.places().cards.values().filter(|card| !card.scope.is_self_check()).cloned().collect();
        let cut = (0..).zip(clients).filter(|(turn, _)| share.takes(*turn)).map(|(_, card)| {
            card.cut.store(true, Ordering::Relaxed);
            card.dismissed.notify_one();
        });
        cut.count()
    }
}

impl OpenPlace {
    pub(crate) fn card(&self) -> &Card {
        &self.card
    }
}

impl Drop for OpenPlace {
    fn drop(&mut self) {
        self.open.places().cards.remove(&self.number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    pub(super) fn card(id: &str, user: &str) -> Card {
        Card {
            id: id.to_owned(),
            scope: Scope { tenant: "t".into(), user: user.into() },
            surface: Surface::Native,
            since: SystemTime::UNIX_EPOCH,
            address: None,
            load: Load::default(),
            dismissed: Notify::new(),
            cut: AtomicBool::new(false),
        }
    }

    #[test]
    fn pages_follow_each_other_whatever_comes_and_goes_in_between() {
        let open = Arc::new(OpenConnections::default());
        let mut places: Vec<OpenPlace> = (0..5)
            .map(|i| open.enter(card(&format!("c{i}"), if i % 2 == 0 { "ann" } else { "bob" })))
            .collect();
        let ids =
            |page: &[(u64, Arc<Card>)]| page.iter().map(|(_, card)| card.id.clone()).collect::<Vec<_>>();
        let (first, more) = open.page(0, 2, |_| true);
        assert_eq!((ids(&first), more), (vec!["c0".to_owned(), "c1".to_owned()], true));
        drop(places.remove(1));
        let _late = open.enter(card("c5", "ann"));
        let cursor = first.last().unwrap().0;
        let (second, more) = open.page(cursor, 9, |card| &*card.scope.user == "ann");
        assert_eq!((ids(&second), more), (vec!["c2".to_owned(), "c4".to_owned(), "c5".to_owned()], false));
        assert!(open.find("c1").is_none() && open.find("c2").is_some());
        assert_eq!(open.page(u64::MAX, 9, |_| true).0.len(), 0);
        drop(places);
        assert_eq!(open.len(), 1);
    }
}
