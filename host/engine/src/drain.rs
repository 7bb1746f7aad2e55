//! Goes away in order: no new messages, clients told, runs finished or ended, plugins stopped.

use std::{sync::Arc, time::Duration};

use agent_host_telemetry::happening::{DrainCompleted, DrainStarted};
use tokio::{
    sync::oneshot,
    time::{Instant, timeout, timeout_at},
};

use crate::{
    shared::{Leaving, Shared},
    supervisor,
    thread::Command,
};

/// What is kept of the grace for ending what is left and stopping the plugins.
const RESERVE: Duration = Duration::from_secs(2);
/// How long the ends of interrupted runs may take to reach the log.
const CLOSING: Duration = Duration::from_secs(1);

/// See [`Engine::drain`](crate::Engine::drain). Cancel safe: another call begins again where this one was.
pub(crate) async fn drain(shared: &Arc<Shared>, grace: Duration) -> usize {
    let end = Instant::now() + grace;
    DrainStarted { grace_ms: grace.as_millis() }.emit();
    shared.leaving.send_replace(Some(Leaving { deadline: Instant::now() + grace.saturating_sub(RESERVE) }));
    // The supervisor keeps up with its commands; were it gone, nothing would be restarted either.
    let _ = shared.supervisor.send(supervisor::Command::Drain).await;
    let interrupted = match timeout(grace.saturating_sub(RESERVE), shared.directory.idle()).await {
        Ok(()) => 0,
        Err(_) => interrupt(shared).await,
    };
    let (done, stopped) = oneshot::channel();
    let left = end.saturating_duration_since(Instant::now());
    let _ = shared.supervisor.send(supervisor::Command::Stop { grace: left / 2, done }).await;
    let _ = timeout_at(end.max(Instant::now() + CLOSING), stopped).await;
    DrainCompleted { interrupted_runs: interrupted }.emit();
    interrupted
}

/// Ends the runs that are left; how many they were.
async fn interrupt(shared: &Arc<Shared>) -> usize {
    let left = shared.directory.active_runs() as usize;
    for thread in shared.directory.threads() {
        // A thread that is stuck, in a store that hangs, must not keep the others.
        let _ = timeout(CLOSING, thread.send(Command::Interrupt)).await;
    }
    let _ = timeout(CLOSING, shared.directory.idle()).await;
    left
}
