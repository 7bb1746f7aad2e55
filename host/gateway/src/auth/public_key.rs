//! A public key with the one algorithm that it verifies: which one, the key itself says, and never a token.

use std::fmt;

use agent_host_core::identity::KeyPrint;
use jsonwebtoken::{Algorithm, DecodingKey};

use super::print;

/// A key of RS256 or ES256.
#[derive(Clone)]
pub struct PublicKey {
    pub(super) algorithm: Algorithm,
    pub(super) key: DecodingKey,
    pub(super) print: KeyPrint,
}

impl PublicKey {
    /// Reads a key from PEM: RSA (of at least 2048 bits) for RS256, an elliptic curve (P-256) for ES256.
    ///
    /// # Errors
    /// Why it is none, in half a sentence.
    pub fn from_pem(pem: &[u8]) -> Result<Self, String> {
        let print = print::of_pem(pem);
        if let Ok(key) = DecodingKey::from_rsa_pem(pem) {
            return Ok(Self { algorithm: Algorithm::RS256, key, print });
        }
        match DecodingKey::from_ec_pem(pem) {
            Ok(key) => Ok(Self { algorithm: Algorithm::ES256, key, print }),
            Err(_) => Err("it is neither an RSA key nor one of an elliptic curve".to_owned()),
        }
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PublicKey({:?})", self.algorithm)
    }
}
