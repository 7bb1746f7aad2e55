//! Fingerprints of the configuration's keys: enough to see that a key is the one that verified a token, and nothing else.

use std::sync::OnceLock;

use agent_host_core::identity::KeyPrint;
use sha2::{Digest as _, Sha256};

/// Of a secret. Only this process could find it again: what is hashed with it is known nowhere else.
pub(crate) fn of_secret(secret: &[u8]) -> KeyPrint {
    static SALT: OnceLock<[u8; 16]> = OnceLock::new();
    let salt = SALT.get_or_init(|| uuid::Uuid::new_v4().into_bytes());
    print(&[b"secret", salt, secret])
}

/// Of a public key's PEM. How its lines are broken makes no other key of it.
pub(crate) fn of_pem(pem: &[u8]) -> KeyPrint {
    let letters: Vec<u8> = pem.iter().copied().filter(|byte| !byte.is_ascii_whitespace()).collect();
    print(&[b"pem", &letters])
}

fn print(parts: &[&[u8]]) -> KeyPrint {
    let mut hasher = Sha256::new();
    for part in parts {
        hasher.update(part);
    }
    KeyPrint(hasher.finalize().into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_known_again_and_no_other_is() {
        assert_eq!(of_secret(b"one"), of_secret(b"one"));
        assert_ne!(of_secret(b"one"), of_secret(b"two"));
        assert_eq!(of_pem(b"-----BEGIN\nAB\nCD\n"), of_pem(b"-----BEGIN\r\nABCD"));
        assert_ne!(of_pem(b"AB"), of_pem(b"AC"));
        assert_ne!(of_pem(b"one"), of_secret(b"one"), "a public key is no secret");
    }
}
