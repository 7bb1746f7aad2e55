//! What a plugin in this process says: taken on its own threads, judged against its credit, and passed straight on.
//!
//! No socket and no further task lies between the plugin's thread and the listener's channel. A lock per instance
//! guards the open calls: it is held for one look-up and one send that never waits, so that a call's last word is the
//! last in its channel too.

use std::sync::{
    Arc, Mutex, MutexGuard, PoisonError,
    atomic::{AtomicBool, Ordering},
};

use agent_host_core::{
    outcome::{Exit, ExitReport},
    ports::instance::Invocation,
    sanitise,
};
use agent_plugin_protocol::{CallId, Generation, PluginId, call::InvokeStatus};
use bytes::Bytes;
use tokio::{runtime::Handle, sync::mpsc};

use crate::{
    calls::{Flood, OpenCalls},
    host_api::HostCallbacks,
    instance::{LOG_RATE, count_late, log_line},
    words::Rate,
};

/// The callbacks of one instance.
pub(crate) struct Voice {
    plugin: PluginId,
    generation: Generation,
    calls: Mutex<OpenCalls>,
    beaten: AtomicBool,
    log_rate: Mutex<Rate>,
    /// Why the instance shall be declared gone. Full: an earlier reason stands.
    fate: mpsc::Sender<Exit>,
    /// The host's: the plugin's threads have none of it.
    runtime: Handle,
}

impl Voice {
    /// A voice, and where it says that its instance has to end. To be called on the host's runtime.
    pub(crate) fn new(plugin: PluginId, generation: Generation) -> (Self, mpsc::Receiver<Exit>) {
        let (fate, ends) = mpsc::channel(1);
        let voice = Self {
            plugin,
            generation,
            calls: Mutex::default(),
            beaten: AtomicBool::new(false),
            log_rate: Mutex::new(Rate::new(LOG_RATE)),
            fate,
            runtime: Handle::current(),
        };
        (voice, ends)
    }

    /// The slot and the generation.
    pub(crate) fn whose(&self) -> (&PluginId, Generation) {
        (&self.plugin, self.generation)
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
            Ok(left) => left.map_or(-1, i64::from),
            Err(flood) => {
                self.flood(flood);
                -1
            }
        }
    }

    fn complete(&self, call: u64, completion: &[u8]) {
        let completion = Bytes::copy_from_slice(completion);
        // A last word that does not fit at once is brought by a task of the host's.
        let _runtime = self.runtime.enter();
        self.calls().completed(call, completion);
    }

    fn request(&self, call: u64, request: u64, method: &str, payload: &[u8]) {
        let (method, payload) = (sanitise::line(method, 64), Bytes::copy_from_slice(payload));
        let passed = self.calls().requested(call, request, method, payload);
        if let Err(flood) = passed {
            self.flood(flood);
        }
    }

    fn log(&self, line: &[u8]) {
        let mut rate = self.log_rate.lock().unwrap_or_else(PoisonError::into_inner);
        log_line(&self.plugin, self.generation, &mut rate, line);
    }

    fn heartbeat(&self) {
        self.beaten.store(true, Ordering::Relaxed);
    }

    /// Nothing is ever held back here.
    fn flush(&self) {}
}
