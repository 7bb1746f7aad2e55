//! One-time tickets: a browser cannot put a token into the header of a WebSocket, and a token does not belong into a
//! URL. A ticket does: it opens one connection within half a minute, and is then of no use to whoever reads it in a log.
//!
//! Only digests are kept, in memory: a ticket of a host that ended is fetched anew.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, SystemTime},
};

use agent_host_core::{failpoint, failpoint::Action, identity::Principal};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use sha2::{Digest as _, Sha256};

/// How long a ticket is good for.
pub(crate) const LIFETIME: Duration = Duration::from_secs(30);
/// Open tickets of one user. One more: the oldest of them is of no use any more.
const OF_A_USER: usize = 16;
/// Open tickets in all. Full of good ones: no more are given out.
const IN_ALL: usize = 16 * 1024;

/// A ticket's name in memory.
type Seal = [u8; 32];

/// The tickets of this host.
#[derive(Debug, Default)]
pub(crate) struct Tickets(Mutex<HashMap<Seal, Open>>);

/// What a ticket stands for.
#[derive(Debug)]
struct Open {
    principal: Arc<Principal>,
    until: SystemTime,
}

/// A ticket for its owner.
#[derive(Debug)]
pub(crate) struct Ticket {
    /// 256 random bits, safe in a URL.
    pub(crate) text: String,
    /// Until when it opens a connection.
    pub(crate) until: SystemTime,
}

/// Why no ticket was given out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NoTicket {
    /// As many are open as this host keeps.
    Full,
    /// The machine has no randomness.
    NoRandomness,
}

impl Tickets {
    /// A ticket for whoever showed a good token.
    ///
    /// # Errors
    /// [`NoTicket`]
    pub(crate) fn issue(&self, principal: Arc<Principal>, now: SystemTime) -> Result<Ticket, NoTicket> {
        let mut secret = [0; 32];
        getrandom::fill(&mut secret).map_err(|_| NoTicket::NoRandomness)?;
        let text = URL_SAFE_NO_PAD.encode(secret);
        // Not longer than the token itself.
        let until = (now + LIFETIME).min(principal.expires_at);
        let mut all = self.lock();
        all.retain(|_, open| open.until > now);
        let of_user = all.iter().filter(|(_, open)| open.principal.scope == principal.scope);
        let oldest = of_user.clone().min_by_key(|(_, open)| open.until).map(|(seal, _)| *seal);
        if let (true, Some(oldest)) = (of_user.count() >= OF_A_USER, oldest) {
            all.remove(&oldest);
        }
        if all.len() >= IN_ALL {
            return Err(NoTicket::Full);
        }
        all.insert(seal(&text), Open { principal, until });
        Ok(Ticket { text, until })
    }

    /// Whose it is; from here on nobody's.
    pub(crate) fn redeem(&self, text: &str, now: SystemTime) -> Option<Arc<Principal>> {
        // By its digest: how long the look takes tells nothing of the tickets that there are.
        let seal = seal(text);
        let mut all = self.lock();
        let open = all.get(&seal)?;
        let (principal, until) = (Arc::clone(&open.principal), open.until);
        // For a broken twin: a host whose tickets open whatever is asked with them.
        if failpoint!("gateway.tickets") != Some(Action::Off) {
            all.remove(&seal);
        }
        (until > now).then_some(principal)
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Seal, Open>> {
        // Each change is one operation of the map: it is sound even if a holder panicked.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn seal(text: &str) -> Seal {
    Sha256::digest(text.as_bytes()).into()
}

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use agent_host_core::identity::{Scope, SignedBy};

    use super::*;

    fn at(seconds: u64) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(1_800_000_000 + seconds)
    }

    fn principal(user: &str, expires: u64) -> Arc<Principal> {
        Arc::new(Principal {
            scope: Scope { tenant: "t".into(), user: user.into() },
            permissions: Default::default(),
            expires_at: at(expires),
            issued_at: None,
            token_id: None,
            signed_by: SignedBy::Host,
            issuer: None,
            audiences: [].into(),
        })
    }

    #[test]
    fn a_ticket_is_good_once_and_for_its_time() {
        let tickets = Tickets::default();
        let ticket = tickets.issue(principal("a", 3600), at(0)).unwrap();
        assert_eq!((ticket.until, ticket.text.len()), (at(30), 43));
        assert_eq!(tickets.redeem(&ticket.text, at(29)).unwrap().scope.user.as_ref(), "a");
        assert!(tickets.redeem(&ticket.text, at(29)).is_none(), "a second time");
        let late = tickets.issue(principal("a", 3600), at(0)).unwrap();
        assert!(tickets.redeem(&late.text, at(30)).is_none(), "too late");
        assert!(tickets.redeem("", at(0)).is_none() && tickets.redeem("x", at(0)).is_none());
    }

    #[test]
    fn it_does_not_outlive_its_token() {
        let tickets = Tickets::default();
        assert_eq!(tickets.issue(principal("a", 7), at(0)).unwrap().until, at(7));
    }

    #[test]
    fn a_user_has_so_many_and_the_oldest_goes() {
        let tickets = Tickets::default();
        let texts: Vec<String> = (0..=OF_A_USER as u64)
            .map(|n| tickets.issue(principal("a", 3600), at(n)).unwrap().text)
            .collect();
        let other = tickets.issue(principal("b", 3600), at(16)).unwrap();
        assert!(tickets.redeem(&texts[0], at(17)).is_none());
        assert!(tickets.redeem(&texts[1], at(17)).is_some());
        assert!(tickets.redeem(&other.text, at(17)).is_some());
    }

    #[test]
    fn a_full_host_gives_out_no_more_until_some_have_run_out() {
        let tickets = Tickets::default();
        for n in 0..IN_ALL {
            tickets.lock().insert(seal(&n.to_string()), Open { principal: principal("x", 99), until: at(5) });
        }
        // Of another user, so that none of its own has to go.
        assert_eq!(tickets.issue(principal("a", 3600), at(0)).unwrap_err(), NoTicket::Full);
        assert!(tickets.issue(principal("a", 3600), at(6)).is_ok());
    }
}
