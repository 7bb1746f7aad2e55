//! The journal: emptied when it is full, kept when it cannot be, and set aside with the file when it is damaged.

use super::*;

fn count(folder: &Path, table: &str) -> i64 {
    let db = rusqlite::Connection::open(Place::within(folder).file()).unwrap();
    db.query_row(&format!("SELECT count(*) FROM {table}"), [], |row| row.get(0)).unwrap()
}

/// The files as they are now, as a kill leaves them.
fn killed(folder: &Path) -> tempfile::TempDir {
    let copy = tempfile::tempdir().unwrap();
    let (from, to) = (Place::within(folder), Place::within(copy.path()));
    to.make_folder().unwrap();
    for (from, to) in from.files().iter().zip(to.files()).take(2) {
        std::fs::copy(from, to).unwrap();
    }
    copy
}

async fn seqs(store: &SqliteStore, of: &NewMessage) -> Vec<u64> {
    let read = store.read(&alice(), &of.thread, Seq::START, usize::MAX).await.unwrap().unwrap();
    read.into_iter().map(|entry| entry.seq.0).collect()
}

#[tokio::test]
async fn a_message_is_one_row_of_the_journal_until_the_tables_have_it() {
    let folder = tempfile::tempdir().unwrap();
    let store = start(folder.path());
    store.begin(message("m1")).await.unwrap();
    let found = ["journal", "events", "keys", "open_runs"].map(|table| count(folder.path(), table));
    assert_eq!(found, [1, 0, 0, 0]);
    settle(&store).await;
    let found = ["journal", "events", "keys", "open_runs"].map(|table| count(folder.path(), table));
    assert_eq!(found, [0, 1, 1, 1]);
}

#[tokio::test]
async fn a_full_journal_is_moved_into_the_tables_and_readers_see_no_difference() {
    let folder = tempfile::tempdir().unwrap();
    let store = start(folder.path());
    let messages = ["m1", "m2", "m3"].map(message);
    for one in &messages {
        store.begin(one.clone()).await.unwrap();
    }
    for _ in 0..30 {
        for one in &messages {
            let event = event(&one.run, EventKind::AgentThinking, "x".repeat(60_000));
            store.append(&one.thread, vec![event], Vec::new()).await.unwrap();
        }
    }
    // Whatever is asked next comes after the move.
    store.check().await.unwrap();
    assert!(count(folder.path(), "events") > 0 && count(folder.path(), "journal") < 90);
    for one in &messages {
        assert_eq!(seqs(&store, one).await, (1..=31).collect::<Vec<_>>());
    }
    let copy = killed(folder.path());
    let next = start_again(copy.path()).await;
    for one in &messages {
        assert_eq!(seqs(&next, one).await, (1..=31).collect::<Vec<_>>(), "after a kill");
        assert!(matches!(next.begin(one.clone()).await, Ok(Begun::Duplicate { open: true, .. })));
    }
    assert_eq!(count(copy.path(), "journal"), 0, "the start moves what a kill left");
}

#[tokio::test]
async fn a_damaged_journal_is_set_aside_with_its_file() {
    let folder = tempfile::tempdir().unwrap();
    let store = start(folder.path());
    store.begin(message("m1")).await.unwrap();
    let copy = killed(folder.path());
    let db = rusqlite::Connection::open(Place::within(copy.path()).file()).unwrap();
    db.execute("UPDATE journal SET body = x'0163'", []).unwrap();
    drop(db);
    let next = start_again(copy.path()).await;
    assert_eq!(next.damage(), Some(Code::StoreCorrupt));
    assert_eq!(next.begin(message("m1")).await, Ok(Begun::New { seq: Seq(1) }), "an empty log serves");
}

#[tokio::test]
async fn a_file_without_a_journal_gets_one_and_keeps_what_it_has() {
    let folder = tempfile::tempdir().unwrap();
    let store = start(folder.path());
    let message = message("m1");
    store.begin(message.clone()).await.unwrap();
    store.close().await;
    let db = rusqlite::Connection::open(Place::within(folder.path()).file()).unwrap();
    db.execute_batch(
        "DROP TABLE journal; DROP TABLE questions; DELETE FROM schema_version WHERE version > 1",
    )
    .unwrap();
    drop(db);
    let archive = Archive::open(&Place::within(folder.path())).unwrap();
    assert_eq!(archive.threads(None, 10).unwrap().len(), 1, "the tools read it as it is");
    drop(archive);
    let store = start_again(folder.path()).await;
    assert!(matches!(store.begin(message).await, Ok(Begun::Duplicate { .. })));
    assert_eq!(store.damage(), None);
}
