//! What is kept, counted, listed and deleted.

use std::sync::Arc;

use agent_host_core::ports::store::{Deletion, EVENT_COST, Tenants, ThreadSummary, Unfinished, Usage};

use super::*;

pub(super) async fn run<S: Store>(make_store: impl Fn() -> S) {
    a_run_is_unfinished_until_it_is_completed(&make_store()).await;
    a_user_s_threads_are_listed_newest_first(&make_store()).await;
    what_a_user_stores_is_counted(&make_store()).await;
    a_quota_refuses_what_is_new_and_nothing_else(&make_store()).await;
    a_deleted_thread_is_gone_with_its_message_ids(&make_store()).await;
    users_and_tenants_are_deleted_as_a_whole(&make_store()).await;
    what_is_unused_is_deleted_oldest_first(&make_store()).await;
    what_is_unused_is_deleted_by_tenant(&make_store()).await;
}

async fn unfinished(store: &impl Store) -> Vec<Unfinished> {
    store.unfinished().await.expect("the store works")
}

async fn complete(store: &impl Store, message: &NewMessage, time: SystemTime) {
    let end = NewEvent { time, ..event_of(&message.run, EventKind::AgentCompleted) };
    store.append(&message.thread, vec![event(&message.run), end], Vec::new()).await.expect("the store works");
}

async fn threads(
    store: &impl Store,
    scope: &Scope,
    before: Option<&ThreadId>,
    limit: usize,
) -> Vec<ThreadSummary> {
    store.threads(scope, before, limit).await.expect("the store works")
}

async fn delete(store: &impl Store, which: Deletion) -> usize {
    store.delete(which).await.expect("the store works")
}

async fn a_run_is_unfinished_until_it_is_completed(store: &impl Store) {
    assert_eq!(unfinished(store).await, []);
    let one = first("alice", "m1");
    begin(store, &one).await;
    append(store, &one, 2).await;
    let two = NewMessage { new_thread: false, run: RunId::random(), id: id("m2"), ..one.clone() };
    begin(store, &two).await;
    let open = |message: &NewMessage, seq| Unfinished {
        scope: message.scope.clone(),
        thread: message.thread.clone(),
        run: message.run.clone(),
        seq: Seq(seq),
    };
    assert_eq!(unfinished(store).await, [open(&one, 1), open(&two, 4)]);
    complete(store, &one, one.time).await;
    assert_eq!(unfinished(store).await, [open(&two, 4)]);
    let Begun::Duplicate { open, .. } = begin(store, &one).await else { panic!("not a duplicate") };
    assert!(!open, "its run is over");
    complete(store, &two, two.time).await;
    assert_eq!(unfinished(store).await, []);
}

async fn a_user_s_threads_are_listed_newest_first(store: &impl Store) {
    let mut made = Vec::new();
    for n in 0..5 {
        let message = first("alice", &format!("m{n}"));
        begin(store, &message).await;
        made.push(message.thread);
    }
    begin(store, &first("bob", "m")).await;
    let last =
        NewMessage { thread: made[0].clone(), new_thread: false, id: id("again"), ..first("alice", "x") };
    begin(store, &NewMessage { time: last.time + Duration::from_secs(5), ..last.clone() }).await;
    made.reverse();

    let alice = scope("t", "alice");
    let all = threads(store, &alice, None, 10).await;
    assert_eq!(all.iter().map(|one| one.thread.clone()).collect::<Vec<_>>(), made);
    assert_eq!((all[0].last, all[4].last), (Seq(1), Seq(2)));
    assert_eq!((all[4].created, all[4].used), (last.time, last.time + Duration::from_secs(5)));
    assert_eq!(threads(store, &alice, None, 2).await, all[..2]);
    assert_eq!(threads(store, &alice, Some(&made[1]), 2).await, all[2..4]);
    assert_eq!(threads(store, &alice, Some(&made[4]), 2).await, []);
    assert_eq!(threads(store, &scope("t", "nobody"), None, 10).await, []);
}

async fn what_a_user_stores_is_counted(store: &impl Store) {
    let alice = scope("t", "alice");
    let usage = async || store.usage(&alice).await.expect("the store works");
    assert_eq!(usage().await, Usage::default());
    let message = first("alice", "m1");
    begin(store, &message).await;
    append(store, &message, 2).await;
    let bytes = 3 * EVENT_COST + (message.payload.len() + 2 * event(&message.run).payload.len()) as u64;
    assert_eq!(usage().await, Usage { threads: 1, bytes });
    begin(store, &message).await;
    begin(store, &first("bob", "m1")).await;
    assert_eq!(usage().await, Usage { threads: 1, bytes }, "a repeat and another user add nothing");
}

async fn a_quota_refuses_what_is_new_and_nothing_else(store: &impl Store) {
    let quota = Quota { threads: 1, bytes: 1000 };
    let message = NewMessage { quota, ..first("alice", "m1") };
    begin(store, &message).await;
    let another = NewMessage { quota, ..first("alice", "m2") };
    assert_eq!(begin(store, &another).await, Begun::TooManyThreads);
    assert!(head(store, &another).await.is_none());
    let same = NewMessage { thread: message.thread.clone(), new_thread: false, ..another.clone() };
    assert!(matches!(begin(store, &same).await, Begun::New { .. }), "a known thread is no new one");

    append(store, &message, 20).await;
    let more = NewMessage { id: id("m3"), ..same.clone() };
    assert_eq!(begin(store, &more).await, Begun::TooMuchStored);
    append(store, &message, 1).await;
    assert!(matches!(begin(store, &message).await, Begun::Duplicate { .. }), "a repeat needs no room");
    let other = NewMessage { quota, ..first("bob", "m1") };
    assert_eq!(begin(store, &other).await, Begun::New { seq: Seq(1) }, "each user has their own");
    assert_eq!(delete(store, Deletion::User(message.scope.clone())).await, 1);
    assert!(matches!(begin(store, &another).await, Begun::New { .. }), "what was deleted is room again");
}

async fn a_deleted_thread_is_gone_with_its_message_ids(store: &impl Store) {
    let (mine, kept) = (first("alice", "m1"), first("alice", "m2"));
    for message in [&mine, &kept] {
        begin(store, message).await;
        append(store, message, 3).await;
        store.set_state(&message.thread, "echo", Bytes::from_static(b"1")).await.expect("stores");
    }
    assert_eq!(delete(store, Deletion::Thread(scope("t", "bob"), mine.thread.clone())).await, 0);
    assert_eq!(delete(store, Deletion::Thread(mine.scope.clone(), mine.thread.clone())).await, 1);
    assert_eq!(delete(store, Deletion::Thread(mine.scope.clone(), mine.thread.clone())).await, 0);
    assert!(head(store, &mine).await.is_none());
    assert_eq!(
        store.append(&mine.thread, vec![event(&mine.run)], Vec::new()).await.map_err(|e| e.code),
        Err(Code::ThreadNotFound)
    );
    assert_eq!(unfinished(store).await.len(), 1, "its open run went with it");
    let again = NewMessage { run: RunId::random(), ..mine.clone() };
    assert_eq!(
        begin(store, &again).await,
        Begun::New { seq: Seq(1) },
        "its ids are free, its positions begin anew"
    );
    assert_eq!(store.state(&again.thread, "echo").await, Ok(None));
    assert_eq!(head(store, &kept).await.map(|h| h.last), Some(Seq(4)), "the other is untouched");
    assert_eq!(store.state(&kept.thread, "echo").await, Ok(Some(Bytes::from_static(b"1"))));
}

async fn users_and_tenants_are_deleted_as_a_whole(store: &impl Store) {
    let of = |tenant, user, message: &str| NewMessage { scope: scope(tenant, user), ..first("x", message) };
    let all = [of("t", "alice", "a"), of("t", "alice", "b"), of("t", "bob", "c"), of("u", "alice", "d")];
    for message in &all {
        begin(store, message).await;
    }
    assert_eq!(delete(store, Deletion::User(scope("t", "alice"))).await, 2);
    assert_eq!(delete(store, Deletion::Tenant("t".into())).await, 1);
    assert_eq!(delete(store, Deletion::Tenant("t".into())).await, 0);
    for message in &all[..3] {
        assert!(head(store, message).await.is_none());
    }
    assert!(head(store, &all[3]).await.is_some(), "another tenant's user of the same name");
    assert_eq!(begin(store, &all[0]).await, Begun::New { seq: Seq(1) });
}

async fn what_is_unused_is_deleted_oldest_first(store: &impl Store) {
    let at = |hours: u64| SystemTime::UNIX_EPOCH + Duration::from_secs(3600 * hours);
    let mut all = Vec::new();
    for hour in [3, 1, 2] {
        let message = NewMessage { time: at(hour), ..first("alice", &format!("m{hour}")) };
        begin(store, &message).await;
        complete(store, &message, at(hour)).await;
        all.push(message);
    }
    let running = NewMessage { time: at(1), ..first("alice", "running") };
    begin(store, &running).await;
    complete(store, &all[0], at(9)).await;

    let others = Tenants::Except([Arc::from("elsewhere")].into());
    let unused = |limit| Deletion::Unused { of: others.clone(), since: at(5), limit };
    assert_eq!(delete(store, unused(1)).await, 1);
    assert!(head(store, &all[1]).await.is_none(), "the longest unused goes first");
    assert_eq!(delete(store, unused(10)).await, 1);
    assert_eq!(delete(store, unused(10)).await, 0);
    assert!(head(store, &all[0]).await.is_some(), "it was used since");
    assert!(head(store, &running).await.is_some(), "it has an open run");
}

async fn what_is_unused_is_deleted_by_tenant(store: &impl Store) {
    let at = |hours: u64| SystemTime::UNIX_EPOCH + Duration::from_secs(3600 * hours);
    let mut all = Vec::new();
    for tenant in ["a", "it's \"b\"", "c"] {
        let message = NewMessage { scope: scope(tenant, "ann"), time: at(1), ..first("x", "m") };
        begin(store, &message).await;
        complete(store, &message, at(1)).await;
        all.push(message);
    }
    let unused = |of| Deletion::Unused { of, since: at(5), limit: 10 };
    assert_eq!(delete(store, unused(Tenants::Only("nobody".into()))).await, 0);
    assert_eq!(delete(store, unused(Tenants::Only("it's \"b\"".into()))).await, 1);
    assert!(head(store, &all[1]).await.is_none());
    assert_eq!(delete(store, unused(Tenants::Except([Arc::from("a")].into()))).await, 1);
    assert!(head(store, &all[0]).await.is_some(), "its tenant keeps it");
    assert_eq!(delete(store, unused(Tenants::Except([].into()))).await, 1, "nobody is excepted");
}
