//! Carries log lines to stderr on a thread of its own, so that nobody who logs waits for whoever reads.
//!
//! ```text
//! any thread ── line ──▶ queue, bounded ──▶ one thread ──▶ stderr
//!                 └─ full: counted and dropped
//! ```
//! A pipe that nobody empties, or a terminal that is held, stops the one thread; the host serves on. What was dropped is
//! counted, and said in the log as soon as lines go out again.

use std::{
    cell::RefCell,
    fs::File,
    io::{self, Write},
    os::fd::AsFd as _,
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering},
        mpsc::{Receiver, SyncSender, TrySendError, sync_channel},
    },
    thread,
    time::{Duration, Instant},
};

use crate::happening::LogLinesDropped;

/// Lines that may wait. Full: the line that comes is dropped, and counted.
const LINES: usize = 4096;
/// Bytes that may wait, whatever the number of lines. Full: as above.
const BYTES: usize = 4 * 1024 * 1024;
/// Before another try at a pipe that another of its users made non-blocking.
const AGAIN: Duration = Duration::from_millis(5);

/// Where lines go. Clones share the queue.
#[derive(Debug, Clone)]
pub(crate) struct Lines {
    items: SyncSender<Item>,
    counts: Arc<Counts>,
}

#[derive(Debug, Default)]
struct Counts {
    /// Of the lines that wait, and of the one being written.
    bytes: AtomicUsize,
    /// Since the last time that it was said.
    dropped: AtomicU64,
    /// Ever: what is scraped.
    dropped_ever: AtomicU64,
}

thread_local! {
    /// What the thread of the queue logs itself, while it does.
    static OWN: RefCell<Option<Vec<u8>>> = const { RefCell::new(None) };
}

enum Item {
    Line(Vec<u8>),
    /// Everything before it is out, or lost: say so.
    Flush(SyncSender<()>),
}

impl Lines {
    /// Lines that go to stderr: to a descriptor of its own, so that the lock of Rust's `stderr` stays free.
    ///
    /// # Errors
    /// If no descriptor or no thread can be had.
    pub(crate) fn to_stderr() -> io::Result<Self> {
        Self::to(File::from(io::stderr().as_fd().try_clone_to_owned()?))
    }

    fn to(out: impl Write + Send + 'static) -> io::Result<Self> {
        let (items, waiting) = sync_channel(LINES);
        let counts = Arc::new(Counts::default());
        let own = Arc::clone(&counts);
        thread::Builder::new().name("log".to_owned()).spawn(move || own.carry(&waiting, out))?;
        Ok(Self { items, counts })
    }

    /// Takes a line, with its end. Never waits: without room for it, it is dropped and counted.
    pub(crate) fn push(&self, line: &[u8]) {
        let own = OWN.with_borrow_mut(|own| own.as_mut().map(|own| own.extend_from_slice(line)));
        if own.is_some() {
            return;
        }
        let before = self.counts.bytes.fetch_add(line.len(), Ordering::Relaxed);
        let taken = before + line.len() <= BYTES && self.items.try_send(Item::Line(line.to_vec())).is_ok();
        if !taken {
            self.counts.bytes.fetch_sub(line.len(), Ordering::Relaxed);
            self.counts.lose();
        }
    }

    /// Waits until the lines that wait are out, but no longer than `within`. Answers whether they are.
    pub(crate) fn flush(&self, within: Duration) -> bool {
        let deadline = Instant::now() + within;
        let left = || deadline.saturating_duration_since(Instant::now());
        let (done, out) = sync_channel(1);
        let mut item = Item::Flush(done);
        loop {
            match self.items.try_send(item) {
                Ok(()) => return out.recv_timeout(left()).is_ok(),
                Err(TrySendError::Full(back)) if !left().is_zero() => item = back,
                Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => return false,
            }
            thread::sleep(left().min(AGAIN));
        }
    }

    /// Whether lines were dropped and could not be told of yet: nobody reads just now.
    pub(crate) fn is_stuck(&self) -> bool {
        self.counts.dropped.load(Ordering::Relaxed) > 0
    }

    /// How many lines were dropped so far.
    pub(crate) fn dropped(&self) -> u64 {
        self.counts.dropped_ever.load(Ordering::Relaxed)
    }
}

impl Counts {
    fn lose(&self) {
        self.dropped.fetch_add(1, Ordering::Relaxed);
        self.dropped_ever.fetch_add(1, Ordering::Relaxed);
    }

    /// The one thread. A line that cannot be written is lost like one that found no room.
    fn carry(&self, waiting: &Receiver<Item>, mut out: impl Write) {
        while let Ok(item) = waiting.recv() {
            match item {
                Item::Line(line) => {
                    let written = write_all(&mut out, &line);
                    self.bytes.fetch_sub(line.len(), Ordering::Relaxed);
                    match written {
                        Ok(()) => self.tell(&mut out),
                        Err(_) => self.lose(),
                    }
                }
                // Whoever asked may have gone.
                Item::Flush(done) => drop(done.try_send(())),
            }
        }
    }

    /// Lines go out again: says how many did not, past the queue, which may be full still.
    fn tell(&self, out: &mut impl Write) {
        let lines = self.dropped.swap(0, Ordering::Relaxed);
        if lines == 0 {
            return;
        }
        OWN.set(Some(Vec::new()));
        LogLinesDropped { lines }.emit();
        let told = OWN.take().unwrap_or_default();
        if write_all(out, &told).is_err() {
            self.dropped.fetch_add(lines, Ordering::Relaxed);
            self.lose();
        }
    }
}

fn write_all(out: &mut impl Write, mut line: &[u8]) -> io::Result<()> {
    while !line.is_empty() {
        match out.write(line) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(written) => line = line.get(written..).unwrap_or_default(),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => thread::sleep(AGAIN),
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
