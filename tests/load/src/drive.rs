//! Drives connections that talk to an agent: in a closed loop, or at a rate that does not wait for answers.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use crate::{
    connection::Connection,
    error::Error,
    message::{self, Kind, UserMessage},
    reactor::Reactor,
    server::Server,
    tally::Latencies,
};

/// What one measured span gave.
#[derive(Debug, Clone)]
pub struct Span {
    /// Messages that were answered.
    pub messages: u64,
    /// Pieces of streamed text that came.
    pub deltas: u64,
    /// How long it took.
    pub elapsed: Duration,
    /// The processor time of the server and its workers.
    pub cpu: Duration,
    /// From sending (open loop: from when it should have been sent) to `agent_completed`.
    pub latencies: Latencies,
}

/// All connections of a reactor, each with a thread of its own.
pub struct Talk<'a> {
    reactor: &'a mut Reactor,
    server: &'a Server,
    state: State,
}

#[derive(Debug)]
struct State {
    talkers: Vec<Talker>,
    content: String,
    /// Messages that may still be sent as an answer to an answer.
    budget: u64,
    answered: u64,
    deltas: u64,
    latencies: Latencies,
}

#[derive(Debug)]
struct Talker {
    message: UserMessage,
    has_thread: bool,
    sent: VecDeque<Instant>,
}

impl Span {
    /// Microseconds of processor time for one message.
    pub fn cpu_per_message(&self) -> f64 {
        self.cpu.as_secs_f64() * 1e6 / self.messages.max(1) as f64
    }

    /// Messages answered in a second.
    pub fn rate(&self) -> f64 {
        self.messages as f64 / self.elapsed.as_secs_f64()
    }
}

impl<'a> Talk<'a> {
    /// Says `content` once on each connection, which makes its thread and warms the server.
    ///
    /// # Errors
    /// An answer is not the agent's, or does not come.
    pub fn begin(reactor: &'a mut Reactor, server: &'a Server, content: &str) -> Result<Self, Error> {
        let talker =
            || Talker { message: UserMessage::new(content, None), has_thread: false, sent: VecDeque::new() };
        let talkers = (0..reactor.len()).map(|_| talker()).collect();
        let latencies = Latencies::default();
        let state =
            State { talkers, content: content.to_owned(), budget: 0, answered: 0, deltas: 0, latencies };
        let mut talk = Self { reactor, server, state };
        talk.say_on_all()?;
        talk.finish()?;
        Ok(talk)
    }

    /// Each connection sends its next message when the last is answered, for `span` after a warm-up of a quarter of it.
    ///
    /// # Errors
    /// As [`begin`](Self::begin).
    pub fn closed_for(&mut self, span: Duration) -> Result<Span, Error> {
        self.state.budget = u64::MAX;
        self.say_on_all()?;
        self.turn_until(Instant::now() + span / 4)?;
        let result = self.measure(|talk| talk.turn_until(Instant::now() + span))?;
        self.state.budget = 0;
        self.finish()?;
        Ok(result)
    }

    /// Each connection sends `each` messages, one after the answer to the other; measured until the last answer.
    ///
    /// # Errors
    /// As [`begin`](Self::begin).
    pub fn closed_count(&mut self, each: u64) -> Result<Span, Error> {
        self.state.budget = each.saturating_sub(1) * self.state.talkers.len() as u64;
        self.measure(|talk| {
            talk.say_on_all()?;
            talk.finish()
        })
    }

    /// Sends `rate` messages a second for `span`, round the connections, whatever has been answered.
    ///
    /// # Errors
    /// As [`begin`](Self::begin).
    pub fn open_for(&mut self, rate: f64, span: Duration) -> Result<Span, Error> {
        self.measure(|talk| {
            let begun = Instant::now();
            for i in 0..(rate * span.as_secs_f64()) as usize {
                let intended = begun + Duration::from_secs_f64(i as f64 / rate);
                talk.turn_until(intended)?;
                let number = i % talk.state.talkers.len();
                talk.state.say(number, talk.reactor.connection(number)?, intended)?;
            }
            talk.finish()
        })
    }

    fn measure(&mut self, work: impl FnOnce(&mut Self) -> Result<(), Error>) -> Result<Span, Error> {
        let (answered, deltas) = (self.state.answered, self.state.deltas);
        self.state.latencies = Latencies::default();
        let (cpu, begun) = (self.server.tree().cpu(), Instant::now());
        work(self)?;
        Ok(Span {
            elapsed: begun.elapsed(),
            cpu: self.server.tree().cpu().saturating_sub(cpu),
            messages: self.state.answered - answered,
            deltas: self.state.deltas - deltas,
            latencies: self.state.latencies.clone(),
        })
    }

    fn say_on_all(&mut self) -> Result<(), Error> {
        (0..self.state.talkers.len()).try_for_each(|number| {
            self.state.say(number, self.reactor.connection(number)?, Instant::now())?;
            // Not all at once: what has been answered already is read in between.
            self.turn(Duration::ZERO)
        })
    }

    /// Waits for what was sent to be answered.
    fn finish(&mut self) -> Result<(), Error> {
        let mut progress = (Instant::now(), self.state.answered);
        while self.state.talkers.iter().any(|talker| !talker.sent.is_empty()) {
            self.turn(Duration::from_millis(20))?;
            if self.state.answered != progress.1 {
                progress = (Instant::now(), self.state.answered);
            }
            if progress.0.elapsed() > PATIENCE {
                return Err(Error::Late("no answer to a message".to_owned()));
            }
        }
        Ok(())
    }

    fn turn_until(&mut self, end: Instant) -> Result<(), Error> {
        loop {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(());
            }
            // The kernel wakes up to 50 µs late, so the last 100 are spent looking.
            self.turn(left.saturating_sub(Duration::from_micros(100)))?;
        }
    }

    fn turn(&mut self, timeout: Duration) -> Result<(), Error> {
        let state = &mut self.state;
        self.reactor.turn(timeout, |number, connection, text| state.hear(number, connection, text)).map(drop)
    }
}

impl State {
    fn say(&mut self, number: usize, connection: &mut Connection, at: Instant) -> Result<(), Error> {
        let talker = &mut self.talkers[number];
        talker.sent.push_back(at);
        connection.send(talker.message.prepare())
    }

    fn hear(&mut self, number: usize, connection: &mut Connection, text: &[u8]) -> Result<(), Error> {
        match Kind::of(text) {
            Kind::Accepted => self.learn_thread(number, text),
            Kind::Delta => self.deltas += 1,
            Kind::Completed if message::is_ok(text) => return self.answered(number, connection),
            Kind::Completed | Kind::Error => {
                return Err(Error::Answer(String::from_utf8_lossy(text).into_owned()));
            }
            Kind::Welcome | Kind::Started | Kind::Other => {}
        }
        Ok(())
    }

    fn answered(&mut self, number: usize, connection: &mut Connection) -> Result<(), Error> {
        if let Some(sent) = self.talkers[number].sent.pop_front() {
            self.latencies.add(sent.elapsed());
        }
        self.answered += 1;
        if self.budget > 0 {
            self.budget -= 1;
            self.say(number, connection, Instant::now())?;
        }
        Ok(())
    }

    fn learn_thread(&mut self, number: usize, accepted: &[u8]) {
        let talker = &mut self.talkers[number];
        if talker.has_thread {
            return;
        }
        if let Some(thread) = message::thread_of(accepted) {
            talker.message = UserMessage::new(&self.content, Some(&thread));
            talker.has_thread = true;
        }
    }
}

const PATIENCE: Duration = Duration::from_secs(10);
