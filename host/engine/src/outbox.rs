//! What one session has still to be told: a queue bounded in frames and bytes, filled by the tasks, read by its session.
//!
//! An event that finds no room is left where it is anyway, in the log, and its session reads it when its turn comes. That
//! is for as much as one message may make: so nobody is closed for a message that the host took, and nobody who does not
//! read has the host hold more for him.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicUsize, Ordering},
};

use agent_host_core::{failpoint, failpoint::Action};
use agent_plugin_protocol::{Seq, ThreadId};
use tokio::sync::mpsc;

use crate::session::{Delivery, Load, Outgoing};

/// Frames that may wait. When full, the session is marked as lagged: its connection is closed and it resumes from
/// the log, so that a slow client slows nobody.
const FRAMES: usize = 4096;

/// A frame as it waits. Two words instead of twelve: a channel keeps room for 32 of them, for every connection.
enum Packed {
    Event(Arc<Delivery>),
    Left(Box<Left>),
    Other(Box<Outgoing>),
}

/// An event that is in the log and not in the queue.
struct Left {
    thread: ThreadId,
    seq: Seq,
    bytes: usize,
}

/// What waits next.
#[derive(Debug)]
pub(crate) enum Waiting {
    /// A frame.
    Frame(Outgoing),
    /// An event for which there was no room: the log has it.
    InLog {
        /// Of which thread.
        thread: ThreadId,
        /// Which.
        seq: Seq,
    },
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

    fn left(event: &Delivery, bytes: usize) -> Self {
        let entry = &event.entry;
        Self::Left(Box::new(Left { thread: entry.thread.clone(), seq: entry.seq, bytes }))
    }
}

/// Makes the two ends. `bytes` is the bound on what waits, and `behind` on how much is left in the log beside it.
pub(crate) fn outbox(bytes: usize, behind: usize) -> (Sender, Receiver) {
    let (frames, waiting) = mpsc::channel(FRAMES);
    let state = Arc::new(State {
        load: Load::default(),
        most: bytes,
        left: AtomicUsize::new(0),
        most_left: behind,
        lagged: AtomicBool::new(false),
    });
    (Sender { frames, state: Arc::clone(&state) }, Receiver { waiting, state })
}

struct State {
    load: Load,
    most: usize,
    /// Bytes of the events that wait in the log.
    left: AtomicUsize,
    most_left: usize,
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
        match self.pack(frame).map(|packed| self.frames.try_send(packed)) {
            Some(Ok(())) => Ok(()),
            Some(Err(mpsc::error::TrySendError::Closed(_))) => Err(Gone),
            Some(Err(mpsc::error::TrySendError::Full(_))) | None => {
                self.state.lagged.store(true, Ordering::Release);
                Err(Gone)
            }
        }
    }

    /// The frame as it will wait; `None`: there is room for it neither here nor in the log.
    fn pack(&self, frame: Outgoing) -> Option<Packed> {
        let (state, cost) = (&self.state, frame.cost());
        let before = state.load.add(cost);
        match frame {
            // A single one above the bound still passes, or it would have to be read for nothing.
            Outgoing::Event(event) if before > 0 && before + cost > state.most => {
                state.load.sub(cost);
                let left = state.left.fetch_add(cost, Ordering::Relaxed) + cost;
                // For a broken twin: a host that gives up who has a whole queue before him.
                let none = failpoint!("engine.outbox.left") == Some(Action::Off);
                (left <= state.most_left && !none).then(|| Packed::left(&event, cost))
            }
            // What is no event is small, and nowhere else: the bound on frames is its bound.
            frame => Some(Packed::of(frame)),
        }
    }
}

/// The session's end.
pub(crate) struct Receiver {
    waiting: mpsc::Receiver<Packed>,
    state: Arc<State>,
}

impl Receiver {
    /// What waits next; `None` once the session is lagged. Cancel safe.
    pub(crate) async fn recv(&mut self) -> Option<Waiting> {
        if self.is_lagged() {
            return None;
        }
        let packed = self.waiting.recv().await?;
        Some(self.unpack(packed))
    }

    /// What is there already.
    pub(crate) fn try_recv(&mut self) -> Option<Waiting> {
        if self.is_lagged() {
            return None;
        }
        let packed = self.waiting.try_recv().ok()?;
        Some(self.unpack(packed))
    }

    fn unpack(&self, packed: Packed) -> Waiting {
        let frame = match packed {
            Packed::Event(delivery) => Outgoing::Event(delivery),
            Packed::Other(frame) => *frame,
            Packed::Left(left) => {
                let Left { thread, seq, bytes } = *left;
                self.state.left.fetch_sub(bytes, Ordering::Relaxed);
                return Waiting::InLog { thread, seq };
            }
        };
        self.state.load.sub(frame.cost());
        Waiting::Frame(frame)
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
    use std::time::SystemTime;

    use agent_host_core::ports::store::{LogEntry, NewEvent};
    use agent_plugin_protocol::{Code, EventKind, RunId};

    use super::*;
    use crate::session::Problem;

    /// About, with its envelope.
    const EVENT: usize = 1024;

    fn frame() -> Outgoing {
        Outgoing::Problem(Problem::new(Code::LimitRuns))
    }

    fn event(seq: u64) -> Outgoing {
        let event = NewEvent {
            run: RunId::new("r").unwrap(),
            kind: EventKind::AgentThinking,
            agent: "echo".into(),
            time: SystemTime::UNIX_EPOCH,
            payload: "x".repeat(EVENT - 256).into(),
        };
        let entry = LogEntry { seq: Seq(seq), thread: ThreadId::new("t").unwrap(), event };
        Outgoing::Event(Arc::new(Delivery::new(entry)))
    }

    fn is_left(waiting: &Waiting) -> bool {
        matches!(waiting, Waiting::InLog { .. })
    }

    #[tokio::test]
    async fn a_reader_that_keeps_up_is_never_lagged() {
        let (sender, mut receiver) = outbox(2 * EVENT, 0);
        for seq in 0..10_000 {
            sender.push(event(seq)).unwrap();
            sender.push(frame()).unwrap();
            assert!(!is_left(&receiver.recv().await.unwrap()));
            receiver.recv().await.unwrap();
        }
        assert!(!receiver.is_lagged());
    }

    #[tokio::test]
    async fn events_without_room_are_left_in_the_log_in_their_place() {
        let (sender, mut receiver) = outbox(3 * EVENT, 100 * EVENT);
        for seq in 1..=50 {
            sender.push(event(seq)).unwrap();
        }
        sender.push(frame()).unwrap();
        assert!(receiver.load().waiting_bytes() <= 4 * EVENT);
        for seq in 1..=50 {
            match receiver.recv().await.unwrap() {
                Waiting::Frame(Outgoing::Event(event)) => assert!(event.entry.seq.0 == seq && seq <= 3),
                Waiting::InLog { seq: left, .. } => assert!(left.0 == seq && seq > 3),
                Waiting::Frame(other) => panic!("{other:?}"),
            }
        }
        assert!(!is_left(&receiver.recv().await.unwrap()));
        // What was read is no longer left: there is room for as much again, as often as it is read.
        for _ in 0..10 {
            (0..100).for_each(|seq| sender.push(event(seq)).unwrap());
            (0..100).for_each(|_| drop(receiver.try_recv().unwrap()));
        }
        assert_eq!(receiver.load().waiting_bytes(), 0);
    }

    #[tokio::test]
    async fn more_than_may_be_left_lags_the_session_and_ends_it() {
        let (sender, mut receiver) = outbox(10 * EVENT, 5 * EVENT);
        let taken = (0..100).take_while(|seq| sender.push(event(*seq)).is_ok()).count();
        assert_eq!(taken, 15);
        assert_eq!(sender.push(event(100)), Err(Gone));
        assert!(receiver.recv().await.is_none());
    }

    #[tokio::test]
    async fn too_many_frames_lag_the_session() {
        for make in [|_| frame(), event] {
            let (sender, mut receiver) = outbox(100 * EVENT, usize::MAX / 2);
            let taken = (0..2 * FRAMES as u64).take_while(|n| sender.push(make(*n)).is_ok()).count();
            assert_eq!(taken, FRAMES);
            assert!(receiver.try_recv().is_none());
        }
    }

    #[tokio::test]
    async fn an_event_above_the_bound_passes_alone() {
        let (sender, mut receiver) = outbox(1, 0);
        sender.push(event(1)).unwrap();
        assert!(!is_left(&receiver.recv().await.unwrap()));
    }

    #[test]
    fn a_session_that_ended_is_gone() {
        let (sender, receiver) = outbox(1024, 0);
        drop(receiver);
        assert_eq!(sender.push(frame()), Err(Gone));
    }
}
