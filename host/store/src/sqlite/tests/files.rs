//! The file: who may read it, who has it open, what is made of a damaged, a newer and an unreachable one.

use std::{fs, os::unix::fs::PermissionsExt as _};

use super::*;

/// A store that was closed in order, with one message.
async fn kept(folder: &Path) -> (NewMessage, Epoch) {
    let store = start(folder);
    let message = message("m1");
    assert_eq!(store.begin(message.clone()).await, Ok(Begun::New { seq: Seq(1) }));
    let epoch = store.epoch();
    store.close().await;
    (message, epoch)
}

fn edit(folder: &Path, sql: &str) {
    let db = rusqlite::Connection::open(Place::within(folder).file()).unwrap();
    db.execute_batch(sql).unwrap();
}

#[tokio::test]
async fn what_was_kept_is_there_after_a_restart_in_the_same_epoch() {
    let folder = tempfile::tempdir().unwrap();
    let (message, epoch) = kept(folder.path()).await;
    let store = start_again(folder.path()).await;
    let Ok(Begun::Duplicate { run, .. }) = store.begin(message.clone()).await else {
        panic!("not a duplicate")
    };
    assert_eq!((run, store.epoch(), store.damage()), (message.run, epoch, None));
}

#[tokio::test]
async fn what_is_asked_after_the_close_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let store = start(folder.path());
    store.close().await;
    assert!(store.begin(message("m1")).await.is_err());
    assert!(store.thread(&alice(), &ThreadId::random()).await.is_err());
}

#[tokio::test]
async fn nobody_else_may_read_the_files() {
    let folder = tempfile::tempdir().unwrap();
    let log = Place::within(folder.path());
    fs::create_dir(log.folder()).unwrap();
    fs::set_permissions(log.folder(), fs::Permissions::from_mode(0o755)).unwrap();
    let store = start(folder.path());
    store.begin(message("m1")).await.unwrap();
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(log.folder()), 0o700);
    for file in log.files() {
        assert_eq!(mode(&file), 0o600, "{}", file.display());
    }
}

#[tokio::test]
async fn two_hosts_cannot_have_it_open_and_the_second_takes_over_when_the_first_is_gone() {
    let folder = tempfile::tempdir().unwrap();
    let first = start(folder.path());
    first.begin(message("m1")).await.unwrap();
    let second = start(folder.path());
    let refused = second.begin(message("m2")).await.unwrap_err();
    assert_eq!(refused.code, Code::StoreUnavailable);
    assert!(refused.reason.contains("another host"), "{refused}");
    first.close().await;
    assert_eq!(second.check().await, Ok(()));
    assert!(matches!(second.begin(message("m2")).await, Ok(Begun::New { .. })));
    assert_eq!(second.epoch(), first.epoch());
}

#[tokio::test]
async fn a_damaged_file_is_set_aside_and_an_empty_one_serves_in_another_epoch() {
    let folder = tempfile::tempdir().unwrap();
    let (message, epoch) = kept(folder.path()).await;
    let file = Place::within(folder.path()).file();
    fs::write(&file, "this was a database once\n".repeat(1000)).unwrap();
    let store = start_again(folder.path()).await;
    assert_eq!(store.thread(&alice(), &message.thread).await, Ok(None));
    assert_eq!(store.begin(message).await, Ok(Begun::New { seq: Seq(1) }));
    assert_eq!(store.damage(), Some(Code::StoreCorrupt));
    assert_ne!(store.epoch(), epoch);
    let aside = fs::read_dir(file.parent().unwrap()).unwrap().filter_map(Result::ok);
    let aside: Vec<_> =
        aside.filter(|entry| entry.file_name().to_string_lossy().starts_with("damaged-")).collect();
    assert_eq!(aside.len(), 1, "kept for whoever wants to save something of it");
    assert!(aside[0].path().join("log.db").exists());
}

#[tokio::test]
async fn a_page_of_garbage_in_the_midst_of_the_file_is_found() {
    let folder = tempfile::tempdir().unwrap();
    kept(folder.path()).await;
    let file = Place::within(folder.path()).file();
    let mut bytes = fs::read(&file).unwrap();
    for page in bytes.chunks_mut(4096).skip(2) {
        page.fill(0xa5);
    }
    fs::write(&file, bytes).unwrap();
    let store = start_again(folder.path()).await;
    assert_eq!((store.check().await, store.damage()), (Ok(()), Some(Code::StoreCorrupt)));
}

#[tokio::test]
async fn a_newer_file_is_refused_untouched() {
    let folder = tempfile::tempdir().unwrap();
    let (message, epoch) = kept(folder.path()).await;
    edit(folder.path(), "INSERT INTO schema_version VALUES (999, 0, 'a newer host')");
    let store = start_again(folder.path()).await;
    let refused = store.begin(message.clone()).await.unwrap_err();
    assert_eq!(refused.code, Code::StoreNewerSchema);
    assert_eq!(store.read(&alice(), &message.thread, Seq::START, 9).await.unwrap_err().code, refused.code);

    edit(folder.path(), "DELETE FROM schema_version WHERE version = 999");
    assert_eq!(store.check().await, Ok(()), "it heals without a restart");
    assert!(matches!(store.begin(message).await, Ok(Begun::Duplicate { .. })));
    assert_eq!((store.epoch(), store.damage()), (epoch, None));
}

#[tokio::test]
async fn a_folder_that_cannot_be_made_heals_when_it_can() {
    let folder = tempfile::tempdir().unwrap();
    let log = Place::within(folder.path());
    fs::write(log.folder(), "in the way").unwrap();
    let store = start(folder.path());
    assert_eq!(store.begin(message("m1")).await.unwrap_err().code, Code::StoreUnavailable);
    fs::remove_file(log.folder()).unwrap();
    assert_eq!(store.check().await, Ok(()));
    assert!(matches!(store.begin(message("m1")).await, Ok(Begun::New { .. })));
}

#[tokio::test]
async fn another_epoch_begins_only_if_the_machine_ended_with_the_host() {
    let folder = tempfile::tempdir().unwrap();
    let (_, epoch) = kept(folder.path()).await;
    let another_boot = "INSERT OR REPLACE INTO meta VALUES ('boot', 'another')";
    edit(folder.path(), another_boot);
    let store = start_again(folder.path()).await;
    assert_eq!(store.epoch(), epoch, "closed in order: nothing is lost");
    drop(store);
    let store = start_again(folder.path()).await;
    assert_eq!(store.epoch(), epoch, "the host was killed, the machine went on");
    drop(store);
    // The writer's end is seen by the lock.
    drop(start_again(folder.path()).await);
    edit(folder.path(), another_boot);
    let store = start_again(folder.path()).await;
    assert_ne!(store.epoch(), epoch, "what had not reached the disk is lost");
}

#[tokio::test]
async fn expired_message_ids_leave_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let store = start(folder.path());
    for n in 0..300 {
        store.begin(message(&format!("old-{n}"))).await.unwrap();
    }
    let later = message("x").time + Duration::from_secs(25 * 3600);
    for n in 0..600 {
        store.begin(NewMessage { time: later, ..message(&format!("new-{n}")) }).await.unwrap();
    }
    store.close().await;
    let db = rusqlite::Connection::open(Place::within(folder.path()).file()).unwrap();
    let old: i64 =
        db.query_row("SELECT count(*) FROM keys WHERE id LIKE 'old-%'", [], |row| row.get(0)).unwrap();
    assert_eq!(old, 0);
}
