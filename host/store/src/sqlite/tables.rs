//! What each request does to the log, within the transaction of its group.
//!
//! Events and message ids go to the journal, and into the tables when there are many of them (`settle`). What every message
//! asks for is kept in memory (the rows of threads and users, the open runs, what is in the journal only), and forgotten as
//! a whole when a transaction is rolled back; then the journal is read again.

mod deleting;
mod known;
mod questions;
mod settling;

use std::{collections::HashMap, sync::Arc};

use agent_host_core::{
    failpoint,
    failpoint::Action,
    identity::Scope,
    ports::store::{Appended, Begun, EVENT_COST, NewEvent, NewMessage, NewQuestion, StoreError, Usage},
};
use agent_plugin_protocol::{Code, EventKind, MessageId, RunId, Seq, ThreadId};
use bytes::Bytes;
use rusqlite::{Connection, OptionalExtension as _};

use self::known::{Known, OpenRun, Thread};
use super::{
    body,
    failure::{corrupt, failure},
    journal::{self, Key},
    position::{self, millis},
    recent::{Piece, Recent},
};
use crate::keys::is_expired;

/// What the writer knows of the tables and of the journal.
#[derive(Debug, Default)]
pub(super) struct Tables {
    known: Known,
    /// Message ids that are in the journal only, by user.
    keys: HashMap<(i64, MessageId), Key>,
    /// What the transaction under way adds to the journal, and what readers are told when it is committed.
    row: journal::Row,
    fresh: Vec<(ThreadId, Piece)>,
    /// Whether the transaction under way emptied the journal.
    settled: bool,
    /// Bytes in the journal, about.
    journal: usize,
    /// Whether the journal has to be read before anything is asked.
    stale: bool,
    /// For the bytes of one row.
    buffer: Vec<u8>,
    /// How far the search for expired keys is: behind this user's id.
    swept: (i64, String),
}

impl Thread {
    /// The run of a message that is in the journal only.
    fn run_of(&self, seq: Seq) -> Option<RunId> {
        let mut entries = self.unsaved.pieces.iter().flat_map(Piece::entries);
        entries.find(|(at, _)| *at == seq).map(|(_, event)| event.run.clone())
    }

    fn close(&mut self, run: &RunId) {
        if let Some(at) = self.open.iter().position(|open| open.run == *run) {
            let ended = self.open.swap_remove(at);
            if ended.saved {
                self.unsaved.ended.push(ended.seq);
            }
        }
    }
}

impl Tables {
    /// What knows nothing yet.
    pub(super) fn stale() -> Self {
        Self { stale: true, ..Self::default() }
    }

    /// A transaction was rolled back, or the file is another: what is known may not be so.
    pub(super) fn forget(&mut self) {
        self.known.forget();
        self.keys.clear();
        self.row.clear();
        self.fresh.clear();
        self.settled = false;
        self.stale = true;
    }

    /// The transaction's last statement.
    pub(super) fn write_journal(&mut self, db: &Connection) -> Result<(), StoreError> {
        // For a broken twin: a host that has what is new in memory only, until the tables have it.
        if failpoint!("store.journal") == Some(Action::Off) {
            self.row.clear();
            return Ok(());
        }
        let written = self.row.insert(db).map_err(|e| failure("writing the journal", &e))?;
        self.journal += written;
        Ok(())
    }

    /// The transaction is committed: readers may know.
    pub(super) fn committed(&mut self, recent: &Recent) {
        if std::mem::take(&mut self.settled) {
            recent.clear();
        }
        if !self.fresh.is_empty() {
            recent.publish(self.fresh.drain(..));
        }
    }

    pub(super) fn begin(&mut self, db: &Connection, message: &NewMessage) -> Result<Begun, StoreError> {
        self.begin_in(db, message).map_err(|e| failure("accepting a message", &e))?
    }

    fn begin_in(
        &mut self,
        db: &Connection,
        message: &NewMessage,
    ) -> rusqlite::Result<Result<Begun, StoreError>> {
        let user = self.known.user(db, &message.scope)?;
        let key = user.map(|user| self.key(db, user, message)).transpose()?.flatten();
        if let Some(key) = key.filter(|key| !is_expired(position::time(key.accepted), message.time)) {
            return self.known_before(db, &key, message);
        }
        if message.repeat_only {
            return Ok(Ok(Begun::NotKnown));
        }
        if let Some(refused) = self.over_quota(db, message)? {
            return Ok(Ok(refused));
        }
        let thread = match self.known.thread(db, &message.thread)? {
            Some(thread) if thread.is_of(&message.scope) => Some(thread.row),
            Some(_) => None,
            None if message.new_thread && message.answers.is_none() => {
                Some(self.known.make_thread(db, message)?)
            }
            None => None,
        };
        let Some(row) = thread else { return Ok(Ok(Begun::NoThread)) };
        let user = self.known.make_user(db, &message.scope)?;
        if !questions::answer(db, user, row, message)? {
            return Ok(Ok(Begun::NoQuestion));
        }
        let event = NewEvent {
            run: message.run.clone(),
            kind: EventKind::UserMessage,
            agent: "user".into(),
            time: message.time,
            payload: message.payload.clone(),
        };
        let Some(first) = self.write(&message.thread, vec![event]) else {
            return Ok(Err(full_thread(&message.thread)));
        };
        let accepted = millis(message.time);
        let key = Key { body_hash: message.body_hash, position: position::of(row, first), accepted };
        self.row.add_key(user, &message.id, &key);
        self.keys.insert((user, message.id.clone()), key);
        Ok(Ok(Begun::New { seq: first }))
    }

    fn key(&self, db: &Connection, user: i64, message: &NewMessage) -> rusqlite::Result<Option<Key>> {
        if let Some(key) = self.keys.get(&(user, message.id.clone())) {
            return Ok(Some(key.clone()));
        }
        db.prepare_cached("SELECT body_hash, position, accepted FROM keys WHERE user = ?1 AND id = ?2")?
            .query_row((user, message.id.as_str()), |row| {
                Ok(Key { body_hash: row.get(0)?, position: row.get(1)?, accepted: row.get(2)? })
            })
            .optional()
    }

    /// The same id again, within its day.
    fn known_before(
        &mut self,
        db: &Connection,
        key: &Key,
        message: &NewMessage,
    ) -> rusqlite::Result<Result<Begun, StoreError>> {
        if key.body_hash != message.body_hash {
            return Ok(Ok(Begun::Conflict));
        }
        let seq = position::seq(key.position);
        let row = position::thread(key.position);
        let found = match Known::name(db, row)? {
            Some(name) => self.known.thread(db, &name)?.map(|thread| {
                let open = thread.open.iter().any(|open| open.seq == seq);
                (name, open, thread.run_of(seq))
            }),
            None => None,
        };
        let Some((thread, open, run)) = found else { return Ok(Err(unreadable())) };
        let run = match run {
            Some(run) => Some(run),
            None => run_at(db, key.position)?,
        };
        Ok(run.map(|run| Begun::Duplicate { thread, run, seq, open }).ok_or_else(unreadable))
    }

    fn over_quota(&mut self, db: &Connection, message: &NewMessage) -> rusqlite::Result<Option<Begun>> {
        let quota = message.quota;
        if quota.threads == 0 && quota.bytes == 0 {
            return Ok(None);
        }
        let used = self.known.usage(db, &message.scope)?;
        if message.new_thread && quota.threads > 0 && used.threads >= quota.threads {
            return Ok(Some(Begun::TooManyThreads));
        }
        Ok((quota.bytes > 0 && used.bytes >= quota.bytes).then_some(Begun::TooMuchStored))
    }

    pub(super) fn append(
        &mut self,
        db: &Connection,
        thread: &ThreadId,
        events: Vec<NewEvent>,
        asked: &[NewQuestion],
    ) -> Result<Appended, StoreError> {
        let appended = (|| {
            let Some(known) = self.known.thread(db, thread)? else { return Ok(Err(no_thread(thread))) };
            let row = known.row;
            if !asked.is_empty() {
                let owner = known.owner.clone();
                questions::keep(db, self.known.make_user(db, &owner)?, row, asked)?;
            }
            let first = self.write(thread, events);
            Ok(first.map(|first| Appended { first }).ok_or_else(|| full_thread(thread)))
        })();
        appended.map_err(|e: rusqlite::Error| failure("appending to the log", &e))?
    }

    /// Adds events to the journal; `None` if the thread, which is known, has no room for so many.
    fn write(&mut self, name: &ThreadId, events: Vec<NewEvent>) -> Option<Seq> {
        let thread = self.known.get_mut(name)?;
        let first = thread.last.next();
        if events.is_empty() {
            return Some(first);
        }
        if thread.last.0 + events.len() as u64 > position::LAST {
            return None;
        }
        self.row.add_events(thread.row, first, &events);
        let piece = Piece { first, events: Arc::new(events) };
        self.fresh.push((name.clone(), piece.clone()));
        self.note(name, piece);
        Some(first)
    }

    /// Notes what the journal has more of a thread, which is known.
    fn note(&mut self, name: &ThreadId, piece: Piece) {
        let Some(thread) = self.known.get_mut(name) else { return };
        thread.last = piece.last();
        let cost: u64 = piece.events.iter().map(|event| EVENT_COST + event.payload.len() as u64).sum();
        thread.unsaved.bytes += cost;
        for (seq, event) in piece.entries() {
            match event.kind {
                EventKind::UserMessage => {
                    thread.open.push(OpenRun { run: event.run.clone(), seq, saved: false });
                }
                EventKind::AgentCompleted => thread.close(&event.run),
                EventKind::AgentStarted
                | EventKind::AgentThinking
                | EventKind::ToolExecuting
                | EventKind::ToolCompleted
                | EventKind::AgentMessageDelta
                | EventKind::AgentDelegated
                | EventKind::AgentReturned
                | EventKind::RunDegraded => {}
            }
            if lasts(event) {
                thread.unsaved.used = thread.unsaved.used.max(millis(event.time));
            }
        }
        thread.unsaved.pieces.push(piece);
        let owner = thread.owner.clone();
        self.known.stored(&owner, cost);
    }

    pub(super) fn set_state(
        &mut self,
        db: &Connection,
        thread: &ThreadId,
        plugin: &str,
        state: &Bytes,
    ) -> Result<(), StoreError> {
        let set = (|| {
            let Some(row) = self.known.thread(db, thread)?.map(|thread| thread.row) else {
                return Ok(Err(no_thread(thread)));
            };
            db.prepare_cached("INSERT OR REPLACE INTO states VALUES (?1, ?2, ?3)")?
                .execute((row, plugin, &state[..]))
                .map(|_| Ok(()))
        })();
        set.map_err(|e: rusqlite::Error| failure("storing a plugin's state", &e))?
    }

    pub(super) fn usage(&mut self, db: &Connection, scope: &Scope) -> Result<Usage, StoreError> {
        self.known.usage(db, scope).map_err(|e| failure("counting a user's threads", &e))
    }
}

/// Whether an event must be on the disk before anybody hears of it.
pub(super) fn lasts(event: &NewEvent) -> bool {
    matches!(event.kind, EventKind::UserMessage | EventKind::AgentCompleted)
}

/// The run of a message that is in the tables.
fn run_at(db: &Connection, at: i64) -> rusqlite::Result<Option<RunId>> {
    let row: Option<(i64, Vec<u8>)> = db
        .prepare_cached(
            "SELECT position, body FROM events WHERE position <= ?1 ORDER BY position DESC LIMIT 1",
        )?
        .query_row([at], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?;
    Ok(row.and_then(|(first, body)| {
        let index = usize::try_from(at - first).ok()?;
        body::read(&body).ok()?.into_iter().nth(index).map(|event| event.run)
    }))
}

fn unreadable() -> StoreError {
    corrupt("a message that is known cannot be read")
}

fn no_thread(thread: &ThreadId) -> StoreError {
    StoreError { code: Code::ThreadNotFound, reason: format!("no thread {thread}") }
}

fn full_thread(thread: &ThreadId) -> StoreError {
    let reason = format!("thread {thread} has as many events as a thread can have");
    StoreError { code: Code::QuotaStorage, reason }
}
