//! The bounds on a worker's use of the machine: resource limits, which are never raised.

use agent_host_core::isolation::LayerState;
use rustix::process::{Resource, Rlimit};

/// Largest file that a worker may write.
const FILE_SIZE: u64 = 1 << 30;
/// Memory that a worker may lock: what an async runtime's I/O may want, no more.
const LOCKED: u64 = 64 * 1024;
/// Fewer open files than these, and no library can be loaded and no runtime started.
const FEWEST_FILES: u64 = 32;
/// Threads and processes: the 512 threads that an async runtime may make for blocking work, and some more.
pub(super) const PROCESSES: u64 = 640;

/// Core dumps, files and queues.
pub(super) fn resources(open_files: u64) -> LayerState {
    let limits = [
        ("core", Resource::Core, 0),
        ("file size", Resource::Fsize, FILE_SIZE),
        ("locked memory", Resource::Memlock, LOCKED),
        ("queues", Resource::Msgqueue, 0),
        ("open files", Resource::Nofile, open_files.max(FEWEST_FILES)),
    ];
    let missing: Vec<&str> = limits
        .iter()
        .filter(|(_, resource, most)| !limit(*resource, *most))
        .map(|(name, ..)| *name)
        .collect();
    match missing.len() {
        0 => LayerState::enforced(),
        all if all == limits.len() => LayerState::unavailable("no limit could be set"),
        _ => LayerState::partial(format!("without limits for {}", missing.join(", "))),
    }
}

/// Address space in bytes.
pub(super) fn memory(most: Option<u64>) -> LayerState {
    match most {
        None => LayerState::off("`limits.memory` is 0"),
        Some(bytes) if limit(Resource::As, bytes) => LayerState::enforced(),
        Some(_) => LayerState::unavailable("the limit could not be set"),
    }
}

/// Threads and processes. The kernel counts them by user, and in a user namespace by that too: without either of its
/// own a worker would be counted with the host and all its siblings, and starve. It never counts those of root.
pub(super) fn processes(own_count: bool) -> LayerState {
    if rustix::process::geteuid().is_root() {
        return LayerState::off("the kernel does not count the processes of root");
    }
    match own_count {
        false => LayerState::off("the worker shares its user with others, and would be counted with them"),
        true if limit(Resource::Nproc, PROCESSES) => LayerState::enforced(),
        true => LayerState::unavailable("the limit could not be set"),
    }
}

/// Lowers a limit for good. Never raises one: what the operator set for the host holds for its workers.
fn limit(resource: Resource, most: u64) -> bool {
    let hard = rustix::process::getrlimit(resource).maximum;
    let most = Some(hard.map_or(most, |hard| hard.min(most)));
    rustix::process::setrlimit(resource, Rlimit { current: most, maximum: most }).is_ok()
}
