//! What one session has still to be told: a queue bounded in frames and bytes, filled by the tasks, read by its session.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use tokio::sync::mpsc;

use crate::session::{Delivery, Load, Outgoing};

/// Frames that may wait. When full, the session is marked as lagged: its connection is closed and it resumes from
/// the log, so that a slow client slows nobody.
const FRAMES: usize = 4096;

/// A frame as it waits. Two words instead of twelve: a channel keeps room for 32 of them, for every connection.
enum Packed {
    Event(Arc<Delivery>),
    Other(Box<Outgoing>),
}

impl Packed {
    fn of(frame: Outgoing) -> Self {
        match frame {
            Outgoing::Event(delivery) => Self::Event(delivery),
            other @ (Outgoing::Accepted(_)
            | Outgoing::Subscribed(_)
            | Outgoing::Status { .. }
            | Outgoing::Problem(_)
            | Outgoing::GoingAway { .. }) => Self::Other(Box::new(other)),
        }
    }

    fn unpack(self) -> Outgoing {
        match self {
            Self::Event(delivery) => Outgoing::Event(delivery),
            Self::Other(frame) => *frame,
        }
    }
}

/// Makes the two ends. `bytes` is the bound on what waits.
pub(crate) fn outbox(bytes: usize) -> (Sender, Receiver) {
    let (frames, waiting) = mpsc::channel(FRAMES);
    let state = Arc::new(State { load: Load::default(), most: bytes, lagged: AtomicBool::new(false) });
    (Sender { frames, state: Arc::clone(&state) }, Receiver { waiting, state })
}

struct State {
    load: Load,
    most: usize,
    /// Nobody is woken for it: the outbox is overfull, so that there are frames to wake its session.
    lagged: AtomicBool,
}

/// The session will not take more: it is gone, or fell too far behind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Gone;

/// The end that the tasks hold. Never waits.
#[derive(Clone)]
pub(crate) struct Sender {
    frames: mpsc::Sender<Packed>,
    state: Arc<State>,
}

impl Sender {
    /// Queues a frame.
    ///
    /// # Errors
    /// [`Gone`] if the session ended or has just been marked as lagged.
    pub(crate) fn push(&self, frame: Outgoing) -> Result<(), Gone> {
        if self.state.lagged.load(Ordering::Relaxed) {
            return Err(Gone);
        }
        let cost = frame.cost();
        let before = self.state.load.add(cost);
        // A single frame above the bound still passes, or it could never be delivered at all.
        let overfull = before > 0 && before + cost > self.state.most;
        if overfull
            || matches!(self.frames.try_send(Packed::of(frame)), Err(mpsc::error::TrySendError::Full(_)))
        {
            self.state.lagged.store(true, Ordering::Release);
            return Err(Gone);
        }
        if self.frames.is_closed() { Err(Gone) } else { Ok(()) }
    }
}

/// The session's end.
pub(crate) struct Receiver {
    waiting: mpsc::Receiver<Packed>,
    state: Arc<State>,
}

impl Receiver {
    /// The next frame; `None` once the session is lagged. Cancel safe.
    pub(crate) async fn recv(&mut self) -> Option<Outgoing> {
        if self.is_lagged() {
            return None;
        }
        let frame = self.waiting.recv().await?.unpack();
        self.state.load.sub(frame.cost());
        Some(frame)
    }

    /// A frame that is there already.
    pub(crate) fn try_recv(&mut self) -> Option<Outgoing> {
        if self.is_lagged() {
            return None;
        }
        let frame = self.waiting.try_recv().ok()?.unpack();
        self.state.load.sub(frame.cost());
        Some(frame)
    }

    /// What waits.
    pub(crate) fn load(&self) -> &Load {
        &self.state.load
    }

    /// Whether frames were refused because too many waited.
    pub(crate) fn is_lagged(&self) -> bool {
        self.state.lagged.load(Ordering::Acquire)
    }
}

#[cfg(test)]
mod tests {
    use agent_plugin_protocol::Code;

    use super::*;
    use crate::session::Problem;

    fn frame() -> Outgoing {
        Outgoing::Problem(Problem::new(Code::LimitRuns))
    }

    #[tokio::test]
    async fn a_reader_that_keeps_up_is_never_lagged() {
        let (sender, mut receiver) = outbox(1024);
        for _ in 0..10_000 {
            sender.push(frame()).unwrap();
            assert!(receiver.recv().await.is_some());
        }
        assert!(!receiver.is_lagged());
    }

    #[tokio::test]
    async fn too_many_bytes_lag_the_session_and_end_it() {
        let (sender, mut receiver) = outbox(10 * frame().cost());
        let taken = (0..100).take_while(|_| sender.push(frame()).is_ok()).count();
        assert_eq!(taken, 10);
        assert_eq!(sender.push(frame()), Err(Gone));
        assert!(receiver.recv().await.is_none());
    }

    #[tokio::test]
    async fn too_many_frames_lag_the_session() {
        let (sender, mut receiver) = outbox(usize::MAX / 2);
        let taken = (0..2 * FRAMES).take_while(|_| sender.push(frame()).is_ok()).count();
        assert_eq!(taken, FRAMES);
        assert!(receiver.try_recv().is_none());
    }

    #[tokio::test]
    async fn a_frame_above_the_bound_passes_alone() {
        let (sender, mut receiver) = outbox(1);
        sender.push(frame()).unwrap();
        assert!(receiver.recv().await.is_some());
    }

    #[test]
    fn a_session_that_ended_is_gone() {
        let (sender, receiver) = outbox(1024);
        drop(receiver);
        assert_eq!(sender.push(frame()), Err(Gone));
    }
}
