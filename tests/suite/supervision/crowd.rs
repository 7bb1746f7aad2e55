//! Many plugins of which some are bad, and one that crashes as it starts: the others do not wait, the host stays calm.

use std::time::Instant;

use super::metric;
use crate::{
    client::Client,
    harness::{Host, Plugin, Setup, eventually},
    scenario::ready,
};

/// `good` echo plugins and a tenth as many bad ones, of every kind that a start can go wrong by.
fn crowd(good: usize) -> Setup {
    let deeds = ["segv", "error", "panic", "exit0", "abort"];
    let setup = (0..good).fold(Setup::new(), |setup, n| {
        setup.plugin(Plugin::at(&format!("good{n}"), crate::harness::artifacts::echo()).key("threads", "1"))
    });
    (0..good / 9).fold(setup, |setup, n| {
        setup.plugin(
            Plugin::bad_create(&format!("bad{n}"), deeds[n % deeds.len()]).key("restart", "{ max = 0 }"),
        )
    })
}

async fn all_judged(host: &Host, good: usize) -> Result<(), String> {
    ready(host).await?;
    let client = Client::connect(host, "alice").await?;
    let agents = client.welcome["agents"].as_array().cloned().unwrap_or_default();
    let healthy = agents.iter().filter(|agent| agent["state"] == "healthy").count();
    let missing = client.welcome["service"]["missing"].as_array().map_or(0, Vec::len);
    match (healthy, missing) == (good, good / 9) {
        true => Ok(()),
        false => Err(format!("{healthy} healthy, {missing} missing: {}", client.welcome)),
    }
}

#[tokio::test]
async fn a_tenth_of_bad_plugins_costs_the_others_nothing() {
    let host = crowd(9).start();
    all_judged(&host, 9).await.unwrap();
}

#[tokio::test]
#[ignore = "long: a hundred worker processes; prints how long they take"]
async fn a_hundred_plugins_of_which_ten_are_bad_get_ready() {
    let begun = Instant::now();
    let host = crowd(90).start();
    all_judged(&host, 90).await.unwrap();
    println!("ready after {:?}", begun.elapsed());
}

/// CPU seconds of the host and of every worker that it has reaped.
fn cpu_of(host: &Host) -> f64 {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", host.pid())).unwrap();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
    // utime, stime, cutime, cstime, in hundredths.
    fields[11..15].iter().map(|ticks| ticks.parse::<f64>().unwrap()).sum::<f64>() / 100.0
}

/// The budget of a plugin that does not name one.
const BUDGET: f64 = 5.0;

async fn a_crash_loop_ends(host: &Host) -> Result<(), String> {
    // By the log, which costs the host nothing: what a scrape costs is not the loop's.
    eventually("it is quarantined", async || match host.said().contains("PluginQuarantined") {
        true => Ok(()),
        false => Err("not yet".to_owned()),
    })
    .await?;
    let state = "agent_host_plugin_state{plugin=\"bad\",state=\"quarantined\"}";
    eventually("the metric knows of the quarantine", async || match metric(host, state).await? {
        1.0 => Ok(()),
        other => Err(format!("it is {other}")),
    })
    .await?;
    match metric(host, "agent_host_plugin_restarts_total{plugin=\"bad\"}").await? {
        BUDGET => Ok(()),
        restarts => Err(format!("{restarts} restarts, the budget is {BUDGET}")),
    }
}

/// A loop of failing starts, from the first to its quarantine, and what it cost; the fallback serves all the while.
#[tokio::test]
async fn a_crash_loop_at_its_start_is_quarantined_and_costs_little() {
    for deed in ["segv", "panic", "error"] {
        let host = Setup::new().plugin(Plugin::bad_create("bad", deed)).start();
        let (begun, before) = (Instant::now(), cpu_of(&host));
        let mut client = Client::connect(&host, "alice").await.unwrap();
        client.run("are you well?").await.unwrap().answered_by_fallback("are you well?").unwrap();
        a_crash_loop_ends(&host).await.unwrap();
        client.run("and now?").await.unwrap().answered_by_fallback("and now?").unwrap();
        let (took, used) = (begun.elapsed().as_secs_f64(), cpu_of(&host) - before);
        println!("{deed}: used {used:.2} s of CPU in {took:.1} s: {:.1} % of a core", 100.0 * used / took);
    }
}

/// A host that gives up too early is found out.
#[tokio::test]
async fn twin_of_the_crash_loop_is_red() {
    let host = Setup::new().plugin(Plugin::bad_create("bad", "segv").key("restart", "{ max = 2 }")).start();
    let objection = a_crash_loop_ends(&host).await.unwrap_err();
    assert!(objection.contains("2 restarts"), "{objection}");
}
