//! The five-event message in a closed loop: what one message costs, and how long it takes at saturation.

use crate::{bench::Bench, drive::Talk, error::Error, reactor::Reactor, scenario::what, server::Subject};

pub(super) fn run(bench: &mut Bench) {
    use Subject::{Floor, FloorNative, InProcess, Worker, WorkerDurable};
    let sizes: &[usize] = if bench.quick { &[16] } else { &[64, 1000] };
    for size in sizes {
        bench.interleave(
            bench.rounds,
            &[Floor, FloorNative, InProcess, Worker, WorkerDurable],
            |bench, subject| turn(bench, subject, *size),
        );
    }
}

fn turn(bench: &mut Bench, subject: Subject, size: usize) -> Result<(), Error> {
    let server = bench.start(subject)?;
    let mut reactor = Reactor::new()?;
    reactor.open(&server.target, size)?;
    let span = Talk::begin(&mut reactor, &server, "hello")?.closed_for(bench.span)?;
    bench.record(what::CPU, subject, size, span.cpu_per_message());
    bench.record(what::RATE, subject, size, span.rate());
    bench.record(what::P50, subject, size, span.latencies.quantile(0.5));
    bench.record(what::P99, subject, size, span.latencies.quantile(0.99));
    Ok(())
}
