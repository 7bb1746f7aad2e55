//! The one thread that writes: takes what is asked for together into one transaction, and answers after its commit.
//!
//! ```text
//! Opening ──▶ Open ◀──▶ Failed     from Failed it tries again when it is asked, at most once in a while
//! ```
//! A group is whatever waits when the one before is done; so the busier the host, the more share a commit. A group that
//! holds a message or the end of a run waits for the disk; another is safe from the end of the host, not from that of
//! the machine (see `open::epoch`).

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
    time::{Duration, Instant},
};

use agent_host_core::{
    failpoint,
    failpoint::Action,
    ports::store::{Appended, Begun, Deletion, NewEvent, NewMessage, NewQuestion, StoreError, Usage},
};
use agent_host_telemetry::{happening::PanicCaught, series};
use agent_plugin_protocol::{Code, ThreadId};
use bytes::Bytes;
use rusqlite::Connection;
use tokio::sync::{mpsc, oneshot};

use super::{
    Shared,
    condition::Condition,
    failure::failure,
    open::{self, Opened, Place},
    schema::{self, names},
    tables::{self, Tables},
};

/// Where an answer goes. One that nobody waits for any more is no longer wanted: see [`Job::is_wanted`].
pub(super) type Reply<T> = oneshot::Sender<Result<T, StoreError>>;

/// What the writer is asked to do.
pub(super) enum Job {
    Begin(Box<NewMessage>, Reply<Begun>),
    Append {
        thread: ThreadId,
        events: Vec<NewEvent>,
        asked: Vec<NewQuestion>,
        reply: Reply<Appended>,
    },
    SetState(ThreadId, String, Bytes, Reply<()>),
    Delete(Deletion, Reply<usize>),
    Usage(agent_host_core::identity::Scope, Reply<Usage>),
    /// Bring the tables up to date.
    Settle(Reply<()>),
    Check(Reply<()>),
    Close(Reply<()>),
}

/// An answer that waits for the commit.
enum Answer {
    Begun(Reply<Begun>, Result<Begun, StoreError>),
    Appended(Reply<Appended>, Result<Appended, StoreError>),
    Done(Reply<()>, Result<(), StoreError>),
    Deleted(Reply<usize>, Result<usize, StoreError>),
    Counted(Reply<Usage>, Result<Usage, StoreError>),
}

/// So many requests share a commit at most: one that came late does not wait for a flood.
const GROUP: usize = 512;
/// Between two tries to open a file that cannot be opened.
const OPEN_AGAIN: Duration = Duration::from_millis(500);
/// What a check writes, so that a disk with room for a byte is not taken for one with room.
const PROBE_BYTES: i64 = 32 * 1024;

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

impl Job {
    /// Whether its effect must survive the end of the machine.
    fn waits_for_the_disk(&self) -> bool {
        match self {
            Self::Begin(..) | Self::Delete(..) | Self::Check(_) | Self::Close(_) => true,
            Self::Append { events, .. } => events.iter().any(tables::lasts),
            Self::SetState(..) | Self::Usage(..) | Self::Settle(_) => false,
        }
    }

    fn done(self, tables: &mut Tables, db: &Connection) -> Answer {
        match self {
            // Whoever gave up has told the client so: a message that was refused is not accepted afterwards.
            Self::Begin(_, reply) if reply.is_closed() => {
                Answer::Begun(reply, Err(StoreError::unavailable("given up")))
            }
            Self::Begin(message, reply) => Answer::Begun(reply, tables.begin(db, &message)),
            Self::Append { thread, events, asked, reply } => {
                Answer::Appended(reply, tables.append(db, &thread, events, &asked))
            }
            Self::SetState(thread, plugin, state, reply) => {
                Answer::Done(reply, tables.set_state(db, &thread, &plugin, &state))
            }
            Self::Delete(which, reply) => Answer::Deleted(reply, tables.delete(db, &which)),
            Self::Usage(scope, reply) => Answer::Counted(reply, tables.usage(db, &scope)),
            Self::Check(reply) => Answer::Done(reply, probe(db)),
            Self::Settle(reply) => Answer::Done(reply, tables.settle(db)),
            Self::Close(reply) => Answer::Done(reply, Ok(())),
        }
    }

    fn refused(self, error: &StoreError) -> Answer {
        let error = error.clone();
        match self {
            Self::Begin(_, reply) => Answer::Begun(reply, Err(error)),
            Self::Append { reply, .. } => Answer::Appended(reply, Err(error)),
            Self::Delete(_, reply) => Answer::Deleted(reply, Err(error)),
            Self::Usage(_, reply) => Answer::Counted(reply, Err(error)),
            Self::SetState(_, _, _, reply)
            | Self::Check(reply)
            | Self::Settle(reply)
            | Self::Close(reply) => Answer::Done(reply, Err(error)),
        }
    }
}

impl Answer {
    /// What the disk says, where the request failed by it.
    fn failure(&self) -> Option<StoreError> {
        let error = match self {
            Self::Begun(reply, _) if reply.is_closed() => None,
            Self::Begun(_, result) => result.as_ref().err(),
            Self::Appended(_, result) => result.as_ref().err(),
            Self::Done(_, result) => result.as_ref().err(),
            Self::Deleted(_, result) => result.as_ref().err(),
            Self::Counted(_, result) => result.as_ref().err(),
        };
        error.filter(|error| !matches!(error.code, Code::ThreadNotFound | Code::QuotaStorage)).cloned()
    }

    /// Sends it; whatever it is, it is not so if the group failed. Who waits no more is not told.
    fn send(self, committed: &Result<(), StoreError>) {
        fn or<T>(result: Result<T, StoreError>, committed: &Result<(), StoreError>) -> Result<T, StoreError> {
            committed.clone().and(result)
        }
        match self {
            Self::Begun(reply, result) => drop(reply.send(or(result, committed))),
            Self::Appended(reply, result) => drop(reply.send(or(result, committed))),
            Self::Done(reply, result) => drop(reply.send(or(result, committed))),
            Self::Deleted(reply, result) => drop(reply.send(or(result, committed))),
            Self::Counted(reply, result) => drop(reply.send(or(result, committed))),
        }
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

fn begin(db: &Connection, waits: bool, now: &mut bool) -> Result<(), StoreError> {
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

fn commit(db: &Connection, answers: &mut Vec<Answer>) -> Result<(), StoreError> {
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
fn probe(db: &Connection) -> Result<(), StoreError> {
    let probed = (|| {
        db.prepare_cached("INSERT OR REPLACE INTO meta VALUES ('probe', zeroblob(?1))")?
            .execute([PROBE_BYTES])?;
        db.prepare_cached("DELETE FROM meta WHERE name = 'probe'")?.execute([])
    })();
    probed.map(drop).map_err(|e: rusqlite::Error| failure("checking whether the log can be written", &e))
}
