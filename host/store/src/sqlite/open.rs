//! Opens the file: one host at a time, checked, of this version, in an epoch that holds. What is damaged is set aside.

use std::{
    fs::{self, DirBuilder, File, OpenOptions, Permissions},
    io,
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
    time::{Duration, Instant, SystemTime},
};

use agent_host_core::ports::store::StoreError;
use agent_host_telemetry::happening::{StoreDamaged, StoreOpened};
use agent_plugin_protocol::{Code, Epoch};
use rusqlite::Connection;
use rustix::fs::{FlockOperation, flock};

use super::{
    archive,
    failure::{corrupt, failure},
    position::millis,
    recent::Recent,
    schema::{self, names},
    tables::Tables,
};

/// Where the log's files are.
#[derive(Debug, Clone)]
pub struct Place {
    folder: PathBuf,
}

/// The log, open for writing. Nobody else has it open so while this lives.
pub(super) struct Opened {
    pub(super) connection: Connection,
    pub(super) epoch: Epoch,
    /// `store.corrupt`, if what was there is damaged and was set aside.
    pub(super) damage: Option<Code>,
    /// Held: the right to write.
    _lock: File,
}

/// How long the check of a file may take at a start. What is damaged behind what was looked at shows when it is read.
const CHECK_WITHIN: Duration = Duration::from_secs(1);
/// Steps of SQLite's machine between two looks at the clock.
const CHECK_STEPS: i32 = 10_000;

impl Place {
    /// In the folder `log` of the store's folder.
    pub fn within(store: &Path) -> Self {
        Self { folder: store.join("log") }
    }

    /// The database. Beside it SQLite keeps `-wal` and `-shm`.
    pub fn file(&self) -> PathBuf {
        self.folder.join("log.db")
    }

    /// Its folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Held with `flock` by whoever writes.
    pub(super) fn lock(&self) -> Result<File, StoreError> {
        let path = self.folder.join("lock");
        let doing = |error: io::Error| StoreError::unavailable(format!("{}: {error}", path.display()));
        let file = private(&path).map_err(doing)?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(file),
            Err(rustix::io::Errno::WOULDBLOCK) => Err(StoreError::unavailable(format!(
                "another host has {} open; give each host its own `store.path`",
                self.folder.display()
            ))),
            Err(error) => Err(doing(error.into())),
        }
    }

    pub(super) fn make_folder(&self) -> Result<(), StoreError> {
        let made = DirBuilder::new().recursive(true).mode(0o700).create(&self.folder);
        // One that was there may be open to others.
        made.and_then(|()| fs::set_permissions(&self.folder, Permissions::from_mode(0o700)))
            .map_err(|error| StoreError::unavailable(format!("{}: {error}", self.folder.display())))
    }

    /// The database and what SQLite keeps beside it.
    pub(super) fn files(&self) -> [PathBuf; 3] {
        ["log.db", "log.db-wal", "log.db-shm"].map(|name| self.folder.join(name))
    }
}

/// Opens the log for writing; makes it, if there is none.
pub(super) fn open(place: &Place) -> Result<Opened, StoreError> {
    place.make_folder()?;
    let lock = place.lock()?;
    let (mut connection, damage) = match checked(place) {
        Err(error) if error.code == Code::StoreCorrupt => {
            let aside = set_aside(place, "damaged")?;
            StoreDamaged { reason: error.reason, set_aside: aside.display().to_string() }.emit();
            (connect(place)?, Some(Code::StoreCorrupt))
        }
        checked => (checked?, None),
    };
    let now = millis(SystemTime::now());
    schema::migrate(&mut connection, now).map_err(|e| failure("making the tables", &e))?;
    let (epoch, clean) = epoch(&connection).map_err(|e| failure("reading the log's epoch", &e))?;
    StoreOpened { file: place.file().display().to_string(), epoch: epoch.to_string(), clean }.emit();
    Ok(Opened { connection, epoch, damage, _lock: lock })
}

fn checked(place: &Place) -> Result<Connection, StoreError> {
    let mut connection = raw(place)?;
    // Before anything that may write: what a newer host made stays as it is.
    let version = schema::version(&connection).map_err(|e| failure("reading the log's version", &e))?;
    if version > schema::VERSION {
        return Err(StoreError {
            code: Code::StoreNewerSchema,
            reason: format!("the log is of version {version}, and this host knows {}", schema::VERSION),
        });
    }
    prepare(&connection).map_err(|e| failure("opening the log", &e))?;
    check(&mut connection, CHECK_WITHIN)?;
    if version >= schema::JOURNAL {
        // What the tables are to be brought up to date with is looked at as a whole: it is small.
        Tables::stale().catch_up(&connection, &Recent::default())?;
    }
    Ok(connection)
}

/// A connection that may write.
fn connect(place: &Place) -> Result<Connection, StoreError> {
    let connection = raw(place)?;
    prepare(&connection).map_err(|e| failure("opening the log", &e))?;
    Ok(connection)
}

fn raw(place: &Place) -> Result<Connection, StoreError> {
    let path = place.file();
    private(&path).map_err(|error| StoreError::unavailable(format!("{}: {error}", path.display())))?;
    let connection = Connection::open(&path).map_err(|e| failure("opening the log", &e))?;
    connection.busy_timeout(Duration::from_secs(2)).map_err(|e| failure("opening the log", &e))?;
    Ok(connection)
}

fn prepare(connection: &Connection) -> rusqlite::Result<()> {
    connection.set_prepared_statement_cache_capacity(64);
    // Before the first table: pages of deleted threads are given back then.
    connection.pragma_update(None, "auto_vacuum", "INCREMENTAL")?;
    connection.pragma_update(None, "journal_mode", "WAL")?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    connection.pragma_update(None, "temp_store", "MEMORY")?;
    // 16 MiB of pages.
    connection.pragma_update(None, "cache_size", -16_384)?;
    // 16 MiB: what the journal wrote and emptied in the meantime is copied into the file once.
    connection.pragma_update(None, "wal_autocheckpoint", 4096)?;
    connection.pragma_update(None, "journal_size_limit", 64 * 1024 * 1024)
}

/// Looks for damage, for at most so long.
///
/// # Errors
/// `store.corrupt` with the first thing found.
pub(super) fn check(connection: &mut Connection, within: Duration) -> Result<(), StoreError> {
    let end = Instant::now() + within;
    let late = move || Instant::now() > end;
    connection.progress_handler(CHECK_STEPS, Some(late)).map_err(|e| failure("checking the log", &e))?;
    let found = connection.query_row("PRAGMA quick_check(1)", [], |row| row.get::<_, String>(0));
    connection.progress_handler(0, None::<fn() -> bool>).map_err(|e| failure("checking the log", &e))?;
    match found {
        Ok(word) if word == "ok" => Ok(()),
        Ok(what) => Err(corrupt(what)),
        // Its time is up; nothing was found so far.
        Err(error) if error.sqlite_error_code() == Some(rusqlite::ErrorCode::OperationInterrupted) => Ok(()),
        Err(error) => Err(failure("checking the log", &error)),
    }
}

/// Moves the files into a folder of their own, which is answered.
pub(super) fn set_aside(place: &Place, kind: &str) -> Result<PathBuf, StoreError> {
    let aside = place.folder.join(archive::aside(kind));
    let moved = DirBuilder::new().mode(0o700).create(&aside).and_then(|()| {
        place.files().into_iter().filter(|file| file.exists()).try_for_each(|file| {
            let name = file.file_name().map(PathBuf::from).unwrap_or_default();
            fs::rename(&file, aside.join(name))
        })
    });
    moved.map_err(|error| StoreError::unavailable(format!("setting the log aside: {error}")))?;
    Ok(aside)
}

/// The epoch to go on in, and whether the last end was in order.
///
/// What was committed without waiting for the disk is lost when the machine ends with the host, and positions that
/// clients have would be given out a second time. So then another epoch begins.
fn epoch(connection: &Connection) -> rusqlite::Result<(Epoch, bool)> {
    let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    let boot = boot.trim();
    let clean = schema::meta(connection, names::CLEAN)?.as_deref() == Some("yes");
    let same_boot = !boot.is_empty() && schema::meta(connection, names::BOOT)?.as_deref() == Some(boot);
    let kept = schema::meta(connection, names::EPOCH)?.and_then(|epoch| Epoch::new(&epoch).ok());
    let epoch = match kept {
        Some(epoch) if clean || same_boot => epoch,
        Some(_) | None => Epoch::random(),
    };
    let transaction = connection.unchecked_transaction()?;
    schema::set_meta(connection, names::EPOCH, epoch.as_str())?;
    schema::set_meta(connection, names::BOOT, boot)?;
    schema::set_meta(connection, names::CLEAN, "no")?;
    transaction.commit()?;
    Ok((epoch, clean))
}

/// Opens or makes a file that only its owner may read.
pub(super) fn private(path: &Path) -> io::Result<File> {
    let file =
        OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(path)?;
    if file.metadata()?.permissions().mode() & 0o077 != 0 {
        file.set_permissions(Permissions::from_mode(0o600))?;
    }
    Ok(file)
}
