//! How events that were appended together are written into one row, and read back.
//!
//! ```text
//! version (1 byte), then for each event:
//!   kind (1)  flags (1)  time ms (8)  [run length (1) run]  [agent length (1) agent]  payload length (4)  payload
//! ```
//! A run or an agent that is the one of the event before is left out; the flags say so. Numbers are little-endian.

use std::sync::Arc;

use agent_host_core::ports::store::NewEvent;
use agent_plugin_protocol::{EventKind, RunId};
use bytes::Bytes;

use super::position;

const VERSION: u8 = 1;
const SAME_RUN: u8 = 1;
const SAME_AGENT: u8 = 2;

/// The bytes of a row are not what this host writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a row of the log cannot be read")]
pub(super) struct Unreadable;

/// Writes events into `into`, which is emptied first.
pub(super) fn write<'a>(events: impl IntoIterator<Item = &'a NewEvent>, into: &mut Vec<u8>) {
    into.clear();
    into.push(VERSION);
    let mut before: Option<&NewEvent> = None;
    for event in events {
        let same_run = before.is_some_and(|before| before.run == event.run);
        let same_agent = before.is_some_and(|before| before.agent == event.agent);
        into.push(number(event.kind));
        into.push(if same_run { SAME_RUN } else { 0 } | if same_agent { SAME_AGENT } else { 0 });
        into.extend(position::millis(event.time).to_le_bytes());
        if !same_run {
            short(event.run.as_str(), into);
        }
        if !same_agent {
            short(&event.agent, into);
        }
        // A payload has a bound far below 4 GiB.
        into.extend(u32::try_from(event.payload.len()).unwrap_or(u32::MAX).to_le_bytes());
        into.extend_from_slice(&event.payload);
        before = Some(event);
    }
}

/// Reads the events of a row. Their payloads share one buffer.
pub(super) fn read(row: &[u8]) -> Result<Vec<NewEvent>, Unreadable> {
    let all = Bytes::copy_from_slice(row);
    let mut rest = row;
    if take::<1>(&mut rest)? != [VERSION] {
        return Err(Unreadable);
    }
    let mut events: Vec<NewEvent> = Vec::new();
    while !rest.is_empty() {
        let [kind, flags] = take::<2>(&mut rest)?;
        let time = position::time(i64::from_le_bytes(take::<8>(&mut rest)?));
        let before = events.last();
        let run = match before {
            Some(before) if flags & SAME_RUN != 0 => before.run.clone(),
            _ => RunId::new(text(&mut rest)?).map_err(|_| Unreadable)?,
        };
        let agent = match before {
            Some(before) if flags & SAME_AGENT != 0 => Arc::clone(&before.agent),
            _ => text(&mut rest)?.into(),
        };
        let length = u32::from_le_bytes(take::<4>(&mut rest)?) as usize;
        let payload = all.slice_ref(rest_of(&all, rest).get(..length).ok_or(Unreadable)?);
        rest = &rest[length..];
        events.push(NewEvent { run, kind: kind_of(kind)?, agent, time, payload });
    }
    Ok(events)
}

/// The end of `all` that is as long as `rest`, which is its copy's end.
fn rest_of<'a>(all: &'a Bytes, rest: &[u8]) -> &'a [u8] {
    &all[all.len() - rest.len()..]
}

pub(super) fn take<const N: usize>(rest: &mut &[u8]) -> Result<[u8; N], Unreadable> {
    let (taken, left) = rest.split_first_chunk::<N>().ok_or(Unreadable)?;
    *rest = left;
    Ok(*taken)
}

/// Ids and names are at most 128 bytes; a longer one, which there cannot be, is cut.
pub(super) fn short(text: &str, into: &mut Vec<u8>) {
    let length = text.floor_char_boundary(usize::from(u8::MAX));
    into.push(u8::try_from(length).unwrap_or(u8::MAX));
    into.extend_from_slice(&text.as_bytes()[..length]);
}

pub(super) fn text<'a>(rest: &mut &'a [u8]) -> Result<&'a str, Unreadable> {
    let [length] = take::<1>(rest)?;
    let (text, left) = rest.split_at_checked(usize::from(length)).ok_or(Unreadable)?;
    *rest = left;
    std::str::from_utf8(text).map_err(|_| Unreadable)
}

/// On disk for ever: never renumbered.
fn number(kind: EventKind) -> u8 {
    match kind {
        EventKind::UserMessage => 1,
        EventKind::AgentStarted => 2,
        EventKind::AgentThinking => 3,
        EventKind::ToolExecuting => 4,
        EventKind::ToolCompleted => 5,
        EventKind::AgentMessageDelta => 6,
        EventKind::AgentDelegated => 7,
        EventKind::AgentReturned => 8,
        EventKind::RunDegraded => 9,
        EventKind::AgentCompleted => 10,
    }
}

fn kind_of(written: u8) -> Result<EventKind, Unreadable> {
    EventKind::ALL.iter().copied().find(|kind| number(*kind) == written).ok_or(Unreadable)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn event() -> impl Strategy<Value = NewEvent> {
        let kind = proptest::sample::select(EventKind::ALL);
        let payload = proptest::collection::vec(any::<u8>(), 0..80);
        (kind, "[ab]{1,2}", "[xy]", 0..4_000_000_000_000_i64, payload).prop_map(
            |(kind, run, agent, time, payload)| NewEvent {
                run: RunId::new(&run).unwrap(),
                kind,
                agent: agent.as_str().into(),
                time: position::time(time),
                payload: payload.into(),
            },
        )
    }

    fn same(a: &[NewEvent], b: &[NewEvent]) -> bool {
        let told = |e: &NewEvent| (e.run.clone(), e.kind, e.agent.clone(), e.time, e.payload.clone());
        a.iter().map(told).eq(b.iter().map(told))
    }

    proptest! {
        #[test]
        fn what_was_written_is_read(events in proptest::collection::vec(event(), 0..6)) {
            let mut row = Vec::new();
            write(&events, &mut row);
            prop_assert!(same(&read(&row).unwrap(), &events));
        }

        #[test]
        fn damaged_bytes_are_an_error_or_other_events_and_never_a_panic(
            events in proptest::collection::vec(event(), 1..4), at in any::<prop::sample::Index>(), byte: u8, cut: bool,
        ) {
            let mut row = Vec::new();
            write(&events, &mut row);
            let at = at.index(row.len());
            if cut { row.truncate(at) } else { row[at] = byte }
            let _ = read(&row);
        }
    }

    #[test]
    fn a_row_of_another_version_is_refused() {
        assert!(matches!(read(&[2]), Err(Unreadable)));
        assert!(matches!(read(&[]), Err(Unreadable)));
    }
}
