//! Versions are exchanged and switched, and workers killed, under everybody's hands: no message is lost or doubled, and
//! no socket closed.

use std::{path::Path, time::Instant};

use futures_util::{TryStreamExt as _, stream::FuturesUnordered};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use tokio::{sync::watch, time::timeout};

use crate::{
    admin::order,
    harness::{
        Host, PATIENCE, Plugin, Setup,
        dice::{self, Dice},
        metrics::Metrics,
    },
    live::holds,
    person::{Manner, Person},
    scenario::ready,
};

/// How much of it.
#[derive(Clone, Copy)]
struct Much {
    people: usize,
    rounds: usize,
}

/// Two agents: one is swapped by edits, the other is switched. Its workers are killed, more often than a budget allows.
fn setup() -> Setup {
    let restarts = "{ max = 10000, within = \"1d\" }";
    Setup::new()
        .plugin(Plugin::misbehaving("swapped").key("restart", restarts).key("rollback_window", "\"2s\""))
        .plugin(Plugin::echo().key("restart", restarts))
        .operated()
        .set("limits.messages_per_minute", "0")
}

fn words(dice: &mut Dice) -> Value {
    let unique = dice.roll(u64::MAX);
    let agent = if unique.is_multiple_of(2) { "swapped" } else { "echo" };
    json!({ "content": format!("says {unique}"), "agent": agent })
}

/// Together about 200 messages a second.
fn manner(much: Much) -> Manner {
    let pause = u64::try_from(much.people).unwrap() * 5;
    Manner { words, pause: (pause / 2)..(pause * 3 / 2), patience: PATIENCE, schooled: true }
}

/// One round: an edit that swaps, a switch off and on, and a kill in between.
async fn round(host: &Host, number: usize, dice: &mut Dice) -> Result<(), String> {
    let file = host.dir().join("plugins.d/00-swapped.toml");
    write_version(&file, number)?;
    if number % 4 == 3 {
        kill_one(host, dice);
    }
    order(host, "echo", "disable").await?;
    order(host, "echo", "enable").await?;
    holds(host, VERSION, &json!(1000 + number)).await
}

/// Kills a worker, whichever.
fn kill_one(host: &Host, dice: &mut Dice) {
    let workers = host.worker_ids();
    let nth = usize::try_from(dice.roll(workers.len().max(1) as u64)).unwrap_or(0);
    let pid = workers.get(nth).and_then(|pid| Pid::from_raw(i32::try_from(*pid).ok()?));
    // It may have ended by itself.
    let _ = pid.map(|pid| kill_process(pid, Signal::KILL));
}

/// The key that tells one version from another.
pub(crate) const VERSION: &str = "plugins.swapped.limits.concurrent_runs";

/// As an operator edits: the whole file, in one go.
pub(crate) fn write_version(file: &Path, number: usize) -> Result<(), String> {
    let text = std::fs::read_to_string(file).map_err(|e| e.to_string())?;
    let mut lines: Vec<String> =
        text.lines().filter(|line| !line.starts_with("limits.")).map(str::to_owned).collect();
    lines.insert(1, format!("limits.concurrent_runs = {}", 1000 + number));
    let text = lines.join("\n");
    let beside = file.with_extension("next");
    std::fs::write(&beside, text).and_then(|()| std::fs::rename(&beside, file)).map_err(|e| e.to_string())
}

async fn swaps(host: &Host, much: Much) -> Result<(), String> {
    let seed = dice::seed();
    swapped(host, much, Dice::new(seed)).await.map_err(|objection| format!("SEED={seed}: {objection}"))
}

async fn swapped(host: &Host, much: Much, mut dice: Dice) -> Result<(), String> {
    ready(host).await?;
    let (tell, finish) = watch::channel(false);
    let talks: FuturesUnordered<_> = (0..much.people)
        .map(|at| {
            let mut person = Person::new(format!("person-{at}"), manner(much), dice.another());
            let (address, finish) = (host.address, finish.clone());
            tokio::spawn(async move {
                // One connection from beginning to end: whatever ends it is an objection.
                let told = person.talk(address, finish).await;
                told.map(|()| person).map_err(|stop| format!("LOST: a socket was closed: {stop:?}"))
            })
        })
        .collect();
    let began = Instant::now();
    let rounds = async {
        for number in 0..much.rounds {
            round(host, number, &mut dice).await.map_err(|e| format!("round {number}: {e}"))?;
        }
        Ok::<_, String>(())
    };
    let rounds = rounds.await;
    tell.send_replace(true);
    rounds?;
    let lasted = began.elapsed();
    let all = async {
        let mut people: Vec<Person> = Vec::new();
        let mut talks = talks;
        while let Some(person) = talks.try_next().await.map_err(|e| e.to_string())? {
            people.push(person?);
        }
        Ok::<_, String>(people)
    };
    let people = timeout(PATIENCE * 3, all).await.map_err(|_| "LOST: not all is answered".to_owned())??;
    for person in &people {
        person.judge().map_err(|e| format!("{}: {e}", person.name))?;
        person.judge_log(host.address).await.map_err(|e| format!("{}: {e}", person.name))?;
    }
    let messages: usize = people.iter().map(Person::messages).sum();
    let metrics = Metrics::of(host).await?;
    let runs = metrics.sum("agent_host_runs_total") as usize;
    let fallback = metrics.sum("agent_host_answers_total{by=\"fallback\"");
    println!(
        "{} rounds in {lasted:?}: {messages} messages, {fallback} answered by the fallback",
        much.rounds
    );
    match runs == messages {
        true => Ok(()),
        false => Err(format!("LOST: {messages} messages, the host counts {runs} runs")),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn eight_swaps_and_switches_lose_nothing() {
    let mut host = setup().start();
    assert_eq!(swaps(&host, Much { people: 20, rounds: 8 }).await, Ok(()));
    assert!(host.is_running());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes minutes: a part of the long form"]
async fn a_hundred_swaps_and_switches_lose_nothing() {
    let mut host = setup().start();
    assert_eq!(swaps(&host, Much { people: 40, rounds: 100 }).await, Ok(()));
    assert!(host.is_running());
}

/// A host that ends what it replaces with the runs in it loses what those had begun.
#[tokio::test]
async fn a_hundred_milliseconds_of_work_are_finished_where_they_began() {
    let host = Setup::new().plugin(Plugin::misbehaving("swapped")).operated().start();
    ready(&host).await.unwrap();
    let mut client = crate::client::Client::connect(&host, "alice").await.unwrap();
    client.say("!slow 800", json!({ "agent": "swapped" })).await.unwrap();
    client.expect("accepted").await.unwrap();
    client.until("agent_started").await.unwrap();
    write_version(&host.dir().join("plugins.d/00-swapped.toml"), 7).unwrap();
    holds(&host, VERSION, &json!(1007)).await.unwrap();
    let completed = client.until("agent_completed").await.unwrap();
    assert_eq!(completed["payload"]["status"], "ok", "{completed}");
    assert_eq!(completed["payload"]["responder"]["generation"], 1, "{completed}");
}
