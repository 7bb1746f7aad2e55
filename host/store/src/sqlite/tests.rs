//! The log on disk: the port's promises, and what only a disk can do.

mod any_life;
mod archives;
mod files;
mod journal;

use std::{
    path::Path,
    sync::atomic::{AtomicU32, Ordering},
    time::{Duration, SystemTime},
};

use agent_host_core::ports::store::Quota;
use agent_plugin_protocol::{EventKind, MessageId, RunId};

use super::*;

#[tokio::test]
async fn the_log_on_disk_conforms() {
    let folder = tempfile::tempdir().unwrap();
    let made = AtomicU32::new(0);
    crate::conformance::run(|| {
        let name = made.fetch_add(1, Ordering::Relaxed).to_string();
        start(&folder.path().join(name))
    })
    .await;
}

fn start(folder: &Path) -> SqliteStore {
    SqliteStore::start(Place::within(folder), Duration::from_secs(60))
}

/// Starts a store on a folder that another had, whose writer may still be about to end.
async fn start_again(folder: &Path) -> SqliteStore {
    loop {
        let store = start(folder);
        match store.check().await {
            Err(error) if error.reason.contains("another host") => tokio::task::yield_now().await,
            Ok(()) | Err(_) => return store,
        }
    }
}

fn alice() -> Scope {
    Scope { tenant: "t".into(), user: "alice".into() }
}

fn message(id: &str) -> NewMessage {
    NewMessage {
        scope: alice(),
        id: MessageId::new(id).unwrap(),
        body_hash: [7; 32],
        thread: ThreadId::random(),
        new_thread: true,
        run: RunId::random(),
        payload: Bytes::from_static(b"{\"content\":\"hello\"}"),
        time: SystemTime::UNIX_EPOCH + Duration::from_millis(1_800_000_000_123),
        repeat_only: false,
        quota: Quota::default(),
        answers: None,
    }
}

/// Brings the tables up to date, as looking for open runs does.
async fn settle(store: &SqliteStore) {
    store.unfinished().await.unwrap();
}

fn event(run: &RunId, kind: EventKind, payload: String) -> NewEvent {
    let time = SystemTime::UNIX_EPOCH + Duration::from_millis(1_800_000_000_456);
    NewEvent { run: run.clone(), kind, agent: "echo".into(), time, payload: payload.into() }
}
