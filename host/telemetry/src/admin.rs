//! Carries happenings to whoever watches (the admin event stream): a bounded broadcast that never slows the host.

use std::sync::OnceLock;

use serde::Serialize;
use tokio::sync::broadcast;

use crate::Declared;

/// A happening as a watcher sees it.
#[derive(Debug, Clone, Serialize)]
pub struct AdminEvent {
    /// `NounVerb`.
    pub event: &'static str,
    /// The log level.
    pub level: &'static str,
    /// Its fields, as text.
    pub fields: serde_json::Map<String, serde_json::Value>,
}

/// A watcher that falls this far behind loses the oldest, and is told how many.
const BACKLOG: usize = 1024;

fn channel() -> &'static broadcast::Sender<AdminEvent> {
    static CHANNEL: OnceLock<broadcast::Sender<AdminEvent>> = OnceLock::new();
    CHANNEL.get_or_init(|| broadcast::channel(BACKLOG).0)
}

/// Begins to watch, from now on.
pub fn watch() -> broadcast::Receiver<AdminEvent> {
    channel().subscribe()
}

/// Tells the watchers. Costs one look at a counter while nobody watches.
pub(crate) fn publish(
    declared: &Declared,
    fields: impl FnOnce() -> serde_json::Map<String, serde_json::Value>,
) {
    // TRACE and DEBUG are for one request: too many to stream, and too many to take the channel's lock for.
    if matches!(declared.level, "TRACE" | "DEBUG") {
        return;
    }
    let sender = channel();
    if sender.receiver_count() > 0 {
        // An error only says that the last watcher has just left.
        let _ = sender.send(AdminEvent { event: declared.name, level: declared.level, fields: fields() });
    }
}
