//! Checks that a request is a whole WebSocket handshake, and says to a person with `curl` what is missing.

use agent_plugin_protocol::Code;
use http::{HeaderMap, HeaderName, HeaderValue, Version, header, request::Parts};
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

use crate::refusal::UpgradeRefusal;

/// A whole handshake.
#[derive(Debug)]
pub(super) struct Handshake {
    /// `Sec-WebSocket-Accept`
    pub(super) accept: HeaderValue,
}

impl Handshake {
    pub(super) fn check(parts: &Parts) -> Result<Self, UpgradeRefusal> {
        let headers = &parts.headers;
        let asks = has_token(headers, header::CONNECTION, "upgrade")
            && has_token(headers, header::UPGRADE, "websocket");
        if !asks || parts.version != Version::HTTP_11 {
            let hint = format!("use a WebSocket client, or: {}", curl(headers));
            return Err(UpgradeRefusal::bad_request(Code::UpgradeNotWebsocket).hint(hint));
        }
        // Any key that is there is taken: what matters to the client is that the answer is derived from it.
        let key = headers.get(header::SEC_WEBSOCKET_KEY).filter(|key| !key.is_empty()).ok_or_else(|| {
            UpgradeRefusal::bad_request(Code::UpgradeMissingKey)
                .detail(
                    "the request has no Sec-WebSocket-Key header, so it is not a whole WebSocket handshake",
                )
                .hint(curl(headers))
        })?;
        if headers.get(header::SEC_WEBSOCKET_VERSION).is_none_or(|v| v != "13") {
            return Err(UpgradeRefusal::bad_request(Code::UpgradeVersion).hint(curl(headers)));
        }
        let accept = HeaderValue::try_from(derive_accept_key(key.as_bytes()));
        Ok(Self { accept: accept.map_err(|_| UpgradeRefusal::internal())? })
    }
}

/// Whether the comma-separated header has the token, over all its lines.
fn has_token(headers: &HeaderMap, name: HeaderName, wanted: &str) -> bool {
    let mut lines = headers.get_all(name).iter().filter_map(|line| line.to_str().ok());
    lines.any(|line| line.split(',').any(|token| token.trim().eq_ignore_ascii_case(wanted)))
}

/// A command that works against this host, whole.
fn curl(headers: &HeaderMap) -> String {
    let host = headers
        .get(header::HOST)
        .and_then(|h| h.to_str().ok())
        .filter(|h| is_plain(h))
        .unwrap_or("localhost:8080");
    let scheme = match headers.get("x-forwarded-proto") {
        Some(proto) if proto == "https" => "https",
        Some(_) | None => "http",
    };
    format!(
        "curl -i -N --http1.1 --max-time 5 -H 'Connection: Upgrade' -H 'Upgrade: websocket' \
         -H 'Sec-WebSocket-Version: 13' -H \"Sec-WebSocket-Key: $(head -c 16 /dev/urandom | base64)\" \
         -H \"Authorization: Bearer $TOKEN\" {scheme}://{host}/ws"
    )
}

/// A host that may be put into a command for a shell.
fn is_plain(host: &str) -> bool {
    !host.is_empty()
        && host.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b':' | b'[' | b']'))
}
