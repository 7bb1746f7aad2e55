//! Reads on connections of their own, off the async threads, so that a long history holds up neither the writer nor
//! anybody's socket.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use agent_host_core::ports::store::StoreError;
use rusqlite::{Connection, OpenFlags};
use tokio::sync::Semaphore;

use super::{
    failure::{corrupt, failure},
    open::Place,
};

/// Reads at once. A further one waits for its turn.
const AT_ONCE: usize = 4;

/// A pool of connections, opened as they are needed.
#[derive(Debug, Clone)]
pub(super) struct Readers {
    place: Place,
    permits: Arc<Semaphore>,
    idle: Arc<Mutex<Vec<Connection>>>,
}

impl Readers {
    pub(super) fn new(place: Place) -> Self {
        Self { place, permits: Arc::new(Semaphore::new(AT_ONCE)), idle: Arc::default() }
    }

    /// Reads, in one snapshot. Cancel safe: a read that nobody waits for ends by itself.
    pub(super) async fn read<T: Send + 'static>(
        &self,
        doing: &'static str,
        read: impl FnOnce(&Connection) -> Result<T, Failure> + Send + 'static,
    ) -> Result<T, StoreError> {
        // Never closed.
        let permit = Arc::clone(&self.permits).acquire_owned().await;
        let this = self.clone();
        let task = tokio::task::spawn_blocking(move || {
            let _permit = permit;
            let connection = this.connection()?;
            let result = in_snapshot(&connection, read);
            match result {
                // A connection to a file that was set aside must not stay.
                Err(_) => drop(connection),
                Ok(_) => this.lock().push(connection),
            }
            result.map_err(|error| error.told(doing))
        });
        task.await.unwrap_or_else(|_| Err(StoreError::unavailable("a read of the log panicked")))
    }

    /// Forgets every connection: the file may be another now.
    pub(super) fn clear(&self) {
        self.lock().clear();
    }

    fn connection(&self) -> Result<Connection, StoreError> {
        match self.lock().pop() {
            Some(connection) => Ok(connection),
            None => reader(&self.place),
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Connection>> {
        // A panic inside leaves a whole list.
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Why a read failed.
#[derive(Debug)]
pub(super) enum Failure {
    Sqlite(rusqlite::Error),
    Unreadable(super::body::Unreadable),
}

impl Failure {
    /// As the host's error.
    pub(super) fn told(self, doing: &str) -> StoreError {
        match self {
            Self::Sqlite(error) => failure(doing, &error),
            Self::Unreadable(unreadable) => corrupt(format!("{doing}: {unreadable}")),
        }
    }
}

impl From<rusqlite::Error> for Failure {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sqlite(error)
    }
}

impl From<super::body::Unreadable> for Failure {
    fn from(unreadable: super::body::Unreadable) -> Self {
        Self::Unreadable(unreadable)
    }
}

/// A connection that only reads. The file must be there.
pub(super) fn reader(place: &Place) -> Result<Connection, StoreError> {
    // Not `READ_ONLY`: a reader of a WAL writes its own marks beside it.
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let opened = Connection::open_with_flags(place.file(), flags).and_then(|connection| {
        connection.busy_timeout(Duration::from_secs(2))?;
        connection.pragma_update(None, "query_only", true)?;
        connection.pragma_update(None, "cache_size", -2048)?;
        Ok(connection)
    });
    opened.map_err(|e| failure("opening the log for reading", &e))
}

fn in_snapshot<T>(
    db: &Connection,
    read: impl FnOnce(&Connection) -> Result<T, Failure>,
) -> Result<T, Failure> {
    let snapshot = db.unchecked_transaction()?;
    let result = read(&snapshot);
    snapshot.finish()?;
    result
}
