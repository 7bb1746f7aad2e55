//! The statements that write: what each request does to the tables, within the transaction of its group.
//!
//! What every message asks for is kept in memory beside the tables (the rows of threads and users, the open runs), and
//! forgotten as a whole when a transaction is rolled back.

mod deleting;
mod known;
mod questions;

use agent_host_core::{
    identity::Scope,
    ports::store::{Appended, Begun, EVENT_COST, NewEvent, NewMessage, NewQuestion, StoreError, Usage},
};
use agent_plugin_protocol::{Code, EventKind, RunId, Seq, ThreadId};
use bytes::Bytes;
use rusqlite::{Connection, OptionalExtension as _};

use self::known::{Known, Thread};
use super::{
    body,
    failure::{corrupt, failure},
    position::{self, millis},
};
use crate::keys::is_expired;

/// What the writer knows of the tables.
#[derive(Debug, Default)]
pub(super) struct Tables {
    known: Known,
    /// For the bytes of one row.
    row: Vec<u8>,
    /// How far the search for expired keys is: behind this user's id.
    swept: (i64, String),
    /// Keys to look at, as some were added.
    owed: u64,
}

/// What was found under a message id.
struct Key {
    body_hash: [u8; 32],
    position: i64,
    accepted: i64,
}

impl Tables {
    /// A transaction was rolled back: what is known may not be so.
    pub(super) fn forget(&mut self) {
        self.known.forget();
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
        let key = user.map(|user| key(db, user, message)).transpose()?.flatten();
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
        let Some(first) = self.write(db, &message.thread, std::slice::from_ref(&event))? else {
            return Ok(Err(full_thread(&message.thread)));
        };
        let position = position::of(row, first);
        let now = millis(message.time);
        db.prepare_cached("INSERT OR REPLACE INTO keys VALUES (?1, ?2, ?3, ?4, ?5)")?.execute((
            user,
            message.id.as_str(),
            &message.body_hash[..],
            position,
            now,
        ))?;
        db.prepare_cached("INSERT INTO open_runs VALUES (?1, ?2)")?
            .execute((position, event.run.as_str()))?;
        self.owed += 2;
        self.sweep(db, now)?;
        Ok(Ok(Begun::New { seq: first }))
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
        let row: Option<(String, Vec<u8>)> = db
            .prepare_cached(
                "SELECT t.name, e.body FROM threads t, events e WHERE t.id = ?1 AND e.position = ?2",
            )?
            .query_row((position::thread(key.position), key.position), |row| Ok((row.get(0)?, row.get(1)?)))
            .optional()?;
        let open =
            db.prepare_cached("SELECT 1 FROM open_runs WHERE position = ?1")?.exists([key.position])?;
        let found = row.and_then(|(thread, body)| {
            Some((ThreadId::new(&thread).ok()?, body::read(&body).ok()?.into_iter().next()?.run))
        });
        Ok(found
            .map(|(thread, run)| Begun::Duplicate { thread, run, seq: position::seq(key.position), open })
            .ok_or_else(|| corrupt("a message that is known cannot be read")))
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
        events: &[NewEvent],
        asked: &[NewQuestion],
    ) -> Result<Appended, StoreError> {
        let appended = (|| {
            let Some(known) = self.known.thread(db, thread)? else { return Ok(Err(no_thread(thread))) };
            let row = known.row;
            if !asked.is_empty() {
                let owner = known.owner.clone();
                questions::keep(db, self.known.make_user(db, &owner)?, row, asked)?;
            }
            let first = self.write(db, thread, events)?;
            Ok(first.map(|first| Appended { first }).ok_or_else(|| full_thread(thread)))
        })();
        appended.map_err(|e: rusqlite::Error| failure("appending to the log", &e))?
    }

    /// Writes one row; `None` if the thread has no room for so many. The thread is known.
    fn write(
        &mut self,
        db: &Connection,
        name: &ThreadId,
        events: &[NewEvent],
    ) -> rusqlite::Result<Option<Seq>> {
        let Some(thread) = self.known.get_mut(name) else { return Ok(None) };
        let first = thread.last.next();
        let Some(last_event) = events.last() else { return Ok(Some(first)) };
        let last = Seq(thread.last.0 + events.len() as u64);
        if last.0 > position::LAST {
            return Ok(None);
        }
        body::write(events, &mut self.row);
        db.prepare_cached("INSERT INTO events VALUES (?1, ?2, ?3)")?.execute((
            position::of(thread.row, first),
            events.len() as i64,
            &self.row,
        ))?;
        thread.last = last;
        let cost: u64 = events.iter().map(|event| EVENT_COST + event.payload.len() as u64).sum();
        thread.unsaved += cost;
        for (seq, event) in (first.0..).zip(events) {
            match event.kind {
                EventKind::UserMessage => thread.open.push((event.run.clone(), Seq(seq))),
                EventKind::AgentCompleted => close(db, thread, &event.run)?,
                EventKind::AgentStarted
                | EventKind::AgentThinking
                | EventKind::ToolExecuting
                | EventKind::ToolCompleted
                | EventKind::AgentMessageDelta
                | EventKind::AgentDelegated
                | EventKind::AgentReturned
                | EventKind::RunDegraded => {}
            }
        }
        if events.iter().any(lasts) {
            db.prepare_cached("UPDATE threads SET used = max(used, ?2), bytes = bytes + ?3 WHERE id = ?1")?
                .execute((thread.row, millis(last_event.time), thread.unsaved as i64))?;
            thread.unsaved = 0;
        }
        let owner = thread.owner.clone();
        self.known.stored(&owner, cost);
        Ok(Some(first))
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

    /// Writes down what threads with an open run stored so far.
    pub(super) fn settle(&mut self, db: &Connection) -> rusqlite::Result<()> {
        for thread in self.known.unsaved() {
            db.prepare_cached("UPDATE threads SET bytes = bytes + ?2 WHERE id = ?1")?
                .execute((thread.row, std::mem::take(&mut thread.unsaved) as i64))?;
        }
        Ok(())
    }

    pub(super) fn usage(&mut self, db: &Connection, scope: &Scope) -> Result<Usage, StoreError> {
        self.known.usage(db, scope).map_err(|e| failure("counting a user's threads", &e))
    }

    /// Deletes expired keys, a few at a time: two are looked at for each that is added, so that they are found within
    /// about a day, at no cost that anybody waits for.
    fn sweep(&mut self, db: &Connection, now: i64) -> rusqlite::Result<()> {
        if self.owed < SWEEP {
            return Ok(());
        }
        self.owed = 0;
        let mut looked_at = db.prepare_cached(
            "SELECT user, id, accepted FROM keys WHERE (user, id) > (?1, ?2) ORDER BY user, id LIMIT ?3",
        )?;
        let found: Vec<(i64, String, i64)> = looked_at
            .query_map((self.swept.0, &self.swept.1, SWEEP as i64), |row| {
                Ok((row.get(0)?, row.get(1)?, row.get(2)?))
            })?
            .collect::<Result<_, _>>()?;
        let mut delete = db.prepare_cached("DELETE FROM keys WHERE user = ?1 AND id = ?2")?;
        for (user, id, accepted) in &found {
            if is_expired(position::time(*accepted), position::time(now)) {
                delete.execute((user, id))?;
            }
        }
        self.swept = found.into_iter().next_back().map(|(user, id, _)| (user, id)).unwrap_or_default();
        Ok(())
    }
}

/// So many keys are looked at together.
const SWEEP: u64 = 128;

/// Whether an event must be on the disk before anybody hears of it.
pub(super) fn lasts(event: &NewEvent) -> bool {
    matches!(event.kind, EventKind::UserMessage | EventKind::AgentCompleted)
}

fn close(db: &Connection, thread: &mut Thread, run: &RunId) -> rusqlite::Result<()> {
    if let Some(at) = thread.open.iter().position(|(open, _)| open == run) {
        let (_, seq) = thread.open.swap_remove(at);
        db.prepare_cached("DELETE FROM open_runs WHERE position = ?1")?
            .execute([position::of(thread.row, seq)])?;
    }
    Ok(())
}

fn key(db: &Connection, user: i64, message: &NewMessage) -> rusqlite::Result<Option<Key>> {
    db.prepare_cached("SELECT body_hash, position, accepted FROM keys WHERE user = ?1 AND id = ?2")?
        .query_row((user, message.id.as_str()), |row| {
            Ok(Key { body_hash: row.get(0)?, position: row.get(1)?, accepted: row.get(2)? })
        })
        .optional()
}

fn no_thread(thread: &ThreadId) -> StoreError {
    StoreError { code: Code::ThreadNotFound, reason: format!("no thread {thread}") }
}

fn full_thread(thread: &ThreadId) -> StoreError {
    let reason = format!("thread {thread} has as many events as a thread can have");
    StoreError { code: Code::QuotaStorage, reason }
}
