//! Makes and shows tokens, for the command line.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use secrecy::{ExposeSecret, SecretSlice};
use serde::Serialize;
use serde_json::Value;

use super::{MAX_TOKEN_BYTES, MIN_SECRET_BYTES};

/// What a new token shall say. It always gets a `jti`.
#[derive(Debug, Clone)]
pub struct MintClaims {
    /// `sub`
    pub user: String,
    /// `tenant`; left out if `None`.
    pub tenant: Option<String>,
    /// `permissions[]`; left out if empty.
    pub permissions: Vec<String>,
    /// `iss`; left out if empty.
    pub issuer: String,
    /// `aud`; left out if empty.
    pub audience: String,
    /// `iat`
    pub issued_at: SystemTime,
    /// From `iat` to `exp`.
    pub lifetime: Duration,
}

/// Why no token was made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MintError {
    /// The secret is too short to be safe; the host would not start with it either.
    #[error("the secret has {0} bytes; HS256 needs at least {MIN_SECRET_BYTES}")]
    ShortSecret(usize),
    /// A time before 1970 or after what a token can say.
    #[error("the time is not one that a token can say")]
    Time,
    /// The token would be refused.
    #[error("the token would be longer than {MAX_TOKEN_BYTES} bytes")]
    TooLong,
    /// The cryptography refused.
    #[error("signing failed: {0}")]
    Signing(String),
}

#[derive(Serialize)]
struct Claims<'a> {
    sub: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    tenant: Option<&'a str>,
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    permissions: &'a [String],
    #[serde(skip_serializing_if = "str::is_empty")]
    iss: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    aud: &'a str,
    iat: u64,
    exp: u64,
    jti: String,
}

/// Signs a token.
///
/// # Errors
/// [`MintError`]
pub fn mint(claims: &MintClaims, secret: &SecretSlice<u8>) -> Result<String, MintError> {
    let secret = secret.expose_secret();
    if secret.len() < MIN_SECRET_BYTES {
        return Err(MintError::ShortSecret(secret.len()));
    }
    let iat = claims.issued_at.duration_since(UNIX_EPOCH).map_err(|_| MintError::Time)?.as_secs();
    let exp = iat.checked_add(claims.lifetime.as_secs()).ok_or(MintError::Time)?;
    let body = Claims {
        sub: &claims.user,
        tenant: claims.tenant.as_deref(),
        permissions: &claims.permissions,
        iss: &claims.issuer,
        aud: &claims.audience,
        iat,
        exp,
        jti: uuid::Uuid::new_v4().simple().to_string(),
    };
    let token =
        jsonwebtoken::encode(&Header::new(Algorithm::HS256), &body, &EncodingKey::from_secret(secret))
            .map_err(|e| MintError::Signing(e.to_string()))?;
    if token.len() > MAX_TOKEN_BYTES { Err(MintError::TooLong) } else { Ok(token) }
}

/// A token's content, unverified.
#[derive(Debug, Clone, PartialEq)]
pub struct Inspected {
    /// The first part.
    pub header: Value,
    /// The second part.
    pub claims: Value,
}

/// Shows what a token says, without judging it. `None`: it is not a JWT.
pub fn inspect(token: &str) -> Option<Inspected> {
    let mut parts = token.trim().split('.');
    let (header, claims, _signature, None) = (parts.next()?, parts.next()?, parts.next()?, parts.next())
    else {
        return None;
    };
    let part = |text: &str| serde_json::from_slice(&URL_SAFE_NO_PAD.decode(text).ok()?).ok();
    Some(Inspected { header: part(header)?, claims: part(claims)? })
}
