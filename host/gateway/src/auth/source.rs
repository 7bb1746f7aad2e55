//! Finds the token in an upgrade request: header, then subprotocol, then ticket. Never in the URL.

use agent_plugin_protocol::Code;
use http::{HeaderMap, Uri, header};

use super::AuthError;

/// What the request carries, in the order in which it counts.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum TokenSource<'a> {
    /// A JWT, from `Authorization: Bearer` or a subprotocol entry `bearer.<jwt>`.
    Jwt(&'a str),
    /// `?ticket=`
    Ticket(&'a str),
}

impl<'a> TokenSource<'a> {
    /// The token of `Authorization: Bearer`, and no other credential.
    pub(crate) fn of_header(headers: &HeaderMap) -> Result<&str, AuthError> {
        let missing = || AuthError {
            code: Code::AuthMissing,
            detail: "the request carries no `Authorization: Bearer` token".to_owned(),
        };
        bearer(headers)?.ok_or_else(missing)
    }

    /// Looks for the credentials.
    pub(crate) fn find(headers: &'a HeaderMap, uri: &'a Uri) -> Result<Self, AuthError> {
        if let Some(token) = bearer(headers)? {
            return Ok(Self::Jwt(token));
        }
        if let Some(token) = offered_protocols(headers).find_map(|entry| entry.strip_prefix("bearer.")) {
            return Ok(Self::Jwt(token));
        }
        if let Some(ticket) = query(uri, |name| name == "ticket") {
            return Ok(Self::Ticket(ticket));
        }
        Err(AuthError { code: Code::AuthMissing, detail: missing_detail(uri) })
    }
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
