//! What every task of the engine holds: values, ports, and the ways to the other tasks.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use agent_host_core::{breaker::CallResult, ports::store::StoreError, routing::Target};
use agent_host_telemetry::happening::StoreFailed;
use agent_plugin_protocol::CallId;
use arc_swap::{ArcSwap, Guard};
use tokio::{
    sync::{OnceCell, mpsc, watch},
    time::Instant,
};
use tokio_util::task::TaskTracker;

use crate::{
    details::Details,
    directory::Directory,
    followers::Followers,
    routes::Routes,
    session::Turns,
    settings::{Parts, Settings},
    supervisor,
    view::Status,
};

/// Handles and snapshots; no state of its own that decides anything.
pub(crate) struct Shared {
    /// Replaced as a whole by the supervisor task, when a new configuration is in force.
    settings: ArcSwap<Settings>,
    pub(crate) parts: Parts,
    /// Written by the supervisor task only.
    pub(crate) routes: ArcSwap<Routes>,
    /// As it is now; written by the supervisor task only.
    pub(crate) status: watch::Receiver<Arc<Status>>,
    /// As clients are told: what held for the settling time.
    pub(crate) settled: watch::Receiver<Arc<Status>>,
    /// The plugins in detail; written by the supervisor task only.
    pub(crate) details: watch::Receiver<Arc<Details>>,
    /// Set once, when the host goes away.
    pub(crate) leaving: watch::Sender<Option<Leaving>>,
    pub(crate) directory: Arc<Directory>,
    pub(crate) followers: Followers,
    pub(crate) turns: Turns,
    pub(crate) supervisor: mpsc::Sender<supervisor::Command>,
    pub(crate) tasks: TaskTracker,
    /// How many runs the drain interrupted, once it is done.
    pub(crate) drained: OnceCell<usize>,
    /// Whether the last append worked: only a change is worth a message.
    store_works: AtomicBool,
}

/// The host is going away.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Leaving {
    /// When runs that are not over end as interrupted, and connections are closed.
    pub(crate) deadline: Instant,
}

/// The receivers' ends, for the supervisor task.
pub(crate) struct Published {
    pub(crate) status: watch::Receiver<Arc<Status>>,
    pub(crate) settled: watch::Receiver<Arc<Status>>,
    pub(crate) details: watch::Receiver<Arc<Details>>,
}

impl Shared {
    pub(crate) fn new(
        settings: Settings,
        parts: Parts,
        published: Published,
        supervisor: mpsc::Sender<supervisor::Command>,
    ) -> Self {
        Self {
            settings: ArcSwap::from_pointee(settings),
            parts,
            routes: ArcSwap::from_pointee(Routes::default()),
            status: published.status,
            settled: published.settled,
            details: published.details,
            leaving: watch::Sender::new(None),
            directory: Arc::new(Directory::default()),
            followers: Followers::default(),
            turns: Turns::default(),
            supervisor,
            tasks: TaskTracker::new(),
            drained: OnceCell::new(),
            store_works: AtomicBool::new(true),
        }
    }

    /// The settings in force. Not to be held over a wait: they may be replaced meanwhile.
    pub(crate) fn settings(&self) -> Guard<Arc<Settings>> {
        self.settings.load()
    }

    /// Other settings are in force.
    pub(crate) fn replace_settings(&self, settings: Arc<Settings>) {
        self.settings.store(settings);
    }

    /// The service as it is now.
    pub(crate) fn status(&self) -> Arc<Status> {
        Arc::clone(&self.status.borrow())
    }

    /// Whether the host is going away.
    pub(crate) fn is_draining(&self) -> bool {
        self.leaving.borrow().is_some()
    }

    /// Tells how a call into a plugin went, for its breaker.
    pub(crate) fn call_ended(&self, target: Target, call: CallId, result: CallResult) {
        if result == CallResult::Neutral {
            return;
        }
        // Full: the supervisor is far behind, and this is one sample of many.
        let _ = self.supervisor.try_send(supervisor::Command::CallEnded { target, call, result });
    }

    /// Tells that the built-in fallback could not answer.
    pub(crate) fn fallback_failed(&self) {
        let _ = self.supervisor.try_send(supervisor::Command::FallbackFailed);
    }

    /// Notes how a write to the store went; the supervisor is told of changes.
    pub(crate) fn store_result<T>(&self, operation: &'static str, result: &Result<T, StoreError>) {
        match result {
            Ok(_) if self.store_works.load(Ordering::Relaxed) => {}
            Ok(_) => self.store_changed(true),
            Err(error) => {
                StoreFailed { operation, code: error.code.to_string(), reason: error.reason.clone() }.emit();
                self.store_changed(false);
            }
        }
    }

    fn store_changed(&self, works: bool) {
        let changed = self.store_works.swap(works, Ordering::Relaxed) != works;
        if changed && self.supervisor.try_send(supervisor::Command::Store { works }).is_err() {
            // Not told: the next result is told again.
            self.store_works.store(!works, Ordering::Relaxed);
        }
    }
}
