//! What every store must do, as one suite: each implementation runs it over its own.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use agent_host_core::{
    identity::Scope,
    ports::store::{Begun, LogEntry, NewEvent, NewMessage, Quota, Store},
};
use agent_plugin_protocol::{Code, EventKind, MessageId, RunId, Seq, ThreadId};
use bytes::Bytes;

/// Runs all of it, each fact on a fresh store.
///
/// # Panics
/// At the first fact that does not hold.
pub async fn run<S: Store>(make_store: impl Fn() -> S) {
    a_message_is_the_first_event_of_its_thread(&make_store()).await;
    seq_is_dense_over_begin_and_append(&make_store()).await;
    the_same_message_again_is_a_duplicate(&make_store()).await;
    where_there_is_no_room_only_a_repeat_is_known(&make_store()).await;
    the_same_id_with_another_body_is_a_conflict(&make_store()).await;
    a_key_is_kept_for_24_hours(&make_store()).await;
    ids_of_different_users_and_tenants_are_apart(&make_store()).await;
    a_foreign_thread_is_absent(&make_store()).await;
    a_refused_message_leaves_no_trace(&make_store()).await;
    reading_is_bounded_and_goes_on(&make_store()).await;
    state_is_kept_by_thread_and_plugin(&make_store()).await;
    appending_to_no_thread_is_an_error(&make_store()).await;
    concurrent_writers_leave_no_gap(Arc::new(make_store())).await;
    keeping::run(&make_store).await;
    questions::run(make_store).await;
}

async fn a_message_is_the_first_event_of_its_thread(store: &impl Store) {
    let message = first("alice", "m1");
    assert_eq!(begin(store, &message).await, Begun::New { seq: Seq(1) });
    let log = read(store, &message, Seq::START, 10).await;
    assert_eq!(log.len(), 1);
    let LogEntry { seq, thread, event } = &log[0];
    assert_eq!((*seq, thread, &event.run), (Seq(1), &message.thread, &message.run));
    assert_eq!((event.kind, &*event.agent), (EventKind::UserMessage, "user"));
    assert_eq!((event.time, &event.payload), (message.time, &message.payload));
    let head = head(store, &message).await.expect("its owner sees the thread");
    assert_eq!((head.last, head.created), (Seq(1), message.time));
}

async fn seq_is_dense_over_begin_and_append(store: &impl Store) {
    let message = first("alice", "m1");
    begin(store, &message).await;
    assert_eq!(append(store, &message, 3).await, Seq(2));
    let second = NewMessage { new_thread: false, run: RunId::random(), id: id("m2"), ..message.clone() };
    assert_eq!(begin(store, &second).await, Begun::New { seq: Seq(5) });
    assert_eq!(append(store, &second, 1).await, Seq(6));
    let seqs: Vec<u64> = read(store, &message, Seq::START, 100).await.iter().map(|e| e.seq.0).collect();
    assert_eq!(seqs, [1, 2, 3, 4, 5, 6]);
}

async fn the_same_message_again_is_a_duplicate(store: &impl Store) {
    let message = first("alice", "m1");
    begin(store, &message).await;
    append(store, &message, 2).await;
    // The host made another thread and run for it, not knowing.
    let again = NewMessage { thread: ThreadId::random(), run: RunId::random(), ..message.clone() };
    let Begun::Duplicate { thread, run, seq, open } = begin(store, &again).await else {
        panic!("not a duplicate")
    };
    assert_eq!((&thread, &run, seq, open), (&message.thread, &message.run, Seq(1), true));
    assert!(head(store, &again).await.is_none(), "a duplicate made a thread");
    assert_eq!(head(store, &message).await.map(|h| h.last), Some(Seq(3)));
}

async fn where_there_is_no_room_only_a_repeat_is_known(store: &impl Store) {
    let message = NewMessage { repeat_only: true, ..first("alice", "m1") };
    assert_eq!(begin(store, &message).await, Begun::NotKnown);
    assert!(head(store, &message).await.is_none(), "nothing happened");
    begin(store, &NewMessage { repeat_only: false, ..message.clone() }).await;
    assert!(matches!(begin(store, &message).await, Begun::Duplicate { .. }));
    assert_eq!(begin(store, &NewMessage { body_hash: [9; 32], ..message }).await, Begun::Conflict);
}

async fn the_same_id_with_another_body_is_a_conflict(store: &impl Store) {
    let message = first("alice", "m1");
    begin(store, &message).await;
    let other = NewMessage { body_hash: [9; 32], ..message.clone() };
    assert_eq!(begin(store, &other).await, Begun::Conflict);
    assert_eq!(head(store, &message).await.map(|h| h.last), Some(Seq(1)));
}

async fn a_key_is_kept_for_24_hours(store: &impl Store) {
    let day = Duration::from_secs(24 * 3600);
    let message = first("alice", "m1");
    begin(store, &message).await;
    let within = NewMessage { time: message.time + day - Duration::from_secs(1), ..message.clone() };
    assert!(matches!(begin(store, &within).await, Begun::Duplicate { .. }));
    let after = NewMessage {
        time: message.time + day + Duration::from_secs(1),
        thread: ThreadId::random(),
        run: RunId::random(),
        body_hash: [9; 32],
        ..message.clone()
    };
    assert_eq!(begin(store, &after).await, Begun::New { seq: Seq(1) });
    assert!(
        matches!(begin(store, &after).await, Begun::Duplicate { .. }),
        "the new use counts from its own time"
    );
    let before = NewMessage { time: after.time - Duration::from_secs(3600), ..after.clone() };
    assert!(
        matches!(begin(store, &before).await, Begun::Duplicate { .. }),
        "a clock that goes back forgets nothing"
    );
}

async fn ids_of_different_users_and_tenants_are_apart(store: &impl Store) {
    let scopes = [scope("t", "alice"), scope("t", "bob"), scope("u", "alice")];
    for scope in scopes {
        let message = NewMessage { scope, thread: ThreadId::random(), ..first("alice", "m1") };
        assert_eq!(begin(store, &message).await, Begun::New { seq: Seq(1) });
    }
}

async fn a_foreign_thread_is_absent(store: &impl Store) {
    let mine = first("alice", "m1");
    begin(store, &mine).await;
    for other in [scope("t", "bob"), scope("u", "alice")] {
        let theirs = NewMessage { scope: other.clone(), id: id("x"), ..mine.clone() };
        assert!(head(store, &theirs).await.is_none());
        let read = store.read(&other, &mine.thread, Seq::START, 10).await.expect("reads");
        assert!(read.is_none());
        for new_thread in [false, true] {
            let intruding = NewMessage { new_thread, ..theirs.clone() };
            assert_eq!(begin(store, &intruding).await, Begun::NoThread);
        }
    }
    assert_eq!(head(store, &mine).await.map(|h| h.last), Some(Seq(1)));
}

async fn a_refused_message_leaves_no_trace(store: &impl Store) {
    let lost = NewMessage { new_thread: false, ..first("alice", "m1") };
    assert_eq!(begin(store, &lost).await, Begun::NoThread);
    assert!(head(store, &lost).await.is_none());
    let found = NewMessage { new_thread: true, body_hash: [9; 32], ..lost };
    assert_eq!(begin(store, &found).await, Begun::New { seq: Seq(1) }, "the refusal used up the id");
}

async fn reading_is_bounded_and_goes_on(store: &impl Store) {
    let message = first("alice", "m1");
    begin(store, &message).await;
    append(store, &message, 9).await;
    let mut at = Seq::START;
    let mut seen = Vec::new();
    loop {
        let page = read(store, &message, at, 4).await;
        assert!(page.len() <= 4);
        assert!(page.first().is_none_or(|e| e.seq == at.next()), "a page begins after its position");
        let Some(last) = page.last() else { break };
        at = last.seq;
        seen.extend(page.iter().map(|e| e.seq.0));
    }
    assert_eq!(seen, (1..=10).collect::<Vec<_>>());
    for beyond in [10, 11, u64::from(u32::MAX), u64::MAX] {
        assert!(read(store, &message, Seq(beyond), 4).await.is_empty());
    }
    assert!(read(store, &message, Seq::START, 0).await.is_empty());
    assert_eq!(read(store, &message, Seq::START, usize::MAX).await.len(), 10);
}

async fn state_is_kept_by_thread_and_plugin(store: &impl Store) {
    let (one, two) = (first("alice", "m1"), first("alice", "m2"));
    begin(store, &one).await;
    begin(store, &two).await;
    let kept = Bytes::from_static(b"{\"n\":1}");
    store.set_state(&one.thread, "echo", Bytes::from_static(b"0")).await.expect("stores");
    store.set_state(&one.thread, "echo", kept.clone()).await.expect("stores again");
    assert_eq!(store.state(&one.thread, "echo").await, Ok(Some(kept)));
    assert_eq!(store.state(&one.thread, "other").await, Ok(None));
    assert_eq!(store.state(&two.thread, "echo").await, Ok(None));
    assert_eq!(head(store, &one).await.map(|h| h.last), Some(Seq(1)), "state is no event");
}

async fn appending_to_no_thread_is_an_error(store: &impl Store) {
    let nobody = first("alice", "m1");
    let refused =
        store.append(&nobody.thread, vec![event(&nobody.run)], Vec::new()).await.expect_err("no such thread");
    assert_eq!(refused.code, Code::ThreadNotFound);
    assert!(head(store, &nobody).await.is_none());
}

async fn concurrent_writers_leave_no_gap<S: Store>(store: Arc<S>) {
    const WRITERS: u64 = 8;
    let message = first("alice", "m1");
    begin(&*store, &message).await;
    let writers: Vec<_> = (0..WRITERS)
        .map(|_| {
            let (store, message) = (store.clone(), message.clone());
            tokio::spawn(async move {
                for _ in 0..10 {
                    append(&*store, &message, 3).await;
                    tokio::task::yield_now().await;
                }
            })
        })
        .collect();
    for writer in writers {
        writer.await.expect("a writer ends");
    }
    let seqs: Vec<u64> =
        read(&*store, &message, Seq::START, usize::MAX).await.iter().map(|e| e.seq.0).collect();
    assert_eq!(seqs, (1..=1 + WRITERS * 30).collect::<Vec<_>>());
}

fn scope(tenant: &str, user: &str) -> Scope {
    Scope { tenant: tenant.into(), user: user.into() }
}

fn id(text: &str) -> MessageId {
    MessageId::new(text).expect("a valid id")
}

/// A message that makes its own thread.
fn first(user: &str, message: &str) -> NewMessage {
    NewMessage {
        scope: scope("t", user),
        id: id(message),
        body_hash: [7; 32],
        thread: ThreadId::random(),
        new_thread: true,
        run: RunId::random(),
        payload: Bytes::from_static(b"{\"content\":\"hello\"}"),
        // Whole milliseconds: what every store can keep.
        time: SystemTime::UNIX_EPOCH + Duration::from_millis(1_800_000_000_123),
        repeat_only: false,
        quota: Quota::default(),
        answers: None,
    }
}

fn event(run: &RunId) -> NewEvent {
    event_of(run, EventKind::AgentThinking)
}

fn event_of(run: &RunId, kind: EventKind) -> NewEvent {
    NewEvent {
        run: run.clone(),
        kind,
        agent: "echo".into(),
        time: SystemTime::UNIX_EPOCH + Duration::from_millis(1_800_000_000_456),
        payload: Bytes::from_static(b"{\"text\":\"hm\"}"),
    }
}

async fn begin(store: &impl Store, message: &NewMessage) -> Begun {
    store.begin(message.clone()).await.expect("the store works")
}

async fn append(store: &impl Store, message: &NewMessage, count: usize) -> Seq {
    let events = (0..count).map(|_| event(&message.run)).collect();
    store.append(&message.thread, events, Vec::new()).await.expect("the store works").first
}

async fn read(store: &impl Store, message: &NewMessage, after: Seq, limit: usize) -> Vec<LogEntry> {
    let read = store.read(&message.scope, &message.thread, after, limit).await.expect("the store works");
    read.expect("its owner may read it")
}

async fn head(store: &impl Store, message: &NewMessage) -> Option<agent_host_core::ports::store::ThreadHead> {
    store.thread(&message.scope, &message.thread).await.expect("the store works")
}

mod keeping;
mod questions;

#[cfg(test)]
mod tests;
