//! One thread with many subscribers: how long until the last has an event.

use std::time::{Duration, Instant};

use crate::{
    bench::Bench,
    error::Error,
    message::{self, Kind, UserMessage},
    reactor::Reactor,
    scenario::what,
    server::Subject,
    tally::Latencies,
    wire::{self, Opcode},
};

pub(super) fn run(bench: &mut Bench) {
    bench.interleave(bench.rounds, &[Subject::Worker, Subject::WorkerDurable], turn);
}

fn turn(bench: &mut Bench, subject: Subject) -> Result<(), Error> {
    let size = if bench.quick { 50 } else { 1000 };
    let server = bench.start(subject)?;
    let mut reactor = Reactor::new()?;
    reactor.open(&server.target, size)?;
    let thread = begin_thread(&mut reactor)?;
    subscribe_all(&mut reactor, &thread, size)?;
    let mut message = UserMessage::new("hello", Some(&thread));
    let (mut latencies, mut frames) = (Latencies::default(), 0_u64);
    let cpu = server.tree().cpu();
    for _ in 0..MESSAGES {
        let sent = Instant::now();
        reactor.connection(0)?.send(message.prepare())?;
        let mut waiting = size;
        until(&mut reactor, |text| {
            frames += 1;
            if Kind::of(text) == Kind::Completed {
                latencies.add(sent.elapsed());
                waiting -= 1;
            }
            Ok(waiting == 0)
        })?;
    }
    let cpu = server.tree().cpu().saturating_sub(cpu);
    bench.record(what::FANOUT_P99, subject, size, latencies.quantile(0.99));
    bench.record(what::FANOUT_CPU, subject, size, cpu.as_secs_f64() * 1e6 / frames.max(1) as f64);
    Ok(())
}

fn begin_thread(reactor: &mut Reactor) -> Result<String, Error> {
    reactor.connection(0)?.send(UserMessage::new("hello", None).prepare())?;
    let mut thread = None;
    until(reactor, |text| {
        thread =
            thread.take().or_else(|| (Kind::of(text) == Kind::Accepted).then(|| message::thread_of(text))?);
        Ok(Kind::of(text) == Kind::Completed)
    })?;
    thread.ok_or_else(|| Error::Answer("accepted without a thread".to_owned()))
}

fn subscribe_all(reactor: &mut Reactor, thread: &str, size: usize) -> Result<(), Error> {
    let json = format!("{{\"type\":\"subscribe\",\"thread_id\":\"{thread}\",\"after_seq\":0}}");
    let frame = wire::encode(Opcode::Text, json.as_bytes());
    (1..size).try_for_each(|number| reactor.connection(number)?.send(&frame))?;
    reactor.settle(Duration::from_millis(300))
}

/// Reads until `done` says so.
fn until(reactor: &mut Reactor, mut done: impl FnMut(&[u8]) -> Result<bool, Error>) -> Result<(), Error> {
    let (begun, mut is_done) = (Instant::now(), false);
    while !is_done {
        reactor.turn(Duration::from_millis(20), |_, _, text| {
            if Kind::of(text) == Kind::Error {
                return Err(Error::Answer(String::from_utf8_lossy(text).into_owned()));
            }
            is_done |= done(text)?;
            Ok(())
        })?;
        if begun.elapsed() > Duration::from_secs(10) {
            return Err(Error::Late("not every subscriber had its event".to_owned()));
        }
    }
    Ok(())
}

const MESSAGES: usize = 20;
