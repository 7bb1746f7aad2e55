//! Makes the upgrade path total: panics and hangs become the one refusal that is left for them.

use std::{
    any::Any,
    future::Future,
    panic::AssertUnwindSafe,
    sync::{
        Arc,
        atomic::{AtomicU8, Ordering},
    },
    time::Duration,
};

use agent_host_core::{failpoint, failpoint::Action};
use agent_host_telemetry::happening::{PanicCaught, UpgradeStepFailed};
use futures_util::FutureExt;
use tokio::time::timeout;

use super::Step;
use crate::refusal::UpgradeRefusal;

/// Which step the path is in: seen from outside after it died.
#[derive(Debug, Clone, Default)]
pub(super) struct StepCell(Arc<AtomicU8>);

impl StepCell {
    pub(super) fn set(&self, step: Step) {
        self.0.store(step as u8, Ordering::Relaxed);
    }

    fn get(&self) -> Step {
        let index = usize::from(self.0.load(Ordering::Relaxed));
        Step::ALL.get(index).copied().unwrap_or(Step::Headers)
    }
}

/// Runs the path within its deadline.
pub(super) async fn guarded<T, F>(
    within: Duration,
    path: impl FnOnce(StepCell) -> F,
) -> Result<T, UpgradeRefusal>
where
    F: Future<Output = Result<T, UpgradeRefusal>>,
{
    let at = StepCell::default();
    let run = path(at.clone());
    if failpoint!("gateway.upgrade.guard") == Some(Action::Off) {
        return run.await;
    }
    match timeout(within, AssertUnwindSafe(run).catch_unwind()).await {
        Ok(Ok(answer)) => answer,
        Ok(Err(panic)) => {
            PanicCaught { place: at.get().name(), message: panic_message(panic.as_ref()) }.emit();
            Err(UpgradeRefusal::internal())
        }
        Err(_) => Err(failed(at.get(), "deadline exceeded")),
    }
}

/// A step that did not do its work.
pub(super) fn failed(step: Step, reason: &str) -> UpgradeRefusal {
    UpgradeStepFailed { step: step.name(), reason: reason.to_owned() }.emit();
    UpgradeRefusal::internal()
}

/// What a panic said.
pub(crate) fn panic_message(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|s| (*s).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "(no message)".to_owned())
}
