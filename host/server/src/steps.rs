//! The steps of the start: one that fails is done without where the host can serve without it; otherwise the host
//! refuses to start, and names the step.

use std::{
    any::Any,
    fmt,
    panic::{AssertUnwindSafe, catch_unwind},
};

use agent_host_core::failpoint::Action;
use agent_plugin_protocol::Code;
use futures_util::FutureExt as _;

use crate::exit::{Exit, Failure};

/// A step that did not do its work.
#[derive(Debug)]
pub(crate) struct StepFailed {
    step: &'static str,
    reason: String,
}

impl fmt::Display for StepFailed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the step `{}` failed: {}", self.step, self.reason)
    }
}

/// The host cannot be without this step.
impl From<StepFailed> for Failure {
    fn from(failed: StepFailed) -> Self {
        let code = Code::HostStartFailed;
        Self::new(Exit::Failed, format!("the host cannot start: {failed} ({code}: {})", code.remedy()))
    }
}

/// Takes a step of the start; a panic in it is a failure like any other. `injected` is the fault that a test wants.
///
/// # Errors
/// What went wrong, with the name of the step.
pub(crate) fn take<T, E: fmt::Display>(
    step: &'static str,
    injected: impl FnOnce() -> Option<Action>,
    work: impl FnOnce() -> Result<T, E>,
) -> Result<T, StepFailed> {
    // Unwind safe: what the step made is dropped with it, and nothing else has seen it.
    let taken = catch_unwind(AssertUnwindSafe(|| {
        suffer(injected())?;
        work().map_err(|error| error.to_string())
    }));
    judged(step, taken)
}

/// The same for a step that waits. Not cancel safe: a start is not cancelled.
///
/// # Errors
/// What went wrong, with the name of the step.
pub(crate) async fn take_async<T, E: fmt::Display>(
    step: &'static str,
    injected: impl FnOnce() -> Option<Action>,
    work: impl Future<Output = Result<T, E>>,
) -> Result<T, StepFailed> {
    let taking = async {
        suffer(injected())?;
        work.await.map_err(|error| error.to_string())
    };
    judged(step, AssertUnwindSafe(taking).catch_unwind().await)
}

/// The injected fault. Nobody waits for a start but whoever ordered it: a delay may block.
fn suffer(injected: Option<Action>) -> Result<(), String> {
    match injected {
        Some(Action::Error) => Err("injected by a failpoint".to_owned()),
        Some(action) => {
            std::thread::sleep(action.pause().unwrap_or_default());
            Ok(())
        }
        None => Ok(()),
    }
}

fn judged<T>(
    step: &'static str,
    taken: Result<Result<T, String>, Box<dyn Any + Send>>,
) -> Result<T, StepFailed> {
    let taken = taken.unwrap_or_else(|panic| Err(format!("it panicked: {}", text_of(&*panic))));
    taken.map_err(|reason| StepFailed { step, reason })
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
        let error = take("x", || None, || Err::<(), _>("no room")).unwrap_err();
        assert_eq!(error.to_string(), "the step `x` failed: no room");
        let panic = take("x", || None, || -> Result<(), String> { panic!("a {}", "bug") }).unwrap_err();
        assert_eq!(panic.to_string(), "the step `x` failed: it panicked: a bug");
        let injected = take("x", || Some(Action::Error), || Ok::<_, String>(1)).unwrap_err();
        assert!(injected.to_string().contains("injected"));
        assert_eq!(take("x", || Some(Action::Delay(1)), || Ok::<_, String>(1)).unwrap(), 1);
    }
}
