//! A scripted host behind the seam, tokens, and clients.

use std::{
    collections::VecDeque,
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, SystemTime},
};

use agent_host_core::{
    identity::{Principal, Scope},
    isolation::{Layer, LayerState, SandboxReport},
    level::ServiceLevel,
    outcome::{Exit, ExitReport},
    ports::{
        clock::Clock,
        instance::Isolation,
        library::Candidate,
        store::{Durability, LogEntry, NewEvent, ThreadHead, ThreadSummary},
    },
};
use agent_host_engine::{
    ChangedFile, ControlError, Incoming, Outgoing, PluginOrder,
    session::{self, Accepted, Delivery},
    view::{
        BreakerView, BudgetView, Crash, Missing, OpenCall, PluginDetail, PluginView, SparesView, StateChange,
        Status,
    },
};
use agent_plugin_protocol::{Code, Epoch, EventKind, Generation, PluginId, PluginKind, RunId, Seq, ThreadId};
use futures_util::{SinkExt, StreamExt};
use serde_json::Value;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    sync::{Notify, Semaphore, mpsc},
};
use tokio_tungstenite::{
    MaybeTlsStream, WebSocketStream, connect_async,
    tungstenite::{self, Message, client::IntoClientRequest, protocol::CloseFrame},
};

use crate::{
    Gateway, MetricsPage, Settings,
    auth::{MintClaims, mint},
    host::{Conversation, History, Host},
};

pub(crate) const SECRET: &[u8] = b"the users' secret of many bytes!";
pub(crate) const ADMIN_SECRET: &[u8] = b"the operators' secret, so long!!";

/// A host without an engine. Each conversation echoes, or does what its message says.
#[derive(Clone)]
pub(crate) struct Script {
    pub(crate) status: Arc<Mutex<Arc<Status>>>,
    pub(crate) draining: Arc<AtomicBool>,
    /// What every conversation is told next; `None` is a slow consumer.
    pub(crate) say: Arc<Mutex<Vec<mpsc::UnboundedSender<Option<Outgoing>>>>>,
    pub(crate) heard: Arc<Mutex<Vec<Incoming>>>,
    pub(crate) refreshed: Arc<Mutex<Vec<Arc<Principal>>>>,
    /// What operators ordered.
    pub(crate) ordered: Arc<Mutex<Vec<(String, PluginOrder)>>>,
    /// What is answered to the next orders, last first; without one, an order is carried out at once.
    pub(crate) refuse: Arc<Mutex<Vec<ControlError>>>,
    /// Orders wait for a permit of it, where there is one.
    pub(crate) gate: Arc<Mutex<Option<Arc<Semaphore>>>>,
    /// An order has come to the gate.
    pub(crate) arrived: Arc<Notify>,
}

impl Script {
    pub(crate) fn new() -> Self {
        Self {
            status: Arc::new(Mutex::new(Arc::new(status()))),
            draining: Arc::default(),
            say: Arc::default(),
            heard: Arc::default(),
            refreshed: Arc::default(),
            ordered: Arc::default(),
            refuse: Arc::default(),
            gate: Arc::default(),
            arrived: Arc::default(),
        }
    }

    pub(crate) fn change_status(&self, change: impl FnOnce(&mut Status)) {
        let mut status = self.status.lock().unwrap();
        change(Arc::make_mut(&mut status));
    }

    pub(crate) fn drain(&self) {
        self.draining.store(true, Ordering::SeqCst);
    }

    /// Tells all conversations something.
    pub(crate) fn tell(&self, what: Option<Outgoing>) {
        for sender in self.say.lock().unwrap().iter() {
            let _ = sender.send(what.clone());
        }
    }
}

/// The script has no threads: what they are is tested against a real host.
impl History for Script {
    async fn threads(
        &self,
        _: &Scope,
        _: Option<&ThreadId>,
        _: usize,
    ) -> Result<Vec<ThreadSummary>, session::Problem> {
        Ok(Vec::new())
    }

    async fn thread(&self, _: &Scope, _: &ThreadId) -> Result<Option<ThreadHead>, session::Problem> {
        Ok(None)
    }

    async fn events(
        &self,
        _: &Scope,
        _: &ThreadId,
        _: Seq,
        _: usize,
    ) -> Result<Option<Vec<LogEntry>>, session::Problem> {
        Ok(None)
    }

    async fn delete_thread(&self, _: &Scope, _: &ThreadId) -> Result<bool, session::Problem> {
        Ok(false)
    }

    async fn delete_tenant(&self, _: &str) -> Result<usize, session::Problem> {
        Ok(0)
    }

    async fn delete_user(&self, _: &Scope) -> Result<usize, session::Problem> {
        Ok(0)
    }

    async fn cancel(&self, _: &Scope, _: &RunId) -> Option<ThreadId> {
        None
    }
}

impl Host for Script {
    type Conversation = Scripted;

    fn open(&self, _principal: Arc<Principal>) -> Scripted {
        let (sender, told) = mpsc::unbounded_channel();
        self.say.lock().unwrap().push(sender);
        Scripted { script: self.clone(), told, own: VecDeque::new(), more: Notify::new(), seq: 0 }
    }

    fn status(&self) -> Arc<Status> {
        self.status.lock().unwrap().clone()
    }

    fn is_draining(&self) -> bool {
        self.draining.load(Ordering::SeqCst)
    }

    fn runs_of(&self, _: &Scope) -> u32 {
        0
    }

    fn plugins(&self) -> Vec<PluginDetail> {
        self.status().plugins.iter().cloned().map(detail).collect()
    }

    fn plugin(&self, plugin: &PluginId) -> Option<PluginDetail> {
        self.plugins().into_iter().find(|detail| detail.view.id == *plugin)
    }

    async fn control(&self, plugin: &PluginId, order: PluginOrder) -> Result<PluginDetail, ControlError> {
        let gate = self.gate.lock().unwrap().clone();
        if let Some(gate) = gate {
            self.arrived.notify_one();
            gate.acquire().await.unwrap().forget();
        }
        if plugin.as_str() == "panics" {
            panic!("the script says so");
        }
        if let Some(error) = self.refuse.lock().unwrap().pop() {
            return Err(error);
        }
        let known = self.plugin(plugin).ok_or_else(|| ControlError::Unknown(plugin.clone()))?;
        self.ordered.lock().unwrap().push((plugin.to_string(), order));
        Ok(known)
    }
}

pub(crate) struct Scripted {
    script: Script,
    told: mpsc::UnboundedReceiver<Option<Outgoing>>,
    own: VecDeque<Outgoing>,
    more: Notify,
    seq: u64,
}

impl Conversation for Scripted {
    fn status(&self) -> Arc<Status> {
        self.script.status()
    }

    fn load(&self) -> session::Load {
        session::Load::default()
    }

    fn refresh(&mut self, principal: Arc<Principal>) {
        self.script.refreshed.lock().unwrap().push(principal);
    }

    async fn handle(&mut self, incoming: Incoming) {
        self.script.heard.lock().unwrap().push(incoming.clone());
        if let Incoming::Message(message) = incoming {
            match message.content.as_str() {
                "panic" => panic!("the script says so"),
                "hang" => std::future::pending::<()>().await,
                "forgotten" => return,
                _ => {}
            }
            let thread = message.thread.unwrap_or_else(|| ThreadId::new("t1").unwrap());
            self.own.push_back(Outgoing::Accepted(Accepted {
                id: message.id,
                thread: thread.clone(),
                run: RunId::new("r1").unwrap(),
                epoch: Epoch::new("e1").unwrap(),
                seq: Seq(self.seq + 1),
                duplicate: false,
                resumes: None,
            }));
            for kind in [EventKind::UserMessage, EventKind::AgentStarted, EventKind::AgentCompleted] {
                self.seq += 1;
                self.own.push_back(event(self.seq, kind, "echo", r#"{"text":"hi"}"#));
            }
            self.more.notify_one();
        }
    }

    async fn next(&mut self) -> Option<Outgoing> {
        loop {
            if let Some(own) = self.own.pop_front() {
                return Some(own);
            }
            tokio::select! {
                told = self.told.recv() => match told {
                    Some(told) => return told,
                    None => std::future::pending().await,
                },
                () = self.more.notified() => {}
            }
        }
    }

    fn try_next(&mut self) -> Option<Outgoing> {
        self.own.pop_front()
    }

    fn positions(&self) -> Vec<(ThreadId, Seq)> {
        if self.seq == 0 { Vec::new() } else { vec![(ThreadId::new("t1").unwrap(), Seq(self.seq))] }
    }
}

pub(crate) fn event(seq: u64, kind: EventKind, agent: &str, payload: &'static str) -> Outgoing {
    Outgoing::Event(Arc::new(Delivery::new(LogEntry {
        seq: Seq(seq),
        thread: ThreadId::new("t1").unwrap(),
        event: NewEvent {
            run: RunId::new("r1").unwrap(),
            kind,
            agent: agent.into(),
            time: SystemTime::UNIX_EPOCH + Duration::from_millis(1_800_000_000_042),
            payload: payload.into(),
        },
    })))
}

pub(crate) fn plugin(id: &str, kind: PluginKind, healthy: bool) -> PluginView {
    PluginView {
        id: PluginId::new(id).unwrap(),
        kind,
        verdict: if healthy { "healthy" } else { "failed" },
        state: if healthy { "healthy" } else { "quarantined" },
        since: SystemTime::UNIX_EPOCH,
        generation: Generation(1),
        version: Some("1.2.0".to_owned()),
        description: Some("Says it again.".to_owned()),
        isolation: Isolation::Process,
        digest: None,
        fault: None,
        restarts: 0,
        retry_at: None,
        served_by: None,
    }
}

/// A plugin with something in each part.
pub(crate) fn detail(view: PluginView) -> PluginDetail {
    let now = SystemTime::UNIX_EPOCH;
    let report = ExitReport {
        exit: Exit::Signal(11),
        uptime: Duration::from_secs(3),
        stderr_tail: vec!["\u{1b}[31mlast words\u{202e}".to_owned()],
        crash: None,
    };
    PluginDetail {
        view,
        sandbox: SandboxReport([(Layer::Seccomp, LayerState::enforced())].into()),
        breaker: BreakerView { state: "closed", since: now, retry_at: None, failures: 1, calls: 4 },
        in_flight: 2,
        restarts: BudgetView { used: 1, max: 5, within: Duration::from_secs(60) },
        former: None,
        rolled_back: None,
        spares: SparesView { wanted: 0, ready: 0, fault: None },
        candidate: None,
        changed_file: Some(ChangedFile {
            candidate: Candidate { digest: Some("e3b0".to_owned()), fault: None },
            seen: now,
        }),
        retiring: Vec::new(),
        history: vec![StateChange {
            at: now,
            generation: Generation(1),
            from: "initialised",
            to: "healthy",
            code: None,
            reason: None,
        }],
        last_crash: Some(Crash {
            at: now,
            generation: Generation(1),
            uptime: Duration::from_secs(3),
            calls: vec![OpenCall { method: "handle", run: RunId::new("r1").unwrap() }],
            report: Arc::new(report),
        }),
    }
}

pub(crate) fn status() -> Status {
    Status {
        host: "test-host".into(),
        level: ServiceLevel::Partial,
        reason: "not healthy: billing".to_owned(),
        missing: vec![Missing {
            name: "billing".to_owned(),
            kind: "agent",
            code: Code::PluginCrashLoop,
            reason: "it keeps crashing".to_owned(),
            retry_after_ms: Some(30_000),
        }],
        plugins: vec![plugin("echo", PluginKind::Agent, true), plugin("billing", PluginKind::Agent, false)],
        services: Vec::new(),
        durability: Durability::Durable,
        starting: false,
        draining: false,
    }
}

/// The machine's time, plus what a test adds.
#[derive(Clone, Default)]
pub(crate) struct Shifted(Arc<Mutex<Duration>>);

impl Shifted {
    pub(crate) fn forward(&self, by: Duration) {
        *self.0.lock().unwrap() += by;
    }
}

impl Clock for Shifted {
    fn now(&self) -> SystemTime {
        SystemTime::now() + *self.0.lock().unwrap()
    }
}

pub(crate) fn settings() -> Settings {
    let mut settings = Settings::default();
    settings.listen.set_port(0);
    settings.admin_listen.set_port(0);
    settings.auth.hs256_secrets = vec![SECRET.to_vec().into()];
    settings.admin.hs256_secrets = vec![ADMIN_SECRET.to_vec().into()];
    settings
}

/// A gateway over a script.
pub(crate) struct Doors {
    pub(crate) gateway: Gateway,
    pub(crate) script: Script,
    pub(crate) clock: Shifted,
}

pub(crate) async fn open(change: impl FnOnce(&mut Settings)) -> Doors {
    let mut settings = settings();
    change(&mut settings);
    let (script, clock) = (Script::new(), Shifted::default());
    let page: MetricsPage = Some(Arc::new(|| "agent_host_upgrades_total 1\n".to_owned()));
    let gateway = Gateway::start(
        settings,
        script.clone(),
        Arc::new(clock.clone()),
        page,
        Arc::default(),
        None,
        crate::admin::Operated::default(),
    )
    .await
    .unwrap();
    Doors { gateway, script, clock }
}

pub(crate) fn token_of(user: &str, lifetime: Duration) -> String {
    mint(&claims(user, lifetime), &SECRET.to_vec().into()).unwrap()
}

pub(crate) fn claims(user: &str, lifetime: Duration) -> MintClaims {
    MintClaims {
        user: user.to_owned(),
        tenant: None,
        permissions: Vec::new(),
        issuer: String::new(),
        audience: String::new(),
        issued_at: SystemTime::now(),
        lifetime,
    }
}

pub(crate) fn token() -> String {
    token_of("u1", Duration::from_secs(3600))
}

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
