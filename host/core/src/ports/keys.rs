//! Where the doors get the keys of other issuers.

use super::BoxFuture;

/// The published keys of an issuer.
pub trait KeySource: Send + Sync + 'static {
    /// Fetches the set as it is published now, as bytes of JSON. Whoever calls sets the deadline. Cancel safe: a dropped
    /// call leaves nothing open.
    fn fetch(&self) -> BoxFuture<'static, Result<Vec<u8>, NoKeySet>>;
}

/// Why there is no set: what happened at what, for operators. It quotes neither bodies nor secrets.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct NoKeySet(pub String);
