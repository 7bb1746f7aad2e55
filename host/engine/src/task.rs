//! Spawns the engine's tasks: each has a name, and a panic in one is told instead of lost.

use std::future::Future;

use agent_host_telemetry::happening::PanicCaught;
use futures_util::FutureExt as _;
use tokio_util::task::TaskTracker;

/// Spawns a task that `tracker` counts until it ends.
pub(crate) fn spawn(
    tracker: &TaskTracker,
    name: &'static str,
    future: impl Future<Output = ()> + Send + 'static,
) {
    // Combinators instead of an `async` block, which would hold the future twice: as it was given and as it is polled.
    let caught = std::panic::AssertUnwindSafe(future).catch_unwind();
    tracker.spawn(caught.map(move |ended| {
        // The task's state dies with it; what others hold are channels, which close.
        if let Err(panic) = ended {
            PanicCaught { place: name, message: panic_message(panic.as_ref()) }.emit();
        }
    }));
}

fn panic_message(panic: &(dyn std::any::Any + Send)) -> String {
    let text =
        panic.downcast_ref::<&str>().copied().or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    text.unwrap_or("a panic without a text").to_owned()
}
