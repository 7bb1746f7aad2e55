//! The journal: what a commit adds to the log, written at one place one after the other, until the tables have it.
//!
//! In the tables each thread and each message id has a page of its own, so that a commit for fifty people would write
//! some hundred pages. A row of the journal is what they take together.
//!
//! ```text
//! version (1 byte), then records:
//!   1  thread (8)  seq of its first event (8)  length (4)  events, as in a row of the table
//!   2  user (8)  position of the message (8)  accepted (8)  hash of the body (32)  id length (1)  id
//! ```
//! Numbers are little-endian.

use agent_host_core::ports::store::NewEvent;
use agent_plugin_protocol::{MessageId, Seq};
use rusqlite::Connection;

use super::{
    body::{self, Unreadable},
    readers::Failure,
};

const VERSION: u8 = 1;
const EVENTS: u8 = 1;
const KEY: u8 = 2;

/// What stands for a message id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Key {
    pub(super) body_hash: [u8; 32],
    pub(super) position: i64,
    pub(super) accepted: i64,
}

/// One addition to the log.
#[derive(Debug)]
pub(super) enum Record {
    Events { thread: i64, first: Seq, events: Vec<NewEvent> },
    Key { user: i64, id: MessageId, key: Key },
}

/// The row that the commit under way will write.
#[derive(Debug, Default)]
pub(super) struct Row {
    bytes: Vec<u8>,
    /// For one record's events.
    events: Vec<u8>,
}

impl Row {
    pub(super) fn clear(&mut self) {
        self.bytes.clear();
    }

    pub(super) fn add_events(&mut self, thread: i64, first: Seq, events: &[NewEvent]) {
        body::write(events, &mut self.events);
        self.begin(EVENTS);
        self.bytes.extend(thread.to_le_bytes());
        self.bytes.extend(first.0.to_le_bytes());
        // A commit's share of one thread has a bound far below 4 GiB.
        self.bytes.extend(u32::try_from(self.events.len()).unwrap_or(u32::MAX).to_le_bytes());
        self.bytes.extend_from_slice(&self.events);
    }

    pub(super) fn add_key(&mut self, user: i64, id: &MessageId, key: &Key) {
        self.begin(KEY);
        self.bytes.extend(user.to_le_bytes());
        self.bytes.extend(key.position.to_le_bytes());
        self.bytes.extend(key.accepted.to_le_bytes());
        self.bytes.extend(key.body_hash);
        body::short(id.as_str(), &mut self.bytes);
    }

    fn begin(&mut self, record: u8) {
        if self.bytes.is_empty() {
            self.bytes.push(VERSION);
        }
        self.bytes.push(record);
    }

    /// Writes it, if there is anything in it; answers how many bytes it has.
    pub(super) fn insert(&mut self, db: &Connection) -> rusqlite::Result<usize> {
        if self.bytes.is_empty() {
            return Ok(0);
        }
        db.prepare_cached("INSERT INTO journal (body) VALUES (?1)")?.execute([&self.bytes])?;
        let written = self.bytes.len();
        self.bytes.clear();
        Ok(written)
    }
}

/// Everything in the journal, in order.
pub(super) fn read(db: &Connection) -> Result<Vec<Record>, Failure> {
    let mut records = Vec::new();
    let mut rows = db.prepare_cached("SELECT body FROM journal ORDER BY id")?;
    let mut rows = rows.query([])?;
    while let Some(row) = rows.next()? {
        decode(row.get_ref(0)?.as_blob().map_err(rusqlite::Error::from)?, &mut records)?;
    }
    Ok(records)
}

/// The tables have all of it.
pub(super) fn clear(db: &Connection) -> rusqlite::Result<()> {
    db.prepare_cached("DELETE FROM journal")?.execute([]).map(drop)
}

fn decode(mut rest: &[u8], into: &mut Vec<Record>) -> Result<(), Unreadable> {
    let rest = &mut rest;
    if body::take::<1>(rest)? != [VERSION] {
        return Err(Unreadable);
    }
    while !rest.is_empty() {
        into.push(match body::take::<1>(rest)? {
            [EVENTS] => {
                let thread = i64::from_le_bytes(body::take(rest)?);
                let first = Seq(u64::from_le_bytes(body::take(rest)?));
                let length = u32::from_le_bytes(body::take(rest)?) as usize;
                let (events, left) = rest.split_at_checked(length).ok_or(Unreadable)?;
                *rest = left;
                Record::Events { thread, first, events: body::read(events)? }
            }
            [KEY] => {
                let user = i64::from_le_bytes(body::take(rest)?);
                let position = i64::from_le_bytes(body::take(rest)?);
                let accepted = i64::from_le_bytes(body::take(rest)?);
                let body_hash = body::take(rest)?;
                let id = MessageId::new(body::text(rest)?).map_err(|_| Unreadable)?;
                Record::Key { user, id, key: Key { body_hash, position, accepted } }
            }
            _ => return Err(Unreadable),
        });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime};

    use agent_plugin_protocol::{EventKind, RunId};
    use proptest::prelude::*;

    use super::*;

    fn row() -> Vec<u8> {
        let mut row = Row::default();
        let event = NewEvent {
            run: RunId::new("r").unwrap(),
            kind: EventKind::AgentThinking,
            agent: "echo".into(),
            time: SystemTime::UNIX_EPOCH + Duration::from_millis(7),
            payload: "{}".into(),
        };
        row.add_events(3, Seq(5), &[event.clone(), event]);
        row.add_key(9, &MessageId::new("m").unwrap(), &key());
        row.bytes
    }

    fn key() -> Key {
        Key { body_hash: [7; 32], position: 805_306_373, accepted: -1 }
    }

    #[test]
    fn what_was_written_is_read() {
        let mut found = Vec::new();
        decode(&row(), &mut found).unwrap();
        let [Record::Events { thread: 3, first: Seq(5), events }, Record::Key { user: 9, id, key: found }] =
            found.as_slice()
        else {
            panic!("{found:?}")
        };
        assert_eq!((events.len(), id.as_str(), found), (2, "m", &key()));
    }

    proptest! {
        #[test]
        fn damaged_bytes_are_an_error_or_other_records_and_never_a_panic(
            at in any::<prop::sample::Index>(), byte: u8, cut: bool,
        ) {
            let mut row = row();
            let at = at.index(row.len());
            if cut { row.truncate(at) } else { row[at] = byte }
            let _ = decode(&row, &mut Vec::new());
        }
    }
}
