//! A log that nobody takes: with a full pipe as its stderr, or a closed one, the host serves, ends in time, and counts
//! the lines that are lost.

use std::time::Duration;

use rustix::process::Signal;
use serde_json::json;
use tokio::task::JoinSet;

use crate::{
    client::Client,
    harness::{Host, PATIENCE, Plugin, Setup, eventually, host::cli_unread, http, tokens},
    scenario::ready,
};

/// Far more lines than wait for a reader.
const MANY: usize = 40_000;
/// At a time: few, as each is to be answered within the second that an upgrade has.
const TOGETHER: usize = 8;
/// Between two looks at the count.
const LOOK_EVERY: usize = 50;

fn talkative() -> Setup {
    Setup::echo().set("log.level", "\"debug\"").unread()
}

async fn dropped(host: &Host) -> Result<u64, String> {
    let page = http::get(host.admin, "/metrics", &[("Connection", "close")], PATIENCE).await?.body;
    let value = page.lines().find_map(|line| line.strip_prefix("agent_host_log_lines_dropped_total "));
    value.and_then(|value| value.parse().ok()).ok_or(page)
}

/// Makes the host log, a line for each refusal, until lines are lost.
async fn overflow(host: &Host) -> Result<(), String> {
    for round in 0..MANY / TOGETHER {
        let mut refused = JoinSet::new();
        for _ in 0..TOGETHER {
            let address = host.address;
            refused.spawn(async move { http::upgrade(address, None).await });
        }
        while let Some(answer) = refused.join_next().await {
            let answer = answer.expect("it does not panic")?;
            if answer.status != 401 {
                return Err(format!("no refusal: {answer:?}"));
            }
        }
        if round % LOOK_EVERY == 0 && dropped(host).await? > 0 {
            return Ok(());
        }
    }
    Err("no line was lost, however many there were".to_owned())
}

/// Nobody reads: messages are answered, what is lost is counted, a panic is contained.
async fn serves_unread(host: &Host) -> Result<(), String> {
    ready(host).await?;
    if dropped(host).await? != 0 {
        return Err("lines were lost before there was a need".to_owned());
    }
    let mut client = Client::connect(host, "alice").await?;
    host.clog();
    tokio::select! {
        overflowed = overflow(host) => overflowed?,
        end = client.attend() => return Err(format!("a client was given up: {end}")),
    }
    client.run_with("hello", json!({ "agent": "echo" })).await?.answered_by("echo")?;
    let mut fresh = Client::connect(host, "bob").await?;
    fresh.run_with("hello", json!({ "agent": "echo" })).await?.answered_by("echo")
}

twin! {
    unread(serves_unread) on talkative();
    faults ""; broken by "start.log=off", says "no answer within"
}

#[tokio::test]
async fn a_log_for_people_holds_nobody_up_either_and_the_host_ends_in_time() {
    let mut host = talkative().set("log.format", "\"pretty\"").start();
    serves_unread(&host).await.unwrap();
    host.signal(Signal::TERM);
    assert_eq!(host.ended(PATIENCE).await.unwrap().code(), Some(0));
}

#[tokio::test]
async fn panics_are_contained_though_nobody_reads_of_them() {
    let host = talkative().failpoints("").start();
    serves_unread(&host).await.unwrap();
    host.inject("gateway.upgrade.token=panic");
    for _ in 0..20 {
        let answer = http::upgrade(host.address, Some(&tokens::of("alice"))).await.unwrap();
        assert_eq!(answer.status, 503, "{answer:?}");
    }
    host.heal();
    Client::connect(&host, "bob").await.unwrap().run("hello").await.unwrap().answered_by("echo").unwrap();
}

#[tokio::test]
async fn once_somebody_reads_again_the_log_says_how_much_is_missing() {
    let mut host = talkative().start();
    serves_unread(&host).await.unwrap();
    host.read_on();
    eventually("the log tells of the loss", async || {
        // Something has to be logged for it to go on.
        http::upgrade(host.address, None).await?;
        let said = host.said();
        let told = said.lines().filter(|line| line.contains("LogLinesDropped"));
        let told: u64 = told
            .filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok())
            .filter_map(|line| line["lines"].as_str()?.parse::<u64>().ok())
            .sum();
        match dropped(&host).await? {
            lost if lost == told => Ok(()),
            lost => Err(format!("{lost} lost, {told} told of")),
        }
    })
    .await
    .unwrap();
    host.signal(Signal::TERM);
    assert_eq!(host.ended(PATIENCE).await.unwrap().code(), Some(0));
    eventually("the last line is out", async || match host.said() {
        said if said.contains("DrainCompleted") => Ok(()),
        said => Err(said),
    })
    .await
    .unwrap();
}

#[tokio::test]
async fn a_second_signal_ends_it_at_once_though_nobody_reads() {
    let mut host = talkative().plugin(Plugin::misbehaving("bad")).set("drain.grace", "\"60s\"").start();
    serves_unread(&host).await.unwrap();
    let mut client = Client::connect(&host, "alice").await.unwrap();
    client.say("!hang", json!({ "agent": "bad" })).await.unwrap();
    client.expect("accepted").await.unwrap();
    host.signal(Signal::TERM);
    client.until("going_away").await.unwrap();
    host.signal(Signal::TERM);
    assert_eq!(host.ended(PATIENCE).await.unwrap().code(), Some(0));
}

#[tokio::test]
async fn a_host_that_cannot_start_ends_though_nobody_reads_why() {
    let wrong = Setup::new().set("gateway.listen", "\"nowhere\"");
    assert_eq!(cli_unread(&["serve"], &wrong, Duration::from_secs(60)), Some(78));
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("\"{}\"", taken.local_addr().unwrap());
    let busy = Setup::new().set("gateway.listen", &address);
    assert_eq!(cli_unread(&["serve"], &busy, Duration::from_secs(60)), Some(1));
}

#[tokio::test]
async fn lines_for_a_closed_stderr_are_counted() {
    let host = Setup::echo().unheard().start();
    ready(&host).await.unwrap();
    Client::connect(&host, "alice").await.unwrap().run("hello").await.unwrap().answered_by("echo").unwrap();
    eventually("the loss is counted", async || match dropped(&host).await? {
        0 => Err("no line was lost".to_owned()),
        _ => Ok(()),
    })
    .await
    .unwrap();
}
