//! Fuzzes the merge: an input is a script of what log, threads' tasks and client do, in any order that can happen. Each
//! event has to come to the client once, in order, and at the end none may lack.

use std::{
    collections::VecDeque,
    sync::Arc,
    time::{Duration, SystemTime},
};

use agent_host_core::ports::store::NewEvent;
use agent_host_fuzz::{Target, Trace};
use agent_plugin_protocol::{Epoch, EventKind, MessageId, RunId};

use super::*;
use crate::{
    outbox::Waiting,
    session::{Accepted, Delivery, Subscribed},
};

/// Two are enough for whatever one does to another.
const THREADS: usize = 2;
/// Small, so that logs are longer.
const PAGE: u64 = 4;
/// What the end of a script may take: far more than there is to hand out.
const TURNS: usize = 100_000;

/// A bug that is planted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Bug {
    None,
    /// The session hands out what is told live, whether or not something is missing before it.
    BlindToHoles,
    /// The store leaves an event out of a page.
    LossyStore,
    /// The session passes over what it is told to read.
    BlindToWhatIsLeft,
}

/// What the client sent to a thread's task, which has not got to it yet.
enum Command {
    Subscribe { after: u64 },
    Unsubscribe,
    Submit,
    Repeat { seq: u64 },
}

struct Thread {
    id: ThreadId,
    /// How many events its log has: the task's own, and what the store shows.
    head: u64,
    commands: VecDeque<Command>,
    /// Whether the task pushes to the session.
    pushes: bool,
    /// What the client has; `None`: it does not follow.
    client: Option<u64>,
}

/// The one read of the log that may be under way.
struct Reading {
    thread: usize,
    after: u64,
    /// The log's end when the store looked.
    seen: Option<u64>,
}

struct World {
    merge: Merge,
    threads: Vec<Thread>,
    outbox: VecDeque<Waiting>,
    reading: Option<Reading>,
    bug: Bug,
    trace: Trace,
}

impl World {
    fn new(bug: Bug) -> Self {
        let thread = |n: usize| Thread {
            id: ThreadId::new(&format!("t{n}")).unwrap(),
            head: 0,
            commands: VecDeque::new(),
            pushes: false,
            client: None,
        };
        Self {
            merge: Merge::default(),
            threads: (0..THREADS).map(thread).collect(),
            outbox: VecDeque::new(),
            reading: None,
            bug,
            trace: Trace::default(),
        }
    }

    fn act(&mut self, op: u8, argument: u8) -> Result<(), String> {
        let at = usize::from(op >> 4) % THREADS;
        let argument = u64::from(argument);
        let thread = &mut self.threads[at];
        match op % 13 {
            0 => self.append(at, 1 + argument % 3),
            1 => self.append(at, 1),
            2 => thread.commands.push_back(Command::Subscribe { after: argument % (thread.head + 1) }),
            3 => {
                thread.client = None;
                thread.commands.push_back(Command::Unsubscribe);
                let id = thread.id.clone();
                self.merge.forget(&id);
            }
            4 => thread.commands.push_back(Command::Submit),
            5 if thread.head > 0 => {
                thread.commands.push_back(Command::Repeat { seq: 1 + argument % thread.head });
            }
            6 | 7 => self.task(at),
            8 => self.told()?,
            9 => self.ask()?,
            10 => self.look(),
            11 => self.page()?,
            12 => self.leave(at, 1 + argument % 3),
            _ => {}
        }
        Ok(())
    }

    /// The thread's task appends, and tells of it.
    fn append(&mut self, at: usize, events: u64) {
        let thread = &mut self.threads[at];
        for _ in 0..events {
            thread.head += 1;
            if thread.pushes {
                let event = Outgoing::Event(Arc::new(Delivery::new(entry(&thread.id, thread.head))));
                self.outbox.push_back(Waiting::Frame(event));
            }
        }
    }

    /// The same while there is no room for events.
    fn leave(&mut self, at: usize, events: u64) {
        let thread = &mut self.threads[at];
        for _ in 0..events {
            thread.head += 1;
            if thread.pushes {
                let (thread, seq) = (thread.id.clone(), Seq(thread.head));
                self.outbox.push_back(Waiting::InLog { thread, seq });
            }
        }
    }

    /// The thread's task takes its next command.
    fn task(&mut self, at: usize) {
        let thread = &mut self.threads[at];
        match thread.commands.pop_front() {
            None => {}
            Some(Command::Unsubscribe) => thread.pushes = false,
            Some(Command::Subscribe { after }) => {
                self.outbox.push_back(Waiting::Frame(Outgoing::Subscribed(Subscribed {
                    thread: thread.id.clone(),
                    epoch: epoch(),
                    from: Seq(after + 1),
                    to: Seq(thread.head),
                    recovered: true,
                    reason: None,
                })));
                thread.pushes = true;
            }
            Some(Command::Submit) => {
                self.outbox.push_back(Waiting::Frame(accepted(&thread.id, thread.head + 1, false)));
                thread.pushes = true;
                self.append(at, 1);
            }
            Some(Command::Repeat { seq }) => {
                self.outbox.push_back(Waiting::Frame(accepted(&thread.id, seq, true)));
                thread.pushes = true;
            }
        }
    }

    /// The session takes one frame that was pushed.
    fn told(&mut self) -> Result<(), String> {
        let frame = match self.outbox.pop_front() {
            None => return Ok(()),
            Some(Waiting::InLog { thread, seq }) => {
                let client = self.threads[number(&thread)].client;
                self.trace.saw(("left", self.reading.is_some(), client.map(|has| has.cmp(&seq.0))));
                if self.bug != Bug::BlindToWhatIsLeft {
                    self.merge.is_in_log(&thread, seq);
                }
                return Ok(());
            }
            Some(Waiting::Frame(frame)) => frame,
        };
        let admitted = self.merge.admit(&frame);
        match &frame {
            Outgoing::Accepted(accepted) => {
                let client = &mut self.threads[number(&accepted.thread)].client;
                client.get_or_insert(accepted.seq.0 - 1);
                self.trace.saw(("accepted", accepted.duplicate));
            }
            Outgoing::Subscribed(subscribed) => {
                let client = &mut self.threads[number(&subscribed.thread)].client;
                self.trace.saw(("subscribed again", client.is_some(), self.reading.is_some()));
                *client = Some(subscribed.from.0 - 1);
            }
            Outgoing::Event(delivery) => {
                let seq = delivery.entry.seq.0;
                let client = self.threads[number(&delivery.entry.thread)].client;
                self.trace.saw(("live", admitted, client.map(|has| has.cmp(&seq))));
                let blind = self.bug == Bug::BlindToHoles && client.is_some_and(|has| has < seq);
                if admitted || blind {
                    return self.hand_out(&delivery.entry);
                }
            }
            Outgoing::Status { .. } | Outgoing::Problem(_) | Outgoing::GoingAway { .. } => {}
        }
        Ok(())
    }

    /// The client has everything that is there; so the log is asked for more.
    fn ask(&mut self) -> Result<(), String> {
        loop {
            if let Some(entry) = self.merge.replayed() {
                self.trace.saw("replayed");
                self.hand_out(&entry)?;
            } else if self.outbox.is_empty() {
                break;
            } else {
                self.told()?;
            }
        }
        if self.reading.is_none()
            && let Some((thread, after)) = self.merge.begin_read()
        {
            self.reading = Some(Reading { thread: number(&thread), after: after.0, seen: None });
        }
        Ok(())
    }

    /// The store looks into the log.
    fn look(&mut self) {
        if let Some(reading) = &mut self.reading {
            reading.seen.get_or_insert(self.threads[reading.thread].head);
        }
    }

    /// The page comes.
    fn page(&mut self) -> Result<(), String> {
        let Some(Reading { thread, after, seen: Some(seen) }) = self.reading else { return Ok(()) };
        self.reading = None;
        let id = self.threads[thread].id.clone();
        let last = seen.min(after + PAGE);
        let left_out = if self.bug == Bug::LossyStore { 3 } else { 0 };
        let page: Vec<LogEntry> =
            (after + 1..=last).filter(|seq| *seq != left_out).map(|seq| entry(&id, seq)).collect();
        let full = page.len() as u64 >= PAGE;
        self.trace.saw(("page", full, page.is_empty(), self.threads[thread].head == seen));
        self.merge.read(&id, Seq(after), Some(page), full);
        if self.merge.replay.len() as u64 > PAGE {
            Err("read further ahead than a page".to_owned())
        } else {
            Ok(())
        }
    }

    fn hand_out(&mut self, entry: &LogEntry) -> Result<(), String> {
        let client = &mut self.threads[number(&entry.thread)].client;
        match *client {
            Some(has) if has + 1 == entry.seq.0 => *client = Some(has + 1),
            has => return Err(format!("event {} handed out to who has {has:?}", entry.seq.0)),
        }
        Ok(())
    }

    /// Lets everything happen that is still to happen, and asks whether every client has everything.
    fn settle(mut self) -> Result<Trace, String> {
        for at in 0..THREADS {
            while !self.threads[at].commands.is_empty() {
                self.task(at);
            }
        }
        for turn in 0.. {
            self.ask()?;
            self.look();
            if self.reading.is_none() {
                break;
            }
            self.page()?;
            if turn == TURNS {
                return Err("the log is read without end".to_owned());
            }
        }
        for thread in self.threads.iter().filter(|thread| thread.pushes) {
            if thread.client.is_some_and(|has| has != thread.head) {
                return Err(format!(
                    "the client has {:?} of {} events, and waits",
                    thread.client, thread.head
                ));
            }
            self.trace.counted("events", thread.head as usize);
        }
        Ok(self.trace)
    }
}

fn number(thread: &ThreadId) -> usize {
    usize::from(thread.as_str().ends_with('1'))
}

fn epoch() -> Epoch {
    Epoch::new("e").unwrap()
}

fn entry(thread: &ThreadId, seq: u64) -> LogEntry {
    let event = NewEvent {
        run: RunId::new("r").unwrap(),
        kind: EventKind::AgentMessageDelta,
        agent: "echo".into(),
        time: SystemTime::UNIX_EPOCH + Duration::from_secs(seq),
        payload: Default::default(),
    };
    LogEntry { seq: Seq(seq), thread: thread.clone(), event }
}

fn accepted(thread: &ThreadId, seq: u64, duplicate: bool) -> Outgoing {
    Outgoing::Accepted(Accepted {
        id: MessageId::new("m").unwrap(),
        thread: thread.clone(),
        run: RunId::new("r").unwrap(),
        epoch: epoch(),
        seq: Seq(seq),
        duplicate,
        resumes: None,
    })
}

fn play(script: &[u8], bug: Bug) -> Result<Trace, String> {
    let mut world = World::new(bug);
    for step in script.chunks(2) {
        world.act(step[0], step.get(1).copied().unwrap_or(0))?;
    }
    world.settle()
}

fn target<R>(run: impl FnOnce(Target<'_>) -> R) -> R {
    // A subscription in the midst of a log; a message; a repeat of it; one that leaves and comes back; one for whose
    // events there is no room.
    let seeds = [
        vec![0, 2, 0, 2, 2, 3, 6, 0, 8, 0, 9, 0, 10, 0, 1, 0, 11, 0],
        vec![4, 0, 6, 0, 8, 0, 1, 0, 8, 0, 9, 0],
        vec![4, 0, 6, 0, 3, 0, 6, 0, 0, 2, 5, 0, 6, 0, 8, 0, 9, 0, 10, 0, 11, 0],
        vec![0, 2, 0, 2, 2, 0, 6, 0, 8, 0, 9, 0, 10, 0, 3, 0, 6, 0, 2, 1, 6, 0, 8, 0, 11, 0],
        vec![4, 0, 6, 0, 12, 2, 0, 1, 9, 0, 10, 0, 11, 0, 12, 1, 9, 0, 8, 0, 10, 0, 11, 0],
        vec![0, 1, 0, 1, 2, 0, 6, 0, 9, 0, 10, 0, 11, 0, 9, 0, 10, 0, 1, 0, 2, 4, 6, 0, 8, 0, 11, 0],
    ];
    run(Target { name: "resume", seeds: &seeds, words: &[&[9, 0, 10, 0], &[6, 0, 8, 0]], longest: 400 })
}

#[test]
fn fuzz_resume_has_no_gap_and_no_duplicate() {
    target(|target| target.survives(|script| play(script, Bug::None)));
}

#[test]
fn fuzz_resume_finds_a_session_that_is_blind_to_holes() {
    let found = target(|target| target.finds(|script| play(script, Bug::BlindToHoles)));
    assert!(found.objection.contains("handed out"), "{found:?}");
}

#[test]
fn fuzz_resume_finds_a_store_that_leaves_an_event_out() {
    let found = target(|target| target.finds(|script| play(script, Bug::LossyStore)));
    assert!(found.objection.contains("without end") || found.objection.contains("waits"), "{found:?}");
}

#[test]
fn fuzz_resume_finds_a_session_that_passes_over_what_is_left_in_the_log() {
    let found = target(|target| target.finds(|script| play(script, Bug::BlindToWhatIsLeft)));
    assert!(found.objection.contains("waits"), "{found:?}");
}
