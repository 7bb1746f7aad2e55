//! Decides what a client says and shows: sends, resends, subscribes, drops what it has, and knows when all is done.
//!
//! No socket and no clock in here: frames, lines and connections in, [`Effect`]s out.

use std::{
    collections::{BTreeSet, VecDeque},
    time::Duration,
};

use agent_plugin_protocol::{Code, Epoch, EventKind, MessageId, RunId, Seq, ThreadId};
use serde_json::{Value, json};

use super::frame::{Event, Frame, Refusal};

/// One conversation, over any number of connections.
#[derive(Debug)]
pub(super) struct Conversation {
    agent: Option<String>,
    /// Whether a message waits for the run before it: a script's lines do, a person's need not.
    one_at_a_time: bool,
    thread: Option<Position>,
    /// What was not accepted yet; the first of it is under way.
    outbox: VecDeque<Outgoing>,
    /// Our runs that are not over.
    open: BTreeSet<RunId>,
    /// Runs that ended, lately: an acceptance may come after the end of its run when both are replayed.
    ended: VecDeque<RunId>,
    question: Option<Question>,
    link: Link,
    frame_bytes: usize,
    /// Whether a message stayed without an answer.
    failed: bool,
}

/// How far a thread was read.
#[derive(Debug)]
struct Position {
    id: ThreadId,
    epoch: Option<Epoch>,
    last: Seq,
}

/// A message that was not accepted yet.
#[derive(Debug)]
struct Outgoing {
    id: MessageId,
    content: String,
    answers: Option<Question>,
    /// As it was sent first: the same id must always come with the same words.
    frame: Option<String>,
    tries: u32,
}

/// What an agent asked at the end of its run.
#[derive(Debug, Clone)]
struct Question {
    run: RunId,
    interrupt: String,
}

/// What the connection allows.
///
/// ```text
/// Down ──connected──► Resuming ──subscribed──► Ready ◄──► Sending
///   ▲                    ▲  (no thread yet: Ready at once)   │
///   └──── disconnected ──┴───────── a hole in the log ───────┘
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Link {
    Down,
    /// Waits for the answer to `subscribe`.
    Resuming,
    Ready,
    /// Waits for the acceptance of the first message of the outbox.
    Sending,
}

/// What is to be done.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Effect {
    /// Send a frame.
    Send(String),
    /// Show an event: it is new and in order.
    Show(Event),
    /// Tell of a refusal.
    Refused(Refusal),
    /// Tell the person.
    Note(String),
    /// Call [`Conversation::again`] after this time.
    Again(Duration),
    /// There is nothing to talk about: end.
    GiveUp(String),
}

impl Conversation {
    /// A new one, or one that goes on in `thread`.
    pub(super) fn new(agent: Option<String>, thread: Option<ThreadId>, one_at_a_time: bool) -> Self {
        Self {
            agent,
            one_at_a_time,
            thread: thread.map(|id| Position { id, epoch: None, last: Seq::START }),
            outbox: VecDeque::new(),
            open: BTreeSet::new(),
            ended: VecDeque::new(),
            question: None,
            link: Link::Down,
            frame_bytes: usize::MAX,
            failed: false,
        }
    }

    /// Whether there is a connection and nothing is under way.
    pub(super) fn is_idle(&self) -> bool {
        self.outbox.is_empty() && self.open.is_empty() && self.link == Link::Ready
    }

    /// Whether a message stayed without an answer.
    pub(super) fn has_failed(&self) -> bool {
        self.failed
    }

    /// A welcome came: resume, then send what was not accepted.
    pub(super) fn connected(&mut self, frame_bytes: usize) -> Vec<Effect> {
        self.frame_bytes = frame_bytes;
        self.link = Link::Ready;
        for message in &mut self.outbox {
            message.tries = 0;
        }
        match self.subscribe() {
            Some(subscribe) => vec![subscribe],
            None => self.push(),
        }
    }

    /// The connection is gone.
    pub(super) fn disconnected(&mut self) {
        self.link = Link::Down;
    }

    /// The person said something.
    pub(super) fn say(&mut self, id: MessageId, content: String) -> Vec<Effect> {
        let answers = self.question.take();
        self.outbox.push_back(Outgoing { id, content, answers, frame: None, tries: 0 });
        self.push()
    }

    /// Stops the runs under way; nothing, if there are none.
    pub(super) fn cancel(&mut self) -> Vec<Effect> {
        let cancel = |run: &RunId| Effect::Send(json!({ "type": "cancel", "run_id": run }).to_string());
        self.open.iter().map(cancel).collect()
    }

    /// A time that [`Effect::Again`] named has passed.
    pub(super) fn again(&mut self) -> Vec<Effect> {
        match self.link {
            Link::Down => Vec::new(),
            Link::Resuming => self.subscribe().into_iter().collect(),
            Link::Ready | Link::Sending => {
                self.link = Link::Ready;
                self.push()
            }
        }
    }

    /// The host said something.
    pub(super) fn frame(&mut self, frame: Frame) -> Vec<Effect> {
        match frame {
            Frame::Accepted { id, thread_id, run_id, epoch, seq } => {
                self.accepted(&id, thread_id, run_id, epoch, seq)
            }
            Frame::Subscribed { thread_id, epoch, to_seq, recovered, reason } => {
                self.subscribed(&thread_id, epoch, to_seq, recovered, reason.as_deref())
            }
            Frame::Event(event) => self.event(event),
            Frame::Error(refusal) => self.refused(refusal),
            Frame::Ping { positions } => {
                let mut effects = vec![Effect::Send(json!({ "type": "pong" }).to_string())];
                let behind = |at: &Position| positions.get(&at.id).is_some_and(|seq| *seq > at.last);
                if self.link != Link::Resuming && self.thread.as_ref().is_some_and(behind) {
                    effects.extend(self.subscribe());
                }
                effects
            }
            Frame::Welcome(_)
            | Frame::ServiceStatus(_)
            | Frame::GoingAway { .. }
            | Frame::AuthExpiring { .. }
            | Frame::Other => Vec::new(),
        }
    }

    fn accepted(
        &mut self,
        id: &MessageId,
        thread: ThreadId,
        run: RunId,
        epoch: Epoch,
        seq: Seq,
    ) -> Vec<Effect> {
        if self.outbox.front().is_none_or(|first| first.id != *id) {
            return Vec::new();
        }
        self.outbox.pop_front();
        let before = Seq(seq.0.saturating_sub(1));
        match &mut self.thread {
            Some(position) if position.id == thread => position.epoch = Some(epoch),
            _ => self.thread = Some(Position { id: thread, epoch: Some(epoch), last: before }),
        }
        if !self.ended.contains(&run) {
            self.open.insert(run);
        }
        if self.link == Link::Sending {
            self.link = Link::Ready;
        }
        self.push()
    }

    fn subscribed(
        &mut self,
        thread: &ThreadId,
        epoch: Epoch,
        to: Seq,
        recovered: bool,
        reason: Option<&str>,
    ) -> Vec<Effect> {
        let Some(position) = self.thread.as_mut().filter(|position| position.id == *thread) else {
            return Vec::new();
        };
        position.epoch = Some(epoch);
        let mut effects = Vec::new();
        if !recovered {
            position.last = to;
            let why = reason.unwrap_or("unknown");
            effects.push(Effect::Note(format!(
                "a part of the conversation was missed ({why}); GET /v1/threads/{thread}/events has all of it"
            )));
            self.lose_runs();
        }
        if self.link == Link::Resuming {
            self.link = Link::Ready;
        }
        effects.extend(self.push());
        effects
    }

    fn event(&mut self, event: Event) -> Vec<Effect> {
        let Some(position) = self.thread.as_mut().filter(|position| position.id == event.thread_id) else {
            return Vec::new();
        };
        if event.seq <= position.last {
            return Vec::new();
        }
        if event.seq > position.last.next() {
            // A hole: everything after it comes again, in order.
            return if self.link == Link::Resuming {
                Vec::new()
            } else {
                self.subscribe().into_iter().collect()
            };
        }
        position.last = event.seq;
        if event.kind == Some(EventKind::AgentCompleted) {
            return self.completed(event);
        }
        // One's own words are on the screen already.
        let own = event.kind == Some(EventKind::UserMessage) && self.open.contains(&event.run_id);
        if own { Vec::new() } else { vec![Effect::Show(event)] }
    }

    fn completed(&mut self, event: Event) -> Vec<Effect> {
        let own = self.open.remove(&event.run_id);
        self.ended.push_back(event.run_id.clone());
        if self.ended.len() > REMEMBERED {
            self.ended.pop_front();
        }
        if own {
            self.failed |= matches!(event.text("status"), "failed" | "cancelled" | "interrupted");
        }
        self.question = event.payload["interrupts"][0]["interrupt_id"]
            .as_str()
            .map(|interrupt| Question { run: event.run_id.clone(), interrupt: interrupt.to_owned() });
        let mut effects = vec![Effect::Show(event)];
        effects.extend(self.push());
        effects
    }

    fn refused(&mut self, refusal: Refusal) -> Vec<Effect> {
        let first = self.outbox.front_mut().filter(|first| refusal.id.as_ref() == Some(&first.id));
        let pause = refusal.retry_after_ms.map_or(RETRY, Duration::from_millis);
        match first {
            Some(first) if refusal.retryable && first.tries < TRIES => {
                first.tries += 1;
                vec![Effect::Refused(refusal), Effect::Again(pause)]
            }
            Some(_) if is_unknown_thread(&refusal) => self.lose_thread(refusal),
            Some(_) => {
                self.outbox.pop_front();
                self.failed = true;
                self.link = Link::Ready;
                let mut effects = vec![Effect::Refused(refusal)];
                effects.extend(self.push());
                effects
            }
            None if refusal.id.is_none() && self.link == Link::Resuming => {
                if is_unknown_thread(&refusal) {
                    self.lose_thread(refusal)
                } else {
                    vec![Effect::Refused(refusal), Effect::Again(pause)]
                }
            }
            None => vec![Effect::Refused(refusal)],
        }
    }

    /// The host does not know the thread: its store did not outlive it, or the thread never was this user's.
    fn lose_thread(&mut self, refusal: Refusal) -> Vec<Effect> {
        let known = self.thread.take().is_some_and(|position| position.epoch.is_some());
        if !known {
            self.failed = true;
            return vec![
                Effect::Refused(refusal),
                Effect::GiveUp("there is no such conversation".to_owned()),
            ];
        }
        self.lose_runs();
        self.question = None;
        self.link = Link::Ready;
        if let Some(first) = self.outbox.front_mut() {
            // It named the lost thread: other words need another id.
            (first.id, first.frame, first.answers) = (MessageId::random(), None, None);
        }
        let mut effects =
            vec![Effect::Note("the host no longer knows this conversation; a new one begins".to_owned())];
        effects.extend(self.push());
        effects
    }

    /// What became of the runs under way will not be seen.
    fn lose_runs(&mut self) {
        self.failed |= !self.open.is_empty();
        self.open.clear();
    }

    fn subscribe(&mut self) -> Option<Effect> {
        let position = self.thread.as_ref()?;
        let mut frame = json!({ "type": "subscribe", "thread_id": position.id, "after_seq": position.last });
        if let Some(epoch) = &position.epoch {
            frame["epoch"] = json!(epoch);
        }
        self.link = Link::Resuming;
        Some(Effect::Send(frame.to_string()))
    }

    /// Sends the first message that was not accepted, if it may go out now. One at a time: only its acceptance says in
    /// which thread the next one belongs.
    fn push(&mut self) -> Vec<Effect> {
        if self.link != Link::Ready || (self.one_at_a_time && !self.open.is_empty()) {
            return Vec::new();
        }
        let Some(first) = self.outbox.front_mut() else { return Vec::new() };
        let (agent, thread) = (self.agent.as_deref(), self.thread.as_ref().map(|position| &position.id));
        let frame = first
            .frame
            .get_or_insert_with(|| frame_of(&first.id, &first.content, &first.answers, agent, thread));
        if frame.len() <= self.frame_bytes {
            let frame = frame.clone();
            self.link = Link::Sending;
            return vec![Effect::Send(frame)];
        }
        // The host would close the connection, each time again.
        let message = format!("the message has {} bytes; this host takes {}", frame.len(), self.frame_bytes);
        let id = self.outbox.pop_front().map(|message| message.id);
        self.failed = true;
        let code = Code::FrameTooLarge.as_str().to_owned();
        let refusal = Refusal { code, message, id, retryable: false, retry_after_ms: None };
        let mut effects = vec![Effect::Refused(refusal)];
        effects.extend(self.push());
        effects
    }
}

fn frame_of(
    id: &MessageId,
    content: &str,
    answers: &Option<Question>,
    agent: Option<&str>,
    thread: Option<&ThreadId>,
) -> String {
    if let Some(Question { run, interrupt }) = answers {
        // An answer may be any JSON; words that are none are text.
        let response: Value = serde_json::from_str(content).unwrap_or_else(|_| content.into());
        let frame = json!({
            "type": "interrupt_response", "id": id, "run_id": run, "interrupt_id": interrupt, "response": response,
        });
        return frame.to_string();
    }
    let mut frame = json!({ "type": "user_message", "id": id, "content": content });
    if let Some(agent) = agent {
        frame["agent"] = agent.into();
    }
    if let Some(thread) = thread {
        frame["thread_id"] = json!(thread);
    }
    frame.to_string()
}

fn is_unknown_thread(refusal: &Refusal) -> bool {
    refusal.code == Code::ThreadNotFound.as_str()
}

/// Ends of runs that are remembered: more than can be between an acceptance and its resend.
const REMEMBERED: usize = 64;
/// Before a refused message goes out again, where the host does not say.
const RETRY: Duration = Duration::from_secs(1);
/// So often a message is sent again on one connection.
const TRIES: u32 = 5;

#[cfg(test)]
mod tests;
