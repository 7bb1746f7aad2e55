//! The beginning and the end of a transaction, where faults are injected.

use std::time::Duration;

use agent_host_core::{failpoint, failpoint::Action, ports::store::StoreError};
use rusqlite::Connection;

use super::{super::failure::failure, job::Answer};

/// What a check writes, so that a disk with room for a byte is not taken for one with room.
const PROBE_BYTES: i64 = 32 * 1024;

/// Begins one; `waits` says whether its commit waits for the disk, `now` whether commits do so just now.
pub(super) fn begin(db: &Connection, waits: bool, now: &mut bool) -> Result<(), StoreError> {
    // For a broken twin: a host that leaves it to the machine when the disk gets what was acknowledged.
    let waits = waits && failpoint!("store.sync") != Some(Action::Off);
    let begun = (|| {
        if waits != *now {
            db.pragma_update(None, "synchronous", if waits { "FULL" } else { "NORMAL" })?;
            *now = waits;
        }
        db.prepare_cached("BEGIN IMMEDIATE")?.execute([])
    })();
    begun.map(drop).map_err(|e| failure("beginning a transaction", &e))
}

/// Commits it. The answers are only a broken twin's.
pub(super) fn commit(db: &Connection, answers: &mut Vec<Answer>) -> Result<(), StoreError> {
    match failpoint!("store.commit") {
        Some(Action::Error) => return Err(StoreError::unavailable("injected by a failpoint")),
        // For a broken twin: a host that acknowledges first and commits when it gets round to it.
        Some(Action::Off) => {
            answers.drain(..).for_each(|answer| answer.send(&Ok(())));
            std::thread::sleep(Duration::from_secs(1));
        }
        Some(Action::Delay(ms)) => std::thread::sleep(Duration::from_millis(ms)),
        // Until the fault is taken back.
        Some(Action::Hang) => {
            while failpoint!("store.commit") == Some(Action::Hang) {
                std::thread::sleep(Duration::from_millis(20));
            }
        }
        Some(Action::Panic) | None => {}
    }
    let committed = db.prepare_cached("COMMIT").and_then(|mut commit| commit.execute([]));
    committed.map(drop).map_err(|e| failure("committing to the log", &e))
}

/// Writes as much as a message may need, and takes it back.
pub(super) fn probe(db: &Connection) -> Result<(), StoreError> {
    let probed = (|| {
        db.prepare_cached("INSERT OR REPLACE INTO meta VALUES ('probe', zeroblob(?1))")?
            .execute([PROBE_BYTES])?;
        db.prepare_cached("DELETE FROM meta WHERE name = 'probe'")?.execute([])
    })();
    probed.map(drop).map_err(|e: rusqlite::Error| failure("checking whether the log can be written", &e))
}
