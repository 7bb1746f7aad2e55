//! What a worker may do: one value, built by the host, applied by the worker's own main before it loads anything.
//!
//! Each layer reports under its own name whether it is in force, in the words that the admin view uses. A further
//! layer is a field here, a line in [`Sandbox::apply`] and a name in the report.

use std::{collections::BTreeMap, path::PathBuf};

use agent_host_core::ports::instance::PluginSpec;
use rustix::process::{Resource, Rlimit, Signal};
use serde::{Deserialize, Serialize};

/// Largest file that a worker may write, memfds included: the address space limit does not hold those.
const FILE_SIZE: u64 = 1 << 30;
/// Memory that a worker may lock: what an async runtime's I/O may want, no more.
const LOCKED: u64 = 64 * 1024;
/// Fewer open files than these, and no library can be loaded and no runtime started.
const FEWEST_FILES: u64 = 32;

/// The sandbox of one worker.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Sandbox {
    /// Address space in bytes; `None`: unlimited.
    memory: Option<u64>,
    /// Open files.
    open_files: u64,
    /// Where it works: its own folder, or `/`.
    folder: PathBuf,
    /// The host's process id: a worker that finds another parent is an orphan already.
    parent: u32,
}

/// Which layers are in force, by name.
pub(crate) type SandboxReport = BTreeMap<String, Layer>;

/// Whether a layer is in force.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Layer {
    /// As wanted.
    Enforced,
    /// Some of it.
    Partial,
    /// Wanted, and not to be had here.
    Unavailable,
    /// Not wanted.
    Off,
}

impl Layer {
    /// The word in the admin view.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Enforced => "enforced",
            Self::Partial => "partial",
            Self::Unavailable => "unavailable",
            Self::Off => "off",
        }
    }

    fn of<E>(result: Result<(), E>) -> Self {
        if result.is_ok() { Self::Enforced } else { Self::Unavailable }
    }
}

impl Sandbox {
    /// The sandbox that a spec asks for. `folder` is the plugin's own, where one could be made.
    pub(crate) fn of(spec: &PluginSpec, folder: Option<PathBuf>) -> Self {
        Self {
            memory: (spec.limits.memory > 0).then_some(spec.limits.memory),
            open_files: spec.limits.open_files,
            folder: folder.unwrap_or_else(|| PathBuf::from("/")),
            parent: std::process::id(),
        }
    }

    /// Applies every layer to this process, for good. `descriptors` tells whether inherited ones were closed: that
    /// comes first, before this value could be read.
    pub(crate) fn apply(&self, descriptors: Layer) -> SandboxReport {
        let layers = [
            ("descriptors", descriptors),
            ("environment", environment()),
            ("parent_death_signal", self.parent_death_signal()),
            ("process_group", process_group()),
            ("oom_score", Layer::of(std::fs::write("/proc/self/oom_score_adj", "1000"))),
            ("working_folder", Layer::of(std::env::set_current_dir(&self.folder))),
            ("no_new_privs", Layer::of(rustix::thread::set_no_new_privs(true))),
            // Last: the others may need a descriptor or memory.
            ("rlimits", self.limits()),
            ("memory_limit", self.memory_limit()),
        ];
        layers.into_iter().map(|(name, layer)| (name.to_owned(), layer)).collect()
    }

    /// Dies with the host. The signal goes to the children of a *thread*: workers are spawned by one that lives on.
    fn parent_death_signal(&self) -> Layer {
        let set = rustix::process::set_parent_process_death_signal(Some(Signal::KILL));
        // The host may have died before the line above.
        if rustix::process::getppid().is_none_or(|parent| parent.as_raw_pid().unsigned_abs() != self.parent) {
            crate::worker::end();
        }
        Layer::of(set)
    }

    fn limits(&self) -> Layer {
        let limits = [
            (Resource::Core, 0),
            (Resource::Fsize, FILE_SIZE),
            (Resource::Memlock, LOCKED),
            (Resource::Msgqueue, 0),
            (Resource::Nofile, self.open_files.max(FEWEST_FILES)),
        ];
        let held = limits.iter().filter(|(resource, most)| limit(*resource, *most)).count();
        match held {
            all if all == limits.len() => Layer::Enforced,
            0 => Layer::Unavailable,
            _ => Layer::Partial,
        }
    }

    fn memory_limit(&self) -> Layer {
        match self.memory {
            None => Layer::Off,
            Some(bytes) if limit(Resource::As, bytes) => Layer::Enforced,
            Some(_) => Layer::Unavailable,
        }
    }
}

/// Lowers a limit for good. Never raises one: what the operator set for the host holds for its workers.
fn limit(resource: Resource, most: u64) -> bool {
    let hard = rustix::process::getrlimit(resource).maximum;
    let most = Some(hard.map_or(most, |hard| hard.min(most)));
    rustix::process::setrlimit(resource, Rlimit { current: most, maximum: most }).is_ok()
}

/// The host spawns workers with an environment of TMPDIR and HOME at most.
fn environment() -> Layer {
    let strange = std::env::vars_os().any(|(name, _)| name != "TMPDIR" && name != "HOME");
    if strange { Layer::Unavailable } else { Layer::Enforced }
}

/// The host spawns workers as leaders of their own group, so that it can kill what they fork.
fn process_group() -> Layer {
    Layer::of(if rustix::process::getpgrp() == rustix::process::getpid() { Ok(()) } else { Err(()) })
}
