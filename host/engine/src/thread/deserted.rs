//! What becomes of runs whose last follower was lost: after a moment in which it may come back, what their agents'
//! `on_disconnect` says.
//!
//! Only a lost client deserts a thread. A session that the host closes, or that unsubscribes, leaves it to go on.

use std::{sync::Arc, time::Duration};

use agent_host_core::{failpoint, failpoint::Action};
use agent_plugin_protocol::RunId;
use tokio::time::Instant;

use super::{Command, Thread};
use crate::{
    directory::ThreadKey,
    run::{By, Run},
    settings::OnDisconnect,
    shared::Shared,
    task,
};

/// How long a client may be away. 10 s: this host's own clients come back within 5 s of the loss that they notice.
const GRACE: Duration = Duration::from_secs(10);

/// Whether the thread is deserted, and since when.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Desertion {
    /// It is followed, or whoever followed it left in order.
    #[default]
    None,
    /// Its last follower was lost; the grace lasts until then.
    Until(Instant),
    /// And did not come back.
    Over,
}

impl Desertion {
    /// The last follower was lost, now.
    pub(super) fn begin(&mut self) {
        *self = Self::Until(Instant::now() + GRACE);
    }

    /// The grace is used up.
    pub(super) fn is_due(&mut self) {
        *self = Self::Over;
    }

    /// When that will be.
    pub(super) fn due(self) -> Option<Instant> {
        match self {
            Self::Until(time) => Some(time),
            Self::None | Self::Over => None,
        }
    }
}

/// Tells a thread's task that its last follower was lost. A thread without a task has no run to lose. Never waits.
pub(crate) fn desert(shared: &Arc<Shared>, key: &ThreadKey) {
    let Some(thread) = shared.directory.existing(key) else { return };
    // In a task of its own, as the thread's queue may be full, and whoever is lost waits for nobody.
    task::spawn(&shared.tasks, "thread.desert", async move {
        // An error: the task ended, and with it its runs.
        let _ = thread.send(Command::Deserted).await;
    });
}

impl Thread {
    /// Cancels what runs and what waits behind it, where the thread is deserted for good and the agent that has the run,
    /// or that it waits for, wants it so. A run that comes to such an agent later ends then.
    pub(super) async fn mind_desertion(&mut self) {
        if self.desertion == Desertion::None {
            return;
        }
        let Some(run) = self.run.as_deref() else {
            // Nothing is left to be deserted.
            self.desertion = Desertion::None;
            return;
        };
        if self.shared.followers.any(&self.key) {
            self.desertion = Desertion::None;
            return;
        }
        // Who goes away itself interrupts, and not before its deadline.
        if self.desertion != Desertion::Over || self.shared.is_draining() {
            return;
        }
        if self.on_disconnect(run) == OnDisconnect::Continue {
            return;
        }
        let running = run.id().clone();
        let waiting: Vec<RunId> = self.queue.iter().map(|queued| queued.run.clone()).collect();
        // What waits first, or it would begin.
        for run in waiting.into_iter().chain([running]) {
            Box::pin(self.cancel(&run, By::Loss)).await;
        }
    }

    fn on_disconnect(&self, run: &Run) -> OnDisconnect {
        // For a broken twin: a host that lets every run go on, whatever its agent wants.
        if failpoint!("engine.on_disconnect") == Some(Action::Off) {
            return OnDisconnect::Continue;
        }
        let settings = self.shared.settings();
        let slot = run.agent().and_then(|agent| settings.plugins.iter().find(|slot| slot.spec.id == *agent));
        slot.map_or(OnDisconnect::Continue, |slot| slot.on_disconnect)
    }
}
