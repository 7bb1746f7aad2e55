//! Carries log lines to their sink from a thread of its own, so that nobody who logs ever waits for whoever reads.
//!
//! ```text
//! any thread ── line ──▶ queue, bounded ──▶ one thread ──▶ stderr
//!                 └─ full: counted and dropped
//! ```
//! A pipe that nobody empties, or a terminal that is held, stops the one thread; the host serves on. What was dropped is
//! counted, and said in the log itself as soon as lines go out again.

use std::{
    io::{self, Write},
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU64, AtomicUsize, Ordering},
        mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel},
    },
    thread,
    time::{Duration, Instant},
};

use tracing_subscriber::fmt::MakeWriter;

use crate::happening::LogLinesDropped;

/// Lines that may wait. Full: the line that comes is dropped, and counted.
const LINES: usize = 4096;
/// Bytes that may wait, whatever the number of lines. Full: as above.
const BYTES: usize = 8 * 1024 * 1024;
/// How long the end of the host waits for the lines that still wait.
const FAREWELL: Duration = Duration::from_secs(1);
/// What was dropped is told at most so often.
const TOLD_EVERY: Duration = Duration::from_secs(1);

enum Item {
    Line(Vec<u8>),
    /// Everything before it is written: say so.
    Flush(SyncSender<()>),
}

/// Where log lines go.
#[derive(Debug, Clone)]
pub(crate) struct Lines(Arc<Queue>);

#[derive(Debug)]
struct Queue {
    items: SyncSender<Item>,
    waiting: Arc<Tally>,
}

/// What the queue's two sides share.
#[derive(Debug, Default)]
struct Tally {
    lines: AtomicUsize,
    bytes: AtomicUsize,
    /// Since the start: found no room, or could not be written.
    dropped: AtomicU64,
}

/// The lines of this process: the first log of a process stays.
static OF_PROCESS: OnceLock<Lines> = OnceLock::new();

impl Lines {
    /// Lines that go to stderr.
    ///
    /// # Errors
    /// If no thread can be had.
    pub(crate) fn to_stderr() -> io::Result<Self> {
        // Not `io::stderr()`: whoever waits for a full pipe would hold its lock, and a panic's words would wait for that.
        let stderr = std::os::fd::AsFd::as_fd(&io::stderr()).try_clone_to_owned()?;
        let lines = Self::to(std::fs::File::from(stderr))?;
        Ok(OF_PROCESS.get_or_init(|| lines).clone())
    }

    fn to(out: impl Write + Send + 'static) -> io::Result<Self> {
        let (items, queue) = sync_channel(LINES);
        let waiting = Arc::new(Tally::default());
        let carrier = Carrier { waiting: Arc::clone(&waiting), told: 0, told_at: None };
        thread::Builder::new().name("log".to_owned()).spawn(move || carrier.run(&queue, out))?;
        Ok(Self(Arc::new(Queue { items, waiting })))
    }

    fn push(&self, line: &[u8]) {
        let Queue { items, waiting } = &*self.0;
        let before = waiting.bytes.fetch_add(line.len(), Ordering::Relaxed);
        waiting.lines.fetch_add(1, Ordering::Relaxed);
        let taken = before + line.len() <= BYTES && items.try_send(Item::Line(line.to_vec())).is_ok();
        if !taken {
            waiting.lines.fetch_sub(1, Ordering::Relaxed);
            waiting.bytes.fetch_sub(line.len(), Ordering::Relaxed);
            waiting.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Waits until what waits now is written, but not longer than the farewell.
    fn flush(&self) {
        let until = Instant::now() + FAREWELL;
        let (done, written) = sync_channel(1);
        let mut item = Item::Flush(done);
        loop {
            match self.0.items.try_send(item) {
                Ok(()) => {
                    let _ = written.recv_timeout(until.saturating_duration_since(Instant::now()));
                    return;
                }
                // Whoever reads is slow, or does not read at all.
                Err(TrySendError::Full(back)) if Instant::now() < until => item = back,
                Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => return,
            }
            thread::sleep(Duration::from_millis(5));
        }
    }
}

/// Waits until the lines of this process that wait are written, at most a second: for its end. Without a log, nothing.
pub fn flush() {
    if let Some(lines) = OF_PROCESS.get() {
        lines.flush();
    }
}

/// Lines of this process that were dropped since its start.
pub(crate) fn dropped() -> u64 {
    OF_PROCESS.get().map_or(0, |lines| lines.0.waiting.dropped.load(Ordering::Relaxed))
}

/// The thread's state.
struct Carrier {
    waiting: Arc<Tally>,
    /// How many drops the log has been told of, and when last.
    told: u64,
    told_at: Option<Instant>,
}

impl Carrier {
    /// Until nobody can log any more, which is the end of the process.
    fn run(mut self, queue: &Receiver<Item>, mut out: impl Write) {
        loop {
            match queue.recv_timeout(TOLD_EVERY) {
                Ok(Item::Line(line)) => {
                    let written = out.write_all(&line);
                    self.waiting.bytes.fetch_sub(line.len(), Ordering::Relaxed);
                    self.waiting.lines.fetch_sub(1, Ordering::Relaxed);
                    if written.is_err() {
                        self.waiting.dropped.fetch_add(1, Ordering::Relaxed);
                        continue;
                    }
                }
                Ok(Item::Flush(done)) => {
                    let _ = out.flush();
                    // Whoever asked may have gone.
                    let _ = done.try_send(());
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
            self.tell();
        }
    }

    /// Lines go out again: the log says how many did not. Its line takes its turn in the queue like any other.
    fn tell(&mut self) {
        let dropped = self.waiting.dropped.load(Ordering::Relaxed);
        // It must find room itself.
        let crowded = self.waiting.lines.load(Ordering::Relaxed) > LINES / 2;
        if dropped == self.told || crowded || self.told_at.is_some_and(|at| at.elapsed() < TOLD_EVERY) {
            return;
        }
        LogLinesDropped { lines: dropped - self.told }.emit();
        (self.told, self.told_at) = (dropped, Some(Instant::now()));
    }
}

impl<'a> MakeWriter<'a> for Lines {
    type Writer = Line<'a>;

    fn make_writer(&'a self) -> Line<'a> {
        Line(self)
    }
}

/// Takes one line: the formatter hands each over in one piece.
pub(crate) struct Line<'a>(&'a Lines);

impl Write for Line<'_> {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.0.push(line);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Mutex, atomic::AtomicBool};

    use super::*;

    /// A sink that takes nothing until it is let.
    #[derive(Clone, Default)]
    struct Gate {
        open: Arc<AtomicBool>,
        written: Arc<Mutex<Vec<u8>>>,
    }

    impl Write for Gate {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            while !self.open.load(Ordering::Acquire) {
                thread::yield_now();
            }
            self.written.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn dropped(lines: &Lines) -> u64 {
        lines.0.waiting.dropped.load(Ordering::Relaxed)
    }

    #[test]
    fn a_sink_that_takes_nothing_holds_nobody_up_and_what_waited_goes_out_in_order() {
        let gate = Gate::default();
        let lines = Lines::to(gate.clone()).unwrap();
        for number in 0..LINES + 100 {
            lines.push(format!("{number}\n").as_bytes());
        }
        // One may be in the thread's hands beside those that wait.
        let dropped = dropped(&lines);
        assert!((99..=100).contains(&dropped), "{dropped} dropped");
        gate.open.store(true, Ordering::Release);
        while lines.0.waiting.bytes.load(Ordering::Relaxed) > 0 {
            thread::yield_now();
        }
        lines.flush();
        let written = String::from_utf8(gate.written.lock().unwrap().clone()).unwrap();
        let numbers: Vec<usize> = written.lines().map(|line| line.parse().unwrap()).collect();
        let kept = LINES + 100 - usize::try_from(dropped).unwrap();
        assert_eq!(numbers, (0..kept).collect::<Vec<_>>());
    }

    #[test]
    fn few_large_lines_are_bounded_too() {
        let gate = Gate::default();
        let lines = Lines::to(gate.clone()).unwrap();
        let large = vec![b'x'; BYTES / 4];
        for _ in 0..10 {
            lines.push(&large);
        }
        assert_eq!(dropped(&lines), 6, "what is being written counts until it is written");
        gate.open.store(true, Ordering::Release);
    }

    #[test]
    fn a_sink_that_is_gone_costs_its_lines_and_nothing_else() {
        struct Gone;
        impl Write for Gone {
            fn write(&mut self, _: &[u8]) -> io::Result<usize> {
                Err(io::ErrorKind::BrokenPipe.into())
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let lines = Lines::to(Gone).unwrap();
        lines.push(b"one\n");
        lines.push(b"two\n");
        lines.flush();
        assert_eq!((dropped(&lines), lines.0.waiting.bytes.load(Ordering::Relaxed)), (2, 0));
    }
}
