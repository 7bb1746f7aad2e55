//! What a worker may do: one value, built by the host, applied by the worker's own main before it loads anything.
//!
//! Each layer reports under its name in [`agent_host_core::isolation`]. The order matters: the user changes before the
//! namespace is made, the forks of the namespace come before any thread, what needs files or privileges comes before
//! they are given up, and the bounds come last, as the others may need a descriptor or memory.

mod bounds;
mod cgroup;
mod landlock;
mod namespace;
mod privileges;
mod seccomp;
mod users;

use std::{collections::BTreeSet, io, path::PathBuf};

use agent_host_core::{
    failpoint,
    failpoint::Action,
    isolation::{Layer, LayerState, SandboxReport},
    ports::instance::PluginSpec,
};
use agent_plugin_protocol::Generation;
use rustix::process::Signal;
use serde::{Deserialize, Serialize};

pub(crate) use self::{cgroup::Group, users::Users};

/// The sandbox of one worker.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Sandbox {
    /// Address space in bytes; `None`: unlimited.
    memory: Option<u64>,
    /// Open files.
    open_files: u64,
    /// Its own folder, where one could be made.
    folder: Option<PathBuf>,
    /// The user that it becomes, where the host is root and has one for it.
    user: Option<u32>,
    /// The host's process id: a worker that finds another parent is an orphan already.
    parent: u32,
    /// What the host did for it: its control group.
    cgroup: LayerState,
    /// Without these it loads nothing.
    require: Vec<Layer>,
    /// Left out, for the twins that show a test turning red without a layer. Empty but in builds with failpoints.
    left_out: BTreeSet<Layer>,
}

impl Sandbox {
    /// The sandbox that a spec asks for. `folder` is the plugin's own, where one could be made.
    pub(crate) fn of(
        spec: &PluginSpec,
        folder: Option<PathBuf>,
        user: Option<u32>,
        require: Vec<Layer>,
        cgroup: LayerState,
    ) -> Self {
        let off = |layer: &&Layer| failpoint!("sandbox" / layer.as_str()) == Some(Action::Off);
        Self {
            memory: (spec.limits.memory > 0).then_some(spec.limits.memory),
            open_files: spec.limits.open_files,
            folder,
            user,
            parent: std::process::id(),
            cgroup,
            require,
            left_out: Layer::ALL.iter().filter(off).copied().collect(),
        }
    }

    /// Puts a worker that has not been told anything yet into a control group of its own. Blocks, for some file
    /// operations in memory.
    pub(crate) fn enclose(
        spec: &PluginSpec,
        generation: Generation,
        pid: u32,
    ) -> (Option<Group>, LayerState) {
        if failpoint!("sandbox" / Layer::Cgroup.as_str()) == Some(Action::Off) {
            return (None, LayerState::off(LEFT_OUT));
        }
        let bounds = cgroup::Bounds::of(spec.limits.memory, bounds::PROCESSES, spec.limits.cpu_percent);
        cgroup::Groups::of_process().enclose(&format!("{}-{generation}", spec.id), pid, bounds)
    }

    /// Gives up everything but the bounds, for good. Returns in another process than it was called in, where there is a
    /// namespace: call it while this process has one thread. `descriptors` tells whether inherited ones were closed:
    /// that comes first, before this value could be read.
    ///
    /// # Errors
    /// If a namespace was begun and could not be finished: this process is then of no use.
    pub(crate) fn enter(&self, descriptors: LayerState) -> io::Result<SandboxReport> {
        let mut report = SandboxReport::default();
        let it = &mut report;
        self.put(it, Layer::Descriptors, || descriptors);
        self.put(it, Layer::Environment, environment);
        self.put(it, Layer::OwnUser, || privileges::own_user(self.user));
        // After the change of user, which takes it back.
        self.put(it, Layer::ParentDeathSignal, || self.parent_death_signal());
        if self.wants(Layer::Namespace) {
            it.set(Layer::Namespace, namespace::enter()?);
        } else {
            self.put(it, Layer::Namespace, LayerState::enforced);
        }
        self.put(it, Layer::ProcessGroup, process_group);
        self.put(it, Layer::OomScore, || LayerState::of(std::fs::write("/proc/self/oom_score_adj", "1000")));
        self.put(it, Layer::WorkingFolder, || self.working_folder());
        self.put(it, Layer::NoNewPrivs, || LayerState::of(rustix::thread::set_no_new_privs(true)));
        self.put(it, Layer::Capabilities, privileges::drop_all);
        self.put(it, Layer::Hidden, privileges::hide);
        self.put(it, Layer::Cgroup, || self.cgroup.clone());
        landlock::restrict(self.folder.as_deref(), &self.left_out, it);
        // Last of these: it may forbid what the others need.
        self.put(it, Layer::Seccomp, seccomp::filter);
        Ok(report)
    }

    /// Sets the bounds, for good; called once what the worker itself needs is there.
    pub(crate) fn bound(&self, report: &mut SandboxReport) {
        let own_count = report.enforces(Layer::OwnUser) || report.enforces(Layer::Namespace);
        self.put(report, Layer::ProcessLimit, || bounds::processes(own_count));
        self.put(report, Layer::Rlimits, || bounds::resources(self.open_files));
        self.put(report, Layer::MemoryLimit, || bounds::memory(self.memory));
    }

    fn wants(&self, layer: Layer) -> bool {
        !self.left_out.contains(&layer)
    }

    fn put(&self, report: &mut SandboxReport, layer: Layer, apply: impl FnOnce() -> LayerState) {
        report.set(layer, if self.wants(layer) { apply() } else { LayerState::off(LEFT_OUT) });
    }

    /// The first required layer that is not in force, with the words that say so.
    pub(crate) fn lacks(&self, report: &SandboxReport) -> Option<(Layer, String)> {
        report.lacks(&self.require)
    }

    /// Dies with the host. The signal goes to the children of a *thread*: workers are spawned by one that lives on.
    fn parent_death_signal(&self) -> LayerState {
        let set = rustix::process::set_parent_process_death_signal(Some(Signal::KILL));
        // The host may have died before the line above.
        if rustix::process::getppid().is_none_or(|parent| parent.as_raw_pid().unsigned_abs() != self.parent) {
            crate::worker::end();
        }
        LayerState::of(set)
    }

    fn working_folder(&self) -> LayerState {
        let folder = self.folder.clone().unwrap_or_else(|| PathBuf::from("/"));
        LayerState::of(std::env::set_current_dir(&folder).map_err(|e| format!("{}: {e}", folder.display())))
    }
}

/// Why a layer is off that a test has switched off.
const LEFT_OUT: &str = "a test left it out";

/// The host spawns workers with an environment of TMPDIR and HOME at most.
fn environment() -> LayerState {
    match std::env::vars_os().find(|(name, _)| name != "TMPDIR" && name != "HOME") {
        Some((name, _)) => LayerState::unavailable(format!("{} is set", name.display())),
        None => LayerState::enforced(),
    }
}

/// A group of its own, so that signals for groups find it and nobody else.
fn process_group() -> LayerState {
    if rustix::process::getpgrp() != rustix::process::getpid() {
        return LayerState::of(rustix::process::setpgid(None, None));
    }
    LayerState::enforced()
}
