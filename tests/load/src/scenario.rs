//! The scenarios, by name.

mod churn;
mod crash;
mod deltas;
mod fanout;
mod idle;
mod messages;
mod open_loop;
mod start;

use crate::bench::Bench;

/// One kind of load.
#[derive(Debug, Clone, Copy)]
pub struct Scenario {
    /// For `--only`.
    pub name: &'static str,
    /// Measures into the bench.
    pub run: fn(&mut Bench),
}

/// All of them, in the order in which they run.
pub const ALL: [Scenario; 8] = [
    Scenario { name: "messages", run: messages::run },
    Scenario { name: "deltas", run: deltas::run },
    Scenario { name: "open", run: open_loop::run },
    Scenario { name: "fanout", run: fanout::run },
    Scenario { name: "start", run: start::run },
    Scenario { name: "crash", run: crash::run },
    Scenario { name: "idle", run: idle::run },
    Scenario { name: "churn", run: churn::run },
];

/// The quantities, as tables and goals name them.
pub mod what {
    /// Server and workers together.
    pub const CPU: &str = "CPU µs a message";
    /// In a closed loop, so at saturation.
    pub const RATE: &str = "messages a second";
    /// In a closed loop.
    pub const P50: &str = "p50 ms, closed loop";
    /// In a closed loop.
    pub const P99: &str = "p99 ms, closed loop";
    /// At a fixed rate, from the intended time.
    pub const OPEN_P50: &str = "p50 ms, open loop";
    /// At a fixed rate, from the intended time.
    pub const OPEN_P99: &str = "p99 ms, open loop";
    /// At a fixed rate, from the intended time.
    pub const OPEN_MAX: &str = "longest ms, open loop";
    /// From plugin to socket.
    pub const DELTA: &str = "CPU µs a delta";
    /// Proportional set size of the host.
    pub const IDLE: &str = "KiB an idle connection";
    /// After one message on each.
    pub const USED: &str = "KiB a connection once used";
    /// Pings included.
    pub const IDLE_CPU: &str = "% of a core, idle";
    /// All opened and closed many times, against before.
    pub const CHURN: &str = "× memory after churn";
    /// The last time against the first: what each time leaves behind.
    pub const LEAK: &str = "× memory, last churn against first";
    /// Connect, upgrade, welcome, close.
    pub const CONNECT: &str = "CPU µs a connect and close";
    /// With 20 plugins, 2 of them bad.
    pub const LISTENING: &str = "ms to listening";
    /// With 20 plugins, 2 of them bad.
    pub const WELCOME: &str = "ms to first welcome";
    /// With 20 plugins, 2 of them bad.
    pub const READY: &str = "ms to ready";
    /// A worker killed; until the plugin itself answers.
    pub const CRASH: &str = "ms from kill to served";
    /// One event to all subscribers, from the sending of the message.
    pub const FANOUT_P99: &str = "p99 ms to subscribers";
    /// Host and worker, for each frame delivered.
    pub const FANOUT_CPU: &str = "CPU µs a delivered frame";
}
