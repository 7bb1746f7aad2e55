//! A plugin that is alive, however it was loaded: what the conformance suite and the measurement need of it.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use agent_plugin_api::protocol::call::{Answer, InvokeStatus, LogLine};
use tokio::sync::mpsc;

use crate::local::{Ear, Local, Said};

/// What comes back of one call, not yet judged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Output {
    /// An event.
    Event {
        /// Its kind's number.
        kind: u32,
        /// Its payload.
        payload: Vec<u8>,
    },
    /// A question to the host.
    Request {
        /// To be named in the answer.
        request: u64,
        /// A name of `protocol::call::request`.
        method: String,
        /// Its parameters.
        payload: Vec<u8>,
    },
    /// The last word: a `Completion`.
    Completed(Vec<u8>),
    /// The plugin would not take the call.
    Rejected(InvokeStatus),
    /// The plugin is gone, and why.
    Lost(String),
}

/// A plugin under test.
///
/// Every function but [`next`](Self::next) returns as soon as the order is given. An event that was read is credited.
pub trait Subject: Send {
    /// Whether [`next`](Self::next) also shows what a plugin says after the last word of a call. A host drops it.
    const SEES_LATE_OUTPUT: bool;

    /// Begins a call, and answers its id.
    fn begin(&mut self, method: &'static str, payload: Vec<u8>) -> impl Future<Output = u64> + Send;

    /// The next output of the call; `None`: none came within that time.
    fn next(&mut self, call: u64, within: Duration) -> impl Future<Output = Option<Output>> + Send;

    /// Answers a request of the call.
    fn answer(&mut self, call: u64, request: u64, answer: Answer) -> impl Future<Output = ()> + Send;

    /// Asks the call to stop.
    fn cancel(&mut self, call: u64) -> impl Future<Output = ()> + Send;

    /// Has the plugin take no new calls.
    fn drain(&mut self) -> impl Future<Output = ()> + Send;
}

/// Outputs of one call that may be unread. One more, and the call is over for the plugin: only a plugin that ignores its
/// credit comes that far.
const UNREAD: usize = 4096;

/// The calls of a plugin in this process.
#[derive(Debug)]
pub(crate) struct LocalCalls {
    plugin: Local,
    switchboard: Arc<Switchboard>,
    inboxes: HashMap<u64, mpsc::Receiver<Output>>,
    next: u64,
}

/// Who listens to which call, and what was logged. Written by the plugin's threads.
#[derive(Debug, Default)]
pub(crate) struct Switchboard {
    calls: Mutex<HashMap<u64, mpsc::Sender<Output>>>,
    logs: Mutex<Vec<LogLine>>,
}

/// Log lines that are kept; later ones are dropped.
const LOG_LINES: usize = 10_000;

impl Switchboard {
    /// The ear of a [`Local`] that is connected here.
    pub(crate) fn ear(self: &Arc<Self>) -> Ear {
        let switchboard = Arc::clone(self);
        Arc::new(move |said| switchboard.hear(said))
    }

    /// What was logged since the last time.
    pub(crate) fn take_logs(&self) -> Vec<LogLine> {
        std::mem::take(&mut *self.logs.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn hear(&self, said: Said) -> bool {
        match said {
            Said::Emit { call, kind, payload } => self.pass(call, Output::Event { kind, payload }),
            Said::Complete { call, completion } => self.pass(call, Output::Completed(completion)),
            Said::Request { call, request, method, payload } => {
                self.pass(call, Output::Request { request, method, payload })
            }
            Said::Log(line) => self.log(&line),
            Said::Heartbeat | Said::Flush => true,
        }
    }

    fn pass(&self, call: u64, output: Output) -> bool {
        let calls = self.calls.lock().unwrap_or_else(PoisonError::into_inner);
        calls.get(&call).is_some_and(|call| call.try_send(output).is_ok())
    }

    fn log(&self, line: &[u8]) -> bool {
        let mut logs = self.logs.lock().unwrap_or_else(PoisonError::into_inner);
        match serde_json::from_slice(line) {
            Ok(line) if logs.len() < LOG_LINES => logs.push(line),
            Ok(_) | Err(_) => return false,
        }
        true
    }
}

impl LocalCalls {
    pub(crate) fn new(plugin: Local, switchboard: Arc<Switchboard>) -> Self {
        Self { plugin, switchboard, inboxes: HashMap::new(), next: 1 }
    }

    pub(crate) fn switchboard(&self) -> &Switchboard {
        &self.switchboard
    }

    /// Ends the call for the kit: cancelled if it is still open, and what it says from now on goes nowhere.
    pub(crate) fn end(&mut self, call: u64) {
        self.plugin.cancel(call);
        self.inboxes.remove(&call);
        self.switchboard.calls.lock().unwrap_or_else(PoisonError::into_inner).remove(&call);
    }

    fn open(&mut self) -> (u64, mpsc::Sender<Output>) {
        let call = self.next;
        self.next += 1;
        let (sender, inbox) = mpsc::channel(UNREAD);
        self.inboxes.insert(call, inbox);
        self.switchboard.calls.lock().unwrap_or_else(PoisonError::into_inner).insert(call, sender.clone());
        (call, sender)
    }
}

impl Subject for LocalCalls {
    const SEES_LATE_OUTPUT: bool = true;

    async fn begin(&mut self, method: &'static str, payload: Vec<u8>) -> u64 {
        let (call, inbox) = self.open();
        match self.plugin.invoke(call, method, &payload, DEADLINE_MS) {
            Some(InvokeStatus::Accepted) => {}
            Some(status @ (InvokeStatus::Unimplemented | InvokeStatus::Refused)) => {
                // The channel was made a moment ago: it has room.
                let _ = inbox.try_send(Output::Rejected(status));
            }
            None => {
                let _ = inbox.try_send(Output::Lost("invoke answered a number that means nothing".into()));
            }
        }
        call
    }

    async fn next(&mut self, call: u64, within: Duration) -> Option<Output> {
        let inbox = self.inboxes.get_mut(&call)?;
        let output = tokio::time::timeout(within, inbox.recv()).await.ok()??;
        if matches!(output, Output::Event { .. }) {
            self.plugin.credit(call, 1);
        }
        Some(output)
    }

    async fn answer(&mut self, call: u64, request: u64, answer: Answer) {
        self.plugin.respond(call, request, &answer);
    }

    async fn cancel(&mut self, call: u64) {
        self.plugin.cancel(call);
    }

    async fn drain(&mut self) {
        self.plugin.drain();
    }
}

/// The deadline that calls are told: a host's default for a run.
const DEADLINE_MS: u64 = 600_000;
