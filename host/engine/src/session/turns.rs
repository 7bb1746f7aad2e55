//! Whose turn it is to replay: few at a time, so that a crowd that reads long histories at once slows down nobody who
//! waits for an answer. What comes live waits for no turn.

use std::{sync::Arc, time::Duration};

use agent_host_core::{failpoint, failpoint::Action};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore, oneshot},
    time::timeout,
};
use tokio_util::task::TaskTracker;

use crate::task;

/// Pages that are read or written at the same time: one for each core, so that they are busy and whoever comes in between
/// waits for a millisecond or two; and no more than the store reads at once.
const MOST: usize = 4;
/// How long one lasts at most. A client that does not read would keep its turn from the others.
const LONGEST: Duration = Duration::from_millis(20);

/// The turns of a host.
#[derive(Debug, Clone)]
pub(crate) struct Turns(Arc<Semaphore>);

/// The right to read a page.
#[derive(Debug)]
pub(crate) struct Permit(Option<OwnedSemaphorePermit>);

/// A turn that goes on until this is dropped, or for as long as it may last.
#[derive(Debug)]
pub(crate) struct Turn {
    _over: oneshot::Sender<()>,
}

impl Default for Turns {
    fn default() -> Self {
        Self::of(std::thread::available_parallelism().map_or(1, usize::from).min(MOST))
    }
}

impl Turns {
    fn of(at_once: usize) -> Self {
        Self(Arc::new(Semaphore::new(at_once)))
    }

    /// Waits for one; first come, first served. Cancel safe: its place is lost.
    pub(crate) async fn next(&self) -> Permit {
        // For a broken twin: a host that lets all of them replay at once.
        if failpoint!("engine.turns") == Some(Action::Off) {
            return Permit(None);
        }
        // It is never closed.
        Permit(Arc::clone(&self.0).acquire_owned().await.ok())
    }
}

impl Permit {
    /// Goes on while what was read is handed out.
    pub(crate) fn goes_on(self, tasks: &TaskTracker) -> Turn {
        let (over, ended) = oneshot::channel::<()>();
        let permit = self.0;
        task::spawn(tasks, "turn", async move {
            // Over when the turn is dropped, or when it has lasted long enough.
            let _ = timeout(LONGEST, ended).await;
            drop(permit);
        });
        Turn { _over: over }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;
    use tokio::time::Instant;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn few_have_a_turn_at_once_and_the_next_comes_when_one_is_over() {
        let (turns, tasks) = (Turns::of(3), TaskTracker::new());
        let mut going = Vec::new();
        for _ in 0..3 {
            going.push(turns.next().await.goes_on(&tasks));
        }
        assert!(turns.next().now_or_never().is_none());
        let began = Instant::now();
        going.pop();
        drop(turns.next().await);
        assert_eq!(began.elapsed(), Duration::ZERO, "it did not have to be waited for");
    }

    #[tokio::test(start_paused = true)]
    async fn who_does_not_end_its_turn_keeps_the_others_for_a_moment_only() {
        let (turns, tasks) = (Turns::of(3), TaskTracker::new());
        let mut stuck = Vec::new();
        for _ in 0..6 {
            stuck.push(turns.next().await.goes_on(&tasks));
        }
        let began = Instant::now();
        drop(turns.next().await);
        assert_eq!(began.elapsed(), LONGEST);
    }
}
