//! Deleting threads: each as a whole, with its events, its runs' questions, its plugins' state and its message ids.

use agent_host_core::{
    failpoint,
    failpoint::Action,
    ports::store::{Deletion, StoreError, Tenants},
};
use agent_plugin_protocol::{Seq, ThreadId};
use rusqlite::{Connection, Params, params_from_iter, types::Value};

use super::Tables;
use crate::sqlite::{
    failure::failure,
    position::{self, millis},
};

/// A thread to delete.
struct Doomed {
    row: i64,
    user: i64,
    name: String,
}

impl Tables {
    /// Within the transaction of its group; answers how many threads.
    pub(in crate::sqlite) fn delete(
        &mut self,
        db: &Connection,
        which: &Deletion,
    ) -> Result<usize, StoreError> {
        self.delete_in(db, which).map_err(|e| failure("deleting threads", &e))
    }

    fn delete_in(&mut self, db: &Connection, which: &Deletion) -> rusqlite::Result<usize> {
        // What is deleted has to be in the tables as a whole. Off for a broken twin: what the journal has outlives it.
        if failpoint!("store.delete.journal") != Some(Action::Off) {
            self.settle_in(db)?;
        }
        let doomed = doomed(db, which)?;
        for thread in &doomed {
            remove(db, thread)?;
            if let Ok(name) = ThreadId::new(&thread.name) {
                self.known.forget_thread(&name);
            }
        }
        let whole_users = match which {
            Deletion::User(scope) => db.execute(
                "DELETE FROM users WHERE tenant = ?1 AND user = ?2",
                (&*scope.tenant, &*scope.user),
            )?,
            Deletion::Tenant(tenant) => db.execute("DELETE FROM users WHERE tenant = ?1", [&**tenant])?,
            Deletion::Thread(..) | Deletion::Unused { .. } => 0,
        };
        if whole_users > 0 || !doomed.is_empty() {
            // Their usage changed, or they are gone.
            self.known.forget_users();
        }
        Ok(doomed.len())
    }
}

fn doomed(db: &Connection, which: &Deletion) -> rusqlite::Result<Vec<Doomed>> {
    const THREADS: &str = "SELECT t.id, t.user, t.name FROM threads t JOIN users u ON u.id = t.user";
    // Off for broken twins: stores that forget whose threads they were told to delete.
    let forgets = |point: Option<Action>| point == Some(Action::Off);
    let tenant = if forgets(failpoint!("store.delete.tenant")) { "?1 NOTNULL" } else { "u.tenant = ?1" };
    let user = if forgets(failpoint!("store.delete.user")) { "?2 NOTNULL" } else { "u.user = ?2" };
    match which {
        Deletion::Thread(scope, thread) => list(
            db,
            &format!("{THREADS} WHERE u.tenant = ?1 AND u.user = ?2 AND t.name = ?3"),
            (&*scope.tenant, &*scope.user, thread.as_str()),
        ),
        Deletion::User(scope) => {
            list(db, &format!("{THREADS} WHERE {tenant} AND {user}"), (&*scope.tenant, &*scope.user))
        }
        Deletion::Tenant(name) => list(db, &format!("{THREADS} WHERE {tenant}"), [&**name]),
        Deletion::Unused { of, since, limit } => {
            let (is_in, tenants) = match of {
                Tenants::Only(one) => ("IN", std::slice::from_ref(one)),
                Tenants::Except(others) => ("NOT IN", &**others),
            };
            let places = vec!["?"; tenants.len()].join(", ");
            let query = format!(
                "{THREADS}
                 WHERE t.used < ? AND u.tenant {is_in} ({places}) AND NOT EXISTS (
                   SELECT 1 FROM open_runs WHERE position >= t.id << 28 AND position < (t.id + 1) << 28
                 ) ORDER BY t.used LIMIT ?"
            );
            let tenants = tenants.iter().map(|tenant| Value::from(tenant.to_string()));
            let limit = i64::try_from(*limit).unwrap_or(i64::MAX);
            let with = [millis(*since).into()].into_iter().chain(tenants).chain([limit.into()]);
            list(db, &query, params_from_iter(with))
        }
    }
}

fn list(db: &Connection, query: &str, with: impl Params) -> rusqlite::Result<Vec<Doomed>> {
    let mut found = db.prepare(query)?;
    found
        .query_map(with, |row| Ok(Doomed { row: row.get(0)?, user: row.get(1)?, name: row.get(2)? }))?
        .collect()
}

fn remove(db: &Connection, thread: &Doomed) -> rusqlite::Result<()> {
    let range = (position::of(thread.row, Seq::START), position::of(thread.row + 1, Seq::START));
    // Off for a broken twin: a thread that is out of every list, and not out of the file.
    let tables: &[&str] =
        if failpoint!("store.delete.rest") == Some(Action::Off) { &[] } else { &["events", "open_runs"] };
    for table in tables {
        db.prepare_cached(&format!("DELETE FROM {table} WHERE position >= ?1 AND position < ?2"))?
            .execute(range)?;
    }
    db.prepare_cached("DELETE FROM keys WHERE user = ?1 AND position >= ?2 AND position < ?3")?.execute((
        thread.user,
        range.0,
        range.1,
    ))?;
    for table in ["questions", "states"] {
        db.prepare_cached(&format!("DELETE FROM {table} WHERE thread = ?1"))?.execute([thread.row])?;
    }
    db.prepare_cached("DELETE FROM threads WHERE id = ?1")?.execute([thread.row])?;
    Ok(())
}
