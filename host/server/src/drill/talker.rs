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

/// For one message, in all: longer than any fault of a drill holds it up.
const WITHIN: Duration = Duration::from_secs(45);
/// A connection is sent 120 messages a minute at most, unless its operator says otherwise.
const PACE: Duration = Duration::from_millis(550);
/// Between two tries to connect.
const AGAIN: Duration = Duration::from_millis(200);
const MESSAGE: &str = "This is a drill: please answer with a word.";

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
}

impl Shared {
    /// Whether a message that was sent after that was answered by its agent.
    pub(super) fn answered_since(&self, since: Instant) -> bool {
        let last = *self.last_ok.lock().unwrap_or_else(PoisonError::into_inner);
        last.is_some_and(|last| last > since)
    }

    /// Runs of theirs that ended badly.
    pub(super) fn bad(&self) -> u64 {
        *self.bad.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One person.
pub(super) struct Talker {
    to: Address,
    token: String,
    agent: String,
    shared: Arc<Shared>,
    peer: Option<Peer>,
    thread: Option<(String, Value)>,
    /// `seq` of the last event that came.
    last: u64,
    /// Events of each run that has not ended.
    runs: HashMap<String, Vec<Value>>,
    talk: Talk,
}

/// Why an exchange goes no further.
enum Stop {
    /// The connection is lost.
    Lost,
    /// It is over for this message.
    Over(String),
}

impl Talker {
    pub(super) fn new(to: Address, token: String, agent: String, shared: Arc<Shared>) -> Self {
        Self {
            to,
            token,
            agent,
            shared,
            peer: None,
            thread: None,
            last: 0,
            runs: HashMap::new(),
            talk: Talk::default(),
        }
    }

    /// Talks until it is told to stop; answers what it counted, and its thread.
    pub(super) async fn run(mut self) -> (Talk, Option<String>) {
        while !self.shared.stop.load(Ordering::Relaxed) {
            let (begun, harmed) = (Instant::now(), self.shared.harmed.load(Ordering::Relaxed));
            if let Err(wrong) = self.exchange(begun, harmed).await {
                self.talk.wrong.push(wrong);
                // What comes late would be taken for another message's.
                self.peer = None;
            }
            sleep(PACE.saturating_sub(begun.elapsed())).await;
        }
        (self.talk, self.thread.map(|(thread, _)| thread))
    }

    async fn exchange(&mut self, begun: Instant, harmed: bool) -> Result<(), String> {
        let until = begun + WITHIN;
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
        if super::talk::BAD.contains(&status.as_str()) {
            *self.shared.bad.lock().unwrap_or_else(PoisonError::into_inner) += 1;
        }
        if status == "ok" && by == self.agent {
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
        let mut message =
            json!({ "type": "user_message", "id": id, "content": MESSAGE, "agent": self.agent });
        if let Some((thread, _)) = &self.thread {
            message["thread_id"] = thread.as_str().into();
        }
        self.send(&message).await?;
        loop {
            let frame = self.frame(until, "a message was not answered").await?;
            match frame["type"].as_str() {
                Some("accepted") if frame["id"] == id => {
                    let thread = frame["thread_id"].as_str().unwrap_or_default().to_owned();
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
            match Peer::open(&self.to, &self.token).await {
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
                let frame = json!({
                    "type": "subscribe", "thread_id": thread, "after_seq": self.last, "epoch": epoch,
                });
                self.send(&frame).await?;
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
                return Err(Stop::Over(format!("{waiting_for} within {} s", WITHIN.as_secs())));
            }
            Err(_) => return Err(Stop::Lost),
        };
        if frame["seq"].is_u64() && frame["payload"].is_object() {
            let (seq, last) = (seq(&frame), self.last);
            self.last = seq;
            if seq != last + 1 {
                return Err(Stop::Over(format!("after event {last} of the thread came {seq}")));
            }
            let run = frame["run_id"].as_str().unwrap_or_default().to_owned();
            self.runs.entry(run).or_default().push(frame.clone());
        }
        Ok(frame)
    }
}

fn seq(event: &Value) -> u64 {
    event["seq"].as_u64().unwrap_or(0)
}
