//! Fault 10: kill -9 of the host at random moments under load, again and again. Nothing that was acknowledged is lost,
//! nothing is there twice, no position is missing, and each run has one end.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use serde_json::{Value, json};
use tokio::sync::watch;

use crate::{
    client::Client,
    harness::{Host, PATIENCE, Setup},
    scenario::ready,
};

/// A small generator, so that a round can be had again from its seed.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, below: u64) -> u64 {
        // Splitmix64.
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut x = self.0;
        x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (x ^ (x >> 31)) % below
    }
}

/// What a person knows of their conversation.
#[derive(Default)]
struct Person {
    name: String,
    thread: Option<String>,
    epoch: Value,
    /// By position: as it was first seen.
    seen: BTreeMap<u64, Value>,
    /// Sent, in order.
    sent: Vec<String>,
    /// What became of it: its run and its position.
    accepted: HashMap<String, (String, u64)>,
    completed: HashSet<String>,
}

impl Person {
    fn last(&self) -> u64 {
        self.seen.keys().next_back().copied().unwrap_or(0)
    }

    fn open(&self) -> Option<String> {
        let runs = self.sent.last().map(|id| (id, self.accepted.get(id)))?;
        match runs {
            (id, None) => Some(id.clone()),
            (id, Some((run, _))) => (!self.completed.contains(run)).then(|| id.clone()),
        }
    }

    /// Talks until the connection breaks, or, once told to finish, until everything is answered.
    async fn talk(
        &mut self,
        host: std::net::SocketAddr,
        finish: watch::Receiver<bool>,
    ) -> Result<(), String> {
        let mut client = Client::connect_to(host, &self.name).await?;
        if let Some(thread) = self.thread.clone() {
            let after = self.last();
            let subscribe =
                json!({ "type": "subscribe", "thread_id": thread, "after_seq": after, "epoch": self.epoch });
            client.send(&subscribe).await?;
            let subscribed = client.expect("subscribed").await?;
            if subscribed["recovered"] != true || subscribed["epoch"] != self.epoch {
                return Err(format!("LOST: not recovered: {subscribed}"));
            }
        }
        // What was not acknowledged is sent again, under the same id.
        if let Some(id) = self.sent.last().filter(|id| !self.accepted.contains_key(*id)).cloned() {
            self.send(&mut client, &id).await?;
        }
        loop {
            if self.open().is_none() {
                if *finish.borrow() {
                    return Ok(());
                }
                let id = format!("{}-{}", self.name, self.sent.len());
                self.sent.push(id.clone());
                self.send(&mut client, &id).await?;
            }
            let frame = client.next().await?;
            self.hear(frame)?;
        }
    }

    async fn send(&self, client: &mut Client, id: &str) -> Result<(), String> {
        let mut message = json!({ "type": "user_message", "id": id, "content": format!("says {id}") });
        if let Some(thread) = self.thread.as_ref().filter(|_| self.sent[0] != id) {
            message["thread_id"] = thread.as_str().into();
        }
        client.send(&message).await
    }

    fn hear(&mut self, frame: Value) -> Result<(), String> {
        let text = |field: &str| frame[field].as_str().unwrap_or("").to_owned();
        match text("type").as_str() {
            "accepted" => {
                self.thread.get_or_insert(text("thread_id"));
                self.epoch = frame["epoch"].clone();
                let accepted = (text("run_id"), frame["seq"].as_u64().unwrap_or(0));
                let before = self.accepted.insert(text("id"), accepted.clone());
                if before.is_some_and(|before| before != accepted) {
                    return Err(format!("LOST: accepted otherwise before: {frame}"));
                }
            }
            "service_status" => {}
            "error" => return Err(format!("refused: {frame}")),
            kind => {
                if kind == "agent_completed" {
                    self.completed.insert(text("run_id"));
                }
                let seq = frame["seq"].as_u64().ok_or_else(|| format!("no event: {frame}"))?;
                if let Some(before) = self.seen.get(&seq)
                    && *before != frame
                {
                    return Err(format!("LOST: position {seq} was {before} and is {frame}"));
                }
                self.seen.insert(seq, frame);
            }
        }
        Ok(())
    }

    /// Everything that the laws say of the whole.
    fn judge(&self) -> Result<(), String> {
        let positions: Vec<u64> = self.seen.keys().copied().collect();
        if positions != (1..=positions.len() as u64).collect::<Vec<_>>() {
            return Err(format!("LOST: gaps: {positions:?}"));
        }
        // Counted once: two hundred rounds leave thousands of runs.
        let mut counts: BTreeMap<(&str, &str), usize> = BTreeMap::new();
        for event in self.seen.values() {
            let word = |field: &str| event[field].as_str().unwrap_or_default();
            *counts.entry((word("type"), word("run_id"))).or_default() += 1;
        }
        let of = |kind: &str, run: &str| counts.get(&(kind, run)).copied().unwrap_or(0);
        for id in &self.sent {
            let (run, seq) = self.accepted.get(id).ok_or_else(|| format!("LOST: {id} was never accepted"))?;
            let asked = self.seen.get(seq).map(|event| &event["payload"]["message_id"]);
            if asked != Some(&json!(id)) {
                return Err(format!("LOST: {id} is not at {seq}: {asked:?}"));
            }
            for kind in ["user_message", "agent_started", "agent_completed"] {
                if of(kind, run) != 1 {
                    return Err(format!("LOST: {} × {kind} for {id}", of(kind, run)));
                }
            }
        }
        let asked = self.seen.values().filter(|event| event["type"] == "user_message").count();
        match asked == self.sent.len() {
            true => Ok(()),
            false => Err(format!("LOST: {asked} messages in the log, {} sent", self.sent.len())),
        }
    }
}

/// Everybody talks, until the host is killed at some moment.
async fn round(
    host: &mut Host,
    setup: &Setup,
    people: Vec<Person>,
    after: Duration,
) -> Result<Vec<Person>, String> {
    let (_finish, never) = watch::channel(false);
    let talks: Vec<_> = people
        .into_iter()
        .map(|mut person| {
            let (address, never) = (host.address, never.clone());
            tokio::spawn(async move {
                let end = person.talk(address, never).await;
                (person, end)
            })
        })
        .collect();
    tokio::time::sleep(after).await;
    host.kill();
    let people = gather(talks).await?;
    host.start_again(setup);
    Ok(people)
}

type Talk = tokio::task::JoinHandle<(Person, Result<(), String>)>;

async fn gather(talks: Vec<Talk>) -> Result<Vec<Person>, String> {
    let mut people = Vec::new();
    for talk in talks {
        let (person, end) = talk.await.map_err(|e| e.to_string())?;
        match end {
            // A connection that breaks is what a kill is to a client; a law that is broken is told as such.
            Err(objection) if objection.contains("LOST") || objection.contains("Unlawful") => {
                return Err(objection);
            }
            Err(_) | Ok(()) => people.push(person),
        }
    }
    Ok(people)
}

async fn rounds(rounds: u32, people: usize) -> Result<(), String> {
    let seed = std::env::var("SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or_else(|| {
        SystemTime::now().duration_since(UNIX_EPOCH).map_or(1, |since| u64::from(since.subsec_nanos()))
    });
    println!("SEED={seed}");
    let mut dice = Dice(seed);
    let setup = Setup::echo().set("limits.messages_per_minute", "0").set("limits.connections_per_user", "0");
    let mut host = setup.start();
    ready(&host).await?;
    let new = |at: usize| Person { name: format!("person-{at}"), ..Person::default() };
    let mut talking: Vec<Person> = (0..people).map(new).collect();
    let (mut messages, mut killed) = (0, 0);
    for _ in 0..rounds {
        let after = Duration::from_millis(30 + dice.roll(600));
        talking = round(&mut host, &setup, talking, after).await.map_err(|e| format!("SEED={seed}: {e}"))?;
        killed += 1;
    }
    // At last everybody hears everything, on a host that stays.
    let (_all, finish) = watch::channel(true);
    let talks: Vec<Talk> = talking
        .into_iter()
        .map(|mut person| {
            let (address, finish) = (host.address, finish.clone());
            tokio::spawn(async move {
                let end = tokio::time::timeout(3 * PATIENCE, person.talk(address, finish)).await;
                (person, end.unwrap_or_else(|_| Err("LOST: not all is answered".to_owned())))
            })
        })
        .collect();
    for talk in talks {
        let (person, end) = talk.await.map_err(|e| e.to_string())?;
        end.and_then(|()| person.judge()).map_err(|e| format!("SEED={seed}: {}: {e}", person.name))?;
        messages += person.sent.len();
    }
    println!("{killed} kills, {messages} messages, none lost, none twice");
    if messages < people { Err("nobody said anything: that proves nothing".to_owned()) } else { Ok(()) }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn twenty_kills_under_load_lose_nothing() {
    assert_eq!(rounds(20, 12).await, Ok(()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes minutes: a part of the long form"]
async fn two_hundred_kills_under_load_lose_nothing() {
    assert_eq!(rounds(200, 50).await, Ok(()));
}

/// The scenario objects to a host that acknowledges before it commits.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_rounds_are_red_for_a_host_that_commits_late() {
    let setup = Setup::echo().failpoints("store.commit=off").set("limits.messages_per_minute", "0");
    let mut host = setup.start();
    ready(&host).await.unwrap();
    let mut people: Vec<Person> =
        (0..4).map(|at| Person { name: format!("person-{at}"), ..Person::default() }).collect();
    for _ in 0..10 {
        match round(&mut host, &setup, people, Duration::from_millis(400)).await {
            Ok(next) => people = next,
            Err(objection) => {
                return assert!(objection.contains("LOST") || objection.contains("Unlawful"), "{objection}");
            }
        }
    }
    panic!("ten kills of a host that commits late, and nothing was lost");
}
