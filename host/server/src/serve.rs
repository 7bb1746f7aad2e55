//! `serve`: runs the host until it is told to stop.

use std::{
    io::{self, Write as _},
    sync::Arc,
};

use agent_host_config::{Loaded, LogFormat};
use agent_host_core::{failpoint, failpoint::Action};
use agent_host_gateway::MetricsPage;
use agent_host_telemetry::{
    happening::HostListening,
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
    exit::{Exit, Failure, aloud},
    notify::Manager,
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
    log::install(format, loaded.config.log.level.as_str(), way);
    hide_memory();
    agent_host_runtime::memory::return_large_blocks();
    // 1: without it a busy host looks at its sockets too seldom; it cut the p99 at saturation to a sixth.
    let runtime = Builder::new_multi_thread().enable_all().global_queue_interval(1).build();
    let outcome = runtime.and_then(|runtime| runtime.block_on(run(loaded, ready)));
    log::flush();
    outcome.map_err(|error| Failure::new(Exit::Failed, error.to_string()))
}

/// Keeps this process's environment, memory and descriptors from other processes of the same user: a worker is one
/// (law 9). It also means that the host leaves no core dump. What it is called and how it fares stays visible.
fn hide_memory() {
    if let Err(error) = set_dumpable_behavior(DumpableBehavior::NotDumpable) {
        tracing::warn!(%error, "the host's memory cannot be hidden from its workers");
    }
}

async fn run(loaded: &Loaded, ready: impl FnOnce(&Host)) -> io::Result<()> {
    let page = page::install().map_err(io::Error::other)?;
    // Ends with the runtime.
    tokio::spawn(page.clone().upkeep());
    let metrics: MetricsPage = Arc::new(move || page.render());
    let mut stop = Stop::new()?;
    // A file that reaches its limit (RLIMIT_FSIZE) is then an error of the write, and not the end of the host. A handler
    // and not `SIG_IGN`: a worker is to begin without it.
    let _file_limit = signal(SignalKind::from_raw(SIGXFSZ))?;
    let host = Host::start(&loaded.config, metrics).await.map_err(|error| describe(loaded, error))?;
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

fn describe(loaded: &Loaded, error: io::Error) -> io::Error {
    let (public, admin) = (loaded.config.gateway.listen, loaded.config.admin.listen);
    io::Error::new(
        error.kind(),
        format!("cannot listen on {public} (gateway.listen) and {admin} (admin.listen): {error}"),
    )
}

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
