//! A page of a thread's log on its way to a client: how much is read at a time, and how much of it is kept.

use std::{sync::Arc, time::Duration};

use agent_host_core::{failpoint, failpoint::Action, ports::store::LogEntry};
use agent_plugin_protocol::{Seq, ThreadId};

use super::turns::Permit;
use crate::{directory::ThreadKey, shared::Shared};

/// Entries of the first read, when it is not known yet how large they are: all of it is read, whatever is kept.
pub(super) const FIRST: usize = 8;
/// Entries of one read, at most. The next page is read when the client has taken this one: a replay goes at the client's
/// pace.
const MOST: usize = 64;
/// Payloads of one page that are kept for a client, in bytes; a larger event is a page of its own. Without it a client
/// that does not read would be sixty-four of the largest events, 16 MiB, to the host.
const BYTES: usize = 256 * 1024;
/// From here on a page takes a while to be handed out.
const LARGE: usize = 16 * 1024;
/// Between two tries to read from a store that fails.
const AGAIN: Duration = Duration::from_secs(1);

/// A piece of a thread's log, as it was read.
pub(super) struct Page {
    thread: ThreadId,
    after: Seq,
    /// How many were asked for.
    limit: usize,
    /// `None`: the thread is not this user's.
    entries: Option<Vec<LogEntry>>,
    permit: Permit,
}

/// What is kept of it.
pub(super) struct Kept {
    pub(super) thread: ThreadId,
    pub(super) after: Seq,
    pub(super) entries: Option<Vec<LogEntry>>,
    /// Whether the log may go on behind them.
    pub(super) more: bool,
    /// Entries of the next read: as many of this size as are kept, so that little is read that is not.
    pub(super) next: usize,
    /// For a page that takes a while to be handed out: the right to read it, which may go on.
    pub(super) large: Option<Permit>,
}

/// Reads one when it is its turn, however long the store takes to be well again: the position keeps, and the client gets
/// what is live as soon as the hole can be read. Cancel safe.
pub(super) async fn read(shared: Arc<Shared>, key: ThreadKey, after: Seq, limit: usize) -> Page {
    loop {
        let permit = shared.turns.next().await;
        let read = shared.parts.store.read(&key.scope, &key.thread, after, limit).await;
        if let Ok(entries) = read {
            return Page { thread: key.thread, after, limit, entries, permit };
        }
        drop(permit);
        tokio::time::sleep(AGAIN).await;
    }
}

impl Page {
    /// Keeps one entry, or as many as [`BYTES`] hold.
    pub(super) fn keep(self) -> Kept {
        let Self { thread, after, limit, entries, permit } = self;
        let Some(mut entries) = entries else {
            return Kept { thread, after, entries: None, more: false, next: limit, large: None };
        };
        let found = entries.len();
        entries.truncate(fitting(&entries));
        let bytes: usize = entries.iter().map(size).sum();
        let next = if keeps_all() { MOST } else { (BYTES * entries.len() / bytes.max(1)).clamp(1, MOST) };
        Kept {
            more: found >= limit || entries.len() < found,
            // After an empty one it is not known how large they are.
            next: if entries.is_empty() { limit } else { next },
            large: (bytes >= LARGE).then_some(permit),
            entries: Some(entries),
            thread,
            after,
        }
    }
}

fn fitting(entries: &[LogEntry]) -> usize {
    if keeps_all() {
        return entries.len();
    }
    let mut bytes = 0;
    let fits = entries.iter().take_while(|entry| {
        bytes += size(entry);
        bytes <= BYTES
    });
    fits.count().max(1)
}

/// For a broken twin: a host that reads many and keeps whatever it has read.
fn keeps_all() -> bool {
    failpoint!("engine.page_bytes") == Some(Action::Off)
}

fn size(entry: &LogEntry) -> usize {
    entry.event.payload.len()
}
