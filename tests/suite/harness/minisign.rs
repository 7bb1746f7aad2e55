//! Signs as minisign does, in both of its forms, with keys of the tests.

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
use base64::{Engine as _, prelude::BASE64_STANDARD};
use blake2::{Blake2b512, Digest as _};

/// One who signs.
pub(crate) struct Signer {
    id: [u8; 8],
    pair: Ed25519KeyPair,
}

/// What is signed: the bytes, or their digest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    /// As minisign has done since 2018.
    Prehashed,
    /// As before, and with `-l`.
    Legacy,
}

impl Signer {
    /// Always the same for the same number.
    pub(crate) fn new(number: u8) -> Self {
        let pair = Ed25519KeyPair::from_seed_unchecked(&[number; 32]).expect("any 32 bytes are a seed");
        Self { id: [number; 8], pair }
    }

    /// The key for `[trust] keys`.
    pub(crate) fn key(&self) -> String {
        self.line(*b"Ed", self.pair.public_key().as_ref())
    }

    /// The text of `FILE.minisig`.
    pub(crate) fn sign(&self, bytes: &[u8], form: Form, comment: &str) -> String {
        let (algorithm, signature) = match form {
            Form::Prehashed => (*b"ED", self.pair.sign(&Blake2b512::digest(bytes))),
            Form::Legacy => (*b"Ed", self.pair.sign(bytes)),
        };
        let whole = self.pair.sign(&[signature.as_ref(), comment.as_bytes()].concat());
        format!(
            "untrusted comment: made by a test\n{}\ntrusted comment: {comment}\n{}\n",
            self.line(algorithm, signature.as_ref()),
            BASE64_STANDARD.encode(whole.as_ref())
        )
    }

    fn line(&self, algorithm: [u8; 2], rest: &[u8]) -> String {
        BASE64_STANDARD.encode([&algorithm, &self.id[..], rest].concat())
    }
}
