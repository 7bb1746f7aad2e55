//! A bad network between hundreds of clients and the host, while plugins crash and an operator switches them off, on and
//! over. Nothing that was acknowledged is lost, nothing is there twice, no position is missing, each run has one end.

use std::{net::SocketAddr, time::Duration};

use futures_util::{StreamExt as _, TryStreamExt as _, stream::FuturesUnordered};
use serde_json::{Value, json};
use tokio::{sync::watch, task::JoinHandle, time::timeout};

use crate::{
    admin::{allowed, page},
    harness::{
        Host, PATIENCE, Plugin, Setup,
        dice::{self, Dice},
        eventually,
        metrics::Metrics,
        proxy::Proxy,
    },
    person::{Manner, Person, Stop},
    scenario::ready,
};

/// How long a storm is, and for how many.
#[derive(Clone, Copy)]
struct Storm {
    people: usize,
    lasts: Duration,
    /// When the network is good again, everybody has had their answers within this.
    settles: Duration,
}

/// Two agents: one that is well and is switched over and over, one that crashes when it is told to.
fn setup() -> Setup {
    let restarts = "{ max = 10000, within = \"1d\" }";
    Setup::echo()
        .plugin(Plugin::misbehaving("wild").key("restart", restarts))
        .operated()
        .set("routing.order", "[\"echo\"]")
        .set("limits.messages_per_minute", "0")
}

/// Mostly a word for whoever is there; now and then something long or slow, and once in three hundred a crash.
fn words(dice: &mut Dice) -> Value {
    let unique = dice.roll(u64::MAX);
    let (content, wild) = match dice.roll(300) {
        0 => (["!segv", "!think-segv", "!abort"][usize::try_from(dice.roll(3)).unwrap()].to_owned(), true),
        1 | 2 => ("!panic".to_owned(), true),
        3..20 => (format!("!many {}", 10 + unique % 60), true),
        20..40 => (format!("!slow {}", 50 + unique % 600), true),
        40..80 => (format!("says {unique}"), true),
        _ => (format!("says {unique}"), false),
    };
    match wild {
        true => json!({ "content": content, "agent": "wild" }),
        false => json!({ "content": content }),
    }
}

fn manner() -> Manner {
    Manner { words, pause: 100..1_000, patience: Duration::from_millis(1_500), schooled: false }
}

/// Connects anew, as often as it takes.
async fn in_the_storm(
    mut person: Person,
    mut dice: Dice,
    through: SocketAddr,
    finish: watch::Receiver<bool>,
) -> Result<Person, String> {
    loop {
        match person.talk(through, finish.clone()).await {
            Ok(()) => return Ok(person),
            Err(Stop::Cut(_)) => tokio::time::sleep(dice.millis(&(20..200))).await,
            // An upgrade that the machine's own stall cut short: it is asked to come back, as a person does.
            Err(Stop::Refused(why)) if why.contains("503") => {
                tokio::time::sleep(dice.millis(&(20..200))).await;
            }
            // The network has no opinion on messages, and no close codes.
            Err(wrong @ (Stop::Closed(_) | Stop::Refused(_) | Stop::Wrong(_))) => {
                return Err(format!("LOST: {}: {wrong:?}", person.name));
            }
        }
    }
}

/// Switches the well plugin off, on and over, until told to stop. Answers how often.
async fn toggles(host: &Host, mut dice: Dice, mut finish: watch::Receiver<bool>) -> Result<usize, String> {
    let mut orders = 0;
    for order in ["disable", "enable", "reload"].iter().cycle() {
        if *finish.borrow() && *order == "disable" {
            return Ok(orders);
        }
        let path = format!("/admin/v1/plugins/echo/{order}");
        let answer = timeout(PATIENCE, allowed(host, "POST", &path)).await.map_err(|e| e.to_string())??;
        if answer.status != 200 {
            return Err(format!("{order}: {answer:?}"));
        }
        orders += 1;
        // An error: the scenario is over.
        let _ = timeout(dice.millis(&(100..900)), finish.changed()).await;
    }
    Ok(orders)
}

async fn weather(host: &Host, storm: Storm) -> Result<(), String> {
    let seed = dice::seed();
    weathered(host, storm, Dice::new(seed)).await.map_err(|objection| format!("SEED={seed}: {objection}"))
}

async fn weathered(host: &Host, storm: Storm, mut dice: Dice) -> Result<(), String> {
    ready(host).await?;
    let proxy = Proxy::before(host.address, dice.another()).await.map_err(|e| e.to_string())?;
    let (tell, finish) = watch::channel(false);
    let talks: FuturesUnordered<_> = (0..storm.people)
        .map(|at| {
            let person = Person::new(format!("person-{at}"), manner(), dice.another());
            tokio::spawn(in_the_storm(person, dice.another(), proxy.address, finish.clone()))
        })
        .collect();
    let over = async {
        let end = tokio::time::Instant::now() + storm.lasts;
        // Whoever ends before the storm has something to object to.
        while tokio::time::Instant::now() < end && !talks.iter().any(JoinHandle::is_finished) {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        proxy.calm();
        tell.send_replace(true);
    };
    let (orders, ()) = tokio::join!(toggles(host, dice.another(), finish.clone()), over);
    let orders = orders?;
    // The first that objects is heard, whoever else goes on trying.
    let all = talks.map(|talk| talk.map_err(|e| e.to_string())?).try_collect::<Vec<Person>>();
    let people = timeout(storm.settles, all).await.map_err(|_| "LOST: not all is answered".to_owned())??;
    for person in &people {
        let whole = async {
            person.judge()?;
            person.judge_log(host.address).await
        };
        whole.await.map_err(|e| format!("{}: {e}", person.name))?;
    }
    let messages: usize = people.iter().map(Person::messages).sum();
    let resumed: usize = people.iter().map(|person| person.resumed).sum();
    let events: usize = people.iter().map(Person::events).sum();
    println!("{messages} messages, {events} events, {resumed} resumes, {orders} orders, {:?}", proxy.done());
    // A run is counted a moment after its last word was sent.
    let crashes = eventually("the counts agree", async || counts_agree(host, messages, events).await).await?;
    let all_happened = proxy.done().len() == 6 && resumed > storm.people && orders > 5 && crashes > 0;
    if !all_happened {
        return Err(format!("no storm: {crashes} crashes, {orders} orders, {resumed} resumes"));
    }
    well_again(host).await
}

/// The host's own counts are the clients'. Answers how many crashes there were.
async fn counts_agree(host: &Host, messages: usize, events: usize) -> Result<usize, String> {
    let metrics = Metrics::of(host).await?;
    let counted = |series: &str| metrics.sum(series) as usize;
    let (runs, logged) = (counted("agent_host_runs_total"), counted("agent_host_run_events_total"));
    if (runs, logged) != (messages, events) {
        return Err(format!(
            "LOST: {messages} messages and {events} events, the host counts {runs} and {logged}"
        ));
    }
    for never in ["agent_host_panics_total", "agent_host_runs_without_terminal_total"] {
        if counted(never) > 0 {
            return Err(format!("{never} is {}", counted(never)));
        }
    }
    if counted("agent_host_upgrades_total{status=\"500\"") > 0 {
        return Err("an upgrade was answered with 500".to_owned());
    }
    Ok(counted("agent_host_plugin_crashes_total"))
}

/// All of it is healthy, by itself, and says so.
async fn well_again(host: &Host) -> Result<(), String> {
    eventually("both plugins are healthy again", async || {
        for plugin in ["echo", "wild"] {
            let page = page(host, plugin).await?;
            if page["verdict"] != "healthy" {
                return Err(page.to_string());
            }
        }
        match Metrics::of(host).await?.sum("agent_host_service_level{level=\"full\"") {
            1.0 => Ok(()),
            level => Err(format!("level full is {level}")),
        }
    })
    .await?;
    ready(host).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_storm_of_thirty_seconds_loses_nothing() {
    let mut host = setup().start();
    let found =
        weather(&host, Storm { people: 200, lasts: Duration::from_secs(30), settles: 3 * PATIENCE }).await;
    assert_eq!(found, Ok(()), "the host said:\n{}", tail(&host));
    assert!(host.is_running());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes minutes: a part of the long form"]
async fn a_storm_of_five_minutes_loses_nothing() {
    let mut host = setup().start();
    let found =
        weather(&host, Storm { people: 200, lasts: Duration::from_secs(300), settles: 3 * PATIENCE }).await;
    assert_eq!(found, Ok(()), "the host said:\n{}", tail(&host));
    assert!(host.is_running());
}

/// A host that goes on with what is new, and tells nothing of what was missed, is found out.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_storm_is_red_for_a_host_that_does_not_replay() {
    let host = setup().failpoints("engine.resume.replay=off").start();
    // Few cuts fall into a run. Whoever misses its end waits for it from then on, so that one is enough.
    let short = Storm { people: 60, lasts: Duration::from_secs(16), settles: Duration::from_secs(6) };
    let found = weather(&host, short).await;
    let objection = found.expect_err("content with a broken host");
    println!("{objection}");
    assert!(objection.contains("LOST"), "red for another reason: {objection}");
}

/// The end of a log that may be long.
fn tail(host: &Host) -> String {
    let said = host.said();
    let lines: Vec<&str> = said.lines().collect();
    lines[lines.len().saturating_sub(60)..].join("\n")
}
