//! A client that trusts nothing: every frame it gets is held against the laws of the protocol and its schema, every
//! frame it sends against its schema.

mod laws;
mod run;
mod schema;

use std::{
    net::SocketAddr,
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use futures_util::{SinkExt as _, StreamExt as _};
use serde_json::{Value, json};
use tokio::{net::TcpStream, time::timeout_at};
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::{Message, client::IntoClientRequest as _, http::HeaderValue},
};

use self::laws::Laws;
pub(crate) use self::{
    run::Run,
    schema::{Side, judge},
};
use crate::harness::{Host, PATIENCE, clock::timeout, tokens};

/// Law 2: the welcome comes within this, by the harness's clock.
const WELCOME_WITHIN: Duration = Duration::from_secs(1);

/// A connection that answers so often, at this distance, is not being closed.
pub(crate) const STILL_OPEN: usize = 8;
pub(crate) const BETWEEN: Duration = Duration::from_millis(400);

/// Messages sent by this process.
static SENT: AtomicU64 = AtomicU64::new(1);

/// An open connection.
pub(crate) struct Client {
    socket: WebSocketStream<TcpStream>,
    laws: Laws,
    /// Whether each frame is held against its schema too.
    schooled: bool,
    /// It has said that it closes: nothing may be sent after that, not even the answer to a ping.
    closing: bool,
    /// The first frame.
    pub(crate) welcome: Value,
}

/// What came instead of a frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum End {
    /// The host closed with this code.
    Closed(u16),
    /// The connection broke.
    Broke(String),
    /// A law of the protocol was broken.
    Unlawful(String),
    /// Nothing came for as long as patience lasts.
    Silence,
}

impl From<End> for String {
    fn from(end: End) -> Self {
        format!("{end:?}")
    }
}

impl Client {
    /// Connects as `user` and reads the welcome.
    pub(crate) async fn connect(host: &Host, user: &str) -> Result<Self, String> {
        Self::with_token(host, &tokens::of(user)).await
    }

    /// As [`connect`](Self::connect), where law 2's limit is not the point: in a herd that the two cores of a test machine
    /// share with their host.
    pub(crate) async fn connect_within(
        address: SocketAddr,
        user: &str,
        within: Duration,
    ) -> Result<Self, String> {
        let bearer = format!("Bearer {}", tokens::of(user));
        let headers = [("authorization", bearer), (PROTOCOL, "agent-host.v1".into())];
        Self::upgrade_to(address, "/ws", &headers, within).await
    }

    /// Connects with this token, as `Authorization`, and reads the welcome.
    pub(crate) async fn with_token(host: &Host, token: &str) -> Result<Self, String> {
        Self::upgrade(
            host,
            &[("authorization", format!("Bearer {token}")), (PROTOCOL, "agent-host.v1".into())],
        )
        .await
    }

    /// Connects as `user` to the host that listens there: for tasks that outlive a borrow of it.
    pub(crate) async fn at(address: SocketAddr, user: &str) -> Result<Self, String> {
        let token = format!("Bearer {}", tokens::of(user));
        Self::upgrade_at(address, &[("authorization", token), (PROTOCOL, "agent-host.v1".into())]).await
    }

    /// Connects with these headers and reads the welcome.
    pub(crate) async fn upgrade(host: &Host, headers: &[(&'static str, String)]) -> Result<Self, String> {
        Self::upgrade_at(host.address, headers).await
    }

    /// Connects with this query and these headers, and reads the welcome.
    pub(crate) async fn with_query(
        host: &Host,
        query: &str,
        headers: &[(&'static str, String)],
    ) -> Result<Self, String> {
        Self::upgrade_to(host.address, &format!("/ws?{query}"), headers, WELCOME_WITHIN).await
    }

    async fn upgrade_at(address: SocketAddr, headers: &[(&'static str, String)]) -> Result<Self, String> {
        Self::upgrade_to(address, "/ws", headers, WELCOME_WITHIN).await
    }

    async fn upgrade_to(
        address: SocketAddr,
        path: &str,
        headers: &[(&'static str, String)],
        within: Duration,
    ) -> Result<Self, String> {
        let mut request = format!("ws://{address}{path}").into_client_request().map_err(|e| e.to_string())?;
        for (name, value) in headers {
            let value = HeaderValue::from_str(value).map_err(|e| e.to_string())?;
            request.headers_mut().insert(*name, value);
        }
        let open = async {
            let stream = TcpStream::connect(address).await.map_err(|e| format!("connect: {e}"))?;
            let opened = tokio_tungstenite::client_async(request, stream).await;
            let (socket, _) = opened.map_err(|e| format!("upgrade: {e}"))?;
            let mut client =
                Self { socket, laws: Laws::default(), schooled: true, closing: false, welcome: Value::Null };
            client.welcome = client.next().await?;
            Ok::<_, String>(client)
        };
        let client = timeout(within, open)
            .await
            .map_err(|_| format!("no welcome within {} s", within.as_secs()))??;
        match client.welcome["type"].as_str() {
            Some("welcome") => Ok(client),
            _ => Err(format!("the first frame is no welcome: {}", client.welcome)),
        }
    }

    /// From here on frames are held against the laws only: one of hundreds, for whom the schema costs more than the host.
    pub(crate) fn one_of_many(mut self) -> Self {
        self.schooled = false;
        self
    }

    /// Sends a frame; it must be a lawful one.
    pub(crate) async fn send(&mut self, frame: &Value) -> Result<(), String> {
        if self.schooled {
            judge(Side::Client, frame)?;
        }
        self.send_text(&frame.to_string()).await
    }

    /// Sends text that need not be a frame.
    pub(crate) async fn send_text(&mut self, text: &str) -> Result<(), String> {
        self.socket.send(Message::text(text)).await.map_err(|e| format!("send: {e}"))
    }

    /// Sends any WebSocket message.
    pub(crate) async fn send_message(&mut self, message: Message) -> Result<(), String> {
        self.socket.send(message).await.map_err(|e| format!("send: {e}"))
    }

    /// Sends a message under a fresh id and answers with that id.
    pub(crate) async fn say(&mut self, content: &str, more: Value) -> Result<String, String> {
        // An id is its user's for ever: never the same one twice, on whatever connection.
        let id = format!("m-{}", SENT.fetch_add(1, Ordering::Relaxed));
        let mut frame = json!({ "type": "user_message", "id": id, "content": content });
        for (name, value) in more.as_object().into_iter().flatten() {
            frame[name] = value.clone();
        }
        self.send(&frame).await?;
        Ok(id)
    }

    /// The next frame, whatever it is; answers pings.
    pub(crate) async fn next(&mut self) -> Result<Value, End> {
        loop {
            let message = match timeout(PATIENCE, self.socket.next()).await {
                Err(_) => return Err(End::Silence),
                Ok(message) => message,
            };
            if let Some(frame) = self.take(message).await? {
                return Ok(frame);
            }
        }
    }

    /// The `seq` of the next frame that has one, without a look at the rest: for who reads hundreds of megabytes.
    pub(crate) async fn skim(&mut self) -> Result<u64, End> {
        loop {
            let message = timeout(PATIENCE, self.socket.next()).await.map_err(|_| End::Silence)?;
            if let Some(Ok(Message::Text(text))) = &message
                && let Some((_, behind)) = text.split_once("\"seq\":")
                && let Some(Ok(seq)) = behind.split(|c: char| !c.is_ascii_digit()).next().map(str::parse)
            {
                return Ok(seq);
            }
            self.take(message).await?;
        }
    }

    /// Says nothing for so long, as a person who reads: pings are answered, and what is told of the service is read.
    pub(crate) async fn idle(&mut self, pause: Duration) -> Result<(), String> {
        let until = tokio::time::Instant::now() + pause;
        while let Ok(message) = timeout_at(until, self.socket.next()).await {
            self.take(message).await.map_err(|end| format!("{end:?}"))?;
        }
        Ok(())
    }

    /// Is there, as [`Client::idle`] is, until the connection ends, and says how it did: whoever is silent for half a
    /// minute is taken for gone, so a client that a test lets wait is attended beside what it waits for.
    pub(crate) async fn attend(&mut self) -> String {
        loop {
            if let Err(end) = self.idle(PATIENCE).await {
                return end;
            }
        }
    }

    /// Judges what came, and answers a ping.
    async fn take(
        &mut self,
        message: Option<Result<Message, tokio_tungstenite::tungstenite::Error>>,
    ) -> Result<Option<Value>, End> {
        match message {
            None => Err(End::Broke("end of stream".into())),
            Some(Err(e)) => Err(End::Broke(e.to_string())),
            Some(Ok(Message::Text(text))) => {
                let frame = self.laws.judge(text.as_str()).map_err(End::Unlawful)?;
                if self.schooled {
                    judge(Side::Server, &frame).map_err(End::Unlawful)?;
                }
                if frame["type"] != "ping" {
                    return Ok(Some(frame));
                }
                if !self.closing {
                    self.send(&json!({ "type": "pong" })).await.map_err(End::Broke)?;
                }
                Ok(None)
            }
            Some(Ok(Message::Close(frame))) => Err(End::Closed(frame.map_or(1005, |f| f.code.into()))),
            Some(Ok(Message::Binary(_))) => Err(End::Unlawful("a binary frame".into())),
            Some(Ok(Message::Ping(_) | Message::Pong(_) | Message::Frame(_))) => Ok(None),
        }
    }

    /// The next frame but news of the service, which come when they come.
    pub(crate) async fn event(&mut self) -> Result<Value, End> {
        loop {
            match self.next().await? {
                news if news["type"] == "service_status" => {}
                frame => return Ok(frame),
            }
        }
    }

    /// The next frame but news of the service; an objection if it is of another type.
    pub(crate) async fn expect(&mut self, kind: &str) -> Result<Value, String> {
        loop {
            let frame = self.next().await?;
            match frame["type"].as_str() {
                Some(found) if found == kind => return Ok(frame),
                Some("service_status") => {}
                _ => return Err(format!("expected {kind}, got {frame}")),
            }
        }
    }

    /// Skips frames until one of this type comes.
    pub(crate) async fn until(&mut self, kind: &str) -> Result<Value, String> {
        loop {
            let frame = self.next().await?;
            if frame["type"].as_str() == Some(kind) {
                return Ok(frame);
            }
        }
    }

    /// An error frame with this code must come next.
    pub(crate) async fn expect_error(&mut self, code: &str) -> Result<Value, String> {
        let frame = self.expect("error").await?;
        match frame["code"].as_str() == Some(code) {
            true => Ok(frame),
            false => Err(format!("expected the error {code}, got {frame}")),
        }
    }

    /// Sends a message and gathers its run.
    pub(crate) async fn run(&mut self, content: &str) -> Result<Run, String> {
        self.run_with(content, json!({})).await
    }

    /// As [`run`](Self::run), with more fields in the message.
    pub(crate) async fn run_with(&mut self, content: &str, more: Value) -> Result<Run, String> {
        let id = self.say(content, more).await?;
        self.gather(&id).await
    }

    /// Gathers the run of the message `id`, which was sent.
    pub(crate) async fn gather(&mut self, id: &str) -> Result<Run, String> {
        let accepted = self.expect("accepted").await?;
        if accepted["id"] != id {
            return Err(format!("accepted another message than {id}: {accepted}"));
        }
        let mut run = Run { accepted, events: Vec::new() };
        while run.events.last().is_none_or(|last| last["type"] != "agent_completed") {
            let frame = self.next().await.map_err(|end| format!("{end:?} after {:?}", run.kinds()))?;
            match frame["type"].as_str() {
                Some("service_status") => {}
                _ if frame["run_id"] == run.accepted["run_id"] => run.events.push(frame),
                _ => return Err(format!("in the run's midst: {frame}")),
            }
        }
        run.judge().map(|()| run)
    }

    /// The end of a connection that the host is to close; none: it goes on answering. A message that was there before the
    /// connection had heard of its end may still be answered.
    pub(crate) async fn closed(&mut self) -> Option<End> {
        for _ in 0..STILL_OPEN {
            // One that is closed may not even take it.
            drop(self.say("am I still here?", json!({})).await);
            loop {
                match self.next().await {
                    Ok(frame) if frame["type"] == "agent_completed" => break,
                    Ok(_) => {}
                    Err(end) => return Some(end),
                }
            }
            tokio::time::sleep(BETWEEN).await;
        }
        None
    }

    /// Asks for the end, and waits for the host's answer to that.
    pub(crate) async fn close(mut self) -> Result<u16, String> {
        self.closing = true;
        self.socket.close(None).await.map_err(|e| format!("close: {e}"))?;
        loop {
            match self.next().await {
                Err(End::Closed(code)) => return Ok(code),
                Err(other) => return Err(other.into()),
                Ok(_) => {}
            }
        }
    }
}

/// The header of the subprotocol.
pub(crate) const PROTOCOL: &str = "sec-websocket-protocol";
