//! `serve`: runs the host until it is told to stop.

use std::{
    io::{self, Write as _},
    sync::Arc,
    time::Duration,
};

use agent_host_config::{Loaded, LogFormat};
use agent_host_core::{failpoint, failpoint::Action};
use agent_host_gateway::MetricsPage;
use agent_host_telemetry::{
    happening::{HostListening, StepDoneWithout},
    log::{self, Format, Way},
    page,
};
use rustix::process::{DumpableBehavior, set_dumpable_behavior};
use tokio::{
    runtime::Builder,
    signal::unix::{Signal, SignalKind, signal},
};

use crate::{
    compose::Host,
    exit::{Failure, aloud},
    notify::Manager,
    steps::take,
    tidy::tidy,
};

/// Serves until SIGTERM or SIGINT, then drains; a second signal ends at once.
///
/// `ready` is called once with the host, when its doors are open: `dev` prints its token there.
pub(crate) fn serve(loaded: &Loaded, ready: impl FnOnce(&Host)) -> Result<(), Failure> {
    let format = match loaded.config.log.format {
        LogFormat::Json => Format::Json,
        LogFormat::Pretty => Format::Pretty,
    };
    // For a broken twin: a host whose threads write the log themselves.
    let way = if failpoint!("server.log_queue") == Some(Action::Off) { Way::Direct } else { Way::Queued };
    let begin_log = || {
        log::install(format, loaded.config.log.level.as_str(), way);
        Ok::<_, String>(())
    };
    if let Err(without) = take("log", || failpoint!("start.log"), begin_log) {
        aloud(&format!("agent-host: serving without a log: {without}"));
    }
    hide_memory();
    agent_host_runtime::memory::return_large_blocks();
    // 1: without it a busy host looks at its sockets too seldom; it cut the p99 at saturation to a sixth.
    let build = || Builder::new_multi_thread().enable_all().global_queue_interval(1).build();
    let runtime = take("runtime", || failpoint!("start.runtime"), build)?;
    let outcome = runtime.block_on(run(loaded, ready));
    // With its threads: a task that hangs does not keep the process.
    runtime.shutdown_timeout(LEFT_BEHIND);
    log::flush();
    outcome
}

/// How long what still runs when the host has drained may take to notice.
const LEFT_BEHIND: Duration = Duration::from_millis(500);

/// Keeps this process's environment, memory and descriptors from other processes of the same user: a worker is one
/// (law 9). It also means that the host leaves no core dump. What it is called and how it fares stays visible.
fn hide_memory() {
    if let Err(error) = set_dumpable_behavior(DumpableBehavior::NotDumpable) {
        tracing::warn!(%error, "the host's memory cannot be hidden from its workers");
    }
}

async fn run(loaded: &Loaded, ready: impl FnOnce(&Host)) -> Result<(), Failure> {
    let metrics = metrics_page();
    let mut stop = take("signals", || failpoint!("start.signals"), Stop::new)?;
    let host = Host::start(loaded, metrics).await?;
    let (address, admin) = (host.gateway.public_addr(), host.gateway.admin_addr());
    // Whoever started it may have stopped listening: that is no reason not to serve.
    let _ = writeln!(io::stdout(), "agent-host listening on http://{address} (admin http://{admin})");
    HostListening { address: address.to_string(), admin: admin.to_string() }.emit();
    let manager = Manager::of_environment();
    manager.ready(host.engine.settled_changes());
    ready(&host);

    tokio::select! {
        () = stop.requested() => (),
        never = tidy(&host.gateway) => match never {},
    }
    manager.stopping();
    tokio::select! {
        () = host.drain() => (),
        () = stop.requested() => {
            aloud("agent-host: second signal, ending at once");
        }
    }
    Ok(())
}

/// Sent for a write beyond the limit of a file's size; the number of x86 and ARM.
const SIGXFSZ: i32 = 25;

/// What is scraped. Without it the host serves all the same, and the page says why it is empty.
fn metrics_page() -> MetricsPage {
    match take("metrics", || failpoint!("start.metrics"), page::install) {
        Ok(page) => {
            // Ends with the runtime.
            tokio::spawn(page.clone().upkeep());
            Arc::new(move || page.render())
        }
        Err(without) => {
            StepDoneWithout { step: "metrics", reason: without.to_string() }.emit();
            let page = format!("# this host counts nothing: {}\n", without.to_string().replace('\n', " "));
            Arc::new(move || page.clone())
        }
    }
}

/// The signals that ask for an end.
struct Stop {
    terminate: Signal,
    interrupt: Signal,
    /// A file that reaches its limit (RLIMIT_FSIZE) is then an error of the write, and not the end of the host. A handler
    /// and not `SIG_IGN`: a worker is to begin without it.
    _file_limit: Signal,
}

impl Stop {
    fn new() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            _file_limit: signal(SignalKind::from_raw(SIGXFSZ))?,
        })
    }

    /// Cancel safe.
    async fn requested(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => (),
            _ = self.interrupt.recv() => (),
        }
    }
}

#[cfg(test)]
mod tests {
    use rustix::process::dumpable_behavior;

    use super::*;

    #[test]
    fn the_memory_of_a_host_is_hidden() {
        hide_memory();
        assert_eq!(dumpable_behavior().unwrap(), DumpableBehavior::NotDumpable);
    }
}
