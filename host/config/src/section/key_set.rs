//! `[auth] jwks_…`: where the keys of another issuer are fetched, how often, and how long they hold without it.

use std::{ops::RangeInclusive, path::PathBuf, time::Duration};

use agent_host_core::web_address::{NoWebAddress, WebAddress};
use agent_plugin_protocol::Code;

use super::auth::PEM_BYTES;
use crate::{origin::Origin, reader::Reader, value::Located};

/// The key set of another issuer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeySetConfig {
    /// Where it is fetched.
    pub url: WebAddress,
    /// Who vouches for that address; `None`: those whom this machine believes.
    pub authorities: Option<AuthoritiesFile>,
    /// From one fetch to the next, at most.
    pub refresh: Duration,
    /// How long the keys hold while they cannot be fetched.
    pub stale: Duration,
    /// For one fetch.
    pub timeout: Duration,
}

/// Certificates of authorities, as read from their file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuthoritiesFile {
    /// Where it lies.
    pub path: PathBuf,
    /// What the file says; whether they are certificates, whoever uses them finds out.
    pub pem: Vec<u8>,
}

/// Below, an issuer would be asked without need; above, a key that it withdraws would hold for too long.
const REFRESH: RangeInclusive<Duration> = Duration::from_secs(5)..=Duration::from_secs(24 * 3600);
const STALE: RangeInclusive<Duration> = Duration::ZERO..=Duration::from_secs(30 * 24 * 3600);
const TIMEOUT: RangeInclusive<Duration> = Duration::from_millis(100)..=Duration::from_secs(60);

impl KeySetConfig {
    pub(crate) fn read(r: &Reader<'_>) -> Option<Self> {
        // All are read, whatever is written: so each of them is known.
        let (url, authorities) = (url(r), authorities(r));
        let refresh = r.within("jwks_refresh", Duration::from_secs(300), REFRESH);
        let stale = r.within("jwks_stale", Duration::from_secs(24 * 3600), STALE);
        let timeout = r.within("jwks_timeout", Duration::from_secs(5), TIMEOUT);
        if authorities.is_some() && !r.has("jwks_url") {
            let hint = Some("set auth.jwks_url, or leave it out".to_owned());
            r.error(Code::ConfigMissing, "jwks_ca_file", "is set, and `auth.jwks_url` is not", hint);
        }
        Some(Self { url: url?, authorities, refresh, stale, timeout })
    }
}

/// The key set decides who is believed, so it comes by HTTPS, except from this machine.
fn url(r: &Reader<'_>) -> Option<WebAddress> {
    let url: String = r.value("jwks_url")?;
    let wrong = |reason: String, hint: &str| {
        r.error(Code::ConfigRange, "jwks_url", reason, Some(hint.to_owned()));
        None
    };
    match url.parse() {
        Ok(address) => Some(address),
        // Not quoted: it would be in the log.
        Err(NoWebAddress::Password) => wrong(
            "holds a user's name or a password".to_owned(),
            "a key set is public: give its address without them",
        ),
        Err(NoWebAddress::Plain) => {
            wrong(format!("is {url:?}, not an https address"), "https://…; http only for localhost")
        }
        Err(NoWebAddress::Fragment | NoWebAddress::Malformed) => wrong(
            format!("is {url:?}, no address of a document"),
            "for example https://issuer.example.com/.well-known/jwks.json",
        ),
    }
}

fn authorities(r: &Reader<'_>) -> Option<AuthoritiesFile> {
    let Located { value, origin } =
        r.or("jwks_ca_file", Located { value: String::new(), origin: Origin::Default });
    if value.is_empty() {
        return None;
    }
    let path = r.cx.relative(value.into());
    let wrong = |code: Code, why: &str, hint: &str| {
        let reason = format!("names {}, {why}", path.display());
        r.error_at(code, "jwks_ca_file", origin.clone(), reason, Some(hint.to_owned()));
    };
    let small = std::fs::metadata(&path).is_ok_and(|meta| meta.is_file() && meta.len() <= 16 * PEM_BYTES);
    match std::fs::read(&path) {
        Err(error) => {
            let why = format!("which cannot be read: {error}");
            wrong(Code::ConfigMissing, &why, "paths are relative to the configuration folder");
            None
        }
        Ok(_) if !small => {
            wrong(Code::ConfigRange, "which is no small file", "name a PEM file of certificates");
            None
        }
        Ok(pem) => Some(AuthoritiesFile { path, pem }),
    }
}
