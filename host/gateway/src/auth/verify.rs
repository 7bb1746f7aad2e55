//! Judges a token: form, algorithm, signature, then the claims by the injected clock. The order is the order of cost.

use std::{
    collections::{BTreeSet, HashSet},
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use agent_host_core::{
    failpoint,
    failpoint::Action,
    identity::{KeyPrint, Principal, Scope, SignedBy},
    key_set::Standing,
    ports::clock::Clock,
};
use agent_plugin_protocol::Code;
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use jsonwebtoken::{Algorithm, DecodingKey, Validation, errors::ErrorKind};
use secrecy::ExposeSecret;
use serde::Deserialize;

use super::{KeySet, print};
use crate::{revoked::RevokedTokens, settings::Auth};

/// A longer token is refused before it is looked at.
pub const MAX_TOKEN_BYTES: usize = 8 * 1024;

/// Judges tokens of one kind (users' or operators').
pub struct Verifier {
    keys: Vec<OwnKey>,
    /// What the allowed algorithms are called, for whoever used another.
    allowed: String,
    /// Those of another issuer.
    key_set: Option<Arc<KeySet>>,
    issuer: String,
    audience: String,
    leeway: Duration,
    clock: Arc<dyn Clock>,
    revoked: Arc<RevokedTokens>,
}

/// Why a token is no good. The detail never quotes the token.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{detail}")]
pub struct AuthError {
    /// `auth.…`
    pub code: Code,
    /// For the client.
    pub detail: String,
}

impl AuthError {
    /// In the code's own words.
    pub(crate) fn of(code: Code) -> Self {
        Self { code, detail: code.meaning().to_owned() }
    }
}

impl Verifier {
    /// A verifier with those keys. Without any, every token is invalid.
    pub fn new(auth: &Auth, clock: Arc<dyn Clock>) -> Self {
        let secrets = auth.hs256_secrets.iter().map(|secret| OwnKey {
            print: print::of_secret(secret.expose_secret()),
            key: Key::new(Algorithm::HS256, DecodingKey::from_secret(secret.expose_secret())),
        });
        let public = auth.public_keys.iter().map(|public| OwnKey {
            print: public.print,
            key: Key::new(public.algorithm, public.key.clone()),
        });
        let keys: Vec<OwnKey> = secrets.chain(public).collect();
        Self {
            allowed: allowed(|algorithm| keys.iter().any(|own| own.key.algorithm == algorithm)),
            keys,
            key_set: None,
            issuer: auth.issuer.clone(),
            audience: auth.audience.clone(),
            leeway: auth.leeway,
            clock,
            revoked: Arc::default(),
        }
    }

    /// Believes these keys beside its own, as they are at each time.
    pub fn with_key_set(self, set: Option<Arc<KeySet>>) -> Self {
        let own = |algorithm| self.keys.iter().any(|own| own.key.algorithm == algorithm);
        let to_come = |algorithm| set.is_some() && is_public(algorithm);
        Self { allowed: allowed(|algorithm| own(algorithm) || to_come(algorithm)), key_set: set, ..self }
    }

    /// Refuses these too.
    pub(crate) fn without(self, revoked: Arc<RevokedTokens>) -> Self {
        Self { revoked, ..self }
    }

    /// How far past its `exp` a token still holds.
    pub fn leeway(&self) -> Duration {
        self.leeway
    }

    /// Judges a token at the clock's time, by the keys that are there.
    ///
    /// # Errors
    /// [`AuthError`] with the code of the first thing that is wrong.
    pub fn verify(&self, token: &str) -> Result<Principal, AuthError> {
        self.look(token).map_err(|refused| match refused {
            Refused::Token(error) => error,
            Refused::NoKey => self.no_key(),
        })
    }

    /// The same; a token whose key is not there waits a moment for a key set that is being fetched. Cancel safe.
    ///
    /// # Errors
    /// As [`Verifier::verify`].
    pub async fn judge(&self, token: &str) -> Result<Principal, AuthError> {
        match (self.look(token), &self.key_set) {
            (Ok(principal), _) => Ok(principal),
            (Err(Refused::Token(error)), _) => Err(error),
            (Err(Refused::NoKey), None) => Err(self.no_key()),
            (Err(Refused::NoKey), Some(set)) => match set.asked_for_more().await {
                true => self.verify(token),
                false => Err(AuthError::of(Code::AuthKeysUnavailable)),
            },
        }
    }

    fn look(&self, token: &str) -> Result<Principal, Refused> {
        let head = check_form(token)?;
        let algorithm = head.algorithm().ok_or_else(|| self.wrong_algorithm())?;
        let (claims, signed_by) = self.checked_claims(token, algorithm, head.kid.as_deref())?;
        Ok(self.checked_principal(claims, algorithm, signed_by)?)
    }

    fn checked_principal(
        &self,
        claims: Claims,
        algorithm: Algorithm,
        signed_by: SignedBy,
    ) -> Result<Principal, AuthError> {
        let now = self.clock.now();
        let expires_at = numeric_date(claims.exp, "exp")?
            .ok_or_else(|| error(Code::AuthMalformed, "the token has no `exp`"))?;
        if now >= saturating_add(expires_at, self.leeway) {
            return Err(error(Code::AuthExpired, "the token has expired"));
        }
        if let Some(not_before) = numeric_date(claims.nbf, "nbf")?
            && saturating_add(now, self.leeway) < not_before
        {
            return Err(error(Code::AuthNotYetValid, "the token's `nbf` is in the future"));
        }
        let principal = Principal { signed_by, ..principal(claims, expires_at)? };
        self.check_intent(&principal)?;
        // Whoever has the host's own secret is trusted with its name as well; another issuer is not.
        if principal.scope.is_self_check() && algorithm != Algorithm::HS256 {
            return Err(error(
                Code::AuthMalformed,
                "the claim `tenant` is the name of the host's own checks",
            ));
        }
        self.check_standing(&principal)?;
        Ok(principal)
    }

    /// Judges whether a token that was good, by this or an earlier verifier, would still be let in: whether it is revoked by
    /// now, its key withdrawn, or its issuer or audience another than is wanted now. Its time is judged elsewhere.
    ///
    /// # Errors
    /// `auth.revoked`, `auth.invalid`, `auth.issuer`, `auth.audience`
    pub(crate) fn check_standing(&self, principal: &Principal) -> Result<(), AuthError> {
        if self.revoked.covers(principal) {
            Err(AuthError::of(Code::AuthRevoked))
        } else if self.key_set.as_ref().is_some_and(|set| set.has_withdrawn(principal)) {
            Err(error(Code::AuthInvalid, "the issuer has withdrawn the key that signed the token"))
        } else if failpoint!("gateway.removed_keys") == Some(Action::Off) {
            // For a broken twin: a host whose connections outlive the keys of its configuration.
            Ok(())
        } else if !self.has_key_of(principal) {
            Err(error(Code::AuthInvalid, "the key that signed the token is no key of this host any more"))
        } else {
            self.check_intent(principal)
        }
    }

    /// Whether the key that verified it is still one of the configuration's, or of the set's where there still is one.
    fn has_key_of(&self, principal: &Principal) -> bool {
        match principal.signed_by {
            SignedBy::Host => true,
            SignedBy::Configured(print) => self.keys.iter().any(|own| own.print == print),
            SignedBy::Fetched(_) => self.key_set.is_some(),
        }
    }

    /// From whom it is, and for whom.
    fn check_intent(&self, principal: &Principal) -> Result<(), AuthError> {
        if principal.signed_by == SignedBy::Host {
            return Ok(());
        }
        if !self.issuer.is_empty() && principal.issuer.as_deref() != Some(self.issuer.as_str()) {
            return Err(error(Code::AuthIssuer, "the token's `iss` is missing or not the configured one"));
        }
        if !self.audience.is_empty() && !principal.audiences.iter().any(|one| **one == *self.audience) {
            return Err(error(Code::AuthAudience, "the token's `aud` is missing or does not name this host"));
        }
        Ok(())
    }

    /// The claims of a token whose signature verifies with one of the keys of its algorithm, and which key that is. A key has one algorithm of its own: a public key is never taken for the secret of another.
    fn checked_claims(
        &self,
        token: &str,
        algorithm: Algorithm,
        name: Option<&str>,
    ) -> Result<(Claims, SignedBy), Refused> {
        let set = self.key_set.as_ref().map(|set| set.now());
        let fetched = set.iter().flat_map(|set| set.find(algorithm, name));
        let fetched: Vec<(&Key, SignedBy)> =
            fetched.map(|one| (&one.key, SignedBy::Fetched(one.print))).collect();
        let own = self.keys.iter().filter(|own| own.key.algorithm == algorithm);
        let own = own.map(|own| (&own.key, SignedBy::Configured(own.print)));
        let mut tried = false;
        for (key, signed_by) in fetched.iter().copied().chain(own) {
            tried = true;
            match jsonwebtoken::decode::<Claims>(token, &key.key, &key.validation) {
                Ok(data) => return Ok((data.claims, signed_by)),
                Err(e) => match e.kind() {
                    // A signature that is not even base64url does not verify either. Nor does any with a published key
                    // that is none, such as a point beside its curve.
                    ErrorKind::InvalidSignature
                    | ErrorKind::Base64(_)
                    | ErrorKind::InvalidEcdsaKey
                    | ErrorKind::InvalidRsaKey(_) => {}
                    ErrorKind::InvalidAlgorithm => return Err(self.wrong_algorithm().into()),
                    // Anything else is about the form; the crate's text could quote the claims.
                    _ => {
                        let detail = "a part of the token is not what a JWT has there";
                        return Err(error(Code::AuthMalformed, detail).into());
                    }
                },
            }
        }
        let named = name.is_some() && !fetched.is_empty();
        if set.is_some() && is_public(algorithm) && !named {
            Err(Refused::NoKey)
        } else if tried || self.keys.is_empty() {
            Err(error(Code::AuthInvalid, "the token's signature does not verify").into())
        } else {
            Err(self.wrong_algorithm().into())
        }
    }

    /// Of a token that none of the keys verifies: a set that is current says so; otherwise it is the host's trouble, and not
    /// the token's.
    fn no_key(&self) -> AuthError {
        match self.key_set.as_ref().map(|set| set.now().standing) {
            None | Some(Standing::Current) => {
                error(Code::AuthInvalid, "the token is signed with a key that its issuer does not publish")
            }
            Some(Standing::Absent | Standing::Stale | Standing::Expired | Standing::Empty) => {
                AuthError::of(Code::AuthKeysUnavailable)
            }
        }
    }

    fn wrong_algorithm(&self) -> AuthError {
        let allowed = if self.allowed.is_empty() { "none: this host has no key" } else { &self.allowed };
        error(Code::AuthAlgorithm, format!("the token's algorithm is not an allowed one; allowed: {allowed}"))
    }
}

/// Why a token is refused for now.
enum Refused {
    Token(AuthError),
    /// None of the keys that are there verifies it; another one may.
    NoKey,
}

impl From<AuthError> for Refused {
    fn from(error: AuthError) -> Self {
        Self::Token(error)
    }
}

/// A key of the configuration.
struct OwnKey {
    print: KeyPrint,
    key: Key,
}

/// A key with the algorithm that it is for, and how the crate is to judge with it.
#[derive(Debug)]
pub(crate) struct Key {
    pub(crate) algorithm: Algorithm,
    key: DecodingKey,
    validation: Validation,
}

impl Key {
    pub(crate) fn new(algorithm: Algorithm, key: DecodingKey) -> Self {
        let mut validation = Validation::new(algorithm);
        // The crate would read the machine's clock, and its `aud` and `iss` checks have no codes of ours.
        validation.validate_exp = false;
        validation.validate_nbf = false;
        validation.validate_aud = false;
        validation.required_spec_claims = HashSet::new();
        Self { algorithm, key, validation }
    }
}

/// The algorithms that a key can be for, by the names that tokens give them.
const ALGORITHMS: [(Algorithm, &str); 3] =
    [(Algorithm::HS256, "HS256"), (Algorithm::RS256, "RS256"), (Algorithm::ES256, "ES256")];

/// Whether its keys can be published.
fn is_public(algorithm: Algorithm) -> bool {
    matches!(algorithm, Algorithm::RS256 | Algorithm::ES256)
}

fn allowed(is: impl Fn(Algorithm) -> bool) -> String {
    let names = ALGORITHMS.iter().filter(|(algorithm, _)| is(*algorithm)).map(|(_, name)| *name);
    names.collect::<Vec<_>>().join(", ")
}

/// Checks without a key: length, three parts, a header. Kept before the crate, whose own answer to `alg: none` is a parse
/// error.
fn check_form(token: &str) -> Result<HeaderHead, AuthError> {
    if token.is_empty() {
        return Err(error(Code::AuthMissing, "the token is empty"));
    }
    if token.len() > MAX_TOKEN_BYTES {
        return Err(error(Code::AuthMalformed, format!("the token is longer than {MAX_TOKEN_BYTES} bytes")));
    }
    let mut parts = token.split('.');
    let (Some(header), Some(_), Some(_), None) = (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return Err(error(Code::AuthMalformed, "a JWT has three parts"));
    };
    let header = URL_SAFE_NO_PAD
        .decode(header)
        .ok()
        .and_then(|json| serde_json::from_slice::<HeaderHead>(&json).ok())
        .ok_or_else(|| error(Code::AuthMalformed, "the token's header is not base64url of JSON"))?;
    if header.crit.is_some() {
        // RFC 7515, 4.1.11: an extension that is critical and not understood.
        return Err(error(
            Code::AuthMalformed,
            "the token's header has a `crit` that this host does not know",
        ));
    }
    Ok(header)
}

#[derive(Deserialize)]
struct HeaderHead {
    alg: String,
    /// The key's name.
    kid: Option<String>,
    crit: Option<serde::de::IgnoredAny>,
}

impl HeaderHead {
    /// Its algorithm, if it is one that a key can be for.
    fn algorithm(&self) -> Option<Algorithm> {
        ALGORITHMS.iter().find(|(_, name)| *name == self.alg).map(|(algorithm, _)| *algorithm)
    }
}

/// What a token says. Unknown claims are ignored.
#[derive(Deserialize)]
struct Claims {
    sub: Option<String>,
    exp: Option<f64>,
    nbf: Option<f64>,
    iss: Option<String>,
    aud: Option<Audience>,
    tenant: Option<String>,
    permissions: Option<Vec<String>>,
    scope: Option<String>,
    iat: Option<f64>,
    jti: Option<String>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Audience {
    One(String),
    Many(Vec<String>),
}

impl From<Audience> for Arc<[Box<str>]> {
    fn from(audience: Audience) -> Self {
        match audience {
            Audience::One(one) => Self::from([one.into_boxed_str()]),
            Audience::Many(many) => many.into_iter().map(String::into_boxed_str).collect(),
        }
    }
}

fn principal(claims: Claims, expires_at: SystemTime) -> Result<Principal, AuthError> {
    let user = claims.sub.ok_or_else(|| error(Code::AuthMalformed, "the token has no `sub`"))?;
    let tenant = claims.tenant.unwrap_or_else(|| "default".to_owned());
    bounded("sub", &user)?;
    bounded("tenant", &tenant)?;
    if let Some(jti) = &claims.jti {
        bounded("jti", jti)?;
    }
    let permissions: BTreeSet<String> = match claims.permissions {
        Some(list) => list.into_iter().collect(),
        None => claims.scope.unwrap_or_default().split_whitespace().map(str::to_owned).collect(),
    };
    Ok(Principal {
        scope: Scope { tenant: tenant.into(), user: user.into() },
        permissions,
        expires_at,
        issued_at: numeric_date(claims.iat, "iat")?,
        token_id: claims.jti.map(Into::into),
        signed_by: SignedBy::Host,
        issuer: claims.iss.map(Into::into),
        audiences: claims.aud.map(Into::into).unwrap_or_default(),
    })
}

/// A name that goes into the store's keys: 1 to 256 printable bytes.
fn bounded(claim: &str, value: &str) -> Result<(), AuthError> {
    if value.is_empty() || value.len() > 256 || value.chars().any(char::is_control) {
        return Err(error(
            Code::AuthMalformed,
            format!("the claim `{claim}` is not 1 to 256 printable bytes"),
        ));
    }
    Ok(())
}

/// A JWT's seconds since 1970, fraction allowed.
fn numeric_date(claim: Option<f64>, name: &str) -> Result<Option<SystemTime>, AuthError> {
    /// The end of the year 9999: what lies beyond is a mistake, not a date.
    const LATEST: f64 = 253_402_300_799.0;
    match claim {
        None => Ok(None),
        Some(seconds) if (0.0..=LATEST).contains(&seconds) => {
            Ok(Some(UNIX_EPOCH + Duration::from_secs_f64(seconds)))
        }
        Some(_) => Err(error(Code::AuthMalformed, format!("the claim `{name}` is not a date"))),
    }
}

fn saturating_add(at: SystemTime, more: Duration) -> SystemTime {
    at.checked_add(more).unwrap_or(at)
}

fn error(code: Code, detail: impl Into<String>) -> AuthError {
    AuthError { code, detail: detail.into() }
}
