//! Somebody who goes on talking, over however many connections, and remembers everything: what was sent, what was
//! acknowledged, and each event by its position. At the end it judges the whole.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    net::SocketAddr,
    ops::Range,
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use tokio::{sync::watch, time::timeout};

use crate::{
    client::{Client, End},
    harness::{PATIENCE, dice::Dice, http, tokens},
};

/// How somebody talks.
#[derive(Debug, Clone)]
pub(crate) struct Manner {
    /// What is said next, as the fields of a message: `content`, perhaps `agent`.
    pub(crate) words: fn(&mut Dice) -> Value,
    /// Silence between an answer and the next message, in milliseconds.
    pub(crate) pause: Range<u64>,
    /// Without a word for so long while one is owed, a connection is given up.
    pub(crate) patience: Duration,
    /// Whether each frame is held against its schema too.
    pub(crate) schooled: bool,
}

impl Default for Manner {
    /// Says the next thing at once, and never gives up.
    fn default() -> Self {
        Self { words: |_| json!({ "content": "hello" }), pause: 0..0, patience: PATIENCE, schooled: true }
    }
}

/// Why the talk over one connection ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Stop {
    /// The network's doing: it broke, or fell silent.
    Cut(String),
    /// The host closed with this code.
    Closed(u16),
    /// The host refused a connection or a message.
    Refused(String),
    /// A law is broken.
    Wrong(String),
}

impl From<End> for Stop {
    fn from(end: End) -> Self {
        match end {
            End::Closed(code) => Self::Closed(code),
            End::Unlawful(law) => Self::Wrong(law),
            End::Broke(why) => Self::Cut(why),
            End::Silence => Self::Cut("silence".to_owned()),
        }
    }
}

impl From<String> for Stop {
    /// As the client tells what is no frame.
    fn from(told: String) -> Self {
        if told.contains("Unlawful") {
            Self::Wrong(told)
        } else if told.contains("HTTP error") {
            Self::Refused(told)
        } else {
            Self::Cut(told)
        }
    }
}

/// See the module.
pub(crate) struct Person {
    pub(crate) name: String,
    manner: Manner,
    dice: Dice,
    thread: Option<String>,
    epoch: Value,
    /// By position: as it was first seen.
    seen: BTreeMap<u64, Value>,
    /// The messages sent, in order, as they were sent.
    sent: Vec<Value>,
    /// What became of a message: its run and its position.
    accepted: HashMap<String, (String, u64)>,
    completed: HashSet<String>,
    /// When each message was sent for the first time, and how long its answer took.
    pub(crate) waits: Vec<(Instant, Duration)>,
    /// When the last message was sent.
    asked: Instant,
    /// Connections on which the conversation was taken up again.
    pub(crate) resumed: usize,
}

impl Person {
    pub(crate) fn new(name: String, manner: Manner, dice: Dice) -> Self {
        Self {
            name,
            manner,
            dice,
            thread: None,
            epoch: Value::Null,
            seen: BTreeMap::new(),
            sent: Vec::new(),
            accepted: HashMap::new(),
            completed: HashSet::new(),
            waits: Vec::new(),
            asked: Instant::now(),
            resumed: 0,
        }
    }

    /// How many messages were sent.
    pub(crate) fn messages(&self) -> usize {
        self.sent.len()
    }

    /// How many events were seen.
    pub(crate) fn events(&self) -> usize {
        self.seen.len()
    }

    fn last(&self) -> u64 {
        self.seen.keys().next_back().copied().unwrap_or(0)
    }

    /// The last message, while it is not answered.
    fn open(&self) -> Option<&Value> {
        let message = self.sent.last()?;
        let run = self.accepted.get(text(message, "id"));
        run.is_none_or(|(run, _)| !self.completed.contains(run)).then_some(message)
    }

    /// Talks until the connection ends, or, once told to finish, until everything is answered.
    pub(crate) async fn talk(
        &mut self,
        address: SocketAddr,
        mut finish: watch::Receiver<bool>,
    ) -> Result<(), Stop> {
        // Law 2's limit is other tests' business: here everybody comes at once, or over a bad network.
        let mut client = Client::connect_within(address, &self.name, self.manner.patience).await?;
        if !self.manner.schooled {
            client = client.one_of_many();
        }
        self.resume(&mut client).await?;
        // What was not acknowledged is sent again, under the same id.
        let unheard = self.sent.last().filter(|sent| !self.accepted.contains_key(text(sent, "id")));
        if let Some(message) = unheard {
            client.send(message).await?;
        }
        loop {
            if self.open().is_some() {
                let next = timeout(self.manner.patience, client.next()).await;
                self.hear(next.map_err(|_| Stop::Cut("silence".to_owned()))??)?;
            } else if *finish.borrow() {
                return Ok(());
            } else {
                self.pause(&mut client, &mut finish).await?;
                if !*finish.borrow() {
                    let message = self.next_message();
                    client.send(&message).await?;
                }
            }
        }
    }

    /// Takes the conversation up where it was.
    async fn resume(&mut self, client: &mut Client) -> Result<(), Stop> {
        let Some(thread) = &self.thread else { return Ok(()) };
        client.send(&self.subscribe(thread, self.last())).await?;
        let within = self.manner.patience;
        let subscribed = timeout(within, client.expect("subscribed")).await;
        let subscribed = match subscribed.map_err(|_| Stop::Cut("not subscribed".to_owned()))? {
            // It is known by what was acknowledged in it.
            Err(told) if told.contains("thread.not_found") => {
                return Err(Stop::Wrong(format!("what was acknowledged is gone: {told}")));
            }
            subscribed => subscribed?,
        };
        if subscribed["recovered"] != true || subscribed["epoch"] != self.epoch {
            return Err(Stop::Wrong(format!("not recovered: {subscribed}")));
        }
        self.resumed += 1;
        Ok(())
    }

    fn subscribe(&self, thread: &str, after: u64) -> Value {
        json!({ "type": "subscribe", "thread_id": thread, "after_seq": after, "epoch": self.epoch })
    }

    /// Nothing is owed: hears what there is, until it is time to speak or to finish.
    async fn pause(&mut self, client: &mut Client, finish: &mut watch::Receiver<bool>) -> Result<(), Stop> {
        let pause = self.dice.millis(&self.manner.pause);
        let until = tokio::time::Instant::now() + pause;
        while tokio::time::Instant::now() < until {
            let frame = tokio::select! {
                frame = client.next() => frame?,
                () = tokio::time::sleep_until(until) => break,
                // An error: the scenario is over.
                _ = finish.changed() => break,
            };
            self.hear(frame)?;
        }
        Ok(())
    }

    fn next_message(&mut self) -> Value {
        let mut message = (self.manner.words)(&mut self.dice);
        message["type"] = "user_message".into();
        message["id"] = format!("{}-{}", self.name, self.sent.len()).into();
        if let Some(thread) = &self.thread {
            message["thread_id"] = thread.as_str().into();
        }
        self.sent.push(message.clone());
        self.asked = Instant::now();
        message
    }

    fn hear(&mut self, frame: Value) -> Result<(), Stop> {
        let text = |field: &str| text(&frame, field).to_owned();
        match text("type").as_str() {
            "accepted" => {
                self.thread.get_or_insert(text("thread_id"));
                self.epoch = frame["epoch"].clone();
                let accepted = (text("run_id"), frame["seq"].as_u64().unwrap_or(0));
                let before = self.accepted.insert(text("id"), accepted.clone());
                if before.is_some_and(|before| before != accepted) {
                    return Err(Stop::Wrong(format!("accepted otherwise before: {frame}")));
                }
            }
            "service_status" => {}
            "error" => return Err(Stop::Refused(frame.to_string())),
            kind => {
                if kind == "agent_completed" && self.completed.insert(text("run_id")) {
                    self.waits.push((self.asked, self.asked.elapsed()));
                }
                let seq = frame["seq"].as_u64();
                let seq = seq.ok_or_else(|| Stop::Wrong(format!("no event: {frame}")))?;
                if let Some(before) = self.seen.get(&seq)
                    && *before != frame
                {
                    return Err(Stop::Wrong(format!("position {seq} was {before} and is {frame}")));
                }
                self.seen.insert(seq, frame);
            }
        }
        Ok(())
    }

    /// Everything that the laws say of the whole.
    pub(crate) fn judge(&self) -> Result<(), String> {
        let positions: Vec<u64> = self.seen.keys().copied().collect();
        if positions != (1..=positions.len() as u64).collect::<Vec<_>>() {
            return Err(format!("LOST: gaps: {positions:?}"));
        }
        // Counted once: two hundred rounds leave thousands of runs.
        let mut counts: BTreeMap<(&str, &str), usize> = BTreeMap::new();
        for event in self.seen.values() {
            *counts.entry((text(event, "type"), text(event, "run_id"))).or_default() += 1;
        }
        let of = |kind: &str, run: &str| counts.get(&(kind, run)).copied().unwrap_or(0);
        for id in self.sent.iter().map(|sent| text(sent, "id")) {
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

    /// Reads the log anew from its start, page by page: it must hold what was seen, and nothing else.
    pub(crate) async fn judge_log(&self, host: SocketAddr) -> Result<(), String> {
        let Some(thread) = &self.thread else { return Ok(()) };
        let mut seen = self.seen.iter();
        let mut after = Some(0);
        while let Some(from) = after {
            let page = self.page(host, thread, from).await?;
            after = page["next_after"].as_u64();
            for logged in page["events"].as_array().into_iter().flatten() {
                match seen.next() {
                    Some((_, frame)) if frame == logged => {}
                    other => return Err(format!("LOST: seen was {other:?}, the log has {logged}")),
                }
            }
        }
        match seen.next() {
            None => Ok(()),
            Some((seq, frame)) => Err(format!("LOST: the log ends before {seq}: {frame}")),
        }
    }

    /// The events behind this position, as many as are told at once.
    async fn page(&self, host: SocketAddr, thread: &str, after: u64) -> Result<Value, String> {
        let path = format!("/v1/threads/{thread}/events?after={after}&limit={PAGE}");
        let bearer = format!("Bearer {}", tokens::of(&self.name));
        let answer = http::get(host, &path, &[("Authorization", &bearer)], PATIENCE).await?;
        match answer.status {
            200 => answer.json(),
            _ => Err(format!("GET {path}: {answer:?}")),
        }
    }
}

/// Events of a page of the log.
const PAGE: u64 = 500;

fn text<'a>(frame: &'a Value, field: &str) -> &'a str {
    frame[field].as_str().unwrap_or_default()
}
