//! A log that nobody reads, and one whose reader is gone: the host serves on, counts what it drops, says so when it is
//! read again, and ends in time.

use std::{
    io::{BufRead as _, BufReader, PipeReader},
    time::Duration,
};

use rustix::process::Signal;
use serde_json::json;

use crate::{
    client::Client,
    harness::{Host, PATIENCE, Plugin, Setup, http},
    scenario::ready,
};

/// A plugin that can be told to log, and a host that logs everything.
fn talkative() -> Setup {
    Setup::new()
        .plugin(Plugin::misbehaving("bad"))
        .set("log.level", "\"debug\"")
        .set("limits.messages_per_minute", "0")
}

/// More than wait in memory: each leaves at least a line.
const MESSAGES: usize = 6000;

async fn dropped(host: &Host) -> Result<u64, String> {
    let page = http::get(host.admin, "/metrics", &[("Connection", "close")], PATIENCE).await?.body;
    let line = page.lines().find(|line| line.starts_with("agent_host_log_lines_dropped_total"));
    line.and_then(|line| line.rsplit(' ').next()?.parse().ok()).ok_or(format!("no such metric: {page}"))
}

/// The host's stderr is a pipe that nobody reads. Every message is answered, what did not go out is counted.
async fn serves_unread(host: &Host) -> Result<(), String> {
    ready(host).await?;
    let mut client = Client::connect(host, "alice").await?.one_of_many();
    for number in 0..MESSAGES {
        let run = tokio::time::timeout(Duration::from_secs(10), client.run_with("hello", json!({})));
        run.await
            .map_err(|_| format!("message {number} is not answered: the host waits"))??
            .answered_by("bad")?;
        if number % 100 == 99 && dropped(host).await? > 10 {
            return Ok(());
        }
    }
    Err(format!("{} lines dropped: the pipe was never full", dropped(host).await?))
}

/// Reads the log until it has told of so many dropped lines.
fn read_until_told(pipe: PipeReader, lost: u64) -> Result<(), String> {
    let mut told = 0;
    for line in BufReader::new(pipe).lines() {
        let line: serde_json::Value = serde_json::from_str(&line.map_err(|e| e.to_string())?)
            .map_err(|e| format!("a line that is not whole: {e}"))?;
        if line["event"] == "LogLinesDropped" {
            told += line["lines"].as_str().and_then(|lines| lines.parse::<u64>().ok()).unwrap_or(0);
        }
        if told >= lost {
            return Ok(());
        }
    }
    Err(format!("the log ended and told of {told} dropped lines, of {lost}"))
}

#[tokio::test]
async fn nobody_waits_for_a_log_that_nobody_reads() {
    let (mut host, unread) = talkative().unread();
    serves_unread(&host).await.unwrap();
    let lost = dropped(&host).await.unwrap();
    // Read again: what waited comes, and how many did not.
    let reader = std::thread::spawn(move || read_until_told(unread, lost));
    reader.join().unwrap().unwrap();
    host.signal(Signal::TERM);
    assert_eq!(host.ended(PATIENCE).await.unwrap().code(), Some(0));
}

#[tokio::test]
async fn it_ends_in_order_while_nobody_reads() {
    let (mut host, unread) = talkative().unread();
    serves_unread(&host).await.unwrap();
    host.signal(Signal::TERM);
    assert_eq!(host.ended(PATIENCE).await.unwrap().code(), Some(0));
    drop(unread);
}

#[tokio::test]
async fn the_twin_whose_threads_write_the_log_themselves_is_red() {
    let (host, unread) = talkative().failpoints("server.log_queue=off").unread();
    let objection = serves_unread(&host).await.unwrap_err();
    assert!(objection.contains("the host waits") || objection.contains("Silence"), "{objection}");
    drop(unread);
}
