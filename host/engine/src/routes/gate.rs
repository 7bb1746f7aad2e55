//! What a breaker lets through, as calls see it: the breaker itself is the supervisor task's.

use std::sync::atomic::{AtomicU8, Ordering};

use agent_host_core::{failpoint, failpoint::Action};

/// Open, shut, or open for exactly one call.
#[derive(Default)]
pub(crate) struct Gate(AtomicU8);

/// Nothing is let through.
pub(super) struct Shut;

const OPEN: u8 = 0;
const SHUT: u8 = 1;
const ONE_TRIAL: u8 = 2;
const TRIAL_TAKEN: u8 = 3;

impl Gate {
    /// Lets every call through.
    pub(crate) fn open(&self) {
        self.0.store(OPEN, Ordering::Release);
    }

    /// Lets none through.
    pub(crate) fn shut(&self) {
        self.0.store(SHUT, Ordering::Release);
    }

    /// Lets exactly one through.
    pub(crate) fn offer_trial(&self) {
        self.0.store(ONE_TRIAL, Ordering::Release);
    }

    /// Whether a call has the trial.
    pub(crate) fn is_tried(&self) -> bool {
        self.is(TRIAL_TAKEN)
    }

    /// Whether the call that passes is the trial.
    pub(super) fn pass(&self) -> Result<bool, Shut> {
        if self.is(OPEN) {
            return Ok(false);
        }
        // For a broken twin: a breaker that lets everybody try at once.
        let many = failpoint!("engine.breaker.one_trial") == Some(Action::Off);
        match self.0.compare_exchange(ONE_TRIAL, TRIAL_TAKEN, Ordering::AcqRel, Ordering::Acquire) {
            Ok(_) => Ok(true),
            Err(OPEN) => Ok(false),
            Err(TRIAL_TAKEN) if many => Ok(true),
            Err(_) => Err(Shut),
        }
    }

    /// The trial is over, whatever its verdict; without one the gate stays shut until the next offer.
    pub(super) fn trial_over(&self) {
        let _ = self.0.compare_exchange(TRIAL_TAKEN, SHUT, Ordering::AcqRel, Ordering::Acquire);
    }

    fn is(&self, state: u8) -> bool {
        self.0.load(Ordering::Acquire) == state
    }
}
