//! Thousands of connections opened and closed, again and again: what stays behind, and what one costs.

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
    for _ in 0..times {
        reactor.open(&server.target, size)?;
        reactor.close()?;
    }
    let (after, spent) = (server.tree().memory().proportional, server.tree().cpu().saturating_sub(cpu));
    bench.record(what::CHURN, subject, size, after as f64 / before as f64);
    bench.record(what::CONNECT, subject, size, spent.as_secs_f64() * 1e6 / (times * size) as f64);
    Ok(())
}
