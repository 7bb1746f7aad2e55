//! The tables, and how a file of an earlier version becomes one of this.
//!
//! Why they look so: `docs/decisions/0009-the-log-on-disk.md`.

use rusqlite::{Connection, OptionalExtension as _, Transaction};

/// The version that this host writes. A newer one is refused.
pub(super) const VERSION: i64 = MIGRATIONS.len() as i64;

/// Step `n` makes version `n + 1`. Never edited once it is out: a change is a further step.
const MIGRATIONS: &[&str] = &[include_str!("schema/v1.sql"), include_str!("schema/v2.sql")];

/// The version of a file; 0 of an empty one.
pub(super) fn version(connection: &Connection) -> rusqlite::Result<i64> {
    let exists: Option<i64> = connection
        .query_row("SELECT 1 FROM sqlite_schema WHERE name = 'schema_version'", [], |row| row.get(0))
        .optional()?;
    match exists {
        None => Ok(0),
        Some(_) => {
            connection.query_row("SELECT coalesce(max(version), 0) FROM schema_version", [], |row| row.get(0))
        }
    }
}

/// Brings a file to [`VERSION`]: each step in a transaction of its own, so that one that fails leaves a whole file.
pub(super) fn migrate(connection: &mut Connection, now: i64) -> rusqlite::Result<()> {
    let from = version(connection)?;
    let steps = (1..).zip(MIGRATIONS).filter(|(to, _)| *to > from);
    for (to, step) in steps {
        let transaction = connection.transaction()?;
        transaction.execute_batch(step)?;
        note(&transaction, to, now)?;
        transaction.commit()?;
    }
    Ok(())
}

fn note(transaction: &Transaction<'_>, version: i64, now: i64) -> rusqlite::Result<()> {
    let host = env!("CARGO_PKG_VERSION");
    transaction.execute("INSERT INTO schema_version VALUES (?1, ?2, ?3)", (version, now, host)).map(drop)
}

/// A word that the store keeps of itself.
pub(super) fn meta(connection: &Connection, name: &str) -> rusqlite::Result<Option<String>> {
    connection.query_row("SELECT value FROM meta WHERE name = ?1", [name], |row| row.get(0)).optional()
}

pub(super) fn set_meta(connection: &Connection, name: &str, value: &str) -> rusqlite::Result<()> {
    connection.execute("INSERT OR REPLACE INTO meta VALUES (?1, ?2)", (name, value)).map(drop)
}

/// The names in `meta`.
pub(super) mod names {
    /// The life of the log.
    pub(in crate::sqlite) const EPOCH: &str = "epoch";
    /// The machine's run in which the file was last opened.
    pub(in crate::sqlite) const BOOT: &str = "boot";
    /// `yes` between an end in order and the next start.
    pub(in crate::sqlite) const CLEAN: &str = "clean";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_file_becomes_this_version_once() {
        let mut connection = Connection::open_in_memory().unwrap();
        assert_eq!(version(&connection).unwrap(), 0);
        migrate(&mut connection, 7).unwrap();
        migrate(&mut connection, 8).unwrap();
        assert_eq!(version(&connection).unwrap(), VERSION);
        let applied: i64 =
            connection.query_row("SELECT sum(applied_at) FROM schema_version", [], |row| row.get(0)).unwrap();
        assert_eq!(applied, 7 * VERSION, "each step once");
    }
}
