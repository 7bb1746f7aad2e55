//! `serve`: runs the host until it is told to stop.

use std::{
    io::{self, Write as _},
    sync::Arc,
    thread,
};

use agent_host_config::{Loaded, LogFormat, Sources};
use agent_host_gateway::MetricsPage;
use agent_host_telemetry::{
    happening::HostListening,
    log::{self, Format, Level, Way},
    page,
};
use rustix::process::{DumpableBehavior, set_dumpable_behavior};
use tokio::{
    runtime::Builder,
    signal::unix::{Signal, SignalKind, signal},
};

use crate::{
    compose::Host,
    exit::Failure,
    live::Finished,
    notify::Manager,
    steps::{self, Step, StepFailed},
    tidy::tidy,
};

/// Serves until SIGTERM or SIGINT, then drains; a second signal ends at once.
///
/// `finished` is what was done of a change that the host before left; `ready` is called once with the host, when its doors
/// are open: `dev` prints its token there.
pub(crate) fn serve(
    loaded: &Loaded,
    sources: Sources,
    finished: Option<&Finished>,
    ready: impl FnOnce(&Host),
) -> Result<(), Failure> {
    begin_log(loaded);
    if let Some(finished) = finished {
        finished.tell();
    }
    let tidied = steps::take(Step::Memory, || {
        hide_memory();
        agent_host_runtime::memory::return_large_blocks();
        Ok::<_, String>(())
    });
    tidied.unwrap_or_else(StepFailed::done_without);
    // 1: without it a busy host looks at its sockets too seldom; it cut the p99 at saturation to a sixth.
    let runtime = steps::take(Step::Runtime, || {
        Builder::new_multi_thread().enable_all().global_queue_interval(1).build()
    });
    let outcome =
        runtime.map_err(Failure::from).and_then(|runtime| runtime.block_on(run(loaded, sources, ready)));
    log::flush();
    outcome
}

/// A host without a queue for its log serves all the same, at the pace of whoever reads.
fn begin_log(loaded: &Loaded) {
    let format = match loaded.config.log.format {
        LogFormat::Json => Format::Json,
        LogFormat::Pretty => Format::Pretty,
    };
    let level = Level::parse(loaded.config.log.level.as_str()).expect("both have the usual five");
    let install = |way| log::install(format, level, way);
    // `off` is for a broken twin.
    let way = if steps::injected_off(Step::Log) { Way::Direct } else { Way::Queue };
    if let Err(failed) = steps::take(Step::Log, || install(way)) {
        // This way needs nothing that could be missing.
        drop(install(Way::Direct));
        failed.done_without();
    }
}

/// Keeps this process's environment, memory and descriptors from other processes of the same user: a worker is one
/// (law 9). It also means that the host leaves no core dump. What it is called and how it fares stays visible.
fn hide_memory() {
    if let Err(error) = set_dumpable_behavior(DumpableBehavior::NotDumpable) {
        tracing::warn!(%error, "the host's memory cannot be hidden from its workers");
    }
}

async fn run(loaded: &Loaded, sources: Sources, ready: impl FnOnce(&Host)) -> Result<(), Failure> {
    let metrics = metrics();
    let mut stop = steps::take(Step::Signals, Stop::new)?;
    // A file that reaches its limit (RLIMIT_FSIZE) is then an error of the write, and not the end of the host. A handler
    // and not `SIG_IGN`: a worker is to begin without it.
    let file_limit = steps::take(Step::FileLimit, || signal(SignalKind::from_raw(SIGXFSZ)));
    let _file_limit = file_limit.map_err(StepFailed::done_without);
    let manager = Manager::of_environment();
    let host = Host::start(loaded, sources, metrics, manager.clone()).await?;
    let (address, admin) = (host.gateway.public_addr(), host.gateway.admin_addr());
    announce(format!("agent-host listening on http://{address} (admin http://{admin})"));
    HostListening { address: address.to_string(), admin: admin.to_string() }.emit();
    // Ends with the runtime.
    tokio::spawn(log::keep_level());
    manager.ready(host.engine.settled_changes());
    ready(&host);

    tokio::select! {
        () = stop.requested() => (),
        never = tidy(&host.gateway) => match never {},
    }
    manager.stopping();
    tokio::select! {
        () = host.drain() => (),
        () = stop.requested() => log::say("agent-host: second signal, ending at once"),
    }
    host.end_faults();
    Ok(())
}

/// The page of metrics; a host that cannot have one serves all the same.
fn metrics() -> MetricsPage {
    let page = steps::take(Step::Metrics, page::install).map_err(StepFailed::done_without).ok()?;
    // Ends with the runtime.
    tokio::spawn(page.clone().upkeep());
    Some(Arc::new(move || page.render()))
}

/// Says a line on stdout, beside everything else: a pipe that nobody empties holds up whoever writes to it. Whoever
/// started the host may have stopped listening, which is no reason not to serve; neither is the want of a thread.
fn announce(line: String) {
    let said = thread::Builder::new().name("announce".to_owned()).spawn(move || {
        // As above.
        let _ = writeln!(io::stdout(), "{line}");
    });
    drop(said);
}

/// Sent for a write beyond the limit of a file's size; the number of x86 and ARM.
const SIGXFSZ: i32 = 25;

/// The signals that ask for an end.
struct Stop {
    terminate: Signal,
    interrupt: Signal,
}

impl Stop {
    fn new() -> io::Result<Self> {
        Ok(Self { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
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
