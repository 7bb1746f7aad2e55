//! A person of the drill: sends messages on one thread, and holds the host to what it promises its users.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use agent_host_gateway::outside::whole;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};
use uuid::Uuid;

use super::talk::Talk;
use crate::verify::peer::{Address, Peer};

/// A connection is sent 120 messages a minute at most, unless its operator says otherwise.
const PACE: Duration = Duration::from_millis(550);
/// Between two tries to connect.
const AGAIN: Duration = Duration::from_millis(200);

/// What talkers and the drill tell each other.
#[derive(Debug, Default)]
pub(super) struct Shared {
    /// They shall end with the message that they are at.
    pub(super) stop: AtomicBool,
    /// A fault is in force.
    pub(super) harmed: AtomicBool,
    /// When the last message was sent that its agent answered.
    last_ok: Mutex<Option<Instant>>,
    /// What they counted so far.
    pub(super) bad: Mutex<u64>,
    /// What they began.
    threads: Mutex<Vec<String>>,
}

impl Shared {
    /// Whether a message that was sent after that was answered by its agent.
    pub(super) fn answered_since(&self, since: Instant) -> bool {
        let last = *self.last_ok.lock().unwrap_or_else(PoisonError::into_inner);
        last.is_some_and(|last| last > since)
    }

    /// The threads that they began.
    pub(super) fn threads(&self) -> Vec<String> {
        self.threads.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Runs of theirs that ended badly.
    pub(super) fn bad(&self) -> u64 {
        *self.bad.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a person goes by.
#[derive(Debug, Clone)]
pub(super) struct Part {
    pub(super) to: Address,
    pub(super) token: String,
    /// Who shall answer.
    pub(super) agent: String,
    /// What is said, by turns.
    pub(super) messages: Arc<[String]>,
    /// For one message, in all: no shorter than the fault and what the host may take to be well again.
    pub(super) within: Duration,
    /// For the thread from its beginning.
    pub(super) reads_within: Duration,
}

/// One person.
pub(super) struct Talker {
    part: Part,
    shared: Arc<Shared>,
    peer: Option<Peer>,
    thread: Option<(String, Value)>,
    /// The events that came, from the first on.
    seen: Vec<Event>,
    /// Events of each run that has not ended.
    runs: HashMap<String, Vec<Value>>,
    talk: Talk,
}

/// An event, as far as it is to be the same whenever it is read.
type Event = (String, String);

/// Why an exchange goes no further.
enum Stop {
    /// The connection is lost.
    Lost,
    /// It is over for this message.
    Over(String),
}

impl Talker {
    pub(super) fn new(part: Part, shared: Arc<Shared>) -> Self {
        Self {
            part,
            shared,
            peer: None,
            thread: None,
            seen: Vec::new(),
            runs: HashMap::new(),
            talk: Talk::default(),
        }
    }

    /// Talks until it is told to stop, reads all of it again, and answers what it counted.
    pub(super) async fn run(mut self) -> Talk {
        while !self.shared.stop.load(Ordering::Relaxed) {
            let (begun, harmed) = (Instant::now(), self.shared.harmed.load(Ordering::Relaxed));
            if let Err(wrong) = self.exchange(begun, harmed).await {
                self.talk.wrong.push(wrong);
                // What comes late would be taken for another message's.
                self.peer = None;
            }
            sleep(PACE.saturating_sub(begun.elapsed())).await;
        }
        if let Err(wrong) = self.reread().await {
            self.talk.wrong.push(format!("the thread, read again from its beginning: {wrong}"));
        }
        self.talk
    }

    async fn exchange(&mut self, begun: Instant, harmed: bool) -> Result<(), String> {
        let until = begun + self.part.within;
        let id = Uuid::new_v4().simple().to_string();
        self.talk.sent += 1;
        let run = loop {
            match self.accepted(&id, until).await {
                Ok(Some(run)) => break run,
                Ok(None) => return Ok(()),
                Err(stop) => self.lost(stop)?,
            }
        };
        self.talk.accepted += 1;
        let completed = loop {
            match self.completed(&run, until).await {
                Ok(completed) => break completed,
                Err(stop) => self.lost(stop)?,
            }
        };
        let status = completed["status"].as_str().unwrap_or("none").to_owned();
        let by = completed["responder"]["plugin"].as_str().unwrap_or("nobody").to_owned();
        if let Some(code) = completed["error"]["code"].as_str() {
            *self.talk.codes.entry(code.to_owned()).or_default() += 1;
        }
        if super::talk::BAD.contains(&status.as_str()) {
            *self.shared.bad.lock().unwrap_or_else(PoisonError::into_inner) += 1;
        }
        if status == "ok" && by == self.part.agent {
            *self.shared.last_ok.lock().unwrap_or_else(PoisonError::into_inner) = Some(begun);
        }
        *self.talk.answers.entry(status).or_default() += 1;
        *self.talk.by.entry(by).or_default() += 1;
        let times = if harmed { &mut self.talk.harmed } else { &mut self.talk.calm };
        times.push(begun.elapsed());
        Ok(())
    }

    fn lost(&mut self, stop: Stop) -> Result<(), String> {
        match stop {
            Stop::Lost => {
                self.talk.cuts += u32::from(self.peer.take().is_some());
                Ok(())
            }
            Stop::Over(why) => Err(why),
        }
    }

    /// Sends the message, again under the same id where it is not known whether it arrived. Its run; `None`: refused.
    async fn accepted(&mut self, id: &str, until: Instant) -> Result<Option<String>, Stop> {
        self.connect(until).await?;
        let turn = self.talk.sent.saturating_sub(1) as usize % self.part.messages.len().max(1);
        let text = self.part.messages.get(turn).map_or("", String::as_str);
        let mut message =
            json!({ "type": "user_message", "id": id, "content": text, "agent": self.part.agent });
        if let Some((thread, _)) = &self.thread {
            message["thread_id"] = thread.as_str().into();
        }
        self.send(&message).await?;
        loop {
            let frame = self.frame(until, "a message was not answered").await?;
            match frame["type"].as_str() {
                Some("accepted") if frame["id"] == id => {
                    let thread = frame["thread_id"].as_str().unwrap_or_default().to_owned();
                    if self.thread.is_none() {
                        self.shared
                            .threads
                            .lock()
                            .unwrap_or_else(PoisonError::into_inner)
                            .push(thread.clone());
                    }
                    self.thread = Some((thread, frame["epoch"].clone()));
                    return Ok(frame["run_id"].as_str().map(str::to_owned));
                }
                Some("error") if frame["id"] == id => {
                    let code = frame["code"].as_str().unwrap_or("no code").to_owned();
                    *self.talk.refused.entry(code).or_default() += 1;
                    return Ok(None);
                }
                _ => {}
            }
        }
    }

    /// The last word of a run, once it has come and the run was whole.
    async fn completed(&mut self, run: &str, until: Instant) -> Result<Value, Stop> {
        self.connect(until).await?;
        loop {
            let events = self.runs.get(run).map(Vec::as_slice).unwrap_or_default();
            if let Some(last) = events.last().filter(|last| last["type"] == "agent_completed") {
                let (completed, first) = (last["payload"].clone(), events.first().map_or(0, seq));
                let judged = whole(events, first);
                self.runs.clear();
                return judged.map(|()| completed).map_err(|why| Stop::Over(format!("run {run}: {why}")));
            }
            let seen = events.len();
            self.frame(until, &format!("the accepted run {run} has no end, after {seen} events")).await?;
        }
    }

    async fn connect(&mut self, until: Instant) -> Result<(), Stop> {
        while self.peer.is_none() {
            match Peer::open(&self.part.to, &self.part.token).await {
                Ok(peer) => self.peer = Some(peer),
                Err((why, _)) if Instant::now() >= until => {
                    return Err(Stop::Over(format!("no connection is to be had: {why}")));
                }
                Err(_) => {
                    sleep(AGAIN).await;
                    continue;
                }
            }
            if let Some((thread, epoch)) = &self.thread {
                let frame = subscribe(thread, self.seen.len(), epoch);
                self.send(&frame).await?;
            }
        }
        Ok(())
    }

    /// Reads the thread as somebody who comes back to it: what was seen is there, each event once and in its place.
    async fn reread(&mut self) -> Result<(), String> {
        let Some((thread, epoch)) = &self.thread else { return Ok(()) };
        let until = Instant::now() + self.part.reads_within;
        let mut peer = loop {
            match Peer::open(&self.part.to, &self.part.token).await {
                Ok(peer) => break peer,
                Err((why, _)) if Instant::now() >= until => return Err(why),
                Err(_) => sleep(AGAIN).await,
            }
        };
        peer.frames.send(subscribe(thread, 0, epoch).to_string()).await?;
        for (place, seen) in (1..).zip(&self.seen) {
            let came = peer.frames.until(until, |frame| {
                frame["thread_id"] == thread.as_str() && frame["payload"].is_object()
                    || frame["type"] == "error"
            });
            let came = came.await.map_err(|why| format!("event {place} does not come: {why}"))?;
            if came["type"] == "error" {
                return Err(format!("event {place} does not come: {}", came["code"]));
            }
            let now = event(&came);
            if seq(&came) != place || (*seen != now && *seen != Event::default()) {
                let (kind, at) = (&now.0, seq(&came));
                return Err(format!("in place of event {place}, a {}, comes event {at}, a {kind}", seen.0));
            }
        }
        Ok(())
    }

    async fn send(&mut self, frame: &Value) -> Result<(), Stop> {
        let peer = self.peer.as_mut().ok_or(Stop::Lost)?;
        peer.frames.send(frame.to_string()).await.map_err(|_| Stop::Lost)
    }

    /// The next frame. An event is noted, and must be the next one of its thread.
    async fn frame(&mut self, until: Instant, waiting_for: &str) -> Result<Value, Stop> {
        let peer = self.peer.as_mut().ok_or(Stop::Lost)?;
        let frame = match peer.frames.next(until).await {
            Ok(frame) => frame,
            Err(_) if Instant::now() >= until => {
                return Err(Stop::Over(format!("{waiting_for} within {} s", self.part.within.as_secs())));
            }
            Err(_) => return Err(Stop::Lost),
        };
        if frame["seq"].is_u64() && frame["payload"].is_object() {
            let (seq, last) = (seq(&frame), self.seen.len() as u64);
            if seq != last + 1 {
                // From here on it could not be told what is missing.
                self.seen.resize(usize::try_from(seq).unwrap_or(0), Event::default());
                return Err(Stop::Over(format!("after event {last} of the thread came {seq}")));
            }
            self.seen.push(event(&frame));
            let run = frame["run_id"].as_str().unwrap_or_default().to_owned();
            self.runs.entry(run).or_default().push(frame.clone());
        }
        Ok(frame)
    }
}

fn subscribe(thread: &str, after: usize, epoch: &Value) -> Value {
    json!({ "type": "subscribe", "thread_id": thread, "after_seq": after, "epoch": epoch })
}

fn event(frame: &Value) -> Event {
    let text = |field: &str| frame[field].as_str().unwrap_or_default().to_owned();
    (text("type"), text("run_id"))
}

fn seq(event: &Value) -> u64 {
    event["seq"].as_u64().unwrap_or(0)
}
