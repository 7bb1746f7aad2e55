//! A worker killed by SIGKILL: how long until the plugin itself answers again.

use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::{
    bench::Bench,
    drive::Talk,
    error::Error,
    message::{self, Kind, UserMessage},
    reactor::Reactor,
    scenario::what,
    server::Subject,
};

pub(super) fn run(bench: &mut Bench) {
    bench.interleave(bench.rounds, &[Subject::WorkerDurable], turn);
}

/// A fresh host each time: the second crash of one is answered with a pause, as it should be.
fn turn(bench: &mut Bench, subject: Subject) -> Result<(), Error> {
    let server = subject.start(&bench.programs, bench.cores.shared())?;
    let mut reactor = Reactor::new()?;
    reactor.open(&server.target, 1)?;
    Talk::begin(&mut reactor, &server, "hello")?;
    let killed = Instant::now();
    for worker in server.tree().workers() {
        // One that has just ended is as dead as it should be.
        let _ = rustix::process::kill_process(worker, Signal::KILL);
    }
    while !is_served(&mut reactor)? {
        if killed.elapsed() > Duration::from_secs(30) {
            return Err(Error::Late("the plugin does not answer again".to_owned()));
        }
    }
    bench.record(what::CRASH, subject, 1, killed.elapsed().as_secs_f64() * 1000.0);
    Ok(())
}

/// Says something in a new thread; whether the agent answered, and not the fallback or a refusal.
fn is_served(reactor: &mut Reactor) -> Result<bool, Error> {
    reactor.connection(0)?.send(UserMessage::new("hello", None).prepare())?;
    let begun = Instant::now();
    let mut served = None;
    while served.is_none() {
        reactor.turn(Duration::from_millis(20), |_, _, text| {
            match Kind::of(text) {
                Kind::Completed => served = Some(message::is_ok(text)),
                Kind::Error => served = Some(false),
                Kind::Welcome | Kind::Accepted | Kind::Started | Kind::Delta | Kind::Other => {}
            }
            Ok(())
        })?;
        if begun.elapsed() > Duration::from_secs(10) {
            return Err(Error::Late("no answer".to_owned()));
        }
    }
    Ok(served == Some(true))
}
