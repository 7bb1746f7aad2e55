//! The goals that performance is held to, each judged by the medians. They are stated, never asserted: a figure is
//! the machine's as much as the program's.

use serde::Serialize;

use crate::{
    bench::Bench,
    scenario::what::{self, CPU},
    server::Subject::{self, Floor, InProcess, Worker, WorkerDurable},
};

/// A goal and what was measured.
#[derive(Debug, Clone, Serialize)]
pub struct Goal {
    /// Of what.
    pub what: String,
    /// At most so much.
    pub at_most: f64,
    /// What `at_most` and `measured` count.
    pub unit: &'static str,
    /// `None`: not measured in this run.
    pub measured: Option<f64>,
}

impl Goal {
    /// In one word.
    pub fn verdict(&self) -> &'static str {
        match self.measured {
            None => "not measured",
            Some(measured) if measured <= self.at_most => "ok",
            Some(_) => "missed",
        }
    }
}

/// All goals, judged.
pub fn judge(bench: &Bench) -> Vec<Goal> {
    let small = if bench.quick { 16 } else { 64 };
    let large = if bench.quick { 16 } else { 1000 };
    let idle = if bench.quick { 500 } else { 10_000 };
    let get = |what, subject, size| bench.median(what, subject, size);
    let floors = |subject| ratio(get(CPU, subject, small), get(CPU, Floor, small));
    let tail = |subject| ratio(get(what::P99, subject, large), get(what::P50, subject, large));
    let goal = |what: String, at_most, unit, measured| Goal { what, at_most, unit, measured };
    let churn = if bench.quick { 200 } else { 5000 };
    let fanout = if bench.quick { 50 } else { 1000 };
    let log =
        get(CPU, WorkerDurable, small).zip(get(CPU, Worker, small)).map(|(with, without)| with - without);
    vec![
        goal(
            format!("in-process, memory, {small} connections: CPU a message"),
            2.0,
            "× floor",
            floors(InProcess),
        ),
        goal(format!("worker, memory, {small} connections: CPU a message"), 4.0, "× floor", floors(Worker)),
        goal(
            "the same, against the replaced stack".to_owned(),
            REPLACED / 4.0,
            "µs",
            get(CPU, Worker, small),
        ),
        goal("the durable log adds".to_owned(), 40.0, "µs a message", log),
        goal(
            format!("worker, durable, {small} connections: CPU a message"),
            12.0,
            "× floor",
            floors(WorkerDurable),
        ),
        goal(
            "the same, against the replaced stack".to_owned(),
            REPLACED,
            "µs",
            get(CPU, WorkerDurable, small),
        ),
        goal(format!("worker, memory, {large} connections, saturated: p99"), 3.0, "× p50", tail(Worker)),
        goal(
            format!("worker, durable, {large} connections, saturated: p99"),
            3.0,
            "× p50",
            tail(WorkerDurable),
        ),
        goal(open("added p50"), 1.0, "ms", added(bench, what::OPEN_P50)),
        goal(open("added p99"), 15.0, "ms", added(bench, what::OPEN_P99)),
        goal(format!("idle connection at {idle}"), 12.0, "KiB", get(what::IDLE, WorkerDurable, idle)),
        goal("memory of each connection from 1,000 to 15,000".to_owned(), 12.0, "KiB", slope(bench)),
        goal(
            "memory after 20 × (5,000 connects and closes)".to_owned(),
            1.2,
            "× before",
            get(what::CHURN, Worker, churn),
        ),
        goal("streamed delta, in-process".to_owned(), 3.0, "µs CPU", get(what::DELTA, InProcess, 16)),
        goal("streamed delta, worker".to_owned(), 8.0, "µs CPU", get(what::DELTA, Worker, 16)),
        goal(
            "20 plugins, 2 bad: first welcome".to_owned(),
            50.0,
            "ms",
            get(what::WELCOME, WorkerDurable, 20),
        ),
        goal("20 plugins, 2 bad: ready".to_owned(), 500.0, "ms", get(what::READY, WorkerDurable, 20)),
        goal("worker killed: served again".to_owned(), 100.0, "ms", get(what::CRASH, WorkerDurable, 1)),
        goal(
            format!("one event to {fanout} subscribers: p99"),
            50.0,
            "ms",
            get(what::FANOUT_P99, Worker, fanout),
        ),
        goal(
            format!("CPU at {idle} idle connections"),
            1.0,
            "% of a core",
            get(what::IDLE_CPU, WorkerDurable, idle),
        ),
    ]
}

fn open(quantile: &str) -> String {
    format!("1,000 messages/s, open loop, worker, durable: {quantile}")
}

/// What the host adds to the floor's own latency.
fn added(bench: &Bench, quantile: &str) -> Option<f64> {
    let at = |subject: Subject| bench.median(quantile, subject, 100);
    at(WorkerDurable).zip(at(Floor)).map(|(host, floor)| host - floor)
}

/// KiB for each connection between the least and the largest number; flat if it is not more than at the begin.
fn slope(bench: &Bench) -> Option<f64> {
    let total = |size: usize| bench.median(what::IDLE, WorkerDurable, size).map(|each| each * size as f64);
    total(15_000).zip(total(1000)).map(|(many, few)| (many - few) / 14_000.0)
}

fn ratio(of: Option<f64>, to: Option<f64>) -> Option<f64> {
    of.zip(to).filter(|(_, to)| *to > 0.0).map(|(of, to)| of / to)
}

/// CPU µs a message of the stack that the host replaces (FastAPI and uvicorn), measured at 64 connections on the
/// two-core machine of `docs/performance.md`; it keeps nothing.
const REPLACED: f64 = 124.0;
