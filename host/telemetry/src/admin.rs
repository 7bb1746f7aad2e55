//! Carries happenings to whoever watches (the admin event stream): a bounded broadcast that never slows the host, and
//! the last of them for who comes later.

use std::{
    collections::VecDeque,
    fmt,
    sync::{Mutex, OnceLock, PoisonError},
    time::{SystemTime, UNIX_EPOCH},
};

use serde::{Serialize, Serializer};
use tokio::sync::broadcast;

use crate::{Declared, Mark};

/// A happening as a watcher sees it.
#[derive(Debug, Clone, Serialize)]
pub struct AdminEvent {
    /// Where it stands among the others.
    pub id: Position,
    /// When, in milliseconds since 1970.
    pub at_ms: u64,
    /// `NounVerb`.
    pub event: &'static str,
    /// The log level.
    pub level: &'static str,
    /// How it is to be taken.
    pub mark: Mark,
    /// The log message.
    pub message: &'static str,
    /// Its fields, as text.
    pub fields: serde_json::Map<String, serde_json::Value>,
}

/// A place in the sequence of what happened to one process: `PROCESS-NUMBER`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Position {
    /// When that process began to count, in milliseconds since 1970: another one's numbers mean nothing here.
    process: u64,
    number: u64,
}

/// What there is after a position.
#[derive(Debug)]
pub struct Kept {
    /// What is kept, the oldest first.
    pub events: Vec<AdminEvent>,
    /// How many there were in between that are not kept any more.
    pub missed: u64,
    /// What comes after them.
    pub next: broadcast::Receiver<AdminEvent>,
}

/// A watcher that falls this far behind loses the oldest, and is told how many.
const BACKLOG: usize = 1024;
/// Happenings that are kept for who comes later; the oldest goes first.
const KEPT: usize = 256;

struct Stream {
    /// Held for a few words: nothing is formatted or waited for within it.
    kept: Mutex<Ring>,
    sender: broadcast::Sender<AdminEvent>,
    process: u64,
}

#[derive(Default)]
struct Ring {
    last: u64,
    events: VecDeque<AdminEvent>,
}

impl Position {
    /// Before everything.
    pub const BEGIN: Self = Self { process: 0, number: 0 };

    /// Reads one back.
    pub fn parse(text: &str) -> Option<Self> {
        let (process, number) = text.split_once('-')?;
        Some(Self { process: process.parse().ok()?, number: number.parse().ok()? })
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.process, self.number)
    }
}

impl Serialize for Position {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

fn stream() -> &'static Stream {
    static STREAM: OnceLock<Stream> = OnceLock::new();
    STREAM.get_or_init(|| Stream {
        kept: Mutex::default(),
        sender: broadcast::channel(BACKLOG).0,
        process: now_ms().max(1),
    })
}

/// Begins to watch, from now on.
pub fn watch() -> broadcast::Receiver<AdminEvent> {
    stream().sender.subscribe()
}

/// What happened after that, and what comes: without a gap or a double in between. `None`: only what comes.
pub fn since(position: Option<Position>) -> Kept {
    let stream = stream();
    let kept = stream.kept.lock().unwrap_or_else(PoisonError::into_inner);
    // Within the lock, so that nothing happens in between.
    let next = stream.sender.subscribe();
    let Some(position) = position else { return Kept { events: Vec::new(), missed: 0, next } };
    // What another process counted is over: all that this one has is new.
    let after = if position.process == stream.process { position.number } else { 0 };
    let (events, missed) = kept.after(after);
    let missed = if position == Position::BEGIN { 0 } else { missed };
    Kept { events, missed, next }
}

/// Tells the watchers, and keeps it for later ones.
pub(crate) fn publish(
    declared: &Declared,
    fields: impl FnOnce() -> serde_json::Map<String, serde_json::Value>,
) {
    // TRACE and DEBUG are for one request: too many to stream, and too many to take a lock for.
    if matches!(declared.level, "TRACE" | "DEBUG") {
        return;
    }
    let stream = stream();
    let mut event = AdminEvent {
        id: Position { process: stream.process, number: 0 },
        at_ms: now_ms(),
        event: declared.name,
        level: declared.level,
        mark: declared.mark,
        message: declared.message,
        fields: fields(),
    };
    let mut kept = stream.kept.lock().unwrap_or_else(PoisonError::into_inner);
    event.id.number = kept.last + 1;
    kept.push(event.clone());
    // An error only says that nobody watches.
    let _ = stream.sender.send(event);
}

impl Ring {
    fn push(&mut self, event: AdminEvent) {
        self.last += 1;
        self.events.push_back(event);
        if self.events.len() > KEPT {
            self.events.pop_front();
        }
    }

    /// Those after that number, and how many of them are gone.
    fn after(&self, number: u64) -> (Vec<AdminEvent>, u64) {
        let events: Vec<_> = self.events.iter().filter(|event| event.id.number > number).cloned().collect();
        let wanted = self.last.saturating_sub(number);
        let missed = wanted.saturating_sub(u64::try_from(events.len()).unwrap_or(u64::MAX));
        (events, missed)
    }
}

fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::happening::LogLinesDropped;

    #[test]
    fn what_is_kept_joins_what_comes_and_what_is_gone_is_counted() {
        let mut before = since(None).next;
        for lines in 0..=KEPT as u64 {
            LogLinesDropped { lines }.emit();
        }
        let first = before.try_recv().unwrap();
        let all = since(Some(Position::BEGIN));
        assert_eq!((all.events.len(), all.missed), (KEPT, 0));
        let rest = since(Some(Position { number: first.id.number - 1, ..first.id }));
        assert_eq!((rest.events.len(), rest.missed), (KEPT, 1), "the first is gone");
        let mut rest = since(Some(all.events.last().unwrap().id));
        assert_eq!((rest.events.len(), rest.missed), (0, 0));
        LogLinesDropped { lines: 7 }.emit();
        let next = rest.next.try_recv().unwrap();
        assert_eq!(next.id.number, all.events.last().unwrap().id.number + 1);
        assert_eq!(Position::parse(&next.id.to_string()), Some(next.id));
        let another = Position { process: 1, number: 1_000_000 };
        assert_eq!(since(Some(another)).events.len(), KEPT, "another process's numbers mean nothing");
        for wrong in ["", "1", "1-", "x-1", "1-2-3", "-1-1"] {
            assert_eq!(Position::parse(wrong), None, "{wrong}");
        }
    }
}
