//! `[auth]` and `[admin]`: whose tokens are believed, with which keys.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::PathBuf,
    time::Duration,
};

use agent_plugin_protocol::Code;

use super::KeySetConfig;
use crate::{
    reader::Reader,
    secret::{HS256_SECRET_BYTES, Secret},
    value::Located,
};

/// How users' tokens are verified. There is at least one key: a secret or the key set's address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuthConfig {
    /// Keys for HS256: the first signs, all verify. Each has at least [`HS256_SECRET_BYTES`].
    pub hs256_secrets: Vec<Secret>,
    /// Keys for RS256 and ES256, each as PEM: for tokens that somebody else signs.
    pub public_keys: Vec<PublicKeyFile>,
    /// The `iss` that a token must have; `None`: not checked.
    pub issuer: Option<String>,
    /// The `aud` that a token must have; `None` (written `""`): not checked.
    pub audience: Option<String>,
    /// The key set of another issuer, for RS256 and ES256.
    pub jwks: Option<KeySetConfig>,
    /// How far issuer's and host's clock may differ.
    pub leeway: Duration,
}

/// A public key, as read from its file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublicKeyFile {
    /// Where it lies.
    pub path: PathBuf,
    /// What the file says; which algorithm it is for, whoever verifies finds out.
    pub pem: Vec<u8>,
}

/// The operators' listener. Its tokens have their own keys and audience.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AdminConfig {
    /// Where to listen.
    pub listen: SocketAddr,
    /// Keys of admin tokens; none: there are no admin tokens.
    pub hs256_secrets: Vec<Secret>,
    /// The `aud` that an admin token must have.
    pub audience: String,
    /// Names by which operators reach the listener, beside its address and `localhost`; lower case, without a port.
    pub hosts: Vec<String>,
}

impl AuthConfig {
    pub(crate) fn read(r: &Reader<'_>) -> Self {
        let secrets = signing_keys(r);
        let jwks = KeySetConfig::read(r);
        let public_keys = public_keys(r);
        let others = r.has("jwks_url") || r.has("public_keys");
        if matches!(&secrets, Some(keys) if keys.is_empty()) && !others {
            let hint =
                "set auth.hs256_secret = { env = \"NAME\" }, auth.public_keys or auth.jwks_url".to_owned();
            r.error(
                Code::ConfigMissing,
                "hs256_secret",
                "is not set, so no token could be verified",
                Some(hint),
            );
        }
        Self {
            hs256_secrets: secrets.unwrap_or_default().into_iter().map(|located| located.value).collect(),
            public_keys,
            issuer: not_empty(r.value("issuer")),
            audience: not_empty(r.value("audience")),
            jwks,
            leeway: r.within("leeway", Duration::from_secs(60), Duration::ZERO..=Duration::from_secs(600)),
        }
    }
}

impl AdminConfig {
    pub(crate) fn read(r: &Reader<'_>, auth: &AuthConfig) -> Self {
        let secrets = signing_keys(r).unwrap_or_default();
        for Located { value, origin } in &secrets {
            if auth.hs256_secrets.contains(value) {
                let hint = Some("give operators a key of their own".to_owned());
                let reason = "holds a key of [auth]: whoever signs users' tokens could sign an operator's";
                r.error_at(Code::ConfigDuplicate, "hs256_secrets", origin.clone(), reason, hint);
            }
        }
        let audience = r.or("audience", DEFAULT_ADMIN_AUDIENCE.to_owned());
        if audience.is_empty() {
            let hint = Some("leave it out for the default".to_owned());
            r.error(
                Code::ConfigRange,
                "audience",
                "is empty; an admin token's audience is always checked",
                hint,
            );
        }
        Self {
            // 9901: beside the public port, on this machine only.
            listen: r.or("listen", (IpAddr::from(Ipv4Addr::LOCALHOST), 9901).into()),
            hs256_secrets: secrets.into_iter().map(|located| located.value).collect(),
            audience,
            hosts: host_names(r),
        }
    }
}

/// The names that a request may be for. A page that a browser was lured to names its own.
fn host_names(r: &Reader<'_>) -> Vec<String> {
    let written: Vec<Located<String>> = r.or("hosts", Vec::new());
    for Located { value, origin } in &written {
        let letter = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
        if value.is_empty() || !value.chars().all(letter) {
            let hint = Some("a name without scheme, port or path: \"admin.example.com\"".to_owned());
            let reason = format!("holds {value:?}, no host's name");
            r.error_at(Code::ConfigRange, "hosts", origin.clone(), reason, hint);
        }
    }
    written.into_iter().map(|located| located.value.to_ascii_lowercase()).collect()
}

/// `hs256_secret` and `hs256_secrets`, of which the layers left one; an empty list switches HS256 off. `None` if
/// what is written is wrong, which was reported then.
fn signing_keys(r: &Reader<'_>) -> Option<Vec<Located<Secret>>> {
    let one: Option<Located<Secret>> = r.value("hs256_secret");
    let many: Option<Vec<Located<Secret>>> = r.value("hs256_secrets");
    if (one.is_none() && r.has("hs256_secret")) || (many.is_none() && r.has("hs256_secrets")) {
        return None;
    }
    for (key, secrets) in
        [("hs256_secret", one.as_slice()), ("hs256_secrets", many.as_deref().unwrap_or_default())]
    {
        for Located { value, origin } in secrets {
            let bytes = value.expose().len();
            if bytes < HS256_SECRET_BYTES {
                let reason =
                    format!("has a secret of {bytes} bytes; HS256 needs at least {HS256_SECRET_BYTES}");
                let hint = Some("make one with `openssl rand -base64 48`".to_owned());
                r.error_at(Code::ConfigRange, key, origin.clone(), reason, hint);
            }
        }
    }
    Some(one.into_iter().chain(many.into_iter().flatten()).collect())
}

/// A key file is larger than this only by mistake.
pub(super) const PEM_BYTES: u64 = 64 * 1024;

/// The key files, read. A private key is refused: this host has no use for it, and should not have it.
fn public_keys(r: &Reader<'_>) -> Vec<PublicKeyFile> {
    let written: Vec<Located<String>> = r.or("public_keys", Vec::new());
    let read = written.into_iter().filter_map(|Located { value, origin }| {
        let path = r.cx.relative(value.into());
        let wrong = |code: Code, reason: String, hint: &str| {
            r.error_at(code, "public_keys", origin.clone(), reason, Some(hint.to_owned()));
        };
        let regular = std::fs::metadata(&path).is_ok_and(|meta| meta.is_file() && meta.len() <= PEM_BYTES);
        let pem = match std::fs::read(&path) {
            Ok(pem) if regular => pem,
            Ok(_) => {
                wrong(
                    Code::ConfigRange,
                    format!("names {}, which is no small file", path.display()),
                    "name a PEM file",
                );
                return None;
            }
            Err(error) => {
                let reason = format!("names {}, which cannot be read: {error}", path.display());
                wrong(Code::ConfigMissing, reason, "paths are relative to the configuration folder");
                return None;
            }
        };
        let says = |what: &[u8]| pem.windows(what.len()).any(|part| part == what);
        if says(b"PRIVATE KEY-----") {
            let reason = format!("names {}, which holds a private key", path.display());
            wrong(
                Code::ConfigRange,
                reason,
                "openssl pkey -in KEY.pem -pubout -out PUBLIC.pem; keep the private one elsewhere",
            );
            return None;
        }
        if !says(b"-----BEGIN PUBLIC KEY-----") {
            let reason = format!("names {}, which is no public key in PEM", path.display());
            wrong(Code::ConfigRange, reason, "it begins with -----BEGIN PUBLIC KEY-----");
            return None;
        }
        Some(PublicKeyFile { path, pem })
    });
    read.collect()
}

fn not_empty(text: Option<String>) -> Option<String> {
    text.filter(|text| !text.is_empty())
}

const DEFAULT_ADMIN_AUDIENCE: &str = "agent-host-admin";
