//! A scripted host behind the seam to the engine.

use std::{
    collections::VecDeque,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
};

use agent_host_core::{
    identity::{Principal, Scope},
    ports::store::{LogEntry, ThreadHead, ThreadSummary},
};
use agent_host_engine::{
    ControlError, Incoming, Outgoing, PluginOrder,
    session::{self, Accepted},
    view::{PluginDetail, Status},
};
use agent_plugin_protocol::{Epoch, EventKind, PluginId, RunId, Seq, ThreadId};
use tokio::sync::{Notify, Semaphore, mpsc};

use super::{detail, event, status};
use crate::host::{Conversation, History, Host};

/// A host without an engine. Each conversation echoes, or does what its message says.
#[derive(Clone)]
pub(crate) struct Script {
    pub(crate) status: Arc<Mutex<Arc<Status>>>,
    pub(crate) draining: Arc<AtomicBool>,
    /// What every conversation is told next; `None` is a slow consumer.
    pub(crate) say: Arc<Mutex<Vec<mpsc::UnboundedSender<Option<Outgoing>>>>>,
    pub(crate) heard: Arc<Mutex<Vec<Incoming>>>,
    pub(crate) refreshed: Arc<Mutex<Vec<Arc<Principal>>>>,
    /// Conversations whose client was lost.
    pub(crate) lost: Arc<AtomicUsize>,
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
            lost: Arc::default(),
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

    async fn cancel(&self, _: &Scope, _: &RunId) -> Result<ThreadId, session::Problem> {
        Err(session::Problem::new(agent_plugin_protocol::Code::RunNotFound))
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

    fn heir(&self, plugin: &PluginId) -> Option<PluginId> {
        let others = self.status().plugins.clone().into_iter();
        others.map(|other| other.id).find(|other| other != plugin)
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

    fn lost(&mut self) {
        self.script.lost.fetch_add(1, Ordering::SeqCst);
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
