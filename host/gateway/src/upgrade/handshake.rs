//! Checks that a request is a whole WebSocket handshake, and says to a person with `curl` what is missing.

use agent_plugin_protocol::Code;
use base64::{
    Engine as _,
    alphabet::STANDARD,
    engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig},
};
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
        if !headers.contains_key(header::HOST) {
            return Err(UpgradeRefusal::bad_request(Code::UpgradeNotWebsocket)
                .detail("the request has no Host header, so it is not a whole WebSocket handshake")
                .hint(curl(headers)));
        }
        // Before the key: who speaks another version may know another kind of key.
        if only(headers, header::SEC_WEBSOCKET_VERSION).is_none_or(|version| version != "13") {
            return Err(UpgradeRefusal::bad_request(Code::UpgradeVersion).hint(curl(headers)));
        }
        if !headers.contains_key(header::SEC_WEBSOCKET_KEY) {
            return Err(UpgradeRefusal::bad_request(Code::UpgradeMissingKey)
                .detail(
                    "the request has no Sec-WebSocket-Key header, so it is not a whole WebSocket handshake",
                )
                .hint(curl(headers)));
        }
        let key = only(headers, header::SEC_WEBSOCKET_KEY)
            .filter(|key| is_key(key.as_bytes()))
            .ok_or_else(|| UpgradeRefusal::bad_request(Code::UpgradeInvalidKey).hint(curl(headers)))?;
        let accept = HeaderValue::try_from(derive_accept_key(key.as_bytes()));
        Ok(Self { accept: accept.map_err(|_| UpgradeRefusal::internal())? })
    }
}

/// The header's value, if it stands there once.
fn only(headers: &HeaderMap, name: HeaderName) -> Option<&HeaderValue> {
    let mut lines = headers.get_all(name).iter();
    lines.next().filter(|_| lines.next().is_none())
}

/// Whether it is 16 bytes in base64 (RFC 6455, 4.2.1): who sends another has not understood what the key is for, and
/// may as well be something between that answers on a client's behalf.
fn is_key(key: &[u8]) -> bool {
    KEY.decode(key).is_ok_and(|bytes| bytes.len() == 16)
}

/// The last character holds four bits too many. RFC 6455's own example has them set, so clients may.
const KEY: GeneralPurpose =
    GeneralPurpose::new(&STANDARD, GeneralPurposeConfig::new().with_decode_allow_trailing_bits(true));

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
