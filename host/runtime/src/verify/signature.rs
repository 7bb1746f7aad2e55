//! Reads and verifies the minisign signature beside a library: `FILE.minisig`.
//!
//! Both forms are taken, over the bytes and over their BLAKE2b digest. The trusted comment is believed only with the
//! signature, as it is signed with it.

use std::{
    io::Read as _,
    path::{Path, PathBuf},
};

use agent_host_core::sanitise;
use agent_plugin_protocol::Code;
use base64::{Engine as _, prelude::BASE64_STANDARD};
use minisign_verify::{PublicKey, Signature};

use super::Refusal;
use crate::candidate;

/// What a signature says, and whether a given key made it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signed {
    /// The key that it names, as minisign shows it.
    pub key: String,
    /// The comment that is signed with the library. Sanitised; worth nothing where `verified` is false.
    pub comment: String,
    /// Whether one of the given keys made it over these very bytes.
    pub verified: bool,
}

/// The largest file that is read as a signature: a few times what minisign writes.
const LARGEST: u64 = 8 * 1024;

/// Whether there is a signature beside a library, good or bad.
pub fn is_signed(library: &Path) -> bool {
    files(library).iter().any(|file| file.symlink_metadata().is_ok())
}

/// Reads the signature of a library: the file beside its path, else beside what the path links to. `None`: there is none.
///
/// Blocks on the disk, never on a fifo.
pub(crate) fn read(library: &Path) -> Result<Option<String>, Refusal> {
    match files(library).into_iter().find(|file| file.symlink_metadata().is_ok()) {
        None => Ok(None),
        Some(file) => text(&file).map(Some),
    }
}

/// Where a signature may lie.
pub(crate) fn files(library: &Path) -> Vec<PathBuf> {
    let beside = |path: &Path| {
        let mut name = path.as_os_str().to_owned();
        name.push(".minisig");
        PathBuf::from(name)
    };
    let target = library.canonicalize().ok().filter(|target| target != library);
    std::iter::once(beside(library)).chain(target.as_deref().map(beside)).collect()
}

fn text(file: &Path) -> Result<String, Refusal> {
    let invalid =
        |why: &str| Refusal::new(Code::PluginSignatureInvalid, format!("{}: {why}", file.display()));
    let open = candidate::open(file).map_err(|fault| invalid(&fault.reason))?;
    let mut text = String::new();
    match open.take(LARGEST + 1).read_to_string(&mut text) {
        Ok(length) if length as u64 <= LARGEST => Ok(text),
        Ok(_) => Err(invalid("is too large for a signature")),
        Err(error) => Err(invalid(&error.to_string())),
    }
}

/// Holds a signature against the bytes and the keys. Total on any text.
pub(crate) fn judge(bytes: &[u8], text: &str, keys: &[String]) -> Result<Signed, Refusal> {
    let invalid = |why: String| Refusal::new(Code::PluginSignatureInvalid, why);
    let signature =
        Signature::decode(text).map_err(|_| invalid("its .minisig is no minisign signature".to_owned()))?;
    let key = text.lines().nth(1).and_then(key_id).unwrap_or_default();
    let mut signed =
        Signed { key, comment: sanitise::line(signature.trusted_comment(), 200), verified: false };
    if keys.is_empty() {
        return Ok(signed);
    }
    let Some(by) = keys.iter().find(|known| key_id(known).as_ref() == Some(&signed.key)) else {
        let known: Vec<String> = keys.iter().filter_map(|known| key_id(known)).collect();
        return Err(invalid(format!("it is signed by key {}, trusted are {}", signed.key, known.join(", "))));
    };
    let verified = PublicKey::from_base64(by).and_then(|by| by.verify(bytes, &signature, true));
    // Off for a broken twin: a host that believes whatever lies beside a library.
    let believed =
        agent_host_core::failpoint!("runtime.signature") == Some(agent_host_core::failpoint::Action::Off);
    if verified.is_err() && !believed {
        return Err(invalid(format!("the signature of key {} is not one of these bytes", signed.key)));
    }
    signed.verified = true;
    Ok(signed)
}

/// The key's id in a line of base64 that begins with algorithm and id, as minisign writes it: sixteen digits.
fn key_id(line: &str) -> Option<String> {
    let bytes = BASE64_STANDARD.decode(line.trim()).ok()?;
    let id: [u8; 8] = bytes.get(2..10)?.try_into().ok()?;
    Some(format!("{:016X}", u64::from_le_bytes(id)))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    // Made by minisign itself, over the text below.
    const BYTES: &[u8] = b"the bytes of a library";
    const KEY: &str = "RWTsqYDwPNAk6dABE6qUfhh1I8kcXnSeEEoCu/K+yUrfHO5GPcDqleIQ";
    const OTHER: &str = "RWSQU5l1ZT1Khrz6JOEpogKyfdCucTYLR9HM/zC6itQTCo3/FhYm2X2D";
    const PREHASHED: &str = "untrusted comment: signature from minisign secret key
RUTsqYDwPNAk6SeOaIjJLok2QniWHnV/FRaDnd+2rRbUir1bTmMtrR446HO/pD3/b2CT9BXs9rE+IdkNsYryDkZyAatpVilwKA0=
trusted comment: billing 1.4.2, built from a1b2c3
lHNCokgqPJymQH5EUcd9yGzum/1I88tIK5L+UTZTJpwXvftRuY7lt2l6Xt+E4I6uoZeLtgxFzu4OpQnCl+7/Bw==
";
    const LEGACY: &str = "untrusted comment: signature from minisign secret key
RWTsqYDwPNAk6aj0r7aXNCmsj8Il9PhedM9c9sSSKyD6KxV/wFPb2ZogrmjHI+1Zpa8dxM3OGkqQdvLMZSWJppJFDMHRB4Rskwc=
trusted comment: legacy form
mmUh4GSQQex5RM8KQLS3x3YHFQGVSzEpI5ZqLp1AHIOKrAQ/HYlOE1KQnZPfhpWsjCN7iQKMwOBkWCS3vmMwCA==
";

    fn keys(keys: &[&str]) -> Vec<String> {
        keys.iter().map(|key| (*key).to_owned()).collect()
    }

    #[test]
    fn both_forms_of_minisign_s_own_signatures_verify() {
        for (text, comment) in [(PREHASHED, "billing 1.4.2, built from a1b2c3"), (LEGACY, "legacy form")] {
            let signed = judge(BYTES, text, &keys(&[OTHER, KEY])).unwrap();
            assert_eq!(
                signed,
                Signed { key: "E924D03CF080A9EC".into(), comment: comment.into(), verified: true }
            );
            assert!(!judge(BYTES, text, &[]).unwrap().verified, "no key: seen, and not believed");
        }
    }

    #[test]
    fn what_is_not_signed_so_does_not_verify() {
        let refused = |bytes: &[u8], text: &str, key: &str| judge(bytes, text, &keys(&[key])).unwrap_err();
        for text in [PREHASHED, LEGACY] {
            assert!(refused(b"the bytes of a Library", text, KEY).reason.contains("not one of these bytes"));
            assert!(refused(BYTES, text, OTHER).reason.contains("864A3D6575995390"));
            // The comment is signed too.
            let other = text.replacen("trusted comment: ", "trusted comment: x", 2).replacen(
                "untrusted comment: x",
                "untrusted comment: ",
                1,
            );
            assert_eq!(refused(BYTES, &other, KEY).code, Code::PluginSignatureInvalid);
        }
    }

    proptest! {
        #[test]
        fn any_text_gets_a_verdict(text in "(.{0,80}\n){0,5}", cut in 0usize..300) {
            let _ = judge(BYTES, &text, &keys(&[KEY]));
            let cut: String = PREHASHED.chars().take(cut).collect();
            prop_assert!(judge(BYTES, &cut, &keys(&[KEY])).is_err() || cut.len() + 1 >= PREHASHED.len());
        }
    }
}
