//! A storm of crashes while looking into one takes for ever: what is kept for it stays bounded, and each crash is told.

use serde_json::json;

use super::served_in;
use crate::{
    client::Client,
    harness::{
        Host, Plugin, Setup, eventually,
        vitals::{Vitals, no_descriptor_is_left},
    },
    scenario::ready,
};

/// Plugins that crash side by side, and how often each does.
const PLUGINS: usize = 5;
const EACH: usize = 8;
/// One crash is looked into, and one of each plugin waits; each holds a descriptor. And a few that come and go.
const HELD: usize = 1 + PLUGINS + 4;

fn setup() -> Setup {
    let setup = Setup::new().set("limits.messages_per_minute", "0").set("limits.runs_at_once", "0");
    (0..PLUGINS).fold(setup.operated(), |setup, n| {
        let restart = "{ max = 10000, within = \"1s\" }";
        setup.plugin(Plugin::misbehaving(&format!("bad{n}")).key("restart", restart))
    })
}

/// Each plugin crashes so many times, and serves again after each. The runs that it took along.
async fn crashes(host: &Host, each: usize) -> Result<Vec<String>, String> {
    let one = async |n: usize| {
        let plugin = format!("bad{n}");
        let mut client = Client::connect(host, &plugin).await?;
        let (mut runs, mut within) = (Vec::new(), json!({ "agent": plugin }));
        for _ in 0..each {
            let run = client.run_with("!think-segv", within.clone()).await?;
            within = json!({ "agent": plugin, "thread_id": run.thread() });
            served_in(&mut client, &plugin, &within).await?;
            runs.push(run.id().to_owned());
        }
        Ok::<_, String>(runs)
    };
    let runs = futures_util::future::try_join_all((0..PLUGINS).map(one)).await?;
    Ok(runs.concat())
}

/// The last crash of the first plugin, as operators are shown it.
fn last_crash(host: &Host) -> String {
    String::from_utf8_lossy(&host.operate(&["plugins", "show", "bad0"]).stdout).into_owned()
}

fn shows(text: &str, wanted: &str) -> Result<(), String> {
    if text.contains(wanted) { Ok(()) } else { Err(format!("{wanted:?} is not in {text}")) }
}

/// A line of the log for each crash, with signal, address and call; and whether it has a backtrace, or why not.
fn each_is_told(host: &Host, runs: &[String]) -> Result<(), String> {
    let said = host.said();
    let told: Vec<&str> = said.lines().filter(|line| line.contains("PluginCrashed")).collect();
    for run in runs {
        let wanted = format!("SIGSEGV at 0x1000 in handle of run {run}");
        let of_run: Vec<_> = told.iter().filter(|line| line.contains(&wanted)).collect();
        let [line] = of_run.as_slice() else {
            return Err(format!("the crash in run {run} was told {} times", of_run.len()));
        };
        if !line.contains("misbehaving::deeds::segv") {
            shows(line, "the plugin crashed again before its turn")?;
        }
    }
    Ok(())
}

async fn a_storm_is_weathered(host: &Host) -> Result<(), String> {
    ready(host).await?;
    // What the first crash and restart of each leaves, such as the shelf's copies, is no matter of the storm.
    let mut runs = crashes(host, 1).await?;
    eventually("the first crashes are told", async || each_is_told(host, &runs)).await?;
    let before = Vitals::of(host)?;

    host.inject("runtime.autopsy=hang");
    runs.extend(crashes(host, EACH).await?);
    eventually("few crashes are held on to", async || {
        let now = Vitals::of(host)?;
        let few = now.descriptors <= before.descriptors + HELD;
        if few { Ok(()) } else { Err(format!("descriptors pile up: {before:?} before, {now:?} now")) }
    })
    .await?;
    shows(&last_crash(host), "no backtrace: it is still being found out")?;

    host.heal();
    eventually("each crash is told", async || each_is_told(host, &runs)).await?;
    eventually("the last one has its backtrace", async || {
        shows(&last_crash(host), "misbehaving::deeds::segv")
    })
    .await?;
    no_descriptor_is_left(host, &before).await
}

twin! {
    crash_storm(a_storm_is_weathered) on setup();
    faults ""; broken by "runtime.autopsies=off", says "descriptors pile up"
}

/// Tables that no compiler writes cost the backtrace, and are named as what they are.
async fn what_cannot_be_read_is_said(host: &Host) -> Result<(), String> {
    ready(host).await?;
    let mut client = Client::connect(host, "alice").await?;
    client.run_with("!think-segv", json!({ "agent": "bad0" })).await?;
    eventually("its backtrace is done without", async || {
        shows(&last_crash(host), "no backtrace: the library's tables by which frames are found make no sense")
    })
    .await
}

#[tokio::test]
async fn a_search_that_panics_costs_the_backtrace_alone() {
    let mut host = setup().failpoints("").start();
    host.inject("runtime.autopsy=panic");
    what_cannot_be_read_is_said(&host).await.unwrap();
    // The next one is looked into.
    host.heal();
    let runs = crashes(&host, 1).await.unwrap();
    eventually("the desk goes on", async || each_is_told(&host, &runs)).await.unwrap();
    assert!(host.is_running());
}
