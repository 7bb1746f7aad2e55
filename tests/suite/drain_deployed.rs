//! The end as platforms order it: Cloud Run's ten seconds, Kubernetes' grace, a service manager that signals every process.
//! Clients are told, runs end honestly, and the exit status is 0 before the platform kills.

use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;

use crate::{
    client::{Client, End},
    harness::{
        Host, PATIENCE, Plugin, Setup,
        clock::{Moment, timeout},
    },
    scenario::ready,
};

fn setup(grace: &str) -> Setup {
    let bad = Plugin::misbehaving("bad").key("timeouts", "{ init = \"30s\", idle = \"60s\", run = \"60s\" }");
    Setup::echo().plugin(bad).set("drain.grace", &format!("\"{grace}\""))
}

/// A client whose message is being answered.
async fn busy(host: &Host, message: &str) -> Result<Client, String> {
    let mut client = Client::connect(host, "alice").await?;
    client.say(message, json!({ "agent": "bad" })).await?;
    client.expect("accepted").await?;
    client.until("agent_started").await?;
    Ok(client)
}

/// SIGTERM, and SIGKILL to whatever is left after the platform's time. How the run ended, by which close the client heard
/// of it, and whether the host ended by itself with 0.
async fn ordered_to_end(host: &mut Host, client: &mut Client, platform: Duration) -> Result<String, String> {
    host.signal(Signal::TERM);
    let began = Moment::now();
    let told = async {
        // In either order: a run may be over before the host hears of its end.
        let (mut leaving, mut ended) = (false, None);
        loop {
            match client.next().await {
                Ok(frame) if frame["type"] == "going_away" => leaving = true,
                Ok(frame) if frame["type"] == "agent_completed" => {
                    ended = frame["payload"]["status"].as_str().map(str::to_owned);
                }
                Ok(_) => {}
                Err(End::Closed(1012)) if leaving => return ended.ok_or("its run has no end".to_owned()),
                Err(end) => return Err(format!("closed by {end:?}, told before: {leaving}")),
            }
        }
    };
    let told = timeout(platform, told).await;
    let ended = host.ended(platform.saturating_sub(began.elapsed())).await;
    if ended.is_err() {
        host.kill();
        return Err(format!("killed by the platform; the client was told: {told:?}"));
    }
    match ended?.code() {
        Some(0) => told.map_err(|_| "the client was not told in time".to_owned())?,
        code => Err(format!("exit status {code:?}")),
    }
}

/// From SIGTERM to SIGKILL.
const CLOUD_RUN: Duration = Duration::from_secs(10);

/// A run that never ends by itself, and the drain of the shipped configuration.
#[tokio::test]
async fn a_run_without_end_is_interrupted_and_the_host_gone_within_cloud_runs_ten_seconds() {
    let mut host = setup("8s").start();
    ready(&host).await.unwrap();
    let mut client = busy(&host, "!wait").await.unwrap();
    let ended = ordered_to_end(&mut host, &mut client, CLOUD_RUN).await;
    assert_eq!(ended.as_deref(), Ok("interrupted"), "{}", host.said());
}

/// The twin.
#[tokio::test]
async fn a_grace_beyond_the_platforms_is_killed_and_the_scenario_red() {
    let mut host = setup("30s").start();
    ready(&host).await.unwrap();
    let mut client = busy(&host, "!wait").await.unwrap();
    let found = ordered_to_end(&mut host, &mut client, Duration::from_secs(3)).await.unwrap_err();
    assert!(found.contains("killed by the platform"), "{found}");
}

#[tokio::test]
async fn a_run_that_ends_within_the_grace_is_answered_to_its_end_and_then_the_host_ends_at_once() {
    let mut host = setup("20s").start();
    ready(&host).await.unwrap();
    let mut client = busy(&host, "!slow 1500").await.unwrap();
    // Kubernetes' 40 s, less the pause before SIGTERM.
    let ended = ordered_to_end(&mut host, &mut client, Duration::from_secs(35)).await;
    assert_eq!(ended.as_deref(), Ok("ok"), "{}", host.said());
}

/// `KillMode=control-group`, or Ctrl-C in a terminal: the workers hear it too.
#[tokio::test]
async fn a_signal_to_every_process_ends_as_honestly() {
    let mut host = setup("4s").start();
    ready(&host).await.unwrap();
    let mut client = busy(&host, "!wait").await.unwrap();
    let workers = host.worker_ids();
    assert!(!workers.is_empty());
    for worker in workers {
        let pid = i32::try_from(worker).ok().and_then(Pid::from_raw).unwrap();
        kill_process(pid, Signal::TERM).unwrap();
    }
    let ended = ordered_to_end(&mut host, &mut client, PATIENCE).await.unwrap();
    assert!(["interrupted", "degraded", "failed"].contains(&ended.as_str()), "{ended}: {}", host.said());
}
