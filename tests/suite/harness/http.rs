//! HTTP by hand: what no client library would send, and answers as they came.

use std::{net::SocketAddr, time::Duration};

use serde_json::Value;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use super::clock::timeout;

/// An answer.
#[derive(Debug, Clone)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: String,
}

impl Answer {
    /// A header, by lower-case name.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n == name).map(|(_, v)| v.as_str())
    }

    /// The body, as JSON.
    pub(crate) fn json(&self) -> Result<Value, String> {
        serde_json::from_str(&self.body).map_err(|e| format!("not JSON ({e}): {self:?}"))
    }

    /// The problem's stable code; an objection if the body is no problem document.
    pub(crate) fn code(&self) -> Result<String, String> {
        let kind = self.header("content-type").unwrap_or_default();
        if !kind.starts_with("application/problem+json") {
            return Err(format!("no problem document: {self:?}"));
        }
        let body = self.json()?;
        match body["code"].as_str() {
            Some(code) => Ok(code.to_owned()),
            None => Err(format!("a problem without code: {body}")),
        }
    }
}

/// Law 1's limit: an upgrade is answered within this, by the harness's clock.
pub(crate) const UPGRADE_WITHIN: Duration = Duration::from_secs(1);

/// By which an order to a plugin is answered when it has ended.
pub(crate) const WAIT: (&str, &str) = ("Prefer", "wait");
/// The same, as all the headers of a request.
pub(crate) const WAIT_ALONE: &[(&str, &str)] = &[WAIT];

/// The headers of a whole WebSocket upgrade, without credentials.
pub(crate) const UPGRADE: &[(&str, &str)] = &[
    ("Connection", "Upgrade"),
    ("Upgrade", "websocket"),
    ("Sec-WebSocket-Version", "13"),
    ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
    ("Sec-WebSocket-Protocol", "agent-host.v1"),
];

/// `GET path` with these headers, answered within `within`.
pub(crate) async fn get(
    to: SocketAddr,
    path: &str,
    headers: &[(&str, &str)],
    within: Duration,
) -> Result<Answer, String> {
    let mut request = format!("GET {path} HTTP/1.1\r\nHost: {to}\r\n");
    for (name, value) in headers {
        request.push_str(&format!("{name}: {value}\r\n"));
    }
    request.push_str("\r\n");
    send(to, request.as_bytes(), within).await
}

/// A request of any method, with these headers beside `Host`, answered within `within`.
pub(crate) async fn request(
    to: SocketAddr,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    within: Duration,
) -> Result<Answer, String> {
    let own = to.to_string();
    let named = headers.iter().any(|(name, _)| *name == "Host");
    let host = if named { None } else { Some(("Host", own.as_str())) };
    let mut request = format!("{method} {path} HTTP/1.1\r\n");
    for (name, value) in host.iter().chain(headers) {
        request.push_str(&format!("{name}: {value}\r\n"));
    }
    request.push_str("\r\n");
    send(to, request.as_bytes(), within).await
}

/// An upgrade with a bearer token, or without.
pub(crate) async fn upgrade(to: SocketAddr, token: Option<&str>) -> Result<Answer, String> {
    let bearer = token.map(|t| format!("Bearer {t}"));
    let mut headers = UPGRADE.to_vec();
    if let Some(bearer) = &bearer {
        headers.push(("Authorization", bearer));
    }
    get(to, "/ws", &headers, UPGRADE_WITHIN).await
}

/// Sends these bytes and reads one answer.
pub(crate) async fn send(to: SocketAddr, request: &[u8], within: Duration) -> Result<Answer, String> {
    let whole = async {
        let mut socket = TcpStream::connect(to).await.map_err(|e| format!("connect: {e}"))?;
        socket.write_all(request).await.map_err(|e| format!("write: {e}"))?;
        read(&mut socket).await
    };
    timeout(within, whole).await.map_err(|_| format!("no answer within {within:?}"))?
}

async fn read(socket: &mut TcpStream) -> Result<Answer, String> {
    let mut bytes = Vec::new();
    let head_end = loop {
        if let Some(at) = bytes.windows(4).position(|w| w == b"\r\n\r\n") {
            break at;
        }
        more(socket, &mut bytes).await?;
    };
    let head = String::from_utf8_lossy(&bytes[..head_end]).into_owned();
    let mut lines = head.split("\r\n");
    let status_line = lines.next().unwrap_or_default();
    let status = status_line
        .split(' ')
        .nth(1)
        .and_then(|s| s.parse().ok())
        .ok_or_else(|| format!("no status line: {status_line:?}"))?;
    let headers: Vec<(String, String)> = lines
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.trim().to_ascii_lowercase(), value.trim().to_owned()))
        .collect();
    let mut answer = Answer { status, headers, body: String::new() };
    // Neither has a body.
    if status != 101 && status != 304 {
        let mut body = bytes.split_off(head_end + 4);
        match answer.header("content-length").and_then(|l| l.parse::<usize>().ok()) {
            Some(length) => {
                while body.len() < length {
                    more(socket, &mut body).await?;
                }
            }
            None => while more(socket, &mut body).await.is_ok() {},
        }
        answer.body = String::from_utf8_lossy(&body).into_owned();
    }
    Ok(answer)
}

async fn more(socket: &mut TcpStream, bytes: &mut Vec<u8>) -> Result<(), String> {
    let mut chunk = [0; 4096];
    match socket.read(&mut chunk).await {
        Ok(0) => Err(format!("closed after {:?}", String::from_utf8_lossy(bytes))),
        Ok(n) => {
            bytes.extend_from_slice(&chunk[..n]);
            Ok(())
        }
        Err(e) => Err(format!("read: {e}")),
    }
}
