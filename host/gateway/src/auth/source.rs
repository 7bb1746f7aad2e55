//! Finds the token in an upgrade request: header, then subprotocol, then ticket. Never in the URL.

use std::borrow::Cow;

use agent_plugin_protocol::Code;
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use http::{HeaderMap, Uri, header};

use super::AuthError;

/// What the request carries, in the order in which it counts.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum TokenSource<'a> {
    /// A JWT, from `Authorization: Bearer` or a subprotocol entry, such as `bearer.<jwt>`.
    Jwt(Cow<'a, str>),
    /// `?ticket=`
    Ticket(&'a str),
}

impl<'a> TokenSource<'a> {
    /// The token of `Authorization: Bearer`, and no other credential.
    pub(crate) fn of_header(headers: &'a HeaderMap, uri: &Uri) -> Result<&'a str, AuthError> {
        let missing = || AuthError { code: Code::AuthMissing, detail: missing_detail(uri) };
        bearer(headers)?.ok_or_else(missing)
    }

    /// Looks for the credentials.
    pub(crate) fn find(headers: &'a HeaderMap, uri: &'a Uri) -> Result<Self, AuthError> {
        if let Some(token) = bearer(headers)? {
            return Ok(Self::Jwt(token.into()));
        }
        if let Some(rest) = offered_protocols(headers).find_map(after_prefix) {
            return Ok(Self::Jwt(token_of(rest)));
        }
        if let Some(ticket) = query(uri, |name| name == "ticket") {
            return Ok(Self::Ticket(ticket));
        }
        Err(AuthError { code: Code::AuthMissing, detail: missing_detail(uri) })
    }
}

/// Before a token in a subprotocol entry: ours, and the older wire's.
const PREFIXES: [&str; 4] = ["bearer.", "jwt.", "jwt-auth.", "staging-auth."];

/// Whether a subprotocol entry is a token's, not a protocol's.
pub(crate) fn carries_token(entry: &str) -> bool {
    after_prefix(entry).is_some()
}

fn after_prefix(entry: &str) -> Option<&str> {
    PREFIXES.iter().find_map(|prefix| entry.strip_prefix(prefix))
}

/// What stands behind the prefix: a token, one in base64url, or one behind the name of an environment.
fn token_of(rest: &str) -> Cow<'_, str> {
    match rest.matches('.').count() {
        0 => decoded(rest).map_or(Cow::Borrowed(rest), Cow::Owned),
        3 => Cow::Borrowed(rest.split_once('.').map_or(rest, |(_environment, token)| token)),
        _ => Cow::Borrowed(rest),
    }
}

/// A whole token in base64url. Anything else is left as it is: whoever verifies says what is wrong with it.
fn decoded(text: &str) -> Option<String> {
    let bytes = URL_SAFE_NO_PAD.decode(text.trim_end_matches('=')).ok()?;
    String::from_utf8(bytes).ok().filter(|token| token.matches('.').count() == 2)
}

/// The entries of `Sec-WebSocket-Protocol`, over all its lines.
pub(crate) fn offered_protocols(headers: &HeaderMap) -> impl Iterator<Item = &str> {
    headers
        .get_all(header::SEC_WEBSOCKET_PROTOCOL)
        .iter()
        .filter_map(|line| line.to_str().ok())
        .flat_map(|line| line.split(','))
        .map(str::trim)
        .filter(|entry| !entry.is_empty())
}

/// The token of `Authorization: Bearer`; another scheme is not ours (a proxy's, say) and is passed over.
fn bearer(headers: &HeaderMap) -> Result<Option<&str>, AuthError> {
    let malformed = |detail: &str| AuthError { code: Code::AuthMalformed, detail: detail.to_owned() };
    let mut lines = headers.get_all(header::AUTHORIZATION).iter();
    let Some(line) = lines.next() else { return Ok(None) };
    if lines.next().is_some() {
        return Err(malformed("there is more than one Authorization header"));
    }
    let line = line.to_str().map_err(|_| malformed("the Authorization header is not text"))?;
    match line.trim().split_once(' ') {
        Some((scheme, token)) if scheme.eq_ignore_ascii_case("bearer") => Ok(Some(token.trim())),
        None if line.trim().eq_ignore_ascii_case("bearer") => Ok(Some("")),
        Some(_) | None => Ok(None),
    }
}

fn missing_detail(uri: &Uri) -> String {
    let in_url =
        query(uri, |name| matches!(name, "token" | "access_token" | "jwt" | "bearer" | "auth_token"));
    match in_url {
        Some(_) => {
            "a token in the URL is not accepted: URLs end up in logs; use the header or the subprotocol"
                .to_owned()
        }
        None => "the request carries no token".to_owned(),
    }
}

fn query(uri: &Uri, wanted: impl Fn(&str) -> bool) -> Option<&str> {
    uri.query()?.split('&').find_map(|pair| {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        wanted(name).then_some(value)
    })
}
