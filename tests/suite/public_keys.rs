//! Tokens that somebody else signs: RS256 and ES256 by keys in files, and what is wrong about such a file.

use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde_json::json;

use crate::{
    client::Client,
    harness::{
        Host, Setup, artifacts,
        host::cli,
        http,
        tokens::{self, claims_with},
    },
    scenario::ready,
};

/// A key of the gateway's own tests.
fn key(name: &str) -> Vec<u8> {
    std::fs::read(artifacts::root().join("host/gateway/src/auth/keys").join(name)).unwrap()
}

fn signed(alg: Algorithm, key: &EncodingKey, user: &str) -> String {
    jsonwebtoken::encode(&Header::new(alg), &claims_with(user, json!({})), key).unwrap()
}

fn setup() -> Setup {
    Setup::echo()
        .file("keys/rsa.pem", key("rsa.pub.pem"))
        .file("keys/ec.pem", key("ec.pub.pem"))
        .set("auth.public_keys", "[\"keys/rsa.pem\", \"keys/ec.pem\"]")
}

async fn refused_with(host: &Host, token: &str, code: &str) {
    let answer = http::upgrade(host.address, Some(token)).await.unwrap();
    assert_eq!((answer.status, answer.code()), (401, Ok(code.into())), "{answer:?}");
}

#[tokio::test]
async fn each_key_opens_the_door_beside_the_host_s_own_secret() {
    let host = setup().start();
    ready(&host).await.unwrap();
    let rsa = EncodingKey::from_rsa_pem(&key("rsa.pem")).unwrap();
    let ec = EncodingKey::from_ec_pem(&key("ec.pem")).unwrap();
    for token in
        [signed(Algorithm::RS256, &rsa, "alice"), signed(Algorithm::ES256, &ec, "alice"), tokens::of("alice")]
    {
        let mut client = Client::with_token(&host, &token).await.unwrap();
        assert_eq!(client.welcome["user_id"], "alice");
        client.run("hello").await.unwrap().answered_by("echo").unwrap();
    }
    let other = EncodingKey::from_rsa_pem(&key("rsa-other.pem")).unwrap();
    refused_with(&host, &signed(Algorithm::RS256, &other, "alice"), "auth.invalid").await;
    refused_with(&host, &signed(Algorithm::RS384, &rsa, "alice"), "auth.algorithm").await;
    // The public key as an HMAC secret.
    let confused = EncodingKey::from_secret(&key("rsa.pub.pem"));
    refused_with(&host, &signed(Algorithm::HS256, &confused, "alice"), "auth.invalid").await;
}

#[tokio::test]
async fn a_host_without_a_secret_of_its_own_needs_none() {
    let host = setup().set("auth.hs256_secrets", "[]").start();
    ready(&host).await.unwrap();
    let rsa = EncodingKey::from_rsa_pem(&key("rsa.pem")).unwrap();
    Client::with_token(&host, &signed(Algorithm::RS256, &rsa, "alice")).await.unwrap();
    refused_with(&host, &tokens::of("alice"), "auth.algorithm").await;
}

#[test]
fn a_file_that_is_no_public_key_is_an_error_with_its_place() {
    for (bytes, words) in [
        (key("rsa.pem"), "holds a private key"),
        (b"no key at all".to_vec(), "is no public key in PEM"),
        (b"-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n".to_vec(), "neither an RSA key nor"),
    ] {
        let setup = Setup::echo().file("keys/rsa.pem", bytes).set("auth.public_keys", "[\"keys/rsa.pem\"]");
        let output = cli(&["config", "validate"], &setup);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(78), "{said}");
        assert!(said.contains(words) && said.contains("keys/rsa.pem"), "{said}");
    }
    let missing = Setup::echo().set("auth.public_keys", "[\"keys/nowhere.pem\"]");
    let output = cli(&["config", "validate"], &missing);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.contains("host.toml:") && said.contains("cannot be read"), "{said}");
}
