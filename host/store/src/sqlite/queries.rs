//! The statements that read.

use agent_host_core::{
    identity::Scope,
    ports::store::{LogEntry, Question, ThreadHead, ThreadSummary, Unfinished},
};
use agent_plugin_protocol::{MessageId, PluginId, RunId, Seq, ThreadId};
use bytes::Bytes;
use rusqlite::{Connection, OptionalExtension as _};

use super::{archive::OwnedThread, body, position, readers::Failure};
use crate::fault;

/// A thread of a user.
pub(super) struct Found {
    row: i64,
    created: i64,
}

/// The thread, if `scope` owns it.
pub(super) fn thread(db: &Connection, scope: &Scope, name: &ThreadId) -> Result<Option<Found>, Failure> {
    let found = db
        .prepare_cached(
            "SELECT t.id, t.created FROM threads t JOIN users u ON u.id = t.user
             WHERE t.name = ?1 AND ((u.tenant = ?2 AND u.user = ?3) OR ?4)",
        )?
        .query_row((name.as_str(), &*scope.tenant, &*scope.user, fault::is_open_to_all()), |row| {
            Ok(Found { row: row.get(0)?, created: row.get(1)? })
        })
        .optional()?;
    Ok(found)
}

pub(super) fn head(db: &Connection, found: &Found) -> Result<ThreadHead, Failure> {
    Ok(ThreadHead { last: last(db, found.row)?, created: position::time(found.created) })
}

fn last(db: &Connection, row: i64) -> Result<Seq, Failure> {
    let last: Option<i64> = db
        .prepare_cached(
            "SELECT position + count - 1 FROM events WHERE position > ?1 AND position < ?2
             ORDER BY position DESC LIMIT 1",
        )?
        .query_row((position::of(row, Seq::START), position::of(row + 1, Seq::START)), |row| row.get(0))
        .optional()?;
    Ok(last.map_or(Seq::START, position::seq))
}

/// Events after a position, at most so many.
pub(super) fn events(
    db: &Connection,
    found: &Found,
    name: &ThreadId,
    after: Seq,
    limit: usize,
) -> Result<Vec<LogEntry>, Failure> {
    let from = position::of(found.row, Seq(after.0.saturating_add(1)));
    let edges = (position::of(found.row, Seq::START), position::of(found.row + 1, Seq::START));
    let mut entries = Vec::new();
    if limit == 0 || after.0 >= position::LAST {
        return Ok(entries);
    }
    // The row that holds the first wanted event may begin before it.
    let mut rows = db.prepare_cached(
        "SELECT position, body FROM events WHERE position < ?3 AND position >= coalesce(
           (SELECT max(position) FROM events WHERE position <= ?1 AND position > ?2), ?1)
         ORDER BY position",
    )?;
    let mut rows = rows.query((from, edges.0, edges.1))?;
    while let Some(row) = rows.next()? {
        let first = position::seq(row.get(0)?);
        let events = body::read(row.get_ref(1)?.as_blob().map_err(rusqlite::Error::from)?)?;
        for (seq, event) in (first.0..).map(Seq).zip(events).filter(|(seq, _)| *seq > after) {
            entries.push(LogEntry { seq, thread: name.clone(), event });
            if entries.len() == limit {
                return Ok(entries);
            }
        }
    }
    Ok(entries)
}

pub(super) fn state(
    db: &Connection,
    thread: &ThreadId,
    plugin: &str,
) -> Result<Option<Option<Bytes>>, Failure> {
    let row: Option<i64> = db
        .prepare_cached("SELECT id FROM threads WHERE name = ?1")?
        .query_row([thread.as_str()], |row| row.get(0))
        .optional()?;
    let Some(row) = row else { return Ok(None) };
    let value: Option<Vec<u8>> = db
        .prepare_cached("SELECT value FROM states WHERE thread = ?1 AND plugin = ?2")?
        .query_row((row, plugin), |row| row.get(0))
        .optional()?;
    Ok(Some(value.map(Bytes::from)))
}

pub(super) fn question(db: &Connection, scope: &Scope, run: &RunId) -> Result<Option<Question>, Failure> {
    let row: Option<(String, String, String, Option<String>)> = db
        .prepare_cached(
            "SELECT t.name, q.interrupt, q.agent, q.answered_by FROM questions q
             JOIN threads t ON t.id = q.thread
             WHERE q.run = ?1 AND q.user = (SELECT id FROM users WHERE tenant = ?2 AND user = ?3)",
        )?
        .query_row((run.as_str(), &*scope.tenant, &*scope.user), |row| {
            Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?))
        })
        .optional()?;
    let Some((thread, interrupt, agent, answered_by)) = row else { return Ok(None) };
    Ok(Some(Question {
        thread: ThreadId::new(&thread).map_err(|_| body::Unreadable)?,
        interrupt,
        agent: PluginId::new(&agent).map_err(|_| body::Unreadable)?,
        answered_by: answered_by.map(|id| MessageId::new(&id).map_err(|_| body::Unreadable)).transpose()?,
    }))
}

/// Oldest first.
pub(super) fn unfinished(db: &Connection) -> Result<Vec<Unfinished>, Failure> {
    let mut open = db.prepare_cached(
        "SELECT o.position, o.run, t.name, u.tenant, u.user FROM open_runs o
         JOIN threads t ON t.id = o.position >> 28 JOIN users u ON u.id = t.user ORDER BY o.position",
    )?;
    let mut rows = open.query([])?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        let (run, thread): (String, String) = (row.get(1)?, row.get(2)?);
        let (tenant, user): (String, String) = (row.get(3)?, row.get(4)?);
        let (Ok(run), Ok(thread)) = (RunId::new(&run), ThreadId::new(&thread)) else {
            return Err(body::Unreadable.into());
        };
        let scope = Scope { tenant: tenant.into(), user: user.into() };
        found.push(Unfinished { scope, thread, run, seq: position::seq(row.get(0)?) });
    }
    Ok(found)
}

/// Newest first.
pub(super) fn threads(
    db: &Connection,
    scope: &Scope,
    before: Option<&ThreadId>,
    limit: usize,
) -> Result<Vec<ThreadSummary>, Failure> {
    let mut list = db.prepare_cached(
        "SELECT t.id, t.name, t.created, t.used FROM threads t
         WHERE t.user = (SELECT id FROM users WHERE tenant = ?1 AND user = ?2)
           AND t.id < coalesce((SELECT id FROM threads WHERE name = ?3 AND user = t.user), 1 << 62)
         ORDER BY t.id DESC LIMIT ?4",
    )?;
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let mut rows = list.query((&*scope.tenant, &*scope.user, before.map(ThreadId::as_str), limit))?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        let name: String = row.get(1)?;
        found.push(ThreadSummary {
            thread: ThreadId::new(&name).map_err(|_| body::Unreadable)?,
            created: position::time(row.get(2)?),
            used: position::time(row.get(3)?),
            last: last(db, row.get(0)?)?,
        });
    }
    Ok(found)
}

/// Threads with their owners, the last used first: of one user or of all, or the one of that name.
pub(super) fn owned(
    db: &Connection,
    of: Option<&Scope>,
    name: Option<&ThreadId>,
    limit: usize,
) -> Result<Vec<OwnedThread>, Failure> {
    let mut list = db.prepare(
        "SELECT t.id, t.name, t.created, t.used, t.bytes, u.tenant, u.user,
           EXISTS (SELECT 1 FROM open_runs WHERE position >= t.id << 28 AND position < (t.id + 1) << 28)
         FROM threads t JOIN users u ON u.id = t.user
         WHERE (?1 IS NULL OR (u.tenant = ?1 AND u.user = ?2)) AND (?3 IS NULL OR t.name = ?3)
         ORDER BY t.used DESC, t.id DESC LIMIT ?4",
    )?;
    let of = of.map(|scope| (&*scope.tenant, &*scope.user)).unzip();
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let mut rows = list.query((of.0, of.1, name.map(ThreadId::as_str), limit))?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        let (thread, tenant, user): (String, String, String) = (row.get(1)?, row.get(5)?, row.get(6)?);
        found.push(OwnedThread {
            scope: Scope { tenant: tenant.into(), user: user.into() },
            summary: ThreadSummary {
                thread: ThreadId::new(&thread).map_err(|_| body::Unreadable)?,
                created: position::time(row.get(2)?),
                used: position::time(row.get(3)?),
                last: last(db, row.get(0)?)?,
            },
            bytes: row.get::<_, i64>(4)?.unsigned_abs(),
            open: row.get(7)?,
        });
    }
    Ok(found)
}

/// What the tables promise beyond what SQLite knows: positions without holes, of threads that are there, in rows that
/// can be read.
pub(super) fn holes(db: &Connection) -> Result<Vec<String>, Failure> {
    let mut found = Vec::new();
    let mut rows = db.prepare("SELECT position, count, body FROM events ORDER BY position")?;
    let mut rows = rows.query([])?;
    let mut next = (0, Seq(1));
    while let Some(row) = rows.next()? {
        let at: i64 = row.get(0)?;
        let (thread, seq) = (position::thread(at), position::seq(at));
        let due = if thread == next.0 { next.1 } else { Seq(1) };
        if seq != due {
            found.push(format!("thread {thread}: event {due} is missing"));
        }
        let count = row.get::<_, i64>(1)?.unsigned_abs();
        match body::read(row.get_ref(2)?.as_blob().map_err(rusqlite::Error::from)?) {
            Ok(events) if events.len() as u64 == count => {}
            Ok(_) | Err(body::Unreadable) => {
                found.push(format!("thread {thread}: event {seq} cannot be read"))
            }
        }
        next = (thread, Seq(seq.0 + count));
        if found.len() >= 100 {
            break;
        }
    }
    let orphans: i64 = db.query_row(
        "SELECT count(*) FROM (SELECT DISTINCT position >> 28 AS thread FROM events) e
         WHERE NOT EXISTS (SELECT 1 FROM threads t WHERE t.id = e.thread)",
        [],
        |row| row.get(0),
    )?;
    if orphans > 0 {
        found.push(format!("{orphans} threads have events and no name"));
    }
    Ok(found)
}
