//! Who asks: the verified principal of a token, and the scope that keeps users apart.

use std::{collections::BTreeSet, sync::Arc, time::SystemTime};

/// Whose data: every thread, run, event and interrupt belongs to one scope (law 7).
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Scope {
    /// The tenant claim; `default` where a token has none.
    pub tenant: Arc<str>,
    /// The `sub` claim.
    pub user: Arc<str>,
}

impl Scope {
    /// Whose the host's own checks are. Nobody else's: no key but the host's own makes a token of it.
    pub fn self_check() -> Self {
        Self { tenant: SELF_CHECK.into(), user: SELF_CHECK.into() }
    }

    /// Whether it is that one: what is done for it is no user's traffic, and is counted nowhere.
    pub fn is_self_check(&self) -> bool {
        *self.tenant == *SELF_CHECK
    }
}

/// The tenant and the user of the host's own checks.
const SELF_CHECK: &str = "agent-host:self-check";

/// A verified token, without the token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Principal {
    /// Whose data it may touch.
    pub scope: Scope,
    /// `permissions[]`, or the words of `scope`.
    pub permissions: BTreeSet<String>,
    /// When the token ends.
    pub expires_at: SystemTime,
    /// When it was issued, where it says so.
    pub issued_at: Option<SystemTime>,
    /// The token's own id, where it has one.
    pub token_id: Option<Arc<str>>,
    /// What verified it.
    pub signed_by: SignedBy,
    /// Its `iss`, where it has one.
    pub issuer: Option<Arc<str>>,
    /// Its `aud`.
    pub audiences: Arc<[Box<str>]>,
}

/// What verified a token: whoever withdraws that withdraws the token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SignedBy {
    /// Nothing had to: the host made it for itself.
    Host,
    /// A key of the configuration.
    Configured(KeyPrint),
    /// A key of a set that was fetched.
    Fetched(KeyPrint),
}

/// The fingerprint of a key: what is left of it where a key only has to be recognised.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct KeyPrint(pub [u8; 32]);
