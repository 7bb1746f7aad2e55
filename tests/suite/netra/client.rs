//! A client of the replaced platform, written from the facts about its wire alone.

use std::time::Duration;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use futures_util::{SinkExt as _, StreamExt as _};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::{Error, Message, client::IntoClientRequest as _, http::HeaderValue},
};

use crate::{
    client::PROTOCOL,
    harness::{Host, PATIENCE, clock::timeout, tokens},
};

/// Everything is answered within this.
pub(crate) const ANSWER_WITHIN: Duration = Duration::from_secs(3);

/// Which of that wire's two versions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Version {
    V1,
    V2,
}

impl Version {
    pub(crate) const BOTH: [Self; 2] = [Self::V1, Self::V2];
}

/// A client of that platform.
pub(crate) struct Older {
    socket: WebSocketStream<TcpStream>,
    pub(crate) answered: Option<String>,
}

impl Older {
    pub(crate) async fn connect(
        host: &Host,
        path: &str,
        headers: &[(&'static str, String)],
    ) -> Result<Self, String> {
        let url = format!("ws://{}{path}", host.address);
        let mut request = url.into_client_request().map_err(|e| e.to_string())?;
        for (name, value) in headers {
            let value = HeaderValue::from_str(value).map_err(|e| e.to_string())?;
            request.headers_mut().append(*name, value);
        }
        let tcp = TcpStream::connect(host.address).await.map_err(|e| e.to_string())?;
        let opening = timeout(PATIENCE, tokio_tungstenite::client_async(request, tcp));
        let (socket, answer) = opening.await.map_err(|_| "no answer".to_owned())?.map_err(|e| refused(&e))?;
        let named = answer.headers().get(PROTOCOL).and_then(|name| name.to_str().ok()).map(str::to_owned);
        Ok(Self { socket, answered: named })
    }

    /// As the client of that version does it.
    pub(crate) async fn of(host: &Host, version: Version, user: &str) -> Result<Self, String> {
        Self::with_token(host, version, &tokens::of(user)).await
    }

    /// As their browser code does it.
    pub(crate) async fn browser(host: &Host, user: &str) -> Result<Self, String> {
        Self::of(host, Version::V1, user).await
    }

    /// As their command line does it: the token behind the name of an environment, and nothing else.
    pub(crate) async fn cli(host: &Host, user: &str) -> Result<Self, String> {
        Self::of(host, Version::V2, user).await
    }

    /// With that token.
    pub(crate) async fn with_token(host: &Host, version: Version, token: &str) -> Result<Self, String> {
        let (offered, named) = match version {
            Version::V1 => {
                (format!("jwt-auth, jwt.{}", URL_SAFE_NO_PAD.encode(token)), "jwt-auth".to_owned())
            }
            Version::V2 => (format!("jwt.staging.{token}"), format!("jwt.staging.{token}")),
        };
        let client = Self::connect(host, "/ws", &[(PROTOCOL, offered)]).await?;
        match client.answered.as_deref() {
            Some(answered) if answered == named => Ok(client),
            other => Err(format!("{version:?}: not answered by its name: {other:?}")),
        }
    }

    /// Does the handshake, and answers the ids that were given out, and the frames up to the first ping.
    pub(crate) async fn handshake(&mut self) -> Result<(Value, Vec<Value>), String> {
        let given = self.frame().await?;
        if given["type"] != "handshake_response" {
            return Err(format!("begun with {given}"));
        }
        for name in ["thread_id", "run_id", "request_id", "session_token", "message"] {
            if given[name].as_str().is_none_or(str::is_empty) {
                return Err(format!("no {name} in {given}"));
            }
        }
        let acknowledged =
            json!({ "type": "handshake_acknowledged", "thread_id": given["thread_id"], "timestamp": "now" });
        self.say(&acknowledged).await?;
        Ok((given, self.greeting().await?))
    }

    pub(crate) async fn say(&mut self, frame: &Value) -> Result<(), String> {
        self.say_text(&frame.to_string()).await
    }

    pub(crate) async fn say_text(&mut self, text: &str) -> Result<(), String> {
        self.socket.send(Message::text(text)).await.map_err(|e| e.to_string())
    }

    /// The next frame, or the code of a close.
    pub(crate) async fn hear(&mut self, within: Duration) -> Result<Result<Value, u16>, String> {
        loop {
            let next = timeout(within, self.socket.next()).await.map_err(|_| "silence".to_owned())?;
            match next.ok_or("the connection ended")?.map_err(|e| e.to_string())? {
                Message::Text(text) => {
                    return serde_json::from_str(&text).map(Ok).map_err(|e| format!("{e}: {text}"));
                }
                Message::Close(frame) => return Ok(Err(frame.map_or(1005, |frame| frame.code.into()))),
                _ => {}
            }
        }
    }

    pub(crate) async fn frame(&mut self) -> Result<Value, String> {
        self.hear(ANSWER_WITHIN).await?.map_err(|code| format!("closed with {code}"))
    }

    /// The next frame that answers something: what the host says of itself may come between.
    pub(crate) async fn answer(&mut self) -> Result<Value, String> {
        loop {
            let frame = self.frame().await?;
            if frame["type"] != "system_message" && frame["type"] != "ping" {
                return Ok(frame);
            }
        }
    }

    /// The first frames up to the first ping.
    pub(crate) async fn greeting(&mut self) -> Result<Vec<Value>, String> {
        let mut frames = Vec::new();
        loop {
            let frame = self.frame().await?;
            frames.push(frame.clone());
            if frame["type"] == "ping" {
                return Ok(frames);
            }
        }
    }

    /// The frames from here up to one of that type, but those that come when they come: a ping, news of the service, word
    /// of a message whose store is slow. Pings go on for ever, patience does not.
    pub(crate) async fn until(&mut self, kind: &str) -> Result<Vec<Value>, String> {
        let mut frames = Vec::new();
        let hearing = async {
            loop {
                let heard = self.hear(PATIENCE).await?.map_err(|code| format!("closed with {code}"))?;
                let at_any_time =
                    ["message_pending", "service_info"].map(|event| heard["data"]["event"] == event);
                if at_any_time.contains(&true) || heard["type"] == "ping" {
                    continue;
                }
                frames.push(heard);
                if frames.last().is_some_and(|frame| frame["type"] == kind) {
                    return Ok(());
                }
            }
        };
        let heard = timeout(4 * PATIENCE, hearing).await;
        match heard.unwrap_or_else(|_| Err(format!("no {kind} within {:?}", 4 * PATIENCE))) {
            Ok(()) => Ok(frames),
            Err::<_, String>(objection) => Err(format!("{objection}: {frames:?}")),
        }
    }
}

/// A refusal with what the host says of it.
fn refused(error: &Error) -> String {
    match error {
        Error::Http(answer) => {
            let said = answer.body().as_deref().map(String::from_utf8_lossy).unwrap_or_default();
            format!("refused with {}: {said}", answer.status().as_u16())
        }
        other => other.to_string(),
    }
}

/// What each frame is: the event of a `system_message`, else its type.
pub(crate) fn kinds(frames: &[Value]) -> Vec<&str> {
    frames
        .iter()
        .map(|frame| frame["data"]["event"].as_str().or(frame["type"].as_str()).unwrap_or("?"))
        .collect()
}
