//! What everybody but the writer knows of the log: whether it is open, in which epoch, and whether the disk answers.

use std::{
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use agent_host_core::ports::store::StoreError;
use agent_plugin_protocol::{Code, Epoch};
use tokio::sync::watch;

use super::recent::Recent;

/// How the log is.
#[derive(Debug, Clone)]
pub(super) enum Condition {
    /// It is being opened and checked.
    Opening,
    /// It serves.
    Open { epoch: Epoch, damage: Option<Code> },
    /// It does not.
    Failed(StoreError),
}

/// Written by the writer.
#[derive(Debug)]
pub(super) struct Shared {
    condition: watch::Sender<Condition>,
    /// What was known when it was last open; before that, an epoch that nobody has positions of.
    last: Mutex<(Epoch, Option<Code>)>,
    recent: Recent,
    /// Since when the writer is at its present group.
    busy: Mutex<Option<Instant>>,
    /// After so long a commit is taken as one that may not end.
    patience: Duration,
}

impl Shared {
    pub(super) fn new(patience: Duration) -> Self {
        Self {
            condition: watch::Sender::new(Condition::Opening),
            last: Mutex::new((Epoch::random(), None)),
            recent: Recent::default(),
            busy: Mutex::new(None),
            patience,
        }
    }

    pub(super) fn became(&self, condition: Condition) {
        if let Condition::Open { epoch, damage } = &condition {
            let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
            // Damage is said until the host ends: what was lost is not back when the file is opened again.
            *last = (epoch.clone(), damage.or(last.1));
        }
        self.condition.send_replace(condition);
    }

    /// What is in the journal only.
    pub(super) fn recent(&self) -> &Recent {
        &self.recent
    }

    pub(super) fn busy_since(&self, since: Option<Instant>) {
        *self.busy.lock().unwrap_or_else(PoisonError::into_inner) = since;
    }

    /// Whether a commit has been under way for too long.
    pub(super) fn is_stalled(&self) -> bool {
        let busy = *self.busy.lock().unwrap_or_else(PoisonError::into_inner);
        busy.is_some_and(|since| since.elapsed() > self.patience)
    }

    pub(super) fn epoch(&self) -> Epoch {
        self.last.lock().unwrap_or_else(PoisonError::into_inner).0.clone()
    }

    pub(super) fn damage(&self) -> Option<Code> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner).1
    }

    /// Waits until it is known whether the log is open. Cancel safe.
    pub(super) async fn opened(&self) -> Result<(), StoreError> {
        let mut condition = self.condition.subscribe();
        let known = condition.wait_for(|now| !matches!(now, Condition::Opening)).await;
        match known.as_deref() {
            Ok(Condition::Open { .. }) => Ok(()),
            Ok(Condition::Failed(error)) => Err(error.clone()),
            // The sender is in `self`.
            Ok(Condition::Opening) | Err(_) => Err(self.stalled()),
        }
    }

    /// How long a message waits for its commit.
    pub(super) fn patience(&self) -> Duration {
        self.patience
    }

    /// What is said while the disk does not answer.
    pub(super) fn stalled(&self) -> StoreError {
        StoreError::unavailable(format!("the disk has not answered for {} s", self.patience.as_secs_f64()))
    }
}
