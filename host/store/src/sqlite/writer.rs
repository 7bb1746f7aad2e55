//! The one thread that writes: takes what is asked for together into one transaction, and answers after its commit.
//!
//! ```text
//! Opening ──▶ Open ◀──▶ Failed     from Failed it tries again when it is asked, at most once in a while
//! ```
//! A group is whatever waits when the one before is done; so the busier the host, the more share a commit. A group that
//! holds a message or the end of a run waits for the disk; another is safe from the end of the host, not from that of
//! the machine (see `open::epoch`).

mod job;
mod transaction;

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
    time::{Duration, Instant},
};

use agent_host_core::{failpoint, failpoint::Action, ports::store::StoreError};
use agent_host_telemetry::{happening::PanicCaught, series};
use agent_plugin_protocol::Code;
use tokio::sync::mpsc;

pub(super) use self::job::{Job, Reply};
use self::{
    job::Answer,
    transaction::{begin, commit},
};
use super::{
    Shared,
    condition::Condition,
    failure::failure,
    open::{self, Opened, Place},
    schema::{self, names},
    tables::Tables,
};

/// So many requests share a commit at most: one that came late does not wait for a flood.
const GROUP: usize = 512;
/// Between two tries to open a file that cannot be opened.
const OPEN_AGAIN: Duration = Duration::from_millis(500);
/// The thread's state.
pub(super) struct Writer {
    place: Place,
    shared: Arc<Shared>,
    tables: Tables,
    open: Result<Opened, StoreError>,
    tried: Instant,
    /// Whether commits wait for the disk just now.
    waits: bool,
}

impl Writer {
    /// Opens the file, then serves until it is closed or nobody can ask any more.
    pub(super) fn run(place: Place, shared: Arc<Shared>, mut jobs: mpsc::Receiver<Job>) {
        let open = Err(StoreError::unavailable("the log is not open yet"));
        let mut this =
            Self { place, shared, tables: Tables::default(), open, tried: Instant::now(), waits: true };
        if let Err(panicked) = this.contained(Self::open) {
            this.shared.became(Condition::Failed(panicked));
        }
        let mut group = Vec::new();
        while jobs.blocking_recv_many(&mut group, GROUP) > 0 {
            let mut closing = None;
            let mut wanted = Vec::with_capacity(group.len());
            for job in group.drain(..) {
                match job {
                    Job::Close(reply) => closing = Some(reply),
                    job => wanted.push(job),
                }
            }
            // What was asked is refused by that.
            let _ = this.contained(|this| this.serve(wanted));
            if let Some(reply) = closing {
                let _ = reply.send(this.close());
                return;
            }
        }
    }

    /// A bug of ours must not end the log: the file is opened anew when somebody asks.
    fn contained(&mut self, act: impl FnOnce(&mut Self)) -> Result<(), StoreError> {
        catch_unwind(AssertUnwindSafe(|| act(self))).map_err(|_| {
            PanicCaught { place: "log writer", message: "the log has its backtrace".to_owned() }.emit();
            let panicked = StoreError::unavailable("the log's writer panicked");
            self.open = Err(panicked.clone());
            self.shared.busy_since(None);
            panicked
        })
    }

    fn open(&mut self) {
        self.tried = Instant::now();
        // Here too: what is asked is answered with it.
        let opened = catch_unwind(AssertUnwindSafe(|| opened(&self.place))).unwrap_or_else(|_| {
            PanicCaught { place: "log writer", message: "the log has its backtrace".to_owned() }.emit();
            Err(StoreError::unavailable("opening the log panicked"))
        });
        self.tables.forget();
        self.waits = true;
        // What the journal has is known before anybody reads, and in the tables if the disk has room for that.
        let opened = opened.and_then(|opened| {
            self.tables.catch_up(&opened.connection, self.shared.recent())?;
            Ok(opened)
        });
        self.shared.became(match &opened {
            Ok(opened) => Condition::Open { epoch: opened.epoch.clone(), damage: opened.damage },
            Err(error) => Condition::Failed(error.clone()),
        });
        self.open = opened;
        self.settle();
    }

    /// Brings the tables up to date, in a transaction of its own: what it moves is on the disk already, so it waits for
    /// nothing. If it fails the journal has it still.
    fn settle(&mut self) {
        let Ok(opened) = &self.open else { return };
        let db = &opened.connection;
        if self.tables.is_settled() {
            return;
        }
        self.shared.busy_since(Some(Instant::now()));
        let settled = self.tables.catch_up(db, self.shared.recent()).and_then(|()| {
            begin(db, false, &mut self.waits)?;
            self.tables.settle(db).and_then(|()| commit(db, &mut Vec::new()))
        });
        self.end(&settled);
        self.shared.busy_since(None);
    }

    /// What is known after a transaction.
    fn end(&mut self, committed: &Result<(), StoreError>) {
        match (committed, &self.open) {
            (Ok(()), _) => self.tables.committed(self.shared.recent()),
            (Err(_), Ok(opened)) => {
                if !opened.connection.is_autocommit() {
                    // An error: the failure has rolled it back already.
                    let _ = opened.connection.execute_batch("ROLLBACK");
                }
                self.tables.forget();
            }
            (Err(_), Err(_)) => self.tables.forget(),
        }
    }

    /// One group: everything or nothing of it.
    fn serve(&mut self, group: Vec<Job>) {
        let began = Instant::now();
        self.shared.busy_since(Some(began));
        let urgent = group.iter().any(|job| matches!(job, Job::Check(_)));
        if self.open.is_err() && (urgent || self.tried.elapsed() >= OPEN_AGAIN) {
            self.open();
        }
        let (answers, committed) = self.commit(group);
        self.end(&committed);
        if let Err(error) = &committed
            && error.code == Code::StoreCorrupt
        {
            // Opened anew, it is checked, and set aside if that finds it damaged.
            self.shared.became(Condition::Failed(error.clone()));
            self.open = Err(error.clone());
        }
        self.shared.busy_since(None);
        series::store_committed(began.elapsed());
        for answer in answers {
            answer.send(&committed);
        }
        if self.tables.is_full() {
            // Who asks meanwhile waits for it: some ten milliseconds, once in some thousand messages.
            self.settle();
        }
    }

    fn commit(&mut self, group: Vec<Job>) -> (Vec<Answer>, Result<(), StoreError>) {
        let opened = match &self.open {
            Ok(opened) => opened,
            Err(error) => {
                let error = error.clone();
                return (group.into_iter().map(|job| job.refused(&error)).collect(), Err(error));
            }
        };
        let db = &opened.connection;
        let waits = group.iter().any(Job::waits_for_the_disk);
        let mut answers = Vec::with_capacity(group.len());
        let mut committed =
            self.tables.catch_up(db, self.shared.recent()).and_then(|()| begin(db, waits, &mut self.waits));
        if let Err(error) = &committed {
            answers.extend(group.into_iter().map(|job| job.refused(error)));
            return (answers, committed);
        }
        for job in group {
            // What one request says of itself (no such thread) is its answer; what the disk says ends the group.
            let answer = job.done(&mut self.tables, db);
            if let Some(error) = answer.failure() {
                committed = Err(error);
            }
            answers.push(answer);
            if committed.is_err() {
                break;
            }
        }
        committed =
            committed.and_then(|()| self.tables.write_journal(db)).and_then(|()| commit(db, &mut answers));
        (answers, committed)
    }

    /// The last act: everything in the file itself, and a note that the end was in order.
    fn close(&mut self) -> Result<(), StoreError> {
        self.settle();
        let ended = StoreError::unavailable("the log is closed: the host ends");
        let opened = std::mem::replace(&mut self.open, Err(ended.clone()))?;
        self.shared.became(Condition::Failed(ended));
        let db = opened.connection;
        let noted = schema::set_meta(&db, names::CLEAN, "yes");
        // Busy readers leave a part in the WAL, which is as good.
        let _ = db.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()));
        noted.map_err(|e| failure("closing the log", &e))
    }
}

fn opened(place: &Place) -> Result<Opened, StoreError> {
    match failpoint!("store.open") {
        Some(Action::Error) => return Err(StoreError::unavailable("injected by a failpoint")),
        Some(Action::Delay(ms)) => std::thread::sleep(Duration::from_millis(ms)),
        Some(Action::Panic | Action::Hang | Action::Off) | None => {}
    }
    let opened = open::open(place)?;
    // For a broken twin: a host that knows the questions of its own life only.
    if failpoint!("store.questions") == Some(Action::Off) {
        let forgotten = opened.connection.execute("DELETE FROM questions", []);
        forgotten.map_err(|e| failure("forgetting questions", &e))?;
    }
    Ok(opened)
}
