//! How much one session has to do: what operators are shown of a connection, read without asking its task.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

/// A session's numbers, as they are now. Clones show the same session's.
#[derive(Debug, Clone, Default)]
pub struct Load(Arc<Counts>);

#[derive(Debug, Default)]
struct Counts {
    waiting: AtomicUsize,
    threads: AtomicUsize,
}

impl Load {
    /// Bytes that wait for the client to read, about.
    pub fn waiting_bytes(&self) -> usize {
        self.0.waiting.load(Ordering::Relaxed)
    }

    /// Threads whose events it gets.
    pub fn threads(&self) -> usize {
        self.0.threads.load(Ordering::Relaxed)
    }

    /// More waits. Answers what waited before.
    pub(crate) fn add(&self, bytes: usize) -> usize {
        self.0.waiting.fetch_add(bytes, Ordering::Relaxed)
    }

    /// That was read.
    pub(crate) fn sub(&self, bytes: usize) {
        self.0.waiting.fetch_sub(bytes, Ordering::Relaxed);
    }

    pub(super) fn follows(&self, threads: usize) {
        self.0.threads.store(threads, Ordering::Relaxed);
    }
}
