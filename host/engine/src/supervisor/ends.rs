//! How instances end: those that are replaced or switched off finish their calls first, those of a host that goes away
//! have their grace.

use std::{sync::Arc, time::Duration};

use agent_host_core::{
    failpoint,
    failpoint::Action,
    outcome::ExitReport,
    ports::instance::{InstanceCommand, InstanceHandle, KillReason},
};
use futures_util::FutureExt as _;
use tokio::{
    sync::{oneshot, watch},
    time::{Instant, sleep_until, timeout},
};

use super::{Event, Supervisor};
use crate::routes::Instance;

impl Supervisor {
    /// Lets instances finish the calls that are in them, then ends them. None can take longer than a run of its plugin
    /// may; nothing new reaches them, as the routes do not name them any more.
    pub(super) fn retire(&mut self, slot: usize, instances: Vec<Arc<Instance>>) {
        for instance in instances {
            let timeouts = instance.spec.timeouts;
            let until = Instant::now() + timeouts.run + timeouts.grace;
            self.pending.push(
                async move {
                    // For a broken twin: a host that ends what it replaces with the runs in it.
                    if failpoint!("engine.retire.wait") != Some(Action::Off) {
                        tokio::select! {
                            () = instance.emptied() => {}
                            () = sleep_until(until) => {}
                            () = instance.hurried() => {}
                        }
                    }
                    end(instance.handle.clone(), timeouts.grace).await;
                    Event::Retired
                }
                .boxed(),
            );
        }
        for instance in self.registry.too_many_retiring(slot) {
            instance.hurry();
        }
    }

    /// Ends every plugin; answered when all are gone.
    pub(super) fn stop(&mut self, grace: Duration, done: oneshot::Sender<()>) {
        self.registry.draining = true;
        let handles = self.registry.drain_all();
        crate::task::spawn(&self.shared.tasks, "supervisor.stop", async move {
            let ends = handles.into_iter().map(|handle| end(handle, grace));
            futures_util::future::join_all(ends).await;
            // The drain may have been given up; then nobody waits.
            let _ = done.send(());
        });
    }
}

/// Ends one instance: in order within `grace`, else at once.
async fn end(mut handle: InstanceHandle, grace: Duration) {
    let gone = |exit: &mut watch::Receiver<Option<Arc<ExitReport>>>| {
        let mut exit = exit.clone();
        async move { exit.wait_for(Option::is_some).await.map(|_| ()) }
    };
    let _ = handle.commands.try_send(InstanceCommand::Stop { grace });
    // The margin is the runtime's: it kills by itself at the end of the grace.
    if timeout(grace + Duration::from_millis(500), gone(&mut handle.exit)).await.is_err() {
        let _ = handle.commands.try_send(InstanceCommand::Kill(KillReason::Stopped));
    }
}
