//! Whether an operator took this host out of rotation: no new connections, not ready; what is open goes on.

use std::sync::atomic::{AtomicBool, Ordering};

/// In rotation at first, and again after a restart.
#[derive(Debug, Default)]
pub(crate) struct Rotation(AtomicBool);

impl Rotation {
    /// Whether it is out.
    pub(crate) fn is_out(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    /// Takes it out, or back in. Answers whether that changed anything.
    pub(crate) fn set(&self, out: bool) -> bool {
        self.0.swap(out, Ordering::Relaxed) != out
    }
}
