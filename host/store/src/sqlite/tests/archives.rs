//! Backups, restoring, and checks that find what is wrong.

use super::*;

fn archive(folder: &Path) -> Archive {
    Archive::open(&Place::within(folder)).unwrap()
}

#[tokio::test]
async fn a_backup_beside_a_writing_host_is_whole_and_of_another_epoch() {
    let (folder, copies) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let store = start(folder.path());
    let first = message("m0");
    store.begin(first.clone()).await.unwrap();
    let writing = async {
        for n in 1..200 {
            store.begin(message(&format!("m{n}"))).await.unwrap();
        }
    };
    let (from, to) = (folder.path().to_owned(), copies.path().join("copy.db"));
    let copy = to.clone();
    let backup = tokio::task::spawn_blocking(move || archive(&from).backup(&copy));
    let ((), backed_up) = tokio::join!(writing, backup);
    backed_up.unwrap().unwrap();
    let epoch = store.epoch();
    store.close().await;

    let restored = Place::within(&copies.path().join("restored"));
    assert_eq!(restore(&restored, &to), Ok(None));
    assert_eq!(Archive::open(&restored).unwrap().check(), Ok(Vec::new()));
    let store = SqliteStore::start(restored, Duration::from_secs(60));
    assert!(matches!(store.begin(first).await, Ok(Begun::Duplicate { .. })));
    assert_ne!(store.epoch(), epoch);
    assert_eq!(store.damage(), None);
}

#[tokio::test]
async fn a_restore_sets_aside_what_was_there_and_changes_nothing_under_a_host() {
    let folder = tempfile::tempdir().unwrap();
    let copy = folder.path().join("copy.db");
    let store = start(folder.path());
    let (before, after) = (message("before"), message("after"));
    store.begin(before.clone()).await.unwrap();
    archive(folder.path()).backup(&copy).unwrap();
    assert!(archive(folder.path()).backup(&copy).is_err(), "a backup is not written over");
    store.begin(after.clone()).await.unwrap();
    let place = Place::within(folder.path());
    assert!(restore(&place, &copy).unwrap_err().reason.contains("another host"));
    store.close().await;

    let aside = restore(&place, &copy).unwrap().unwrap();
    assert!(aside.join("log.db").exists());
    let store = start_again(folder.path()).await;
    assert!(matches!(store.begin(before).await, Ok(Begun::Duplicate { .. })));
    assert!(matches!(store.begin(after).await, Ok(Begun::New { .. })), "it is of before that");
}

#[tokio::test]
async fn what_is_no_backup_is_not_restored() {
    let folder = tempfile::tempdir().unwrap();
    let store = start(folder.path());
    let kept = message("kept");
    store.begin(kept.clone()).await.unwrap();
    store.close().await;
    let place = Place::within(folder.path());
    let bad = folder.path().join("bad.db");
    assert!(restore(&place, &bad).is_err(), "not there");
    std::fs::write(&bad, "no database").unwrap();
    assert!(restore(&place, &bad).is_err());
    rusqlite::Connection::open(folder.path().join("other.db"))
        .unwrap()
        .execute_batch("CREATE TABLE t (x)")
        .unwrap();
    assert_eq!(restore(&place, &folder.path().join("other.db")).map_err(|e| e.code), Err(Code::StoreCorrupt));
    let store = start_again(folder.path()).await;
    assert!(matches!(store.begin(kept).await, Ok(Begun::Duplicate { .. })));
}

#[tokio::test]
async fn a_check_finds_a_hole_and_an_unreadable_row() {
    let folder = tempfile::tempdir().unwrap();
    let store = start(folder.path());
    let mine = message("m1");
    store.begin(mine.clone()).await.unwrap();
    settle(&store).await;
    for _ in 0..3 {
        let event = event(&mine.run, EventKind::AgentThinking, "{}".to_owned());
        store.append(&mine.thread, vec![event.clone(), event], Vec::new()).await.unwrap();
        // A row for each.
        settle(&store).await;
    }
    store.close().await;
    assert_eq!(archive(folder.path()).check(), Ok(Vec::new()));
    let db = rusqlite::Connection::open(Place::within(folder.path()).file()).unwrap();
    db.execute("DELETE FROM events WHERE position & 7 = 4", []).unwrap();
    db.execute("UPDATE events SET body = x'00' WHERE position & 7 = 6", []).unwrap();
    drop(db);
    let found = archive(folder.path()).check().unwrap();
    assert_eq!(found, ["thread 1: event 4 is missing", "thread 1: event 6 cannot be read"]);
}

#[tokio::test]
async fn threads_are_found_for_whoever_operates_the_host() {
    let folder = tempfile::tempdir().unwrap();
    let store = start(folder.path());
    let bob = Scope { tenant: "u".into(), user: "bob".into() };
    let (mine, theirs) = (message("m1"), NewMessage { scope: bob.clone(), ..message("m1") });
    store.begin(mine.clone()).await.unwrap();
    store.begin(theirs.clone()).await.unwrap();
    store
        .append(&mine.thread, vec![event(&mine.run, EventKind::AgentCompleted, "{}".to_owned())], Vec::new())
        .await
        .unwrap();
    let archive = archive(folder.path());
    assert_eq!(archive.threads(None, 10).unwrap().len(), 2);
    let found = archive.threads(Some(&bob), 10).unwrap();
    assert_eq!((found.len(), &found[0].summary.thread, found[0].open), (1, &theirs.thread, true));
    let one = archive.thread(&mine.thread).unwrap().unwrap();
    assert_eq!((&one.scope, one.summary.last, one.open), (&alice(), Seq(2), false));
    assert_eq!(archive.events(&one, Seq(1), 10).unwrap().len(), 1);
    assert!(archive.thread(&ThreadId::random()).unwrap().is_none());
}
