//! The log as an operator's tools see it: read, checked, backed up and restored, beside a running host or without one.

use std::{
    fs, io,
    path::{Path, PathBuf},
    time::SystemTime,
};

use agent_host_core::{
    identity::Scope,
    ports::store::{LogEntry, StoreError, ThreadSummary},
};
use agent_plugin_protocol::{Code, Epoch, Seq, ThreadId};
use rusqlite::{Connection, backup::Backup};

use super::{
    failure::{corrupt, failure},
    open::{Place, private, set_aside},
    position::millis,
    queries,
    readers::{self, Failure},
    recent::Recent,
    schema::{self, names},
    tables::Tables,
};

/// A log that is only read.
#[derive(Debug)]
pub struct Archive {
    db: Connection,
    /// What is in the journal only.
    recent: Recent,
}

/// A thread with its owner.
#[derive(Debug, Clone)]
pub struct OwnedThread {
    /// Whose.
    pub scope: Scope,
    /// What a list says of it.
    pub summary: ThreadSummary,
    /// Payloads and what each event takes beside, as a quota counts them.
    pub bytes: u64,
    /// Whether a run has no end yet.
    pub open: bool,
}

impl Archive {
    /// Opens the log of a host, which may be running.
    ///
    /// # Errors
    /// There is none, it cannot be read, or a newer host wrote it.
    pub fn open(place: &Place) -> Result<Self, StoreError> {
        if !place.file().exists() {
            let reason = format!("there is no log at {}", place.file().display());
            return Err(StoreError::unavailable(reason));
        }
        let db = readers::reader(place)?;
        known_version(&db)?;
        Self::over(db)
    }

    fn over(db: Connection) -> Result<Self, StoreError> {
        let recent = Recent::default();
        // A log of an earlier version has no journal; its host makes one.
        if schema::version(&db).map_err(|e| failure("reading the log's version", &e))? >= schema::JOURNAL {
            // In one snapshot: what a host moves into the tables meanwhile is in them or in the journal.
            db.execute_batch("BEGIN").map_err(|e| failure("opening the log", &e))?;
            let read = Tables::stale().catch_up(&db, &recent);
            db.execute_batch("COMMIT").map_err(|e| failure("opening the log", &e))?;
            read?;
        }
        Ok(Self { db, recent })
    }

    /// The threads of one user, or of everybody, the last used first; at most so many.
    ///
    /// # Errors
    /// The log cannot be read.
    pub fn threads(&self, of: Option<&Scope>, limit: usize) -> Result<Vec<OwnedThread>, StoreError> {
        told("listing threads", queries::owned(&self.db, of, None, limit, &self.recent))
    }

    /// One thread, whoever owns it.
    ///
    /// # Errors
    /// The log cannot be read.
    pub fn thread(&self, thread: &ThreadId) -> Result<Option<OwnedThread>, StoreError> {
        told("reading a thread", queries::owned(&self.db, None, Some(thread), 1, &self.recent))
            .map(|mut found| found.pop())
    }

    /// Its events after a position, at most so many.
    ///
    /// # Errors
    /// The log cannot be read.
    pub fn events(
        &self,
        thread: &OwnedThread,
        after: Seq,
        limit: usize,
    ) -> Result<Vec<LogEntry>, StoreError> {
        let name = &thread.summary.thread;
        let read = queries::thread(&self.db, &thread.scope, name).and_then(|found| match found {
            Some(found) => queries::events(&self.db, &found, name, after, limit, &self.recent.of(name)),
            None => Ok(Vec::new()),
        });
        told("reading events", read)
    }

    /// Looks at everything; answers what is wrong, at most a hundred things.
    ///
    /// # Errors
    /// The log cannot be read at all.
    pub fn check(&self) -> Result<Vec<String>, StoreError> {
        let mut found: Vec<String> = told("checking the log", self.integrity())?;
        found.retain(|line| line != "ok");
        if found.is_empty() {
            found = told("checking the log", queries::holes(&self.db))?;
        }
        Ok(found)
    }

    fn integrity(&self) -> Result<Vec<String>, Failure> {
        let mut check = self.db.prepare("PRAGMA integrity_check(100)")?;
        let lines = check.query_map([], |row| row.get(0))?.collect::<Result<_, _>>()?;
        Ok(lines)
    }

    /// Copies the log into a new file, in one snapshot: the host goes on writing meanwhile. The copy is of another
    /// epoch, so that positions which clients got after it are not taken for its own when it is restored.
    ///
    /// # Errors
    /// The file is there already or cannot be written; then nothing is left of it.
    pub fn backup(&self, to: &Path) -> Result<(), StoreError> {
        if to.exists() {
            return Err(StoreError::unavailable(format!("{} is there already", to.display())));
        }
        let copied = copy(&self.db, to);
        if copied.is_err() {
            // What is half there would be taken for a backup.
            let _ = fs::remove_file(to);
        }
        copied
    }
}

/// Puts a backup in the log's place. What was there is set aside; its folder is answered, if there was something.
///
/// # Errors
/// A host has the log open, or the backup is damaged or of a newer host: then nothing is changed.
pub fn restore(place: &Place, from: &Path) -> Result<Option<PathBuf>, StoreError> {
    if !from.exists() {
        return Err(StoreError::unavailable(format!("there is no {}", from.display())));
    }
    place.make_folder()?;
    let _lock = place.lock()?;
    let backup = Connection::open(from).map_err(|e| failure("opening the backup", &e))?;
    if known_version(&backup)? == 0 {
        return Err(corrupt(format!("{} is not a backup of a log", from.display())));
    }
    let archive = Archive::over(backup)?;
    if let Some(first) = archive.check()?.first() {
        return Err(corrupt(format!("the backup is damaged: {first}")));
    }
    let next = place.folder().join("restoring.db");
    let _ = fs::remove_file(&next);
    copy(&archive.db, &next)?;
    let aside = if place.file().exists() { Some(set_aside(place, "replaced")?) } else { None };
    let moved = fs::rename(&next, place.file()).and_then(|()| sync(place.folder()));
    moved.map_err(|error| StoreError::unavailable(format!("putting the backup in place: {error}")))?;
    Ok(aside)
}

/// Copies a log into a new file that stands alone, of another epoch.
fn copy(from: &Connection, to: &Path) -> Result<(), StoreError> {
    private(to).map_err(|error| StoreError::unavailable(format!("{}: {error}", to.display())))?;
    let copied = (|| {
        let mut copy = Connection::open(to)?;
        // All pages in one step: they are of one moment, and the writer is not held up.
        Backup::new(from, &mut copy)?.step(-1)?;
        schema::set_meta(&copy, names::EPOCH, Epoch::random().as_str())?;
        schema::set_meta(&copy, names::CLEAN, "yes")?;
        // No files beside it.
        copy.pragma_update(None, "journal_mode", "DELETE")?;
        copy.close().map_err(|(_, error)| error)
    })();
    copied.map_err(|e: rusqlite::Error| failure("copying the log", &e))?;
    sync(to).map_err(|error| StoreError::unavailable(format!("{}: {error}", to.display())))
}

fn sync(path: &Path) -> io::Result<()> {
    fs::File::open(path)?.sync_all()
}

fn known_version(db: &Connection) -> Result<i64, StoreError> {
    let version = schema::version(db).map_err(|e| failure("reading the log's version", &e))?;
    if version > schema::VERSION {
        return Err(StoreError {
            code: Code::StoreNewerSchema,
            reason: format!("the log is of version {version}, and this program knows {}", schema::VERSION),
        });
    }
    Ok(version)
}

fn told<T>(doing: &'static str, read: Result<T, Failure>) -> Result<T, StoreError> {
    read.map_err(|error| error.told(doing))
}

/// The name of a folder for what is replaced now.
pub(super) fn aside(kind: &str) -> String {
    format!("{kind}-{}", millis(SystemTime::now()))
}
