//! The host that is looked at: its address, one connection at a time, and its HTTP surface.

use std::time::Duration;

use agent_host_gateway::outside::{Frames, is_of};
use serde_json::Value;
use tokio::{
    net::TcpStream,
    time::{Instant, sleep},
};
use tokio_tungstenite::MaybeTlsStream;

use crate::{
    admin::http::{self, Authority},
    chat::link::{Closed, connect},
    exit::{Exit, Failure},
};

/// Where a host is.
#[derive(Debug, Clone)]
pub(crate) struct Address {
    /// `ws://HOST:PORT/ws`
    pub(crate) url: String,
    authority: Authority,
}

impl Address {
    /// From what was written: `ws://` or `http://`, with or without the path.
    pub(crate) fn parse(written: &str) -> Result<Self, Failure> {
        let wrong = |reason: &str| Failure::new(Exit::Failed, format!("{written:?} {reason}"));
        let rest = written.strip_prefix("ws://").or_else(|| written.strip_prefix("http://")).ok_or_else(|| {
            wrong("is no http:// or ws:// address; TLS ends before the host: reach it behind that, as by `ssh -L`")
        })?;
        let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
        let (host, port) = match authority.rsplit_once(':') {
            Some((host, port)) if !port.ends_with(']') => {
                (host, port.parse().map_err(|_| wrong("has no port that is a number"))?)
            }
            Some(_) | None => (authority, 80),
        };
        if host.is_empty() {
            return Err(wrong("names no host"));
        }
        let path = if path.is_empty() { "ws" } else { path };
        let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
        Ok(Self { url: format!("ws://{authority}/{path}"), authority: Authority { host, port } })
    }

    /// Waits until the host says that it is ready, or that time is over.
    pub(super) async fn is_ready_within(&self, token: &str, most: Duration) {
        let until = Instant::now() + most;
        while !matches!(self.asks("GET", "/ready", token), Ok((200, _))) && Instant::now() < until {
            sleep(AGAIN).await;
        }
    }

    /// Asks over HTTP: the status and the body.
    pub(crate) fn asks(&self, method: &str, path: &str, token: &str) -> Result<(u16, Value), String> {
        let answer = http::exchange(&self.authority, (method, None), path, token, "");
        let answer = answer.map_err(|error| format!("{method} {path}: {error}"))?;
        Ok((answer.status, serde_json::from_slice(&answer.body).unwrap_or_default()))
    }
}

/// An open connection.
pub(crate) struct Peer {
    pub(crate) frames: Frames<MaybeTlsStream<TcpStream>>,
    pub(crate) welcome: Value,
}

impl Peer {
    /// Connects and reads the welcome; an error tells whether nobody was there at all.
    pub(crate) async fn open(to: &Address, token: &str) -> Result<Self, (String, bool)> {
        let socket = connect(&to.url, token).await.map_err(|closed| match closed {
            Closed::Unreachable { reason, .. } => {
                let nobody = !reason.contains("HTTP ");
                (reason, nobody)
            }
            Closed::Refused(reason) => (reason, false),
        })?;
        let mut frames = Frames::of(socket);
        let welcome = frames.next(Instant::now() + WELCOME_WITHIN).await;
        let welcome = welcome.map_err(|reason| (format!("no welcome within 1 s: {reason}"), false))?;
        match is_of(&welcome, &["welcome"]) {
            true => Ok(Self { frames, welcome }),
            false => Err((format!("the first frame is no welcome: {}", welcome["type"]), false)),
        }
    }
}

/// Between two looks at a host that starts.
const AGAIN: Duration = Duration::from_millis(100);

/// Law 2.
const WELCOME_WITHIN: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_read_as_it_was_meant() {
        for (written, url, host, port) in [
            ("http://127.0.0.1:8080", "ws://127.0.0.1:8080/ws", "127.0.0.1", 8080),
            ("ws://host.example:81/ws", "ws://host.example:81/ws", "host.example", 81),
            ("http://host.example/", "ws://host.example/ws", "host.example", 80),
            ("ws://[::1]:9/ws", "ws://[::1]:9/ws", "::1", 9),
            ("ws://[::1]", "ws://[::1]/ws", "::1", 80),
        ] {
            let address = Address::parse(written).unwrap();
            assert_eq!((address.url.as_str(), address.authority.host.as_str()), (url, host), "{written}");
            assert_eq!(address.authority.port, port);
        }
        for wrong in ["https://x", "x", "http://", "http://x:y"] {
            assert!(Address::parse(wrong).is_err(), "{wrong}");
        }
    }
}
