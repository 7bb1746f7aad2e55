//! What a plugin in this process says: taken on its own threads, judged against its credit, and passed straight on.
//!
//! No socket and no further task lies between the plugin's thread and the listener's channel. What is said waits until
//! the thread that said it has nothing else to do, and a millisecond at most: a burst then wakes its listeners once. A
//! request that its call's desk answers at once is answered on the plugin's own thread.
//!
//! A lock per instance guards the open calls: it is held for look-ups and sends that never wait, so that a call's last
//! word is the last in its channel too.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use agent_host_core::{
    outcome::{Exit, ExitReport},
    ports::instance::{Invocation, Served},
    sanitise,
};
use agent_plugin_protocol::{
    CallId, Generation, PluginId,
    call::{Answer, InvokeStatus},
};
use bytes::Bytes;
use tokio::{
    runtime::Handle,
    sync::{Notify, mpsc},
};

use crate::{
    calls::{Flood, OpenCalls},
    host_api::HostCallbacks,
    instance::{LOG_RATE, count_late, log_line},
    module::Answers,
    speaker::Speaker,
    words::Rate,
};

/// The callbacks of one instance.
pub(crate) struct Voice {
    speaker: Speaker,
    calls: Mutex<OpenCalls>,
    /// Something waits, and the instance's task was told so.
    watched: AtomicBool,
    said: Notify,
    /// How to answer a request on the spot. Unset until the instance is made: its `create` has no calls.
    answers: OnceLock<Answers>,
    beaten: AtomicBool,
    log_rate: Mutex<Rate>,
    /// Why the instance shall be declared gone. Full: an earlier reason stands.
    fate: mpsc::Sender<Exit>,
    /// The host's: the plugin's threads have none of it.
    runtime: Handle,
}

impl Voice {
    /// A voice, and where it says that its instance has to end. To be called on the host's runtime.
    pub(crate) fn new(speaker: Speaker) -> (Self, mpsc::Receiver<Exit>) {
        let (fate, ends) = mpsc::channel(1);
        let voice = Self {
            speaker,
            calls: Mutex::new(OpenCalls::holding()),
            watched: AtomicBool::new(false),
            said: Notify::new(),
            answers: OnceLock::new(),
            beaten: AtomicBool::new(false),
            log_rate: Mutex::new(Rate::new(LOG_RATE)),
            fate,
            runtime: Handle::current(),
        };
        (voice, ends)
    }

    /// The instance is made.
    pub(crate) fn speaks_for(&self, answers: Answers) {
        // Set once, by who made it.
        let _ = self.answers.set(answers);
    }

    /// Resolves when something was said that may have to be fetched with [`pass_on`](Self::pass_on). Cancel safe.
    pub(crate) async fn said(&self) {
        self.said.notified().await;
    }

    /// Passes on what waits, whatever its thread is doing.
    pub(crate) fn pass_on(&self) {
        self.watched.store(false, Ordering::Relaxed);
        let _runtime = self.runtime.enter();
        let passed = self.calls().flush();
        if let Err(flood) = passed {
            self.flood(flood);
        }
    }

    /// Sees to it that what waits does not wait for long.
    fn watch(&self) {
        if !self.watched.load(Ordering::Relaxed) && !self.watched.swap(true, Ordering::Relaxed) {
            self.said.notify_one();
        }
    }

    /// Answers a request where it is made, if its call's desk can.
    fn serve(&self, call: u64, request: u64, method: &str, payload: &[u8]) -> bool {
        let Some(answers) = self.answers.get() else { return false };
        let Some((desk, place)) = self.calls().desk(call) else { return false };
        // A tool that panics is asked again by the run, which tells of it.
        let served = catch_unwind(AssertUnwindSafe(|| desk.at_once(method, payload))).ok().flatten();
        let Some(served) = served else { return false };
        let answer = answer_of(&served);
        let passed = self.calls().served(call, served, place);
        match passed {
            Ok(true) => answers.respond(call, request, answer),
            // The call is over.
            Ok(false) => {}
            Err(flood) => self.flood(flood),
        }
        self.watch();
        true
    }

    /// The slot and the generation.
    pub(crate) fn whose(&self) -> (&PluginId, Generation) {
        (&self.speaker.plugin, self.speaker.generation)
    }

    /// The host begins a call.
    pub(crate) fn opened(&self, invocation: &Invocation) {
        self.calls().open(invocation);
    }

    /// The plugin would not take it.
    pub(crate) fn rejected(&self, call: CallId, status: InvokeStatus) {
        self.calls().rejected(call.0, status);
    }

    /// The host consumed events; answers whether the call is open.
    pub(crate) fn credited(&self, call: CallId, events: u32) -> bool {
        let mut calls = self.calls();
        calls.credit(call, events);
        calls.is_open(call)
    }

    /// A request was answered.
    pub(crate) fn answered(&self, call: CallId) {
        self.calls().answered(call);
    }

    /// Nobody listens to the call any more.
    pub(crate) fn abandoned(&self, call: CallId) {
        self.calls().abandon(call);
    }

    /// Every open call hears of the instance's end.
    pub(crate) fn lost(&self, report: &Arc<ExitReport>) {
        self.calls().lose_all(report);
    }

    /// Whether the plugin's runtime gave a sign of life since this was last asked.
    pub(crate) fn has_beaten(&self) -> bool {
        self.beaten.swap(false, Ordering::Relaxed)
    }

    /// Brings what came for calls that were not open to the metrics.
    pub(crate) fn count_late(&self) {
        count_late(&mut self.calls());
    }

    fn calls(&self) -> MutexGuard<'_, OpenCalls> {
        self.calls.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn flood(&self, Flood: Flood) {
        // Full: it is known already.
        let _ = self.fate.try_send(Exit::Flood);
    }
}

impl HostCallbacks for Voice {
    fn emit(&self, call: u64, kind: u32, payload: &[u8]) -> i64 {
        let payload = Bytes::copy_from_slice(payload);
        let passed = self.calls().emitted(call, kind, payload);
        match passed {
            Ok(left) => {
                self.watch();
                left.map_or(-1, i64::from)
            }
            Err(flood) => {
                self.flood(flood);
                -1
            }
        }
    }

    fn complete(&self, call: u64, completion: &[u8]) {
        let completion = Bytes::copy_from_slice(completion);
        self.calls().completed(call, completion);
        self.watch();
    }

    fn request(&self, call: u64, request: u64, method: &str, payload: &[u8]) {
        if self.serve(call, request, method, payload) {
            return;
        }
        let (method, payload) = (sanitise::line(method, 64), Bytes::copy_from_slice(payload));
        let passed = self.calls().requested(call, request, method, payload);
        match passed {
            Ok(_) => self.watch(),
            Err(flood) => self.flood(flood),
        }
    }

    fn log(&self, line: &[u8]) {
        let mut rate = self.log_rate.lock().unwrap_or_else(PoisonError::into_inner);
        log_line(&self.speaker, &mut rate, line);
    }

    fn heartbeat(&self) {
        self.beaten.store(true, Ordering::Relaxed);
    }

    fn flush(&self) {
        if !self.calls().is_holding() {
            return;
        }
        // A last word that does not fit at once is brought by a task of the host's.
        let _runtime = self.runtime.enter();
        let passed = self.calls().flush();
        if let Err(flood) = passed {
            self.flood(flood);
        }
    }
}

/// What the plugin is told of a tool call: as the run would say it.
fn answer_of(served: &Served) -> Vec<u8> {
    let answer = match &served.result {
        Ok(value) => Answer::Ok { value: value.clone() },
        Err(error) => Answer::Error {
            code: error.code.as_str().to_owned(),
            message: error.message.clone(),
            retryable: error.code.retryable(),
        },
    };
    // Texts and values always serialise.
    serde_json::to_vec(&answer).unwrap_or_else(|_| b"null".to_vec())
}
