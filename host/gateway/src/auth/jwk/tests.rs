use proptest::prelude::*;
use serde_json::json;

use super::*;

fn file(name: &str) -> Value {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src/auth/keys").join(name);
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

/// A published key with these members beside its own; `null` takes one away.
fn jwk(name: &str, more: Value) -> Value {
    let mut key = file(&format!("{name}.jwk.json"));
    for (member, value) in more.as_object().unwrap() {
        key[member] = value.clone();
    }
    key.as_object_mut().unwrap().retain(|_, value| !value.is_null());
    key
}

fn set(keys: &[Value]) -> ReadSet {
    read(json!({ "keys": keys }).to_string().as_bytes()).unwrap()
}

fn number(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

#[test]
fn a_key_verifies_its_one_algorithm() {
    let keys = set(&[
        jwk("rsa", json!({ "kid": "a", "alg": "RS256", "use": "sig", "key_ops": ["verify"], "x5t": "x" })),
        jwk("rsa", json!({})),
        jwk("ec", json!({ "kid": "a", "alg": "ES256" })),
    ]);
    assert_eq!(keys.passed_over, []);
    let found: Vec<_> = keys.keys.iter().map(|key| (key.name.as_deref(), key.key.algorithm)).collect();
    let (rsa, ec) = (Algorithm::RS256, Algorithm::ES256);
    assert_eq!(found, [(Some("a"), rsa), (None, rsa), (Some("a"), ec)], "two may have one name");
}

#[test]
fn the_same_key_is_known_again_whatever_it_is_called() {
    let padded = {
        let mut modulus = URL_SAFE_NO_PAD.decode(file("rsa.jwk.json")["n"].as_str().unwrap()).unwrap();
        modulus.insert(0, 0);
        number(&modulus)
    };
    let keys = set(&[
        jwk("rsa", json!({ "kid": "a" })),
        jwk("rsa", json!({ "kid": "b", "alg": "RS256", "n": padded })),
        jwk("rsa-other", json!({ "kid": "a" })),
        jwk("ec", json!({})),
    ]);
    let prints: Vec<KeyPrint> = keys.keys.iter().map(|key| key.print).collect();
    assert_eq!(prints[0], prints[1]);
    let distinct: std::collections::BTreeSet<_> = prints.iter().collect();
    assert_eq!(distinct.len(), 3);
}

#[test]
fn each_key_that_is_not_used_says_why_and_the_others_are_used() {
    let short = number(&[0xff; 255]);
    let long = number(&[0xff; 1025]);
    let bad = [
        (json!({ "kty": "oct", "k": number(&[7; 32]) }), Why::Symmetric),
        (json!({ "kty": "oct", "alg": "HS256", "k": number(&[7; 32]) }), Why::Symmetric),
        (jwk("rsa", json!({ "d": "AQAB" })), Why::Private),
        (jwk("ec", json!({ "d": { "any": "thing" } })), Why::Private),
        (jwk("rsa", json!({ "use": "enc" })), Why::OtherUse),
        (jwk("rsa", json!({ "key_ops": ["encrypt"] })), Why::OtherUse),
        (jwk("rsa", json!({ "key_ops": [] })), Why::OtherUse),
        (jwk("rsa", json!({ "alg": "RS512" })), Why::OtherKind),
        (jwk("rsa", json!({ "alg": "PS256" })), Why::OtherKind),
        (jwk("rsa", json!({ "alg": "HS256" })), Why::OtherKind),
        (jwk("rsa", json!({ "alg": "ES256" })), Why::OtherKind),
        (jwk("ec", json!({ "alg": "RS256" })), Why::OtherKind),
        (jwk("ec", json!({ "crv": "P-384" })), Why::OtherKind),
        (jwk("ec", json!({ "crv": null })), Why::OtherKind),
        (json!({ "kty": "OKP", "crv": "Ed25519", "x": number(&[7; 32]) }), Why::OtherKind),
        (json!({ "kty": "future" }), Why::OtherKind),
        (jwk("rsa", json!({ "n": short })), Why::Strength),
        (jwk("rsa", json!({ "n": number(&[&[0; 8], [0xff; 255].as_slice()].concat()) })), Why::Strength),
        (jwk("rsa", json!({ "n": long })), Why::Strength),
        (jwk("rsa", json!({ "n": "" })), Why::Strength),
        (jwk("rsa", json!({ "e": number(&[1]) })), Why::Strength),
        (jwk("rsa", json!({ "e": number(&[0, 0, 1]) })), Why::Strength),
        (jwk("rsa", json!({ "e": number(&[4]) })), Why::Strength),
        (jwk("rsa", json!({ "e": "" })), Why::Strength),
        (jwk("rsa", json!({ "e": number(&[1, 0, 0, 0, 1]) })), Why::Strength),
        (jwk("rsa", json!({ "n": "not base64!" })), Why::Malformed),
        (jwk("rsa", json!({ "n": 7 })), Why::Malformed),
        (jwk("rsa", json!({ "e": null })), Why::Malformed),
        (jwk("rsa", json!({ "kid": 7 })), Why::Malformed),
        (jwk("rsa", json!({ "kid": "k".repeat(257) })), Why::Malformed),
        (jwk("ec", json!({ "x": number(&[1; 31]) })), Why::Malformed),
        (json!({}), Why::Malformed),
        (json!("key"), Why::Malformed),
        (json!(null), Why::Malformed),
    ];
    for (key, why) in bad {
        let read = set(&[key.clone(), jwk("ec", json!({ "kid": "good" }))]);
        let told: Vec<Why> = read.passed_over.iter().map(|key| key.why).collect();
        assert_eq!(told, [why], "{key}");
        assert_eq!(read.keys.len(), 1, "{key}");
        assert_eq!(read.keys[0].name.as_deref(), Some("good"));
    }
}

#[test]
fn a_name_that_is_told_is_fit_for_a_log() {
    let read = set(&[json!({ "kty": "oct", "kid": format!("\u{1b}[31m\n{}", "x".repeat(500)) })]);
    let name = &read.passed_over[0].name;
    assert!(name.len() <= 100 && !name.contains(['\u{1b}', '\n']), "{name:?}");
}

#[test]
fn a_set_has_so_many_keys_and_no_more() {
    let many: Vec<Value> = (0..100).map(|n| jwk("ec", json!({ "kid": n.to_string() }))).collect();
    let read = set(&many);
    assert_eq!((read.keys.len(), read.passed_over.len()), (MOST_KEYS, MOST_KEYS));
    assert!(read.passed_over.iter().all(|key| key.why == Why::TooMany));
}

#[test]
fn what_is_no_set_is_an_error_that_quotes_nothing() {
    let deep = "[".repeat(100_000);
    for text in ["", "null", "[]", "{}", "{\"keys\":{}}", "{\"keys\":null}", "<html>secret</html>", &deep] {
        let error = read(text.as_bytes()).unwrap_err();
        assert!(!error.contains("secret") && error.len() < 200, "{error}");
    }
    assert!(read(b"{\"keys\":[]}").unwrap().keys.is_empty());
    assert!(read(&[0xff, 0xfe]).is_err());
}

proptest! {
    #[test]
    fn any_bytes_are_a_set_or_none(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        drop(read(&bytes));
    }

    /// Whatever members a key has: one that is used has an algorithm that can be published, and no other name than its own.
    #[test]
    fn any_members_make_a_public_key_or_none(
        kty in "(RSA|EC|oct|OKP)?", alg in "(RS256|ES256|HS256|none)?", crv in "(P-256|P-384)?", private in any::<bool>(),
        size in 0usize..1100,
    ) {
        let mut key = json!({
            "kty": kty, "alg": alg, "crv": crv, "n": number(&vec![0xff; size]), "e": "AQAB",
            "x": number(&vec![1; size.min(33)]), "y": number(&[1; 32]), "k": number(&[1; 32]),
        });
        if private {
            key["d"] = json!("AQAB");
        }
        for used in set(&[key]).keys {
            prop_assert!(!private && matches!(used.key.algorithm, Algorithm::RS256 | Algorithm::ES256));
            prop_assert!(used.key.algorithm == Algorithm::ES256 || (256..=1024).contains(&size));
        }
    }
}
