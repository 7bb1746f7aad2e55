//! Messages at a fixed rate that does not wait for answers: the latency that people would see.

use crate::{bench::Bench, drive::Talk, error::Error, reactor::Reactor, scenario::what, server::Subject};

pub(super) fn run(bench: &mut Bench) {
    use Subject::{Floor, InProcess, Worker, WorkerDurable};
    bench.interleave(bench.rounds, &[Floor, InProcess, Worker, WorkerDurable], turn);
}

fn turn(bench: &mut Bench, subject: Subject) -> Result<(), Error> {
    let server = bench.start(subject)?;
    let mut reactor = Reactor::new()?;
    reactor.open(&server.target, CONNECTIONS)?;
    let rate = if bench.quick { 200.0 } else { RATE };
    let span = Talk::begin(&mut reactor, &server, "hello")?.open_for(rate, bench.span * 2)?;
    bench.record(what::OPEN_P50, subject, CONNECTIONS, span.latencies.quantile(0.5));
    bench.record(what::OPEN_P99, subject, CONNECTIONS, span.latencies.quantile(0.99));
    bench.record(what::OPEN_MAX, subject, CONNECTIONS, span.latencies.max());
    Ok(())
}

/// Enough that one is hardly ever still busy when its turn comes again, after 100 ms.
const CONNECTIONS: usize = 100;

/// Messages a second.
const RATE: f64 = 1000.0;
