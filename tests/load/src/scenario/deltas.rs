//! Streamed text: what one piece costs from the plugin's `delta` to the socket.

use crate::{bench::Bench, drive::Talk, error::Error, reactor::Reactor, scenario::what, server::Subject};

pub(super) fn run(bench: &mut Bench) {
    bench.interleave(bench.rounds, &[Subject::InProcess, Subject::Worker, Subject::WorkerDurable], turn);
}

fn turn(bench: &mut Bench, subject: Subject) -> Result<(), Error> {
    let server = bench.start(subject)?;
    let mut reactor = Reactor::new()?;
    reactor.open(&server.target, CONNECTIONS)?;
    let messages = if bench.quick { 2 } else { 10 };
    let content = format!("deltas {DELTAS}");
    let span = Talk::begin(&mut reactor, &server, &content)?.closed_count(messages)?;
    // What the plugin emitted is counted, not what came: the host may join pieces.
    let emitted = span.messages * DELTAS;
    bench.record(what::DELTA, subject, CONNECTIONS, span.cpu.as_secs_f64() * 1e6 / emitted as f64);
    Ok(())
}

const CONNECTIONS: usize = 16;

/// Pieces of one answer: so many that the message around them does not count.
const DELTAS: u64 = 1000;
