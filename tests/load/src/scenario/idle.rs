//! Authenticated connections that do nothing: their memory, how it grows with their number, and the processor's time.

use std::time::{Duration, Instant};

use crate::{
    bench::Bench,
    drive::Talk,
    error::Error,
    reactor::Reactor,
    scenario::what,
    server::{Server, Subject},
};

pub(super) fn run(bench: &mut Bench) {
    // The figures hardly differ between rounds, and a round takes a minute.
    bench.interleave(bench.rounds.min(2), &[Subject::Floor, Subject::WorkerDurable], turn);
}

fn turn(bench: &mut Bench, subject: Subject) -> Result<(), Error> {
    let sizes: &[usize] = if bench.quick { &[100, 500] } else { &[1000, 5000, 10_000, 15_000] };
    let server = bench.start(subject)?;
    let mut reactor = Reactor::new()?;
    warm_up(&server)?;
    let before = server.tree().memory().proportional;
    for size in sizes {
        reactor.open(&server.target, *size)?;
        reactor.settle(Duration::from_millis(500))?;
        let grown = server.tree().memory().proportional.saturating_sub(before);
        bench.record(what::IDLE, subject, *size, grown as f64 / *size as f64);
        if *size == 10_000 || bench.quick {
            processor(bench, subject, &server, &mut reactor)?;
        }
    }
    used(bench, subject)
}

/// What is allocated once, by the first connection and message, is not a connection's.
fn warm_up(server: &Server) -> Result<(), Error> {
    let mut reactor = Reactor::new()?;
    reactor.open(&server.target, 16)?;
    Talk::begin(&mut reactor, server, "hello")?;
    reactor.close()
}

/// Over more than one interval of the pings, which are what an idle connection costs.
fn processor(
    bench: &mut Bench,
    subject: Subject,
    server: &Server,
    reactor: &mut Reactor,
) -> Result<(), Error> {
    let span = Duration::from_secs(if bench.quick { 1 } else { 30 });
    let (begun, cpu) = (Instant::now(), server.tree().cpu());
    while begun.elapsed() < span {
        reactor.turn(Duration::from_millis(100), |_, _, _| Ok(()))?;
    }
    let cpu = server.tree().cpu().saturating_sub(cpu);
    bench.record(
        what::IDLE_CPU,
        subject,
        reactor.len(),
        100.0 * cpu.as_secs_f64() / begun.elapsed().as_secs_f64(),
    );
    Ok(())
}

fn used(bench: &mut Bench, subject: Subject) -> Result<(), Error> {
    let size = if bench.quick { 100 } else { 1000 };
    let server = bench.start(subject)?;
    warm_up(&server)?;
    let before = server.tree().memory().proportional;
    let mut reactor = Reactor::new()?;
    reactor.open(&server.target, size)?;
    Talk::begin(&mut reactor, &server, "hello")?;
    let grown = server.tree().memory().proportional.saturating_sub(before);
    bench.record(what::USED, subject, size, grown as f64 / size as f64);
    Ok(())
}
