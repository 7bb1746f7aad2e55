//! Each lie of a plugin is counted under its reason, or named by the run's code; a flood meets back-pressure, not memory.

use std::time::Duration;

use serde_json::json;

use crate::{
    client::Client,
    harness::{Host, Plugin, Setup, eventually, http},
    scenario::ready,
};

/// What the host says of a lie: under which reason the metric counts it, or which code the run ends with.
enum Told {
    Counted(&'static [&'static str]),
    Named(&'static [&'static str]),
}

use Told::{Counted, Named};

const LIES: &[(&str, Told)] = &[
    ("json", Counted(&["malformed"])),
    ("empty", Counted(&["malformed"])),
    ("kind", Counted(&["unknown_kind"])),
    ("utf8", Counted(&["malformed"])),
    ("surrogate", Counted(&["malformed"])),
    ("newline", Counted(&["malformed"])),
    ("progress", Counted(&["out_of_range"])),
    ("huge-number", Counted(&["malformed", "out_of_range"])),
    ("duplicate", Counted(&["malformed"])),
    ("unknown-field", Counted(&["malformed"])),
    ("deep", Counted(&["malformed"])),
    ("large", Counted(&["too_large"])),
    ("message-id", Counted(&["wrong_message"])),
    ("foreign-emit", Counted(&["stray", "late"])),
    ("foreign-complete", Counted(&["stray", "late"])),
    ("foreign-request", Counted(&["stray", "late"])),
    ("twice", Counted(&["stray", "late", "after_completion"])),
    ("after", Counted(&["stray", "late", "after_completion"])),
    ("log", Counted(&["log_malformed"])),
    ("completion", Named(&["plugin.protocol_violation"])),
    ("completion-value", Named(&["plugin.protocol_violation"])),
    ("completion-large", Named(&["plugin.protocol_violation", "plugin.flood"])),
];

/// How much more memory the host may have in the midst of a flood. The log of what was taken is part of it.
const FLOOD_MOST: u64 = 96 << 20;

fn liar() -> Setup {
    with(Plugin::misbehaving("bad"))
}

fn with(bad: Plugin) -> Setup {
    let bad = bad.key("restart", "{ max = 50, within = \"60s\" }");
    Setup::echo().plugin(bad).set("limits.messages_per_minute", "0").set("limits.runs_at_once", "0")
}

/// How much was counted under each of these reasons, together.
async fn counted(host: &Host, reasons: &[&str]) -> Result<f64, String> {
    let page =
        http::get(host.admin, "/metrics", &[("Connection", "close")], Duration::from_secs(5)).await?.body;
    let of = |reason: &str| {
        let series = format!("agent_host_events_dropped_total{{reason=\"{reason}\"}} ");
        page.lines().find_map(|line| line.strip_prefix(&series)?.parse::<f64>().ok()).unwrap_or(0.0)
    };
    Ok(reasons.iter().map(|reason| of(reason)).sum())
}

/// Every lie is counted or named; the client holds that each run is whole.
async fn every_lie_is_told(host: &Host) -> Result<(), String> {
    ready(host).await?;
    let mut client = Client::connect(host, "alice").await?;
    for (lie, told) in LIES {
        let before = match told {
            Counted(reasons) => counted(host, reasons).await?,
            Named(_) => 0.0,
        };
        let run = client.run_with(&format!("!lie-{lie}"), json!({ "agent": "bad" })).await?;
        match told {
            Named(codes) if run.codes().iter().any(|code| codes.contains(code)) => {}
            Named(codes) => return Err(format!("{lie}: expected one of {codes:?}, got {:?}", run.codes())),
            // What comes outside of a call is counted when it comes.
            Counted(reasons) => {
                eventually("the lie is counted", async || match counted(host, reasons).await? > before {
                    true => Ok(()),
                    false => Err(format!("{lie}: nothing was counted under {reasons:?}")),
                })
                .await?;
            }
        }
        let well = async || match client_run(host).await?.status() {
            "ok" => Ok(()),
            status => Err(format!("after {lie}: {status}")),
        };
        eventually("the liar answers again", well).await?;
    }
    Ok(())
}

async fn client_run(host: &Host) -> Result<crate::client::Run, String> {
    Client::connect(host, "bob").await?.run_with("are you well?", json!({ "agent": "bad" })).await
}

twin! {
    lies_are_counted(every_lie_is_told) on liar();
    faults ""; broken by "run_machine.decode=off", says "not JSON"
}

/// Resident memory of the host alone.
fn resident(host: &Host) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", host.pid())).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap_or("0 kB");
    line.trim().trim_end_matches(" kB").trim().parse::<u64>().unwrap_or(0) * 1024
}

#[tokio::test]
async fn a_flood_takes_no_memory_of_the_host_and_no_turn_of_another_user() {
    // Its runs end by their clocks.
    let host = with(Plugin::misbehaving("bad").hasty()).start();
    ready(&host).await.unwrap();
    let mut quiet = Client::connect(&host, "quiet").await.unwrap();
    let mut loud = Client::connect(&host, "loud").await.unwrap();
    // What is taken once, whoever floods, is taken before.
    loud.run_with("!many 2000", json!({ "agent": "bad" })).await.unwrap();
    let before = resident(&host);
    let mut most = before;
    let flood = async {
        let run = loud.run_with("!flood", json!({ "agent": "bad" })).await?;
        if !["failed", "degraded"].contains(&run.status()) {
            return Err(format!("a flood that ends well: {}", run.completed()));
        }
        loud.run_with("!lie-request-flood", json!({ "agent": "bad" })).await.map(drop)
    };
    let others = async {
        for turn in 0..20 {
            let run = quiet.run_with(&format!("turn {turn}"), json!({ "agent": "echo" })).await?;
            run.answered_by("echo")?;
            most = most.max(resident(&host));
        }
        Ok::<_, String>(())
    };
    let (flooded, served) = tokio::join!(flood, others);
    flooded.unwrap();
    served.unwrap();
    most = most.max(resident(&host));
    assert!(most - before < FLOOD_MOST, "the host grew from {before} to {most} bytes");
}
