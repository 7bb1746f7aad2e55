//! The rows that every message asks for, kept in memory: threads in use, their users, their open runs.

use std::collections::HashMap;

use agent_host_core::{
    identity::Scope,
    ports::store::{NewMessage, Usage},
};
use agent_plugin_protocol::{RunId, Seq, ThreadId};
use rusqlite::{Connection, OptionalExtension as _};

use crate::{
    fault,
    sqlite::{
        position::{self, millis},
        recent::Piece,
    },
};

/// So many threads and users are kept; then all are forgotten and read anew as they are used.
const KEPT: usize = 20_000;

/// A thread's row.
#[derive(Debug)]
pub(in crate::sqlite) struct Thread {
    pub(super) row: i64,
    pub(super) owner: Scope,
    pub(super) last: Seq,
    /// Runs without their end.
    pub(super) open: Vec<OpenRun>,
    /// What is in the journal only.
    pub(super) unsaved: Unsaved,
}

/// A run without its end.
#[derive(Debug)]
pub(super) struct OpenRun {
    pub(super) run: RunId,
    /// Of its message.
    pub(super) seq: Seq,
    /// Whether it is in the table.
    pub(super) saved: bool,
}

/// What of a thread is in the journal and not in the tables yet.
#[derive(Debug, Default)]
pub(super) struct Unsaved {
    pub(super) pieces: Vec<Piece>,
    /// What they take of a quota.
    pub(super) bytes: u64,
    /// When a message was last accepted or completed; 0: not since.
    pub(super) used: i64,
    /// Messages of runs that are in the table of open ones and ended.
    pub(super) ended: Vec<Seq>,
}

impl Thread {
    pub(super) fn is_of(&self, scope: &Scope) -> bool {
        self.owner == *scope || fault::is_open_to_all()
    }
}

#[derive(Debug)]
struct User {
    row: i64,
    /// Counted when it is first asked for.
    usage: Option<Usage>,
}

#[derive(Debug, Default)]
pub(in crate::sqlite) struct Known {
    threads: HashMap<ThreadId, Thread>,
    users: HashMap<Scope, User>,
}

impl Known {
    pub(super) fn forget(&mut self) {
        self.threads.clear();
        self.users.clear();
    }

    /// What users stored changed otherwise than by appending.
    pub(super) fn forget_users(&mut self) {
        self.users.clear();
    }

    pub(super) fn forget_thread(&mut self, thread: &ThreadId) {
        self.threads.remove(thread);
    }

    pub(super) fn get_mut(&mut self, thread: &ThreadId) -> Option<&mut Thread> {
        self.threads.get_mut(thread)
    }

    /// The thread, whoever owns it.
    pub(super) fn thread(&mut self, db: &Connection, name: &ThreadId) -> rusqlite::Result<Option<&Thread>> {
        if !self.threads.contains_key(name) {
            let Some(thread) = read(db, name)? else { return Ok(None) };
            self.keep(name.clone(), thread);
        }
        Ok(self.threads.get(name))
    }

    /// The name of a thread's row.
    pub(super) fn name(db: &Connection, row: i64) -> rusqlite::Result<Option<ThreadId>> {
        let name: Option<String> = db
            .prepare_cached("SELECT name FROM threads WHERE id = ?1")?
            .query_row([row], |row| row.get(0))
            .optional()?;
        Ok(name.and_then(|name| ThreadId::new(&name).ok()))
    }

    /// Makes the thread of a message, for its user; answers its row.
    pub(super) fn make_thread(&mut self, db: &Connection, message: &NewMessage) -> rusqlite::Result<i64> {
        let user = self.make_user(db, &message.scope)?;
        let now = millis(message.time);
        let row = db
            .prepare_cached(
                "INSERT INTO threads (name, user, created, used, bytes) VALUES (?1, ?2, ?3, ?3, 0)",
            )?
            .insert((message.thread.as_str(), user, now))?;
        let owner = message.scope.clone();
        if let Some(usage) = self.users.get_mut(&owner).and_then(|user| user.usage.as_mut()) {
            usage.threads += 1;
        }
        let thread = Thread { row, owner, last: Seq::START, open: Vec::new(), unsaved: Unsaved::default() };
        self.keep(message.thread.clone(), thread);
        Ok(row)
    }

    /// The row of a user who stored something before.
    pub(super) fn user(&mut self, db: &Connection, scope: &Scope) -> rusqlite::Result<Option<i64>> {
        if let Some(known) = self.users.get(scope) {
            return Ok(Some(known.row));
        }
        let row = db
            .prepare_cached("SELECT id FROM users WHERE tenant = ?1 AND user = ?2")?
            .query_row((&*scope.tenant, &*scope.user), |row| row.get(0))
            .optional()?;
        if let Some(row) = row {
            self.users.insert(scope.clone(), User { row, usage: None });
        }
        Ok(row)
    }

    pub(super) fn make_user(&mut self, db: &Connection, scope: &Scope) -> rusqlite::Result<i64> {
        if let Some(row) = self.user(db, scope)? {
            return Ok(row);
        }
        let row = db
            .prepare_cached("INSERT INTO users (tenant, user) VALUES (?1, ?2)")?
            .insert((&*scope.tenant, &*scope.user))?;
        self.users.insert(scope.clone(), User { row, usage: Some(Usage::default()) });
        Ok(row)
    }

    /// What a user has stored.
    pub(super) fn usage(&mut self, db: &Connection, scope: &Scope) -> rusqlite::Result<Usage> {
        let Some(row) = self.user(db, scope)? else { return Ok(Usage::default()) };
        if let Some(usage) = self.users.get(scope).and_then(|user| user.usage) {
            return Ok(usage);
        }
        let theirs = self.threads.values().filter(|thread| thread.owner == *scope);
        let unsaved: u64 = theirs.map(|thread| thread.unsaved.bytes).sum();
        let usage = db
            .prepare_cached("SELECT count(*), coalesce(sum(bytes), 0) FROM threads WHERE user = ?1")?
            .query_row([row], |row| {
                let (threads, bytes): (i64, i64) = (row.get(0)?, row.get(1)?);
                Ok(Usage { threads: threads.unsigned_abs(), bytes: bytes.unsigned_abs() + unsaved })
            })?;
        if let Some(user) = self.users.get_mut(scope) {
            user.usage = Some(usage);
        }
        Ok(usage)
    }

    /// Threads of which something is in the journal only.
    pub(super) fn unsaved(&mut self) -> impl Iterator<Item = &mut Thread> {
        self.threads.values_mut().filter(|thread| !thread.unsaved.pieces.is_empty())
    }

    /// A user stored so much more.
    pub(super) fn stored(&mut self, scope: &Scope, bytes: u64) {
        if let Some(usage) = self.users.get_mut(scope).and_then(|user| user.usage.as_mut()) {
            usage.bytes += bytes;
        }
    }

    fn keep(&mut self, name: ThreadId, thread: Thread) {
        if self.threads.len() >= KEPT {
            // What is not saved stays known: it is in nobody else's memory.
            self.threads.retain(|_, thread| !thread.unsaved.pieces.is_empty());
        }
        if self.users.len() >= KEPT {
            self.users.clear();
        }
        self.threads.insert(name, thread);
    }
}

fn read(db: &Connection, name: &ThreadId) -> rusqlite::Result<Option<Thread>> {
    let found = db
        .prepare_cached(
            "SELECT t.id, u.tenant, u.user FROM threads t JOIN users u ON u.id = t.user WHERE t.name = ?1",
        )?
        .query_row([name.as_str()], |row| {
            let (tenant, user): (String, String) = (row.get(1)?, row.get(2)?);
            Ok((row.get(0)?, Scope { tenant: tenant.into(), user: user.into() }))
        })
        .optional()?;
    let Some((row, owner)) = found else { return Ok(None) };
    let (from, to) = (position::of(row, Seq::START), position::of(row + 1, Seq::START));
    let last: Option<i64> = db
        .prepare_cached(
            "SELECT position + count - 1 FROM events WHERE position > ?1 AND position < ?2
             ORDER BY position DESC LIMIT 1",
        )?
        .query_row((from, to), |row| row.get(0))
        .optional()?;
    let mut open =
        db.prepare_cached("SELECT position, run FROM open_runs WHERE position > ?1 AND position < ?2")?;
    let open = open
        .query_map((from, to), |row| Ok((row.get::<_, String>(1)?, position::seq(row.get(0)?))))?
        .filter_map(|found| {
            let open =
                |(run, seq): (String, Seq)| Some(OpenRun { run: RunId::new(&run).ok()?, seq, saved: true });
            found.map(open).transpose()
        })
        .collect::<rusqlite::Result<_>>()?;
    Ok(Some(Thread {
        row,
        owner,
        last: last.map_or(Seq::START, position::seq),
        open,
        unsaved: Unsaved::default(),
    }))
}
