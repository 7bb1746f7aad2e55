//! Brings the tables up to date with the journal: each thread's events in few rows, each message id and open run in its
//! place. As the events of many messages of a thread are moved together, its pages are written once for all of them.

use agent_host_core::ports::store::StoreError;
use agent_plugin_protocol::MessageId;
use rusqlite::Connection;

use super::{
    Tables,
    known::{Known, OpenRun, Thread, Unsaved},
};
use crate::{
    keys::is_expired,
    sqlite::{
        body,
        failure::failure,
        journal::{self, Key, Record},
        position,
        readers::Failure,
        recent::{Piece, Recent},
    },
};

/// The journal is emptied when it has so many bytes: some thousand messages.
const FULL: usize = 4 * 1024 * 1024;
/// The payloads of one row, about. A read of one event reads its whole row.
const ROW: usize = 16 * 1024;

impl Tables {
    /// Whether the tables should be brought up to date.
    pub(in crate::sqlite) fn is_full(&self) -> bool {
        self.journal >= FULL
    }

    /// Whether there is nothing to move into them.
    pub(in crate::sqlite) fn is_settled(&mut self) -> bool {
        !self.stale && self.keys.is_empty() && self.known.unsaved().next().is_none()
    }

    /// Reads the journal, where that has to be done.
    pub(in crate::sqlite) fn catch_up(&mut self, db: &Connection, recent: &Recent) -> Result<(), StoreError> {
        if !self.stale {
            return Ok(());
        }
        let read = self.read_journal(db);
        read.map_err(|error| error.told("reading the journal"))?;
        // What was committed of it is known to readers already, and nothing else is in it.
        recent.clear();
        recent.publish(self.fresh.drain(..));
        self.stale = false;
        Ok(())
    }

    fn read_journal(&mut self, db: &Connection) -> Result<(), Failure> {
        self.journal = 0;
        for record in journal::read(db)? {
            match record {
                Record::Events { thread, first, events } => {
                    let name = Known::name(db, thread)?.ok_or(body::Unreadable)?;
                    let known = self.known.thread(db, &name)?.ok_or(body::Unreadable)?;
                    if known.last.next() != first || events.is_empty() {
                        return Err(body::Unreadable.into());
                    }
                    self.journal += events.iter().map(|event| event.payload.len()).sum::<usize>();
                    let piece = Piece { first, events: events.into() };
                    self.fresh.push((name.clone(), piece.clone()));
                    self.note(&name, piece);
                }
                Record::Key { user, id, key } => drop(self.keys.insert((user, id), key)),
            }
        }
        Ok(())
    }

    /// Moves everything into the tables, within the transaction under way.
    pub(in crate::sqlite) fn settle(&mut self, db: &Connection) -> Result<(), StoreError> {
        self.settle_in(db).map_err(|e| failure("bringing the tables up to date", &e))
    }

    pub(super) fn settle_in(&mut self, db: &Connection) -> rusqlite::Result<()> {
        let mut threads: Vec<&mut Thread> = self.known.unsaved().collect();
        // In the order of the tables: neighbours are on one page.
        threads.sort_unstable_by_key(|thread| thread.row);
        for thread in threads {
            let unsaved = std::mem::take(&mut thread.unsaved);
            save_events(db, thread.row, &unsaved, &mut self.buffer)?;
            save_runs(db, thread.row, &unsaved, &mut thread.open)?;
            db.prepare_cached("UPDATE threads SET used = max(used, ?2), bytes = bytes + ?3 WHERE id = ?1")?
                .execute((thread.row, unsaved.used, unsaved.bytes as i64))?;
        }
        let mut keys: Vec<_> = self.keys.drain().collect();
        keys.sort_unstable_by(|(a, _), (b, _)| (a.0, a.1.as_str()).cmp(&(b.0, b.1.as_str())));
        let mut insert = db.prepare_cached("INSERT OR REPLACE INTO keys VALUES (?1, ?2, ?3, ?4, ?5)")?;
        for ((user, id), key) in &keys {
            insert.execute((user, id.as_str(), &key.body_hash[..], key.position, key.accepted))?;
        }
        self.sweep(db, &keys)?;
        journal::clear(db)?;
        self.journal = 0;
        // What this transaction added before is in the tables now.
        self.row.clear();
        self.fresh.clear();
        self.settled = true;
        Ok(())
    }
}

impl Tables {
    /// Deletes expired keys, a few at a time: two are looked at for each that is added, so that they are found within
    /// about a day, at no cost that anybody waits for.
    fn sweep(&mut self, db: &Connection, added: &[((i64, MessageId), Key)]) -> rusqlite::Result<()> {
        let Some(now) = added.iter().map(|(_, key)| key.accepted).max() else { return Ok(()) };
        let mut looked_at = db.prepare_cached(
            "SELECT user, id, accepted FROM keys WHERE (user, id) > (?1, ?2) ORDER BY user, id LIMIT ?3",
        )?;
        let found: Vec<(i64, String, i64)> = looked_at
            .query_map((self.swept.0, &self.swept.1, 2 * added.len() as i64), |row| {
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

fn save_events(
    db: &Connection,
    thread: i64,
    unsaved: &Unsaved,
    buffer: &mut Vec<u8>,
) -> rusqlite::Result<()> {
    let mut insert = db.prepare_cached("INSERT INTO events VALUES (?1, ?2, ?3)")?;
    let mut pieces = unsaved.pieces.as_slice();
    while let Some(first) = pieces.first() {
        let mut bytes = 0;
        let row = pieces.iter().take_while(|piece| {
            let goes = bytes < ROW;
            bytes += piece.events.iter().map(|event| event.payload.len()).sum::<usize>();
            goes
        });
        let (row, left) = pieces.split_at(row.count());
        let events = || row.iter().flat_map(|piece| piece.events.iter());
        body::write(events(), buffer);
        insert.execute((position::of(thread, first.first), events().count() as i64, &*buffer))?;
        pieces = left;
    }
    Ok(())
}

fn save_runs(db: &Connection, thread: i64, unsaved: &Unsaved, open: &mut [OpenRun]) -> rusqlite::Result<()> {
    for seq in &unsaved.ended {
        db.prepare_cached("DELETE FROM open_runs WHERE position = ?1")?
            .execute([position::of(thread, *seq)])?;
    }
    for run in open.iter_mut().filter(|run| !run.saved) {
        db.prepare_cached("INSERT INTO open_runs VALUES (?1, ?2)")?
            .execute((position::of(thread, run.seq), run.run.as_str()))?;
        run.saved = true;
    }
    Ok(())
}
