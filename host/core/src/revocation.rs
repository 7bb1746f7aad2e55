//! Decides which tokens are revoked, and for how long that has to be remembered.

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use crate::identity::{Principal, Scope};

/// What is remembered at most. Full: further revocations are refused, and none that holds is forgotten for them.
pub const MOST: usize = 10_000;

/// Which tokens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Revoked {
    /// The one with that `jti`.
    Token(Arc<str>),
    /// Those of a user that were issued up to and in that second; those that do not say when too.
    User {
        /// Whose.
        scope: Scope,
        /// The last second.
        before: SystemTime,
    },
}

/// A revocation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Revocation {
    /// Which tokens.
    pub revoked: Revoked,
    /// When the last of them has expired, from which on it is forgotten. `None`: it is kept.
    pub until: Option<SystemTime>,
}

/// There are [`MOST`] already.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{MOST} revocations are kept already, and none of them has run out")]
pub struct Full;

/// Every revocation that holds.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Revocations {
    tokens: BTreeMap<Arc<str>, Until>,
    users: BTreeMap<Scope, (SystemTime, Until)>,
}

type Until = Option<SystemTime>;

impl Revocations {
    /// Adds one, and forgets those that have run out at `now`. One of the same token or user is never weakened by it.
    ///
    /// # Errors
    /// [`Full`]; nothing was added then.
    pub fn add(&mut self, revocation: Revocation, now: SystemTime) -> Result<(), Full> {
        self.forget(now);
        let Revocation { revoked, until } = revocation;
        let has_room = self.len() < MOST;
        match revoked {
            Revoked::Token(id) => match self.tokens.get_mut(&id) {
                Some(known) => *known = later(*known, until),
                None if has_room => drop(self.tokens.insert(id, until)),
                None => return Err(Full),
            },
            Revoked::User { scope, before } => match self.users.get_mut(&scope) {
                Some((latest, known)) => {
                    *latest = (*latest).max(before);
                    *known = later(*known, until);
                }
                None if has_room => drop(self.users.insert(scope, (before, until))),
                None => return Err(Full),
            },
        }
        Ok(())
    }

    /// Forgets what has run out.
    pub fn forget(&mut self, now: SystemTime) {
        let holds = |until: &Until| until.is_none_or(|until| now < until);
        self.tokens.retain(|_, until| holds(until));
        self.users.retain(|_, (_, until)| holds(until));
    }

    /// Whether the token of that principal is revoked.
    pub fn covers(&self, principal: &Principal) -> bool {
        let by_id = principal.token_id.as_ref().is_some_and(|id| self.tokens.contains_key(id));
        // By whole seconds, as many issuers round `iat`: what may be older is refused.
        let by_user = self.users.get(&principal.scope).is_some_and(|(before, _)| {
            principal.issued_at.is_none_or(|issued| seconds(issued) <= seconds(*before))
        });
        by_id || by_user
    }

    /// All, tokens first, each in the order of its name.
    pub fn iter(&self) -> impl Iterator<Item = Revocation> {
        let tokens = self.tokens.iter().map(|(id, until)| (Revoked::Token(Arc::clone(id)), until));
        let users = self
            .users
            .iter()
            .map(|(scope, (before, until))| (Revoked::User { scope: scope.clone(), before: *before }, until));
        tokens.chain(users).map(|(revoked, until)| Revocation { revoked, until: *until })
    }

    /// How many.
    pub fn len(&self) -> usize {
        self.tokens.len() + self.users.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Never is the latest.
fn later(a: Until, b: Until) -> Until {
    a.zip(b).map(|(a, b)| a.max(b))
}

fn seconds(at: SystemTime) -> u64 {
    at.duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO).as_secs()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(seconds)
    }

    fn scope(user: &str) -> Scope {
        Scope { tenant: "t".into(), user: user.into() }
    }

    fn principal(user: &str, id: &str, issued: Option<u64>) -> Principal {
        Principal {
            scope: scope(user),
            permissions: Default::default(),
            expires_at: at(9999),
            issued_at: issued.map(at),
            token_id: Some(id.into()),
            signed_by: crate::identity::SignedBy::Host,
            issuer: None,
            audiences: [].into(),
        }
    }

    fn token(id: &str, until: Option<u64>) -> Revocation {
        Revocation { revoked: Revoked::Token(id.into()), until: until.map(at) }
    }

    fn user(user: &str, before: u64, until: Option<u64>) -> Revocation {
        Revocation { revoked: Revoked::User { scope: scope(user), before: at(before) }, until: until.map(at) }
    }

    #[test]
    fn a_token_is_revoked_by_its_id_or_by_its_user_and_age() {
        let mut all = Revocations::default();
        all.add(token("x", None), at(0)).unwrap();
        all.add(user("a", 100, None), at(0)).unwrap();
        for (user, id, issued, revoked) in [
            ("b", "x", Some(500), true),
            ("b", "y", Some(50), false),
            ("a", "y", Some(99), true),
            ("a", "y", Some(100), true),
            ("a", "y", Some(101), false),
            ("a", "y", None, true),
        ] {
            assert_eq!(all.covers(&principal(user, id, issued)), revoked, "{user} {id} {issued:?}");
        }
    }

    #[test]
    fn one_more_never_weakens_what_holds() {
        let mut all = Revocations::default();
        for until in [None, Some(10)] {
            all.add(token("x", until), at(0)).unwrap();
        }
        all.add(user("a", 100, Some(300)), at(0)).unwrap();
        all.add(user("a", 50, Some(200)), at(0)).unwrap();
        assert_eq!(all.iter().collect::<Vec<_>>(), [token("x", None), user("a", 100, Some(300))]);
    }

    #[test]
    fn what_has_run_out_makes_room_and_what_holds_does_not() {
        let mut all = Revocations::default();
        for n in 1..MOST {
            all.add(token(&n.to_string(), None), at(0)).unwrap();
        }
        all.add(token("short", Some(10)), at(0)).unwrap();
        assert_eq!(all.add(token("more", None), at(9)), Err(Full));
        assert_eq!(all.add(token("1", None), at(9)), Ok(()), "it is in there already");
        assert_eq!(all.add(user("a", 1, None), at(10)), Ok(()));
        assert_eq!(all.len(), MOST);
    }
}
