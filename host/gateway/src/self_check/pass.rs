//! One look at the host, step by step, through its own listener: what every client of it relies on.

use std::{collections::BTreeSet, io, net::SocketAddr, sync::Arc, time::Duration};

use agent_host_core::identity::{Principal, Scope};
use agent_plugin_protocol::{Code, ThreadId};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::{Value, json};
use tokio::{
    net::{TcpSocket, TcpStream},
    time::{Instant, sleep, timeout, timeout_at},
};
use tokio_tungstenite::{
    client_async,
    tungstenite::{Error, client::IntoClientRequest as _, http::HeaderValue},
};

use super::own::Known;
use crate::{
    auth::{MintClaims, mint},
    host::Host,
    outside::{Frames, is_of},
    surface::Surface,
    upgrade::Door,
};

/// The steps, in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    /// A token that nobody signed is refused with 401.
    Stranger,
    /// A good one gets its 101 …
    Upgrade,
    /// … and the welcome, within a second both.
    Welcome,
    /// A message is made durable and acknowledged.
    Accepted,
    /// Its run is whole, and answered by the fallback.
    Run,
    /// Its thread is deleted.
    Tidy,
}

impl Step {
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Stranger => "stranger",
            Self::Upgrade => "upgrade",
            Self::Welcome => "welcome",
            Self::Accepted => "accepted",
            Self::Run => "run",
            Self::Tidy => "tidy",
        }
    }
}

/// One look.
pub(super) struct Pass<'a, H> {
    door: &'a Arc<Door<H>>,
    to: SocketAddr,
    at: Step,
}

/// A connection as a client has it.
struct Client {
    frames: Frames<TcpStream>,
    _known: Known,
}

/// Why there is none.
enum NoClient {
    /// The host answered with this status, and this code.
    Refused(u16, String),
    /// Something else.
    Failed(String),
}

impl<'a, H: Host> Pass<'a, H> {
    pub(super) fn new(door: &'a Arc<Door<H>>, to: SocketAddr) -> Self {
        Self { door, to, at: Step::Stranger }
    }

    /// The step that it is in.
    pub(super) fn at(&self) -> Step {
        self.at
    }

    /// Takes every step; why the last one did not hold.
    pub(super) async fn go(&mut self) -> Result<(), String> {
        self.refuses_strangers().await?;
        self.at = Step::Upgrade;
        // Law 2's second begins with the request.
        let until = Instant::now() + WELCOME_WITHIN;
        let authorization = self.authorization()?;
        let opened = timeout_at(until, self.connect(&authorization)).await;
        let mut client = opened.map_err(|_| "no 101 within 1 s".to_owned())?.map_err(|no| no.to_string())?;
        self.at = Step::Welcome;
        let welcome = client.frames.next(until).await?;
        if *at(&welcome, "/type") != "welcome" {
            return Err(format!("the first frame is not the welcome but {}", at(&welcome, "/type")));
        }
        let thread = self.is_answered(&mut client).await?;
        self.at = Step::Tidy;
        client.frames.close().await;
        self.tidies(&thread).await
    }

    /// Whoever has no key is refused, and by a judgement: not because the keys are missing.
    async fn refuses_strangers(&self) -> Result<(), String> {
        let keys = &self.door.shared.settings.auth;
        let algorithm = if keys.hs256_secrets.is_empty() { "RS256" } else { "HS256" };
        let part = |text: String| URL_SAFE_NO_PAD.encode(text);
        let forged = format!(
            "Bearer {}.{}.{}",
            part(json!({ "alg": algorithm, "typ": "JWT" }).to_string()),
            part(json!({ "sub": "nobody", "exp": 253_402_300_799_u64 }).to_string()),
            part("no signature at all, by nobody".to_owned())
        );
        match timeout(ANSWER_WITHIN, self.connect(&forged)).await {
            Err(_) => Err(format!("no answer within {} s", ANSWER_WITHIN.as_secs())),
            Ok(Ok(_)) => Err("a token that nobody signed was let in".to_owned()),
            // 403 to the older wire's clients.
            Ok(Err(NoClient::Refused(401 | 403, _))) => Ok(()),
            Ok(Err(no)) => Err(format!("a token that nobody signed gets {no} in place of HTTP 401")),
        }
    }

    /// What opens the door to the host itself: a token, where it has a key to sign one, so that tokens are tried as well.
    fn authorization(&self) -> Result<String, String> {
        let (shared, scope) = (&self.door.shared, Scope::self_check());
        let (auth, now) = (&shared.settings.auth, shared.clock.now());
        if let Some(secret) = auth.hs256_secrets.first() {
            let claims = MintClaims {
                user: scope.user.to_string(),
                tenant: Some(scope.tenant.to_string()),
                permissions: Vec::new(),
                issuer: auth.issuer.clone(),
                audience: auth.audience.clone(),
                issued_at: now,
                lifetime: LIFETIME,
            };
            let token = mint(&claims, secret).map_err(|error| format!("no token could be made: {error}"))?;
            return Ok(format!("Bearer {token}"));
        }
        let principal = Principal {
            scope,
            permissions: BTreeSet::new(),
            expires_at: now + LIFETIME,
            issued_at: Some(now),
            token_id: None,
            key: None,
        };
        let ticket = self.door.tickets.issue(Arc::new(principal), now);
        Ok(format!("{TICKET}{}", ticket.map_err(|no| format!("no ticket could be made: {no:?}"))?.text))
    }

    /// Connects as a client does, from an address that is known before the host sees it.
    async fn connect(&self, authorization: &str) -> Result<Client, NoClient> {
        let (stream, known) = self.stream().await.map_err(|error| {
            NoClient::Failed(format!("no connection to the host's own address {}: {error}", self.to))
        })?;
        let ticket = authorization.strip_prefix(TICKET);
        let query = ticket.map_or_else(String::new, |ticket| format!("?ticket={ticket}"));
        let failed = |what: &str| NoClient::Failed(format!("no request could be made: {what}"));
        let mut request =
            format!("ws://{}/ws{query}", self.to).into_client_request().map_err(|_| failed("the address"))?;
        let headers = request.headers_mut();
        headers.insert("sec-websocket-protocol", HeaderValue::from_static(Surface::Native.name()));
        if ticket.is_none() {
            let value = HeaderValue::try_from(authorization).map_err(|_| failed("the token"))?;
            headers.insert("authorization", value);
        }
        match client_async(request, stream).await {
            Ok((socket, _)) => Ok(Client { frames: Frames::of(socket), _known: known }),
            Err(Error::Http(answer)) => {
                let body: Value = answer
                    .body()
                    .as_deref()
                    .and_then(|body| serde_json::from_slice(body).ok())
                    .unwrap_or_default();
                let code = at(&body, "/code").as_str().unwrap_or("no code").to_owned();
                Err(NoClient::Refused(answer.status().as_u16(), code))
            }
            Err(error) => Err(NoClient::Failed(format!("no WebSocket: {error}"))),
        }
    }

    async fn stream(&self) -> io::Result<(TcpStream, Known)> {
        let socket = if self.to.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
        socket.bind(SocketAddr::new(self.to.ip(), 0))?;
        let known = self.door.own.know(socket.local_addr()?);
        Ok((socket.connect(self.to).await?, known))
    }

    /// A message is accepted, and gets one whole run; its thread.
    async fn is_answered(&mut self, client: &mut Client) -> Result<ThreadId, String> {
        self.at = Step::Accepted;
        let id = uuid::Uuid::new_v4().simple().to_string();
        let message = json!({ "type": "user_message", "id": id, "content": "self-check" });
        let until = Instant::now() + ANSWER_WITHIN;
        client.frames.send(message.to_string()).await?;
        let accepted = client.frames.until(until, |frame| is_of(frame, &["accepted", "error"])).await?;
        if *at(&accepted, "/type") != "accepted" {
            return Err(format!(
                "the message was refused: {}",
                at(&accepted, "/code").as_str().unwrap_or("?")
            ));
        }
        self.at = Step::Run;
        let events = client.frames.run(&accepted, until).await?;
        let payload = events.last().map_or(&Value::Null, |completed| at(completed, "/payload"));
        if *at(payload, "/status") != "degraded" || *at(payload, "/responder/built_in") != true {
            let (status, code) = (at(payload, "/status").as_str(), at(payload, "/error/code").as_str());
            return Err(format!(
                "the fallback did not answer: it ended {} ({}) after {} events",
                status.unwrap_or("?"),
                code.unwrap_or("no code"),
                events.len()
            ));
        }
        let thread = at(&accepted, "/thread_id").as_str().unwrap_or_default();
        thread.parse().map_err(|_| "the message was accepted without a thread".to_owned())
    }

    /// Nothing of it stays.
    async fn tidies(&self, thread: &ThreadId) -> Result<(), String> {
        let scope = Scope::self_check();
        loop {
            match self.door.host.delete_thread(&scope, thread).await {
                Ok(_) => return Ok(()),
                // Its last event is told before its run is over. The look as a whole has its time.
                Err(problem) if problem.code == Code::RunBusy => sleep(AGAIN).await,
                Err(problem) => return Err(format!("its thread was not deleted: {}", problem.code)),
            }
        }
    }
}

impl std::fmt::Display for NoClient {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Refused(status, code) => write!(f, "HTTP {status} ({code})"),
            Self::Failed(reason) => f.write_str(reason),
        }
    }
}

/// What lies at that place of a frame.
fn at<'a>(frame: &'a Value, place: &str) -> &'a Value {
    frame.pointer(place).unwrap_or(&Value::Null)
}

/// Marks what goes into the URL in place of the header. No header begins so.
const TICKET: &str = "ticket:";
/// Law 2.
const WELCOME_WITHIN: Duration = Duration::from_secs(1);
/// What the host itself answers.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);
/// Of the token. Far more than a look takes.
const LIFETIME: Duration = Duration::from_secs(60);
/// Between two tries to delete a thread.
const AGAIN: Duration = Duration::from_millis(20);
