//! Who connects: raw HTTP, and a WebSocket.

use std::net::SocketAddr;

use futures_util::{SinkExt, StreamExt};
use serde_json::Value;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};
use tokio_tungstenite::{
    MaybeTlsStream, WebSocketStream, connect_async,
    tungstenite::{self, Message, client::IntoClientRequest, protocol::CloseFrame},
};

use super::{Doors, token};

/// A raw HTTP exchange: status and the whole answer.
pub(crate) async fn exchange(to: SocketAddr, request: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(to).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    let mut chunk = [0; 4096];
    // Read until the body, whose length is known, is there; an upgrade has none.
    let answer = loop {
        let read = stream.read(&mut chunk).await.unwrap();
        answer.extend_from_slice(&chunk[..read]);
        let text = String::from_utf8_lossy(&answer).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head.lines().find_map(|l| {
                l.to_ascii_lowercase().strip_prefix("content-length: ").map(|n| n.parse::<usize>().unwrap())
            });
            // The answer to HEAD tells the length of a body that does not come.
            if body.len() >= length.unwrap_or(0) || request.starts_with("HEAD ") {
                break text;
            }
        }
        if read == 0 {
            break text;
        }
    };
    let status = answer.split(' ').nth(1).and_then(|s| s.parse().ok()).unwrap_or(0);
    (status, answer)
}

pub(crate) fn body(answer: &str) -> Value {
    serde_json::from_str(answer.split_once("\r\n\r\n").unwrap().1).unwrap()
}

/// A whole upgrade request with these lines in addition.
pub(crate) fn upgrade(lines: &[&str]) -> String {
    let mut request =
        "GET /ws HTTP/1.1\r\nHost: test\r\nConnection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
            .to_owned();
    for line in lines {
        request.push_str(line);
        request.push_str("\r\n");
    }
    request + "\r\n"
}

/// A WebSocket client.
pub(crate) struct Client(pub(crate) WebSocketStream<MaybeTlsStream<TcpStream>>);

impl Client {
    pub(crate) async fn connect(doors: &Doors, token: &str) -> Result<Self, tungstenite::Error> {
        let mut request = format!("ws://{}/ws", doors.gateway.public_addr()).into_client_request().unwrap();
        request.headers_mut().insert("authorization", format!("Bearer {token}").parse().unwrap());
        request.headers_mut().insert("sec-websocket-protocol", "agent-host.v1".parse().unwrap());
        connect_async(request).await.map(|(stream, _)| Self(stream))
    }

    /// Connected and welcomed.
    pub(crate) async fn welcomed(doors: &Doors) -> Self {
        let mut client = Self::connect(doors, &token()).await.unwrap();
        assert_eq!(client.frame().await["type"], "welcome");
        client
    }

    pub(crate) async fn send(&mut self, text: &str) {
        self.0.send(Message::text(text)).await.unwrap();
    }

    /// The next text frame.
    pub(crate) async fn frame(&mut self) -> Value {
        loop {
            match self.0.next().await {
                Some(Ok(Message::Text(text))) => return serde_json::from_str(&text).unwrap(),
                Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
                other => panic!("no frame but {other:?}"),
            }
        }
    }

    /// The close frame, past whatever comes before it; `None`: the connection was cut (1006).
    pub(crate) async fn closed(&mut self) -> Option<CloseFrame> {
        loop {
            match self.0.next().await {
                Some(Ok(Message::Close(frame))) => return frame,
                Some(Ok(_)) => {}
                Some(Err(_)) | None => return None,
            }
        }
    }

    pub(crate) async fn close_code(&mut self) -> Option<u16> {
        self.closed().await.map(|frame| frame.code.into())
    }
}
