//! Revoked tokens, as operators order and see them, and as they are kept.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use agent_host_core::{
    identity::Scope,
    revocation::{Revocation, Revoked},
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Which tokens to revoke: `jti`, or `user`. What is not known is refused: it would not be done.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RevocationOrder {
    /// The one token with that `jti`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub jti: Option<String>,
    /// All of this user that were issued up to `before`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// The user's tenant; left out, `default`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tenant: Option<String>,
    /// In seconds since 1970; left out, now. A token without `iat` is older.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<u64>,
    /// When the last of these tokens has expired, in seconds since 1970: forgotten from then on. Left out: kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<u64>,
}

/// A revocation that holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct RevocationPart(RevocationOrder);

/// Those that hold.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RevocationList {
    /// Tokens first.
    pub revocations: Vec<RevocationPart>,
}

impl RevocationOrder {
    /// What it means at `now`; or what is wrong with it.
    pub(crate) fn revocation(self, now: SystemTime) -> Result<Revocation, String> {
        let Self { jti, user, tenant, before, until } = self;
        let revoked = match (jti, user) {
            (Some(jti), None) if tenant.is_none() && before.is_none() => {
                Revoked::Token(named("jti", jti)?.into())
            }
            (None, Some(user)) => {
                let tenant = tenant.unwrap_or_else(|| "default".to_owned());
                let scope =
                    Scope { tenant: named("tenant", tenant)?.into(), user: named("user", user)?.into() };
                let before = before.map_or(Ok(now), |before| time("before", before))?;
                if before > now + AHEAD {
                    return Err(
                        "`before` is in the future: it would refuse tokens that are not made yet".to_owned()
                    );
                }
                Revoked::User { scope, before }
            }
            (Some(_), None) => return Err("`tenant` and `before` belong to `user`, not to `jti`".to_owned()),
            (Some(_), Some(_)) | (None, None) => {
                return Err("it takes `jti` or `user`, one of them".to_owned());
            }
        };
        let until = until.map(|until| time("until", until)).transpose()?;
        if until.is_some_and(|until| until <= now) {
            return Err("`until` is over: it would be forgotten at once".to_owned());
        }
        Ok(Revocation { revoked, until })
    }
}

impl RevocationPart {
    /// As it was kept.
    pub(crate) fn revocation(self) -> Result<Revocation, String> {
        // It was judged when it was ordered: what ran out since is no mistake, and neither is a clock that was set back.
        let now = self.0.before.map_or(Ok(UNIX_EPOCH), |before| time("before", before))?;
        let until = self.0.until.map(|until| time("until", until)).transpose()?;
        Ok(Revocation { until, ..RevocationOrder { until: None, ..self.0 }.revocation(now)? })
    }
}

impl From<&Revocation> for RevocationPart {
    fn from(one: &Revocation) -> Self {
        let until = one.until.map(seconds);
        Self(match &one.revoked {
            Revoked::Token(id) => {
                RevocationOrder { jti: Some(id.as_ref().to_owned()), until, ..RevocationOrder::default() }
            }
            Revoked::User { scope, before } => RevocationOrder {
                jti: None,
                user: Some(scope.user.as_ref().to_owned()),
                tenant: Some(scope.tenant.as_ref().to_owned()),
                before: Some(seconds(*before)),
                until,
            },
        })
    }
}

/// As the claim must be in a token, or it names none.
fn named(what: &str, name: String) -> Result<String, String> {
    match name.is_empty() || name.len() > 256 || name.chars().any(char::is_control) {
        true => Err(format!("`{what}` is not 1 to 256 printable bytes, so that no token has it")),
        false => Ok(name),
    }
}

fn time(what: &str, seconds: u64) -> Result<SystemTime, String> {
    /// The end of the year 9999, as for a token's own times.
    const LATEST: u64 = 253_402_300_799;
    match seconds {
        0..=LATEST => Ok(UNIX_EPOCH + Duration::from_secs(seconds)),
        _ => Err(format!("`{what}` is no time in seconds since 1970")),
    }
}

fn seconds(at: SystemTime) -> u64 {
    at.duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO).as_secs()
}

/// How far an issuer's clock may be ahead of this one.
const AHEAD: Duration = Duration::from_secs(300);
