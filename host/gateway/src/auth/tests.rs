use std::{
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use agent_host_core::ports::clock::Clock;
use agent_plugin_protocol::Code;
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use http::{HeaderMap, HeaderValue, Uri};
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use secrecy::SecretSlice;
use serde_json::{Value, json};

use super::*;
use crate::settings::Auth;

const KEY: &[u8] = b"0123456789abcdef0123456789abcdef";
const OLD_KEY: &[u8] = b"fedcba9876543210fedcba9876543210";
const NOW: u64 = 1_800_000_000;

struct Fixed(SystemTime);

impl Clock for Fixed {
    fn now(&self) -> SystemTime {
        self.0
    }
}

fn verifier(issuer: &str, audience: &str) -> Verifier {
    let auth = Auth {
        hs256_secrets: vec![KEY.to_vec().into(), OLD_KEY.to_vec().into()],
        issuer: issuer.to_owned(),
        audience: audience.to_owned(),
        ..Auth::default()
    };
    Verifier::new(&auth, Arc::new(Fixed(UNIX_EPOCH + Duration::from_secs(NOW))))
}

fn signed(alg: Algorithm, claims: &Value, key: &[u8]) -> String {
    jsonwebtoken::encode(&Header::new(alg), claims, &EncodingKey::from_secret(key)).unwrap()
}

fn hs256(claims: &Value) -> String {
    signed(Algorithm::HS256, claims, KEY)
}

fn unsigned(header: &Value, claims: &Value, signature: &str) -> String {
    let part = |v: &Value| URL_SAFE_NO_PAD.encode(v.to_string());
    format!("{}.{}.{signature}", part(header), part(claims))
}

fn code(token: &str) -> Code {
    verifier("", "").verify(token).unwrap_err().code
}

#[test]
fn a_good_token_becomes_its_principal() {
    let token = hs256(&json!({
        "sub": "u1", "tenant": "t1", "permissions": ["a", "b"], "scope": "c", "jti": "j", "exp": NOW + 10, "other": {}
    }));
    let principal = verifier("", "").verify(&token).unwrap();
    assert_eq!((&*principal.scope.tenant, &*principal.scope.user), ("t1", "u1"));
    assert!(permits(&principal, "a") && permits(&principal, "b") && !permits(&principal, "c"));
    assert_eq!(principal.expires_at, UNIX_EPOCH + Duration::from_secs(NOW + 10));
    assert_eq!(principal.token_id.as_deref(), Some("j"));
}

#[test]
fn tenant_and_permissions_have_their_defaults() {
    let principal =
        verifier("", "").verify(&hs256(&json!({"sub": "u", "exp": NOW, "scope": "x  y"}))).unwrap();
    assert_eq!(&*principal.scope.tenant, "default");
    assert!(permits(&principal, "x") && permits(&principal, "y"));
}

#[test]
fn an_older_secret_still_verifies() {
    let token = signed(Algorithm::HS256, &json!({"sub": "u", "exp": NOW}), OLD_KEY);
    assert!(verifier("", "").verify(&token).is_ok());
}

#[test]
fn each_wrong_token_has_its_code() {
    let good = json!({"sub": "u", "exp": NOW + 10});
    for (token, expected) in [
        (String::new(), Code::AuthMissing),
        ("abc".to_owned(), Code::AuthMalformed),
        ("a.b.c.d".to_owned(), Code::AuthMalformed),
        ("!.!.!".to_owned(), Code::AuthMalformed),
        ("x".repeat(MAX_TOKEN_BYTES + 1), Code::AuthMalformed),
        (hs256(&json!({"sub": "u".repeat(MAX_TOKEN_BYTES), "exp": NOW})), Code::AuthMalformed),
        (unsigned(&json!({"alg": "none"}), &good, ""), Code::AuthAlgorithm),
        (unsigned(&json!({"alg": "None"}), &good, ""), Code::AuthAlgorithm),
        (unsigned(&json!({"alg": "RS256"}), &good, "c2ln"), Code::AuthAlgorithm),
        (unsigned(&json!({"alg": "HS256", "crit": ["b64"]}), &good, "c2ln"), Code::AuthMalformed),
        (unsigned(&json!({"alg": "HS256"}), &good, ""), Code::AuthInvalid),
        (signed(Algorithm::HS512, &good, KEY), Code::AuthAlgorithm),
        (signed(Algorithm::HS256, &good, b"another key of thirty-two bytes!"), Code::AuthInvalid),
        (hs256(&json!({"sub": "u"})), Code::AuthMalformed),
        (hs256(&json!({"sub": "u", "exp": "soon"})), Code::AuthMalformed),
        (hs256(&json!({"sub": "u", "exp": -1})), Code::AuthMalformed),
        (hs256(&json!({"sub": "u", "exp": 1e300})), Code::AuthMalformed),
        (hs256(&json!({"exp": NOW})), Code::AuthMalformed),
        (hs256(&json!({"sub": "", "exp": NOW})), Code::AuthMalformed),
        (hs256(&json!({"sub": "a\nb", "exp": NOW})), Code::AuthMalformed),
        (hs256(&json!({"sub": 7, "exp": NOW})), Code::AuthMalformed),
        (hs256(&json!({"sub": "u", "tenant": "t".repeat(257), "exp": NOW})), Code::AuthMalformed),
        (hs256(&json!({"sub": "u", "exp": NOW - 60})), Code::AuthExpired),
        (hs256(&json!({"sub": "u", "exp": NOW, "nbf": NOW + 61})), Code::AuthNotYetValid),
        (hs256(&json!(["not", "claims"])), Code::AuthMalformed),
    ] {
        assert_eq!(code(&token), expected, "{}", &token[..token.len().min(60)]);
    }
}

#[test]
fn a_public_key_as_hmac_secret_does_not_help() {
    // The classic confusion: the attacker signs HS256 with the RS256 public key. Here no public key is ever a secret.
    let token =
        signed(Algorithm::HS256, &json!({"sub": "u", "exp": NOW}), b"-----BEGIN PUBLIC KEY-----\nMIIB");
    assert_eq!(code(&token), Code::AuthInvalid);
}

/// Made for this test by openssl: RSA 2048 and P-256, their public halves in PEM.
fn keys(kind: &str) -> (EncodingKey, PublicKey) {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src/auth/keys");
    let read = |name: String| std::fs::read(folder.join(name)).unwrap();
    let (private, public) = (read(format!("{kind}.pem")), read(format!("{kind}.pub.pem")));
    let private = match kind {
        "rsa" | "rsa-other" => EncodingKey::from_rsa_pem(&private).unwrap(),
        _ => EncodingKey::from_ec_pem(&private).unwrap(),
    };
    (private, PublicKey::from_pem(&public).unwrap())
}

fn with(auth: Auth) -> Verifier {
    Verifier::new(&auth, Arc::new(Fixed(UNIX_EPOCH + Duration::from_secs(NOW))))
}

#[test]
fn a_public_key_verifies_its_own_algorithm_only() {
    let ((rsa, rsa_public), (ec, ec_public)) = (keys("rsa"), keys("ec"));
    let claims = json!({"sub": "u", "exp": NOW + 10});
    let sign = |alg, key: &EncodingKey| jsonwebtoken::encode(&Header::new(alg), &claims, key).unwrap();
    let both = with(Auth { public_keys: vec![rsa_public.clone(), ec_public], ..Auth::default() });
    assert!(both.verify(&sign(Algorithm::RS256, &rsa)).is_ok());
    assert!(both.verify(&sign(Algorithm::ES256, &ec)).is_ok());
    let code = |verifier: &Verifier, token: &str| verifier.verify(token).unwrap_err().code;
    assert_eq!(code(&both, &sign(Algorithm::RS256, &keys("rsa-other").0)), Code::AuthInvalid);
    assert_eq!(code(&both, &sign(Algorithm::RS512, &rsa)), Code::AuthAlgorithm);
    assert_eq!(code(&both, &sign(Algorithm::PS256, &rsa)), Code::AuthAlgorithm);
    assert_eq!(code(&both, &hs256(&claims)), Code::AuthAlgorithm, "no secret, no HS256");
    let only_rsa = with(Auth { public_keys: vec![rsa_public.clone()], ..Auth::default() });
    assert_eq!(code(&only_rsa, &sign(Algorithm::ES256, &ec)), Code::AuthAlgorithm);
    // The classic confusion: HS256 with the public key's own bytes as the secret, in either form.
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src/auth/keys/rsa.pub.pem");
    let pem = std::fs::read(folder).unwrap();
    let secrets = vec![KEY.to_vec().into()];
    let mixed = with(Auth { hs256_secrets: secrets, public_keys: vec![rsa_public], ..Auth::default() });
    assert_eq!(code(&mixed, &signed(Algorithm::HS256, &claims, &pem)), Code::AuthInvalid);
    assert_eq!(code(&mixed, &signed(Algorithm::HS256, &claims, pem.trim_ascii())), Code::AuthInvalid);
    assert!(mixed.verify(&hs256(&claims)).is_ok());
    assert_eq!(code(&mixed, &unsigned(&json!({"alg": "none"}), &claims, "")), Code::AuthAlgorithm);
}

#[test]
fn one_of_several_keys_suffices_so_that_keys_can_be_changed() {
    let ((old, old_public), (new, new_public)) = (keys("rsa"), keys("rsa-other"));
    let claims = json!({"sub": "u", "exp": NOW + 10});
    let verifier = with(Auth { public_keys: vec![new_public, old_public], ..Auth::default() });
    for key in [old, new] {
        let token = jsonwebtoken::encode(&Header::new(Algorithm::RS256), &claims, &key).unwrap();
        assert!(verifier.verify(&token).is_ok());
    }
}

#[test]
fn what_is_no_public_key_is_none() {
    for pem in [&b""[..], b"-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n"] {
        assert!(PublicKey::from_pem(pem).is_err());
    }
}

#[test]
fn leeway_is_given_on_both_sides() {
    let verifier = verifier("", "");
    assert!(verifier.verify(&hs256(&json!({"sub": "u", "exp": NOW - 59}))).is_ok());
    assert!(verifier.verify(&hs256(&json!({"sub": "u", "exp": NOW, "nbf": NOW + 60}))).is_ok());
}

#[test]
fn issuer_and_audience_are_checked_where_configured() {
    let token = |iss: Value, aud: Value| hs256(&json!({"sub": "u", "exp": NOW, "iss": iss, "aud": aud}));
    let verify = |token: String| verifier("me", "host").verify(&token).map(|_| ()).map_err(|e| e.code);
    assert_eq!(verify(token(json!("me"), json!("host"))), Ok(()));
    assert_eq!(verify(token(json!("me"), json!(["x", "host"]))), Ok(()));
    assert_eq!(verify(token(json!("you"), json!("host"))), Err(Code::AuthIssuer));
    assert_eq!(verify(token(Value::Null, json!("host"))), Err(Code::AuthIssuer));
    assert_eq!(verify(token(json!("me"), json!("other"))), Err(Code::AuthAudience));
    assert_eq!(verify(token(json!("me"), Value::Null)), Err(Code::AuthAudience));
    assert!(verifier("", "").verify(&token(json!("you"), json!("other"))).is_ok());
}

#[test]
fn a_verifier_without_keys_trusts_nobody() {
    let none = Verifier::new(&Auth::default(), Arc::new(Fixed(UNIX_EPOCH)));
    assert_eq!(none.verify(&hs256(&json!({"sub": "u", "exp": NOW}))).unwrap_err().code, Code::AuthInvalid);
}

fn minted() -> MintClaims {
    MintClaims {
        user: "u".to_owned(),
        tenant: None,
        permissions: vec!["admin:read".to_owned()],
        issuer: String::new(),
        audience: "agent-host".to_owned(),
        issued_at: UNIX_EPOCH + Duration::from_secs(NOW),
        lifetime: Duration::from_secs(60),
    }
}

#[test]
fn a_minted_token_verifies_and_has_an_id() {
    let token = mint(&minted(), &KEY.to_vec().into()).unwrap();
    let principal = verifier("", "agent-host").verify(&token).unwrap();
    assert!(principal.token_id.is_some() && permits(&principal, "admin:read"));
    let shown = inspect(&token).unwrap();
    assert_eq!((&shown.header["alg"], &shown.claims["aud"]), (&json!("HS256"), &json!("agent-host")));
    assert_eq!(inspect("no.jwt"), None);
}

#[test]
fn a_short_secret_does_not_sign() {
    let short: SecretSlice<u8> = b"short".to_vec().into();
    assert_eq!(mint(&minted(), &short), Err(MintError::ShortSecret(5)));
}

#[test]
fn no_error_quotes_the_token() {
    let token = hs256(&json!({"sub": "secret-user", "exp": "secret-exp"}));
    let error = verifier("", "").verify(&token).unwrap_err();
    assert!(!format!("{error:?} {error}").contains("secret"));
}

fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
    let mut map = HeaderMap::new();
    for (name, value) in pairs {
        map.append(*name, HeaderValue::from_str(value).unwrap());
    }
    map
}

#[test]
fn the_token_is_taken_from_the_first_source_that_has_one() {
    const BOTH: &[(&str, &str)] =
        &[("authorization", "bearer T1"), ("sec-websocket-protocol", "agent-host.v1, bearer.T2")];
    for (given, uri, expected) in [
        (BOTH, "/ws?ticket=x", Ok(TokenSource::Jwt("T1".into()))),
        (&BOTH[1..], "/ws?ticket=x", Ok(TokenSource::Jwt("T2".into()))),
        (
            &[("authorization", "Basic eDp5"), ("sec-websocket-protocol", "bearer.T2")][..],
            "/ws",
            Ok(TokenSource::Jwt("T2".into())),
        ),
        (&[][..], "/ws?a=b&ticket=x", Ok(TokenSource::Ticket("x"))),
        (&[("authorization", "Bearer")][..], "/ws", Ok(TokenSource::Jwt("".into()))),
        (
            &[("authorization", "Bearer a"), ("authorization", "Bearer b")][..],
            "/ws",
            Err(Code::AuthMalformed),
        ),
        (&[][..], "/ws", Err(Code::AuthMissing)),
        (&[][..], "/ws?token=a.b.c", Err(Code::AuthMissing)),
    ] {
        let (headers, uri): (_, Uri) = (headers(given), uri.parse().unwrap());
        assert_eq!(TokenSource::find(&headers, &uri).map_err(|e| e.code), expected);
    }
}

#[test]
fn a_token_in_the_url_is_refused_with_the_way_to_do_it() {
    let uri: Uri = "/ws?access_token=a.b.c".parse().unwrap();
    let error = TokenSource::find(&HeaderMap::new(), &uri).unwrap_err();
    assert!(error.detail.contains("URL") && !error.detail.contains("a.b.c"));
}

#[test]
fn the_older_wire_s_forms_of_a_token_are_all_the_same_token() {
    let encoded = format!("jwt-auth, jwt.{}", URL_SAFE_NO_PAD.encode("a.b.c"));
    let uri = Uri::default();
    for offered in [
        encoded.as_str(),
        "jwt-auth, jwt.a.b.c",
        "jwt-auth.a.b.c",
        "bearer.a.b.c",
        "staging-auth.a.b.c",
        "jwt.staging.a.b.c",
    ] {
        let headers = headers(&[("sec-websocket-protocol", offered)]);
        let found = TokenSource::find(&headers, &uri);
        assert_eq!(found, Ok(TokenSource::Jwt("a.b.c".into())), "{offered}");
    }
    let garbled = headers(&[("sec-websocket-protocol", "jwt-auth, jwt.bm90")]);
    assert_eq!(TokenSource::find(&garbled, &uri), Ok(TokenSource::Jwt("bm90".into())));
}
