//! Thousands of connections opened and closed, again and again: what stays behind, and what one costs.

use std::time::Duration;

use crate::{bench::Bench, drive::Talk, error::Error, reactor::Reactor, scenario::what, server::Subject};

pub(super) fn run(bench: &mut Bench) {
    // What stays behind is seen in one round as well as in five.
    bench.interleave(bench.rounds.min(2), &[Subject::Floor, Subject::Worker], turn);
}

fn turn(bench: &mut Bench, subject: Subject) -> Result<(), Error> {
    let (times, size) = if bench.quick { (3, 200) } else { (20, 5000) };
    let server = bench.start(subject)?;
    let mut reactor = Reactor::new()?;
    reactor.open(&server.target, 16)?;
    Talk::begin(&mut reactor, &server, "hello")?;
    reactor.close()?;
    let (before, cpu) = (server.tree().memory().proportional, server.tree().cpu());
    let mut first = None;
    for _ in 0..times {
        reactor.open(&server.target, size)?;
        reactor.close()?;
        first.get_or_insert_with(|| server.tree().memory().proportional);
    }
    let spent = server.tree().cpu().saturating_sub(cpu);
    // A server may need a moment to let go of what it closed.
    std::thread::sleep(Duration::from_secs(1));
    let after = server.tree().memory().proportional;
    bench.record(what::CHURN, subject, size, after as f64 / before as f64);
    bench.record(what::LEAK, subject, size, after as f64 / first.unwrap_or(before) as f64);
    bench.record(what::CONNECT, subject, size, spent.as_secs_f64() * 1e6 / (times * size) as f64);
    Ok(())
}
