//! Makes tokens, good ones and each kind of bad one.

use std::time::{SystemTime, UNIX_EPOCH};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use jsonwebtoken::{EncodingKey, Header};
use serde_json::{Value, json};

/// The key of every host that the suite starts.
pub(crate) const SECRET: &str = "a-key-of-the-test-suite-and-of-nothing-else-0001";

/// A key that no host knows.
pub(crate) const OTHER_SECRET: &str = "another-key-that-no-host-of-the-suite-knows-0002";

/// The key of the operators of those hosts that have one.
pub(crate) const ADMIN_SECRET: &str = "a-key-of-the-suite-s-operators-and-nobody-else-0003";

/// A good token of an operator who may do these, for example `admin:read`.
pub(crate) fn operator(scopes: &[&str]) -> String {
    signed(&claims_with("olga", json!({ "aud": "agent-host-admin", "permissions": scopes })), ADMIN_SECRET)
}

/// A good token of that user.
pub(crate) fn of(user: &str) -> String {
    signed(&claims(user), SECRET)
}

/// The claims of a good token.
pub(crate) fn claims(user: &str) -> Value {
    json!({
        "sub": user, "tenant": "default", "aud": "agent-host", "jti": format!("suite-{user}"),
        "iat": now(), "exp": now() + 3600,
    })
}

/// The same claims with some replaced.
pub(crate) fn claims_with(user: &str, changes: Value) -> Value {
    let mut all = claims(user);
    for (name, value) in changes.as_object().expect("changes are an object") {
        all[name] = value.clone();
    }
    all
}

/// Signs by HS256.
pub(crate) fn signed(claims: &Value, secret: &str) -> String {
    let key = EncodingKey::from_secret(secret.as_bytes());
    jsonwebtoken::encode(&Header::default(), claims, &key).expect("plain claims encode")
}

/// A token whose header says `alg`, with `signature` as it is.
pub(crate) fn forged(alg: &str, claims: &Value, signature: &str) -> String {
    let header = json!({ "alg": alg, "typ": "JWT" });
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    format!("{}.{}.{signature}", part(&header), part(claims))
}

/// Seconds since 1970.
pub(crate) fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("the clock is past 1970").as_secs()
}
