//! Reads a key set as its issuer published it: which of its keys verify tokens here, and why the others do not.

use agent_host_core::{failpoint, failpoint::Action, identity::KeyPrint, sanitise};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use jsonwebtoken::{Algorithm, DecodingKey};
use serde::{Deserialize, de::IgnoredAny};
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use super::verify::Key;

/// Keys of one set that are used; a token that names none is tried on each of its algorithm.
const MOST_KEYS: usize = 32;
/// Longer names of keys are mistakes.
const LONGEST_NAME: usize = 256;
/// What the cryptography takes: below, a key can be found out; above, a token costs too much.
const RSA_BITS: std::ops::RangeInclusive<usize> = 2048..=8192;

/// What a set came to.
#[derive(Debug, Default)]
pub(crate) struct ReadSet {
    pub(crate) keys: Vec<SetKey>,
    /// In the set's order.
    pub(crate) passed_over: Vec<PassedOver>,
}

/// A key that verifies tokens of its one algorithm.
#[derive(Debug)]
pub(crate) struct SetKey {
    /// What tokens call it. Two keys may have one name: either may verify then.
    pub(crate) name: Option<String>,
    pub(crate) print: KeyPrint,
    pub(crate) key: Key,
}

/// A key that does not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PassedOver {
    /// Its name, fit for a log; empty if it has none.
    pub(crate) name: String,
    pub(crate) why: Why,
}

/// Why a key is passed over. The others of its set are used all the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Why {
    #[error("it is symmetric: whoever can read the set could sign with it")]
    Symmetric,
    #[error("it has its private part: whoever can read the set could sign with it")]
    Private,
    #[error("it is not meant to verify signatures (`use`, `key_ops`)")]
    OtherUse,
    #[error("its kind, curve or algorithm is neither RS256 (RSA) nor ES256 (P-256)")]
    OtherKind,
    #[error("an RSA key has 2048 to 8192 bits, and an odd exponent from 3 on")]
    Strength,
    #[error("it is not what a key of its kind looks like (RFC 7517)")]
    Malformed,
    #[error("the set has more than 32 keys before it")]
    TooMany,
}

#[derive(Deserialize)]
struct Document {
    keys: Vec<Value>,
}

/// The members that matter here; others are ignored.
#[derive(Deserialize)]
struct Jwk {
    kty: String,
    kid: Option<String>,
    alg: Option<String>,
    #[serde(rename = "use")]
    usage: Option<String>,
    key_ops: Option<Vec<String>>,
    crv: Option<String>,
    n: Option<String>,
    e: Option<String>,
    x: Option<String>,
    y: Option<String>,
    d: Option<IgnoredAny>,
    k: Option<String>,
}

/// Reads a set.
///
/// # Errors
/// Why it is none, in half a sentence that quotes nothing of it.
pub(crate) fn read(bytes: &[u8]) -> Result<ReadSet, String> {
    let document: Document = serde_json::from_slice(bytes).map_err(|error| {
        format!("it is no key set (RFC 7517): JSON with `keys`, a list; line {}", error.line())
    })?;
    let mut set = ReadSet::default();
    for value in document.keys {
        let name = value.get("kid").and_then(Value::as_str).unwrap_or_default();
        let name = sanitise::line(name, 64);
        let read = match set.keys.len() {
            MOST_KEYS.. => Err(Why::TooMany),
            _ => serde_json::from_value(value).map_err(|_| Why::Malformed).and_then(key),
        };
        match read {
            Ok(key) => set.keys.push(key),
            Err(why) if set.passed_over.len() < MOST_KEYS => set.passed_over.push(PassedOver { name, why }),
            // So many have been told.
            Err(_) => {}
        }
    }
    Ok(set)
}

fn key(jwk: Jwk) -> Result<SetKey, Why> {
    if jwk.kid.as_ref().is_some_and(|name| name.len() > LONGEST_NAME) {
        return Err(Why::Malformed);
    }
    let symmetric = jwk.kty == "oct";
    // For a broken twin: a host that takes a published secret for one.
    let takes_all = symmetric && failpoint!("gateway.key_set.symmetric") == Some(Action::Off);
    if symmetric && !takes_all {
        return Err(Why::Symmetric);
    }
    if jwk.d.is_some() {
        return Err(Why::Private);
    }
    let verifies = |ops: &Vec<String>| ops.iter().any(|op| op == "verify");
    if jwk.usage.as_ref().is_some_and(|usage| usage != "sig")
        || jwk.key_ops.as_ref().is_some_and(|ops| !verifies(ops))
    {
        return Err(Why::OtherUse);
    }
    let (algorithm, word, parts, key) = match jwk.kty.as_str() {
        "RSA" => {
            let (modulus, exponent) = (bytes(jwk.n)?, bytes(jwk.e)?);
            // For a broken twin: a host that takes a key that can be found out.
            let takes_all = failpoint!("gateway.key_set.weak") == Some(Action::Off);
            if !takes_all && (!RSA_BITS.contains(&bits(&modulus)) || !is_exponent(&exponent)) {
                return Err(Why::Strength);
            }
            let key = DecodingKey::from_rsa_raw_components(&modulus, &exponent);
            (Algorithm::RS256, "RS256", [modulus, exponent], key)
        }
        "EC" if jwk.crv.as_deref() == Some("P-256") => {
            let (x, y) = (bytes(jwk.x)?, bytes(jwk.y)?);
            if (x.len(), y.len()) != (32, 32) {
                return Err(Why::Malformed);
            }
            // Uncompressed, as SEC 1 writes a point.
            let key = DecodingKey::from_ec_der(&[&[4], x.as_slice(), y.as_slice()].concat());
            (Algorithm::ES256, "ES256", [x, y], key)
        }
        "oct" => {
            let secret = bytes(jwk.k)?;
            let key = DecodingKey::from_secret(&secret);
            (Algorithm::HS256, "HS256", [secret, Vec::new()], key)
        }
        _ => return Err(Why::OtherKind),
    };
    if jwk.alg.as_ref().is_some_and(|alg| alg != word) {
        return Err(Why::OtherKind);
    }
    let print = print(word, &parts);
    Ok(SetKey { name: jwk.kid, print, key: Key::new(algorithm, key) })
}

fn bytes(text: Option<String>) -> Result<Vec<u8>, Why> {
    URL_SAFE_NO_PAD.decode(text.ok_or(Why::Malformed)?).map_err(|_| Why::Malformed)
}

/// A number without the zeros before it, the most significant byte first.
fn significant(number: &[u8]) -> &[u8] {
    let zeros = number.iter().take_while(|byte| **byte == 0).count();
    number.get(zeros..).unwrap_or_default()
}

fn bits(number: &[u8]) -> usize {
    let number = significant(number);
    let leading = number.first().map_or(0, |byte| byte.leading_zeros() as usize);
    number.len() * 8 - leading
}

/// With an exponent of 1 everything is its own signature.
fn is_exponent(number: &[u8]) -> bool {
    let number = significant(number);
    let odd = number.last().is_some_and(|byte| byte % 2 == 1);
    odd && number != [1] && number.len() <= 4
}

/// The same for the same key, whatever its name.
fn print(word: &str, parts: &[Vec<u8>; 2]) -> KeyPrint {
    let mut hash = Sha256::new();
    hash.update(word.as_bytes());
    for part in parts {
        let part = significant(part);
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part);
    }
    KeyPrint(hash.finalize().into())
}

#[cfg(test)]
mod tests;
