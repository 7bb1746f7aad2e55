//! Versions are exchanged and switched, and workers killed, under everybody's hands: no message is lost or doubled, and
//! no socket closed.

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    path::Path,
    time::{Duration, Instant},
};

use futures_util::{TryStreamExt as _, stream::FuturesUnordered};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use tokio::{
    sync::watch,
    time::{MissedTickBehavior, interval, timeout},
};

use crate::{
    admin::order,
    client::Client,
    harness::{
        Host, PATIENCE, Plugin, Setup,
        dice::{self, Dice},
        eventually,
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
    /// From the beginning of one round to that of the next, at least.
    every: Duration,
    /// Whether each frame is held against its schema too.
    schooled: bool,
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
    Manner { words, pause: (pause / 2)..(pause * 3 / 2), patience: PATIENCE, schooled: much.schooled }
}

/// One round: an edit that swaps, a switch off and on, and a kill in between.
async fn round(host: &Host, number: usize, dice: &mut Dice, log: &mut Windows) -> Result<(), String> {
    let file = host.dir().join("plugins.d/00-swapped.toml");
    let began = Instant::now();
    write_version(&file, number)?;
    let kills = number % 4 == 3;
    if kills {
        kill_one(host, dice);
    }
    holds(host, VERSION, &json!(1000 + number)).await?;
    log.add(if kills { "kill" } else { "swap" }, began);
    let began = Instant::now();
    order(host, "echo", "disable").await?;
    order(host, "echo", "enable").await?;
    log.add("switch", began);
    Ok(())
}

/// What was done when: for how long people waited meanwhile, and otherwise.
#[derive(Default)]
struct Windows(Vec<(&'static str, Instant, Instant)>);

impl Windows {
    /// From then until a little after now: what follows counts too.
    fn add(&mut self, what: &'static str, began: Instant) {
        self.0.push((what, began, Instant::now() + Duration::from_millis(500)));
    }

    /// What was going on when somebody asked.
    fn at(&self, asked: Instant) -> &'static str {
        let during = self.0.iter().filter(|(_, from, to)| (*from..*to).contains(&asked));
        // The worse of two that overlap.
        during.map(|(what, ..)| *what).min().unwrap_or("otherwise")
    }

    /// How long people waited, by what was going on when they asked.
    fn waits(&self, people: &[Person]) -> String {
        let mut by: BTreeMap<&str, Vec<Duration>> = BTreeMap::new();
        for (asked, took) in people.iter().flat_map(|person| &person.waits) {
            by.entry(self.at(*asked)).or_default().push(*took);
        }
        let mut text = String::new();
        for (what, mut waits) in by {
            waits.sort_unstable();
            let at = |hundredth: usize| waits[(waits.len() - 1) * hundredth / 100];
            let (half, most, worst) = (at(50), at(99), at(100));
            writeln!(
                text,
                "  {what}: {} answers, p50 {half:?}, p99 {most:?}, longest {worst:?}",
                waits.len()
            )
            .expect("a String takes all");
        }
        text
    }
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
    let mut windows = Windows::default();
    let rounds = async {
        let mut pace = interval(much.every);
        pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
        for number in 0..much.rounds {
            pace.tick().await;
            round(host, number, &mut dice, &mut windows).await.map_err(|e| format!("round {number}: {e}"))?;
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
    // A run is counted a moment after its last word was sent.
    eventually("the host counts as many", async || {
        match Metrics::of(host).await?.sum("agent_host_runs_total") as usize {
            runs if runs == messages => Ok(()),
            runs => Err(format!("LOST: {messages} messages, the host counts {runs} runs")),
        }
    })
    .await?;
    let metrics = Metrics::of(host).await?;
    let fallback = metrics.sum("agent_host_answers_total{by=\"fallback\"");
    println!(
        "{} rounds in {lasted:?}: {messages} messages, {fallback} answered by the fallback\n{}",
        much.rounds,
        windows.waits(&people)
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn eight_swaps_and_switches_lose_nothing() {
    let mut host = setup().start();
    let much = Much { people: 20, rounds: 8, every: Duration::from_millis(1), schooled: true };
    assert_eq!(swaps(&host, much).await, Ok(()));
    assert!(host.is_running());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes ten minutes: a part of the long form"]
async fn a_hundred_swaps_and_switches_under_a_hundred_thousand_messages_lose_nothing() {
    let mut host = setup().start();
    // A little above 500 s of 200 messages each.
    let much = Much { people: 40, rounds: 100, every: Duration::from_millis(5_400), schooled: false };
    assert_eq!(swaps(&host, much).await, Ok(()));
    assert!(host.is_running());
}

/// What a version has begun it finishes, though an edit has put another in its place.
async fn work_is_finished_where_it_began(host: &Host) -> Result<(), String> {
    ready(host).await?;
    let mut client = Client::connect(host, "alice").await?;
    // Once it has said something, nobody else can take it up.
    client.say("!think-slow 3000", json!({ "agent": "swapped" })).await?;
    client.expect("accepted").await?;
    client.until("agent_thinking").await?;
    write_version(&host.dir().join("plugins.d/00-swapped.toml"), 7)?;
    host.signal(Signal::HUP);
    holds(host, VERSION, &json!(1007)).await?;
    let completed = client.until("agent_completed").await?;
    let payload = &completed["payload"];
    match payload["status"] == "ok" && payload["responder"]["generation"] == 1 {
        true => Ok(()),
        false => Err(format!("LOST with its version: {completed}")),
    }
}

/// Kept for no time: what is replaced is ended as soon as it may be.
fn at_once() -> Setup {
    let clocks = "{ idle = \"10s\", run = \"20s\" }";
    let plugin = Plugin::misbehaving("swapped").key("timeouts", clocks).key("rollback_window", "\"0s\"");
    Setup::new().plugin(plugin).operated()
}

twin! {
    swaps_by_edit_lose_no_run(work_is_finished_where_it_began) on at_once();
    faults ""; broken by "engine.retire.wait=off", says "LOST with its version"
}
