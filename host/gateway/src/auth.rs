//! Tokens: the only place that sees one. What leaves is a [`Principal`], or a code.
//!
//! `verify` judges, by the keys of the configuration and of `key_set`, which `jwk` reads; `source` finds the token in a
//! request, `mint` makes and shows tokens for the command line.

mod jwk;
mod key_set;
mod mint;
mod print;
mod public_key;
mod source;
mod verify;

pub use key_set::KeySet;
pub(crate) use key_set::KeySetView;
pub use mint::{Inspected, MintClaims, MintError, inspect, mint};
pub use public_key::PublicKey;
pub(crate) use source::{TokenSource, carries_token, offered_protocols};
pub use verify::{AuthError, MAX_TOKEN_BYTES, Verifier};

use agent_host_core::identity::Principal;

/// Whether the principal holds that permission.
pub fn permits(principal: &Principal, permission: &str) -> bool {
    principal.permissions.contains(permission)
}

/// The shortest HS256 secret that a host may start with: as long as the hash.
pub const MIN_SECRET_BYTES: usize = 32;

#[cfg(test)]
mod tests;
