//! A whole engine for a test, and clients that look at it as a person's connection does.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
    sync::{Arc, Mutex},
    time::{Duration, SystemTime},
};

use agent_host_core::{
    canary::CanaryPolicy,
    identity::{Principal, Scope},
    level::ServiceLevel,
    ports::{
        BoxFuture,
        clock::SystemClock,
        instance::{Isolation, Limits, PluginSpec, Timeouts},
        store::{
            Appended, Begun, Deletion, LogEntry, NewEvent, NewMessage, NewQuestion, Question, Store,
            StoreError, ThreadHead, ThreadSummary, Unfinished, Usage,
        },
        tools::{ToolCall, ToolError, ToolHost},
    },
    run_machine::grammar::{self, Seen},
    service::{ServiceName, ServiceState, ServiceTable},
    share::Share,
};
use agent_host_store::MemoryStore;
use agent_plugin_protocol::{
    Code, Epoch, EventKind, MessageId, PluginId, RunId, Seq, ThreadId, call::ToolInfo,
};
use bytes::Bytes;
use serde_json::{Value, json};
use tokio::sync::watch;

use super::fake::{FakeRuntime, kind_of};
use crate::{
    Engine, Incoming, Outgoing, Parts, Session, Settings,
    session::{Accepted, Message, Problem, Subscribed},
    settings::PluginSettings,
};

pub(super) fn plugin(id: &str) -> PluginSettings {
    PluginSettings {
        breaker: true,
        canary: CanaryPolicy {
            share: Share::NONE,
            lasts: Duration::from_secs(300),
            min_runs: 10,
            tolerance: Share::percent(20),
        },
        rollback_window: Duration::ZERO,
        spec: Arc::new(PluginSpec {
            id: PluginId::new(id).unwrap(),
            kind: kind_of(id),
            path: PathBuf::from("/secret/path.so"),
            isolation: Isolation::Process,
            sha256: None,
            trust: Default::default(),
            secrets: Default::default(),
            network: Vec::new(),
            config: Value::Null,
            requires: Vec::new(),
            timeouts: Timeouts {
                init: Duration::from_secs(5),
                tool: Duration::from_secs(3),
                idle: Duration::from_secs(10),
                run: Duration::from_secs(60),
                grace: Duration::from_secs(2),
                queue: Duration::from_secs(5),
            },
            limits: Limits {
                memory: 0,
                concurrent_runs: 8,
                queued_runs: 4,
                library: 0,
                open_files: 0,
                cpu_percent: 0,
            },
            tools: vec!["add".to_owned(), "slow".to_owned()],
            threads: 2,
            data_dir: None,
            log_level: "info".to_owned(),
        }),
        enabled: true,
        restarts: 3,
        restart_window: Duration::from_secs(60),
        spares: 0,
        substitutes: Vec::new(),
        double_texting: crate::settings::DoubleTexting::default(),
        on_disconnect: crate::settings::OnDisconnect::default(),
    }
}

/// A store in memory that can be made to fail.
pub(super) struct Flaky {
    inner: MemoryStore,
    pub(super) broken: std::sync::atomic::AtomicBool,
    pub(super) reads: Mutex<Reads>,
}

/// Reads of logs, in a store that is told to take its time for each.
#[derive(Debug, Default)]
pub(super) struct Reads {
    pub(super) each_takes: Duration,
    now: usize,
    pub(super) most_at_once: usize,
}

impl Flaky {
    fn fails(&self) -> Result<(), StoreError> {
        if self.broken.load(std::sync::atomic::Ordering::Relaxed) {
            return Err(StoreError { code: Code::StoreUnavailable, reason: "broken by the test".to_owned() });
        }
        Ok(())
    }

    pub(super) fn set_broken(&self, broken: bool) {
        self.broken.store(broken, std::sync::atomic::Ordering::Relaxed);
    }
}

impl Store for Flaky {
    fn begin(&self, message: NewMessage) -> BoxFuture<'_, Result<Begun, StoreError>> {
        Box::pin(async move {
            self.fails()?;
            self.inner.begin(message).await
        })
    }
    fn append(
        &self,
        thread: &ThreadId,
        events: Vec<NewEvent>,
        asked: Vec<NewQuestion>,
    ) -> BoxFuture<'_, Result<Appended, StoreError>> {
        let thread = thread.clone();
        Box::pin(async move {
            self.fails()?;
            self.inner.append(&thread, events, asked).await
        })
    }
    fn question(&self, scope: &Scope, run: &RunId) -> BoxFuture<'_, Result<Option<Question>, StoreError>> {
        self.inner.question(scope, run)
    }
    fn thread(
        &self,
        scope: &Scope,
        thread: &ThreadId,
    ) -> BoxFuture<'_, Result<Option<ThreadHead>, StoreError>> {
        self.inner.thread(scope, thread)
    }
    fn read(
        &self,
        scope: &Scope,
        thread: &ThreadId,
        after: Seq,
        limit: usize,
    ) -> BoxFuture<'_, Result<Option<Vec<LogEntry>>, StoreError>> {
        let (scope, thread) = (scope.clone(), thread.clone());
        Box::pin(async move {
            let pause = {
                let mut reads = self.reads.lock().unwrap();
                reads.now += 1;
                reads.most_at_once = reads.most_at_once.max(reads.now);
                reads.each_takes
            };
            tokio::time::sleep(pause).await;
            self.reads.lock().unwrap().now -= 1;
            self.inner.read(&scope, &thread, after, limit).await
        })
    }
    fn state(&self, thread: &ThreadId, plugin: &str) -> BoxFuture<'_, Result<Option<Bytes>, StoreError>> {
        self.inner.state(thread, plugin)
    }
    fn set_state(
        &self,
        thread: &ThreadId,
        plugin: &str,
        state: Bytes,
    ) -> BoxFuture<'_, Result<(), StoreError>> {
        self.inner.set_state(thread, plugin, state)
    }
    fn check(&self) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(async move { self.fails() })
    }
    fn unfinished(&self) -> BoxFuture<'_, Result<Vec<Unfinished>, StoreError>> {
        self.inner.unfinished()
    }
    fn threads(
        &self,
        scope: &Scope,
        before: Option<&ThreadId>,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<ThreadSummary>, StoreError>> {
        self.inner.threads(scope, before, limit)
    }
    fn usage(&self, scope: &Scope) -> BoxFuture<'_, Result<Usage, StoreError>> {
        self.inner.usage(scope)
    }
    fn delete(&self, which: Deletion) -> BoxFuture<'_, Result<usize, StoreError>> {
        self.inner.delete(which)
    }
    fn epoch(&self) -> Epoch {
        self.inner.epoch()
    }
}

struct Tools;

impl ToolHost for Tools {
    fn list(&self) -> Vec<ToolInfo> {
        ["add", "slow", "secret"]
            .map(|name| ToolInfo {
                name: name.to_owned(),
                description: String::new(),
                input_schema: json!({}),
            })
            .into()
    }
    fn call(&self, call: ToolCall) -> BoxFuture<'_, Result<Value, ToolError>> {
        Box::pin(async move {
            match call.tool.as_str() {
                "slow" => std::future::pending().await,
                _ => Ok(json!({"sum": call.arguments["a"].as_i64().unwrap() + 1})),
            }
        })
    }
}

/// An engine and what it is made of.
pub(super) struct Host {
    pub(super) engine: Engine,
    pub(super) store: Arc<Flaky>,
    pub(super) journal: Arc<Mutex<Vec<String>>>,
    pub(super) services: watch::Sender<Arc<ServiceTable>>,
    pub(super) killers: Arc<
        Mutex<
            std::collections::HashMap<
                String,
                tokio::sync::mpsc::UnboundedSender<agent_host_core::outcome::Exit>,
            >,
        >,
    >,
}

impl Host {
    pub(super) fn new(plugins: Vec<PluginSettings>, runtime: FakeRuntime) -> Self {
        Self::with(Settings { plugins, ..Settings::default() }, runtime)
    }

    pub(super) fn with(settings: Settings, runtime: FakeRuntime) -> Self {
        let store =
            Arc::new(Flaky { inner: MemoryStore::new(), broken: false.into(), reads: Mutex::default() });
        let (journal, killers) = (Arc::clone(&runtime.journal), Arc::clone(&runtime.killers));
        let offered = [ServiceName::Threads, ServiceName::Tools, ServiceName::Delegate, ServiceName::Events];
        let services = watch::Sender::new(Arc::new(ServiceTable::new(
            offered.map(|name| (name, ServiceState::Available)),
        )));
        let parts = Parts {
            process: Arc::new(runtime),
            in_process: None,
            store: Arc::clone(&store) as Arc<dyn Store>,
            tools: Arc::new(Tools),
            network: Arc::new(agent_host_core::ports::network::NoNetwork),
            clock: Arc::new(SystemClock),
            services: services.subscribe(),
        };
        Self { engine: Engine::start(settings, parts), store, journal, killers, services }
    }

    /// The plugins named, each enabled, all healthy.
    pub(super) async fn healthy(plugins: &[&str], runtime: FakeRuntime) -> Self {
        let host = Self::new(plugins.iter().map(|id| plugin(id)).collect(), runtime);
        host.level(ServiceLevel::Full).await;
        host
    }

    /// Waits until the service is at that level.
    pub(super) async fn level(&self, level: ServiceLevel) {
        self.until(|status| status.level == level && !status.starting).await;
    }

    pub(super) async fn until(&self, holds: impl FnMut(&Arc<crate::view::Status>) -> bool) {
        let mut changes = self.engine.status_changes();
        tokio::time::timeout(Duration::from_secs(300), changes.wait_for(holds)).await.unwrap().unwrap();
    }

    pub(super) fn client(&self, user: &str) -> Client {
        let principal = Principal {
            scope: Scope { tenant: "t".into(), user: user.into() },
            permissions: BTreeSet::new(),
            expires_at: SystemTime::now(),
            issued_at: None,
            token_id: None,
            signed_by: agent_host_core::identity::SignedBy::Host,
            issuer: None,
            audiences: [].into(),
        };
        Client { session: self.engine.open_session(Arc::new(principal)) }
    }

    pub(super) fn told(&self, what: &str) -> usize {
        self.journal.lock().unwrap().iter().filter(|line| line.contains(what)).count()
    }

    pub(super) fn kill(&self, plugin: &str, exit: agent_host_core::outcome::Exit) {
        self.killers.lock().unwrap()[plugin].send(exit).unwrap();
    }

    /// Instances that were started and are not gone.
    pub(super) fn living(&self) -> usize {
        let killers = self.killers.lock().unwrap();
        killers.iter().filter(|(name, killer)| name.contains('#') && !killer.is_closed()).count()
    }

    /// Waits until that generation is gone.
    pub(super) async fn gone(&self, name: &str) {
        let killer = self.killers.lock().unwrap()[name].clone();
        tokio::time::timeout(Duration::from_secs(300), killer.closed()).await.unwrap();
    }

    /// The whole log of a thread, checked to be dense; a run may still be open.
    pub(super) async fn log_open(&self, user: &str, thread: &ThreadId) -> Vec<LogEntry> {
        let scope = Scope { tenant: "t".into(), user: user.into() };
        let log = self.store.read(&scope, thread, Seq(0), 100_000).await.unwrap().unwrap();
        for (entry, seq) in log.iter().zip(1..) {
            assert_eq!(entry.seq, Seq(seq), "dense");
        }
        log
    }

    /// The whole log of a thread, checked: dense, and every run in it well-formed.
    pub(super) async fn log(&self, user: &str, thread: &ThreadId) -> Vec<LogEntry> {
        let log = self.log_open(user, thread).await;
        let mut runs: BTreeMap<&RunId, Vec<&LogEntry>> = BTreeMap::new();
        for entry in &log {
            runs.entry(&entry.event.run).or_default().push(entry);
        }
        for (run, events) in runs {
            let seen = events.iter().map(|e| Seen {
                kind: e.event.kind,
                agent: &e.event.agent,
                payload: &e.event.payload,
            });
            if let Err(broken) = grammar::check(seen) {
                panic!("{run}: {broken}: {:?}", events.iter().map(|e| e.event.kind).collect::<Vec<_>>());
            }
        }
        log
    }
}

/// A connection.
pub(super) struct Client {
    pub(super) session: Session,
}

/// A run as a client saw it.
#[derive(Debug)]
pub(super) struct Seen1 {
    pub(super) accepted: Accepted,
    pub(super) kinds: Vec<EventKind>,
    pub(super) last: Value,
    pub(super) agent: String,
}

pub(super) fn message(id: &str, content: &str) -> Message {
    Message {
        id: MessageId::new(id).unwrap(),
        thread: None,
        given: None,
        agent: None,
        content: content.to_owned(),
        metadata: serde_json::Map::new(),
    }
}

impl Client {
    pub(super) async fn next(&mut self) -> Outgoing {
        tokio::time::timeout(Duration::from_secs(600), self.session.next())
            .await
            .expect("in time")
            .expect("not lagged")
    }

    pub(super) async fn send(&mut self, message: Message) {
        self.session.handle(Incoming::Message(message)).await;
    }

    pub(super) async fn accepted(&mut self) -> Accepted {
        loop {
            match self.next().await {
                Outgoing::Accepted(accepted) => return accepted,
                Outgoing::Problem(problem) => panic!("{problem:?}"),
                _ => {}
            }
        }
    }

    pub(super) async fn problem(&mut self) -> Problem {
        loop {
            match self.next().await {
                Outgoing::Problem(problem) => return problem,
                Outgoing::Accepted(accepted) => panic!("{accepted:?}"),
                _ => {}
            }
        }
    }

    pub(super) async fn subscribed(&mut self) -> Subscribed {
        loop {
            if let Outgoing::Subscribed(subscribed) = self.next().await {
                return subscribed;
            }
        }
    }

    pub(super) async fn event(&mut self) -> LogEntry {
        loop {
            if let Outgoing::Event(delivery) = self.next().await {
                return delivery.entry.clone();
            }
        }
    }

    /// Waits for an event of that kind.
    pub(super) async fn event_of(&mut self, kind: EventKind) -> LogEntry {
        loop {
            let entry = self.event().await;
            if entry.event.kind == kind {
                return entry;
            }
        }
    }

    /// The events of a run up to its end.
    pub(super) async fn finish(&mut self, accepted: Accepted) -> Seen1 {
        let mut kinds = Vec::new();
        loop {
            let entry = self.event().await;
            if entry.event.run != accepted.run {
                continue;
            }
            kinds.push(entry.event.kind);
            if entry.event.kind == EventKind::AgentCompleted {
                let last = serde_json::from_slice(&entry.event.payload).unwrap();
                return Seen1 { accepted, kinds, last, agent: entry.event.agent.to_string() };
            }
        }
    }

    /// Sends a message and waits for the end of its run.
    pub(super) async fn ask(&mut self, message: Message) -> Seen1 {
        self.send(message).await;
        let accepted = self.accepted().await;
        self.finish(accepted).await
    }
}
