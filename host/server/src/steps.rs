//! The steps of a start: where the host can serve without one that fails it does, and says so; otherwise it ends and
//! says which step it was, why it failed and what to do.

use std::{
    any::Any,
    fmt,
    panic::{AssertUnwindSafe, catch_unwind},
    thread,
};

use agent_host_core::{failpoint, failpoint::Action};
use agent_host_telemetry::happening::StartStepFailed;

use crate::exit::{Exit, Failure};

/// A step, in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    /// Reads the configuration.
    Config,
    /// Sets up the log's queue; without it whoever logs waits for whoever reads.
    Log,
    /// Hides the host's memory from workers and gives freed memory back.
    Memory,
    /// Starts the threads that everything runs on.
    Runtime,
    /// Sets up what is scraped at `/metrics`.
    Metrics,
    /// Listens to the signals that ask for an end.
    Signals,
    /// Turns a file's size limit into an error.
    FileLimit,
    /// Reads which tokens are revoked.
    Revocations,
    /// Says which services plugins have.
    Services,
    /// Takes the log of threads in hand; opening its file comes later, beside the rest.
    Store,
    /// Starts the tasks that own plugins, sessions and threads.
    Engine,
    /// Binds both addresses and opens the doors.
    Listen,
}

impl Step {
    /// The word.
    const fn as_str(self) -> &'static str {
        match self {
            Self::Config => "config",
            Self::Log => "log",
            Self::Memory => "memory",
            Self::Runtime => "runtime",
            Self::Metrics => "metrics",
            Self::Signals => "signals",
            Self::FileLimit => "file_limit",
            Self::Revocations => "revocations",
            Self::Services => "services",
            Self::Store => "store",
            Self::Engine => "engine",
            Self::Listen => "listen",
        }
    }

    /// What to do where the host cannot be without it.
    const fn remedy(self) -> &'static str {
        match self {
            Self::Listen => "free the address, or set gateway.listen and admin.listen to others",
            Self::Revocations => {
                "put that file right; or move it away and revoke again what the audit lines (`TokensRevoked`) of the log name"
            }
            Self::Runtime | Self::Signals => {
                "give the host more threads and descriptors (`ulimit -u`, `ulimit -n`, the container's limits)"
            }
            Self::Config
            | Self::Log
            | Self::Memory
            | Self::Metrics
            | Self::FileLimit
            | Self::Services
            | Self::Store
            | Self::Engine => "report it with this text: this is a bug in the host",
        }
    }
}

/// A step that did not do its work.
#[derive(Debug)]
pub(crate) struct StepFailed {
    step: Step,
    reason: String,
}

impl StepFailed {
    /// The host does without it, and says so.
    pub(crate) fn done_without(self) {
        StartStepFailed { step: self.step.as_str(), reason: self.reason }.emit();
    }
}

impl fmt::Display for StepFailed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the step `{}` failed: {}", self.step.as_str(), self.reason)
    }
}

/// The host cannot be without it.
impl From<StepFailed> for Failure {
    fn from(failed: StepFailed) -> Self {
        Self::new(Exit::Failed, format!("the host cannot start: {failed}; {}", failed.step.remedy()))
    }
}

/// Takes a step; a panic in it is a failure like any other.
///
/// # Errors
/// What went wrong, with the name of the step.
pub(crate) fn take<T, E: fmt::Display>(
    step: Step,
    work: impl FnOnce() -> Result<T, E>,
) -> Result<T, StepFailed> {
    // Unwind safe: what the step made is dropped with it, and nothing else sees it.
    let taken = catch_unwind(AssertUnwindSafe(|| {
        match injected(step) {
            Some(Action::Error) => return Err("injected by a failpoint".to_owned()),
            // Nobody waits for a start but whoever ordered it.
            Some(action) => thread::sleep(action.pause().unwrap_or_default()),
            None => {}
        }
        work().map_err(|error| error.to_string())
    }));
    let taken = taken.unwrap_or_else(|panic| Err(format!("it panicked: {}", text_of(&*panic))));
    taken.map_err(|reason| StepFailed { step, reason })
}

/// Whether a test wants a host without the protection that a step sets up.
pub(crate) fn injected_off(step: Step) -> bool {
    matches!(catch_unwind(|| injected(step)), Ok(Some(Action::Off)))
}

/// What a test wants to happen at a step.
fn injected(step: Step) -> Option<Action> {
    failpoint!("start" / step.as_str())
}

fn text_of(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("without a text")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_and_a_panic_are_failures_that_name_the_step() {
        let error = take(Step::Listen, || Err::<(), _>("no room")).unwrap_err();
        assert_eq!(error.to_string(), "the step `listen` failed: no room");
        let panic = take(Step::Log, || -> Result<(), String> { panic!("a {}", "bug") }).unwrap_err();
        assert_eq!(panic.to_string(), "the step `log` failed: it panicked: a bug");
        assert_eq!(take(Step::Log, || Ok::<_, String>(1)).unwrap(), 1);
    }
}
