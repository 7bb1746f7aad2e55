//! Faults 11 and 12 against the host as it is shipped, on a disk that fails, hangs, fills up and loses its power. What is
//! acknowledged is on the platter; what is not is refused, in words that can be acted on; and all heals by itself.

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use serde_json::{Value, json};

use crate::{
    client::Client,
    harness::{Host, Setup, disk::Disk, eventually, host::cli_beside},
    scenario::ready,
};

fn quick() -> Setup {
    Setup::echo().set("limits.messages_per_minute", "0").set("limits.runs_at_once", "0")
}

/// What was said of a message: its acceptance, or its refusal.
async fn answer(client: &mut Client, id: &str) -> Result<Value, String> {
    loop {
        let frame = client.next().await?;
        let said = matches!(frame["type"].as_str(), Some("accepted" | "error"));
        if said && frame["id"] == id {
            return Ok(frame);
        }
    }
}

async fn ask(client: &mut Client, id: &str) -> Result<Value, String> {
    client.send(&json!({ "type": "user_message", "id": id, "content": format!("content of {id}") })).await?;
    answer(client, id).await
}

fn is_accepted(answer: &Value) -> bool {
    answer["type"] == "accepted"
}

/// A refusal has to say that it is worth another try, and when.
fn refusal(answer: &Value, codes: &[&str]) -> Result<(), String> {
    let known = codes.iter().any(|code| answer["code"] == *code);
    let again = answer["retryable"] == true && answer["retry_after_ms"].as_u64().is_some_and(|ms| ms > 0);
    if known && again { Ok(()) } else { Err(format!("refused otherwise than with {codes:?}: {answer}")) }
}

async fn level(host: &Host) -> Result<String, String> {
    let client = Client::connect(host, "looker").await?;
    Ok(client.welcome["service"]["level"].as_str().unwrap_or_default().to_owned())
}

async fn until_level(host: &Host, wanted: &str) -> Result<(), String> {
    eventually(&format!("the level is {wanted}"), async || match level(host).await? {
        level if level == wanted => Ok(()),
        other => Err(other),
    })
    .await
}

/// The message is in its thread, once, and its run has one start and one end.
async fn is_whole(host: &Host, user: &str, accepted: &Value) -> Result<(), String> {
    let mut client = Client::connect(host, user).await?;
    let subscribe = json!({ "type": "subscribe", "thread_id": accepted["thread_id"], "after_seq": 0 });
    client.send(&subscribe).await?;
    let lost = |what: String| format!("lost: {} of {user}: {what}", accepted["id"]);
    let first = client.next().await?;
    if first["type"] != "subscribed" {
        return Err(lost(first.to_string()));
    }
    let (mut asked, mut started) = (0, 0);
    loop {
        let event = client.next().await.map_err(|end| lost(format!("{end:?}")))?;
        let own = event["run_id"] == accepted["run_id"];
        match event["type"].as_str() {
            Some("user_message") if own => asked += 1,
            Some("agent_started") if own => started += 1,
            Some("agent_completed") if own => break,
            _ => {}
        }
    }
    if (asked, started) == (1, 1) { Ok(()) } else { Err(lost(format!("{asked} messages, {started} starts"))) }
}

/// Every message that is acknowledged when the power fails is there when it is back.
async fn acknowledged_outlives_the_power(setup: Setup, faults: &str) -> Result<(), String> {
    let disk = Disk::new();
    let setup = disk.under(setup);
    let mut host = setup.start();
    ready(&host).await?;
    disk.fault(faults);
    let mut kept = Vec::new();
    for n in 0..20 {
        let user = format!("user-{}", n % 4);
        let mut client = Client::connect(&host, &user).await?;
        let accepted = ask(&mut client, &format!("m-{n}")).await?;
        if !is_accepted(&accepted) {
            return Err(format!("a sound disk is refused: {accepted}"));
        }
        kept.push((user, accepted));
    }
    // At once: the runs of the last ones are under way.
    disk.lose_power(&mut host, &setup);
    ready(&host).await?;
    for (user, accepted) in &kept {
        is_whole(&host, user, accepted).await?;
    }
    checked(&host, &setup)
}

/// The integrity of the file, by the host's own command.
fn checked(host: &Host, setup: &Setup) -> Result<(), String> {
    let output = cli_beside(host, &["db", "check"], setup);
    if output.status.success() { Ok(()) } else { Err(String::from_utf8_lossy(&output.stdout).into_owned()) }
}

#[tokio::test]
async fn what_is_acknowledged_outlives_a_loss_of_power() {
    acknowledged_outlives_the_power(quick(), "").await.unwrap();
}

/// The twin: commits that do not wait for the disk. `kill -9` alone would not tell the difference.
#[tokio::test]
async fn without_syncs_a_loss_of_power_is_seen() {
    let broken = acknowledged_outlives_the_power(quick().failpoints("store.sync=off"), "").await;
    assert!(broken.as_ref().is_err_and(|why| why.contains("lost")), "{broken:?}");
}

/// What no program can help, and the proof that the platter tells the truth: a disk that says it has, and has not.
#[tokio::test]
async fn a_disk_that_lies_is_seen() {
    let broken = acknowledged_outlives_the_power(quick(), "sync=lie").await;
    assert!(broken.as_ref().is_err_and(|why| why.contains("lost")), "{broken:?}");
}

/// A fault comes and goes: nothing is accepted meanwhile, the sockets stay, all heals by itself, and after a loss of
/// power what was accepted is there, and nothing twice.
async fn a_fault_comes_and_goes(faults: &str, codes: &[&str]) -> Result<(), String> {
    let disk = Disk::new();
    // One that hangs is to be given up before its clients are.
    let patience = if faults.contains("hang") { "\"3s\"" } else { "\"20s\"" };
    let setup = disk.under(quick().set("store.patience", patience));
    let mut host = setup.start();
    ready(&host).await?;
    let mut client = Client::connect(&host, "alice").await?;
    let before = ask(&mut client, "before").await?;
    client.until("agent_completed").await?;

    disk.fault(faults);
    for id in ["m-1", "m-2"] {
        refusal(&ask(&mut client, id).await?, codes)?;
    }
    until_level(&host, "basic").await?;
    client.send(&json!({ "type": "ping" })).await?;
    client.until("pong").await?;
    if !host.is_running() {
        return Err("the host has ended".to_owned());
    }

    disk.heal();
    let healed = Instant::now();
    until_level(&host, "full").await?;
    println!("{faults}: well again {:?} after the fault", healed.elapsed());
    let mut kept = vec![before];
    for id in ["m-1", "m-2"] {
        let accepted = ask(&mut client, id).await?;
        // A commit that was under way when its sender was refused may have come about.
        if !is_accepted(&accepted) || (accepted["duplicate"] == true && !faults.contains("hang")) {
            return Err(format!("not taken afterwards, or kept before: {accepted}"));
        }
        kept.push(accepted);
    }
    disk.lose_power(&mut host, &setup);
    ready(&host).await?;
    for accepted in &kept {
        is_whole(&host, "alice", accepted).await?;
    }
    checked(&host, &setup)
}

#[tokio::test]
async fn a_disk_that_cannot_sync_refuses_and_heals() {
    a_fault_comes_and_goes("sync=EIO", &["store.unavailable"]).await.unwrap();
}

#[tokio::test]
async fn a_disk_that_cannot_write_refuses_and_heals() {
    a_fault_comes_and_goes("write=EIO", &["store.unavailable"]).await.unwrap();
}

#[tokio::test]
async fn a_disk_without_room_refuses_and_heals() {
    a_fault_comes_and_goes("write=ENOSPC", &["store.full", "store.unavailable"]).await.unwrap();
}

#[tokio::test]
async fn a_disk_that_became_read_only_refuses_and_heals() {
    a_fault_comes_and_goes("write=EROFS", &["store.unavailable"]).await.unwrap();
}

#[tokio::test]
async fn a_sync_that_hangs_refuses_and_heals() {
    a_fault_comes_and_goes("sync=hang", &["store.unavailable"]).await.unwrap();
}

/// The twin of all these: a host that acknowledges before the disk has answered accepts on a broken disk.
#[tokio::test]
async fn an_acknowledgement_before_the_commit_is_seen() {
    let disk = Disk::new();
    let host = disk.under(quick().failpoints("store.commit=off")).start();
    ready(&host).await.unwrap();
    let mut client = Client::connect(&host, "alice").await.unwrap();
    disk.fault("sync=EIO");
    let answer = ask(&mut client, "m-1").await.unwrap();
    assert!(refusal(&answer, &["store.unavailable"]).is_err(), "{answer}");
}

/// The store is gone for so long, while people go on asking: their sockets stay, each message is refused with a time, and
/// sent again afterwards it is taken, once.
async fn gone_for(time: Duration) -> Result<(), String> {
    const PEOPLE: usize = 8;
    let disk = Disk::new();
    let setup = disk.under(quick());
    let mut host = setup.start();
    ready(&host).await?;
    let mut people = Vec::new();
    for n in 0..PEOPLE {
        people.push(Client::connect(&host, &format!("user-{n}")).await?);
    }
    disk.fault("write=EIO\nsync=EIO");
    let began = Instant::now();
    let mut asked = 0;
    while asked < 2 || began.elapsed() < time {
        for (n, client) in people.iter_mut().enumerate() {
            refusal(&ask(client, &format!("m-{n}-{asked}")).await?, &["store.unavailable"])?;
        }
        asked += 1;
        if asked == 1 {
            // It changes a moment after the first refusals.
            until_level(&host, "basic").await?;
        } else if level(&host).await? == "full" {
            return Err("the level is full without a store".to_owned());
        }
    }
    println!("{} messages refused in {:?}", asked * PEOPLE, began.elapsed());
    disk.heal();
    let healed = Instant::now();
    until_level(&host, "full").await?;
    println!("well again {:?} after the fault", healed.elapsed());
    let mut kept = Vec::new();
    for (n, client) in people.iter_mut().enumerate() {
        // The first and the last that were refused.
        for turn in BTreeSet::from([0, asked - 1]) {
            let accepted = ask(client, &format!("m-{n}-{turn}")).await?;
            if !is_accepted(&accepted) || accepted["duplicate"] == true {
                return Err(format!("not taken afterwards, or kept before: {accepted}"));
            }
            kept.push((format!("user-{n}"), accepted));
        }
    }
    disk.lose_power(&mut host, &setup);
    ready(&host).await?;
    for (user, accepted) in &kept {
        is_whole(&host, user, accepted).await?;
    }
    Ok(())
}

#[tokio::test]
async fn sockets_outlive_a_store_that_is_gone() {
    gone_for(Duration::from_secs(2)).await.unwrap();
}

#[tokio::test]
#[ignore = "takes a minute: tests/run long"]
async fn sockets_outlive_a_store_that_is_gone_for_a_minute() {
    gone_for(Duration::from_secs(60)).await.unwrap();
}

/// A real file system that is full. Mounting one takes root: elsewhere `write=ENOSPC` has to do, and it is said.
#[tokio::test]
async fn a_full_file_system_refuses_and_heals() {
    let Some(mounted) = Mounted::small() else {
        println!("not played: a file system cannot be mounted here");
        return;
    };
    let host = quick().set("store.path", &format!("{:?}", mounted.path().join("data"))).start();
    ready(&host).await.unwrap();
    let mut client = Client::connect(&host, "alice").await.unwrap();
    assert!(is_accepted(&ask(&mut client, "before").await.unwrap()));
    client.until("agent_completed").await.unwrap();

    let filler = mounted.path().join("filler");
    fill(&filler);
    let mut refused = None;
    // What pages the log's file has already may still take some.
    for n in 0..1000 {
        let answer = ask(&mut client, &format!("m-{n}")).await.unwrap();
        if !is_accepted(&answer) {
            refused = Some((n, answer));
            break;
        }
    }
    let (n, answer) = refused.expect("a full file system takes no thousand messages");
    refusal(&answer, &["store.full", "store.unavailable"]).unwrap();
    until_level(&host, "basic").await.unwrap();

    std::fs::remove_file(filler).unwrap();
    until_level(&host, "full").await.unwrap();
    let accepted = ask(&mut client, &format!("m-{n}")).await.unwrap();
    assert_eq!(
        (&accepted["type"], &accepted["duplicate"]),
        (&"accepted".into(), &false.into()),
        "{accepted}"
    );
    is_whole(&host, "alice", &accepted).await.unwrap();
}

/// Writes until nothing more goes in.
fn fill(path: &std::path::Path) {
    use std::io::Write as _;
    let mut file = std::fs::File::create(path).unwrap();
    for size in [64 * 1024, 1024, 1] {
        // Bounded: the file system has 4 MiB.
        for _ in 0..8192 {
            if file.write_all(&vec![0; size]).is_err() {
                break;
            }
        }
    }
}

/// A file system of its own, for as long as this lives.
struct Mounted(tempfile::TempDir);

impl Mounted {
    /// One of 4 MiB; `None` where that is not permitted.
    fn small() -> Option<Self> {
        let folder = tempfile::tempdir().unwrap();
        let mount = std::process::Command::new("mount")
            .args(["-t", "tmpfs", "-o", "size=4m", "tmpfs"])
            .arg(folder.path())
            .output();
        mount.is_ok_and(|mount| mount.status.success()).then_some(Self(folder))
    }

    fn path(&self) -> &std::path::Path {
        self.0.path()
    }
}

impl Drop for Mounted {
    /// Lazily: the host may be on its way out still.
    fn drop(&mut self) {
        let _ = std::process::Command::new("umount").arg("-l").arg(self.0.path()).status();
    }
}
