//! What the plugin says to its host, in a worker: bounded, turned into frames, put into the outbox.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use agent_plugin_protocol::call::CREDIT_WINDOW;

use super::outbox::Outbox;
use crate::{
    frames::{self, FromWorker},
    host_api::HostCallbacks,
};

/// The callbacks of the one instance of a worker, with the credit of its open calls.
pub(crate) struct Voice {
    outbox: Arc<Outbox>,
    /// Events outstanding, by call. As many as the host opened.
    open: Mutex<HashMap<u64, u32>>,
    dropped: AtomicU64,
}

impl Voice {
    /// A voice that speaks through `outbox`.
    pub(crate) fn new(outbox: Arc<Outbox>) -> Self {
        Self { outbox, open: Mutex::default(), dropped: AtomicU64::new(0) }
    }

    /// The host begins a call.
    pub(crate) fn opened(&self, call: u64) {
        self.open().insert(call, 0);
    }

    /// The plugin would not take it.
    pub(crate) fn rejected(&self, call: u64, status: u32) {
        self.open().remove(&call);
        self.outbox.push_now(|out| FromWorker::Rejected { call, status }.encode(out));
    }

    /// The host consumed events.
    pub(crate) fn credited(&self, call: u64, events: u32) {
        if let Some(outstanding) = self.open().get_mut(&call) {
            *outstanding = outstanding.saturating_sub(events);
        }
    }

    fn open(&self) -> MutexGuard<'_, HashMap<u64, u32>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts an event; the credit that is left, or `None` if the call is not open.
    fn spend(&self, call: u64) -> Option<i64> {
        let mut open = self.open();
        let outstanding = open.get_mut(&call)?;
        // A plugin that goes on without credit is heard: the host sees the flood, and ends it.
        *outstanding = outstanding.saturating_add(1);
        Some(i64::from(CREDIT_WINDOW.saturating_sub(*outstanding)))
    }

    /// An output of a call that is over, or of none: told to the host with the next heartbeat.
    fn dropped(&self) {
        self.dropped.fetch_add(1, Ordering::Relaxed);
    }
}

impl HostCallbacks for Voice {
    fn emit(&self, call: u64, kind: u32, payload: &[u8]) -> i64 {
        let Some(credit) = self.spend(call) else {
            self.dropped();
            return -1;
        };
        self.outbox.push(|out| frames::encode_emit(out, call, kind, payload));
        credit
    }

    fn complete(&self, call: u64, completion: &[u8]) {
        if self.open().remove(&call).is_none() {
            return self.dropped();
        }
        self.outbox.push_now(|out| frames::encode_complete(out, call, completion));
    }

    fn request(&self, call: u64, request: u64, method: &str, payload: &[u8]) {
        if !self.open().contains_key(&call) {
            return self.dropped();
        }
        self.outbox.push_now(|out| frames::encode_request(out, call, request, method, payload));
    }

    fn log(&self, line: &[u8]) {
        self.outbox.push(|out| frames::encode_log(out, line));
    }

    fn heartbeat(&self) {
        let outputs = self.dropped.swap(0, Ordering::Relaxed);
        // At once: so an idle worker wakes no further thread for it.
        self.outbox.push_now(|out| {
            FromWorker::Heartbeat.encode(out);
            if outputs > 0 {
                FromWorker::Dropped { outputs }.encode(out);
            }
        });
    }

    fn flush(&self) {
        self.outbox.flush();
    }
}
