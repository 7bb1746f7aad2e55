//! Control groups: one for each worker with all that it makes, so that its bounds hold for the whole.
//!
//! This is the one layer that the host applies itself, between the worker's start and its first message: what a
//! process makes is born into its group. The kernel offers two interfaces, and a machine may mix them; each controller is
//! looked for in both. A group is made only below one that is the host's to divide: the root of what it sees (a
//! container of its own), or one that its manager has delegated (systemd's `Delegate=`). Below any other, a second hand
//! would write what its manager believes to be its own.

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::{Mutex, OnceLock, PoisonError, mpsc},
    thread,
    time::Duration,
};

use agent_host_core::isolation::LayerState;
use rustix::io::Errno;

/// What a group bounds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Controller {
    /// Memory of all its processes together, files in memory included.
    Memory,
    /// Threads of all its processes together.
    Pids,
    /// CPU of all its processes together.
    Cpu,
}

impl Controller {
    const ALL: [Self; 3] = [Self::Memory, Self::Pids, Self::Cpu];

    const fn as_str(self) -> &'static str {
        match self {
            Self::Memory => "memory",
            Self::Pids => "pids",
            Self::Cpu => "cpu",
        }
    }
}

/// The kernel's interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Version {
    One,
    Two,
}

/// Where groups with a controller can be made.
#[derive(Debug, Clone)]
struct Place {
    version: Version,
    /// The group below which they are made.
    folder: PathBuf,
}

/// What this host can do with control groups.
#[derive(Debug)]
pub(crate) struct Groups {
    places: Vec<(Controller, Result<Place, String>)>,
    /// Begins the name of each of this host's groups.
    prefix: String,
}

/// The bounds of one group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Bounds {
    /// Bytes; `None`: not bounded.
    memory: Option<u64>,
    /// Threads.
    threads: u64,
    /// Percent of a core; `None`: not bounded.
    cpu: Option<u64>,
}

/// What a worker needs beside the plugin's memory: its outer process and init, page tables, kernel stacks.
const OVERHEAD: u64 = 64 << 20;
/// What a quota of CPU is counted over, in microseconds.
const CPU_PERIOD: u64 = 100_000;
/// Threads of the worker's outer process and init.
const OUTER: u64 = 8;

impl Bounds {
    /// Those of a worker whose address space may have so many bytes (0: not bounded) and that may have so many threads.
    /// CPU is in percent of a core (0: not bounded).
    pub(crate) fn of(memory: u64, threads: u64, cpu: u32) -> Self {
        Self {
            memory: (memory > 0).then(|| memory.saturating_add(OVERHEAD)),
            threads: threads + OUTER,
            cpu: (cpu > 0).then(|| cpu.into()),
        }
    }

    fn most(&self, controller: Controller) -> Option<u64> {
        match controller {
            Controller::Memory => self.memory,
            Controller::Pids => Some(self.threads),
            Controller::Cpu => self.cpu,
        }
    }
}

/// Begins the names of all groups that hosts make.
const NAME: &str = "agent-host-";

impl Groups {
    /// What this process can do. Looked up once; leftovers of hosts that are gone are removed.
    pub(crate) fn of_process() -> &'static Self {
        static OF_PROCESS: OnceLock<Groups> = OnceLock::new();
        OF_PROCESS.get_or_init(|| {
            let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
            let pid = std::process::id();
            let begun = begun(pid).unwrap_or_default();
            let groups = Self::find(
                &read("/proc/self/mountinfo"),
                &read("/proc/self/cgroup"),
                &format!("{NAME}{pid}-{begun}-"),
            );
            groups.tidy();
            groups
        })
    }

    /// From the words of `/proc/self/mountinfo` and `/proc/self/cgroup`.
    fn find(mounts: &str, own: &str, prefix: &str) -> Self {
        let places = Controller::ALL.map(|controller| (controller, place(controller, mounts, own, prefix)));
        Self { places: places.into(), prefix: prefix.to_owned() }
    }

    /// Makes a group with these bounds and puts a process into it. Whatever could not be done is in the state; the
    /// group holds what could.
    pub(crate) fn enclose(&self, name: &str, pid: u32, bounds: Bounds) -> (Option<Group>, LayerState) {
        let mut group = Group { folders: Vec::new() };
        let (mut wanted, mut missing) = (0, Vec::new());
        for (controller, place) in &self.places {
            let Some(most) = bounds.most(*controller) else { continue };
            wanted += 1;
            let done = place.as_ref().map_err(String::clone).and_then(|place| {
                let folder = place.folder.join(format!("{}{name}", self.prefix));
                group
                    .join(*controller, place.version, &folder, pid, most)
                    .map_err(|error| format!("{}: {error}", folder.display()))
            });
            if let Err(reason) = done {
                missing.push(format!("{}: {reason}", controller.as_str()));
            }
        }
        let state = match missing.len() {
            0 => LayerState::enforced(),
            all if all == wanted => LayerState::unavailable(missing.join("; ")),
            _ => LayerState::partial(format!("without {}", missing.join("; "))),
        };
        ((!group.folders.is_empty()).then_some(group), state)
    }

    /// Removes the groups of hosts that are gone: their workers died with them.
    fn tidy(&self) {
        for place in self.places.iter().filter_map(|(_, place)| place.as_ref().ok()) {
            for entry in fs::read_dir(&place.folder).into_iter().flatten().flatten() {
                let name = entry.file_name();
                if name.to_str().is_some_and(|name| is_left_over(name, begun)) {
                    // Still somebody in it: the next host tries again.
                    let _ = remove(&entry.path());
                }
            }
        }
    }
}

/// Whether a group is that of a host that is gone. `begun`: when the process of that id began, if there is one.
fn is_left_over(name: &str, begun: impl Fn(u32) -> Option<u64>) -> bool {
    let mut parts = name.strip_prefix(NAME).into_iter().flat_map(|rest| rest.splitn(3, '-'));
    let (Some(pid), Some(at), Some(_)) = (parts.next(), parts.next(), parts.next()) else { return false };
    match (pid.parse(), at.parse::<u64>()) {
        (Ok(pid), Ok(at)) => begun(pid) != Some(at),
        _ => false,
    }
}

/// When a process began, in the kernel's ticks since its own start: with the id, a name that is given once.
fn begun(pid: u32) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // After the name, which may hold anything: the state is field 3, the start is field 22.
    stat.rsplit_once(')')?.1.split_whitespace().nth(19)?.parse().ok()
}

/// Where groups with a controller can be made, or why not.
fn place(controller: Controller, mounts: &str, own: &str, prefix: &str) -> Result<Place, String> {
    let word = controller.as_str();
    let first = own.lines().find_map(|line| {
        let mut parts = line.splitn(3, ':').skip(1);
        let (controllers, path) = (parts.next()?, parts.next()?);
        controllers.split(',').any(|one| one == word).then_some(path)
    });
    if let Some(path) = first {
        let folder = mounted(
            mounts,
            |kind, options| kind == "cgroup" && options.split(',').any(|one| one == word),
            path,
        )
        .ok_or("its hierarchy is not mounted")?;
        return ours(path, &folder).map(|()| Place { version: Version::One, folder });
    }
    let path =
        own.lines().find_map(|line| line.strip_prefix("0::")).ok_or("this kernel has no control groups")?;
    let folder = mounted(mounts, |kind, _| kind == "cgroup2", path).ok_or("cgroup2 is not mounted")?;
    let offered = fs::read_to_string(folder.join("cgroup.controllers")).unwrap_or_default();
    if !offered.split_whitespace().any(|one| one == word) {
        return Err("the host's group does not offer it".to_owned());
    }
    ours(path, &folder)?;
    divide(&folder, path, word, prefix)?;
    Ok(Place { version: Version::Two, folder })
}

/// The folder of a group: where its hierarchy is mounted, and the path from there.
fn mounted(mounts: &str, is_it: impl Fn(&str, &str) -> bool, path: &str) -> Option<PathBuf> {
    mounts.lines().find_map(|line| {
        // …id parent major:minor root point options… - kind source superoptions
        let (before, after) = line.split_once(" - ")?;
        let mut after = after.split(' ');
        let (kind, options) = (after.next()?, after.nth(1)?);
        let mut before = before.split(' ').skip(3);
        let (root, point) = (before.next()?, before.next()?);
        // In a container the mount may show a part of the hierarchy only, and the path be of the whole.
        let below = path.strip_prefix(root).unwrap_or(path);
        is_it(kind, options).then(|| Path::new(point).join(below.trim_start_matches('/')))
    })
}

/// Whether a group is the host's to divide.
fn ours(path: &str, folder: &Path) -> Result<(), String> {
    if path != "/" && !is_delegated(folder) {
        return Err(format!(
            "the host's group {path} is not its own to divide: delegate it (systemd: Delegate=yes)"
        ));
    }
    match rustix::fs::access(folder, rustix::fs::Access::WRITE_OK) {
        Ok(()) => Ok(()),
        Err(error) => Err(format!("{}: {}", folder.display(), io::Error::from(error))),
    }
}

/// The mark that systemd sets on what it delegates.
fn is_delegated(folder: &Path) -> bool {
    ["trusted.delegate", "user.delegate"].iter().any(|mark| {
        let mut value = [0; 8];
        matches!(rustix::fs::getxattr(folder, *mark, &mut value), Ok(1..) if value[0] == b'1')
    })
}

/// Version two: a group that is divided has no processes itself (but the root), so the host moves into a leaf first.
fn divide(folder: &Path, path: &str, word: &str, prefix: &str) -> Result<(), String> {
    let switch = folder.join("cgroup.subtree_control");
    let on = fs::read_to_string(&switch).unwrap_or_default();
    if on.split_whitespace().any(|one| one == word) {
        return Ok(());
    }
    let enable = || fs::write(&switch, format!("+{word}"));
    let failed = |error: io::Error| format!("{}: {error}", switch.display());
    match enable() {
        Err(error) if error.raw_os_error() == Some(Errno::BUSY.raw_os_error()) && path != "/" => {
            let leaf = folder.join(format!("{prefix}self"));
            let moved = fs::create_dir(&leaf)
                .or_else(|error| if leaf.is_dir() { Ok(()) } else { Err(error) })
                .and_then(|()| fs::write(leaf.join("cgroup.procs"), std::process::id().to_string()));
            moved.map_err(|error| format!("{}: {error}", leaf.display()))?;
            enable().map_err(|error| format!("{}, or others share the host's group", failed(error)))
        }
        outcome => outcome.map_err(failed),
    }
}

/// The group of one worker, in each hierarchy. Dropped, it is removed, once what was in it is gone.
#[derive(Debug)]
pub(crate) struct Group {
    folders: Vec<(Controller, Version, PathBuf)>,
}

impl Group {
    fn join(
        &mut self,
        controller: Controller,
        version: Version,
        folder: &Path,
        pid: u32,
        most: u64,
    ) -> io::Result<()> {
        // One group of version two serves several controllers.
        if !self.folders.iter().any(|(_, _, known)| known == folder) {
            fs::create_dir(folder)?;
        }
        self.folders.push((controller, version, folder.to_owned()));
        let set = |file: &str, value: u64| fs::write(folder.join(file), value.to_string());
        match (controller, version) {
            (Controller::Pids, _) => set("pids.max", most)?,
            // Of each tenth of a second, in microseconds: as the kernel's own default has it.
            (Controller::Cpu, Version::Two) => {
                fs::write(folder.join("cpu.max"), format!("{} {CPU_PERIOD}", most * CPU_PERIOD / 100))?;
            }
            (Controller::Cpu, Version::One) => {
                set("cpu.cfs_period_us", CPU_PERIOD)?;
                set("cpu.cfs_quota_us", most * CPU_PERIOD / 100)?;
            }
            (Controller::Memory, Version::Two) => {
                set("memory.max", most)?;
                // Where there is no swap there is nothing to bound.
                let _ = set("memory.swap.max", 0);
            }
            (Controller::Memory, Version::One) => {
                set("memory.limit_in_bytes", most)?;
                // With swap counted in: the same bound for both.
                let _ = set("memory.memsw.limit_in_bytes", most);
            }
        }
        fs::write(folder.join("cgroup.procs"), pid.to_string())
    }

    /// Whether the kernel ended a process of the group because it had all its memory.
    pub(crate) fn ran_out_of_memory(&self) -> bool {
        let memory = self.folders.iter().find(|(controller, ..)| *controller == Controller::Memory);
        let told = memory.and_then(|(_, version, folder)| {
            let file = match version {
                Version::One => "memory.oom_control",
                Version::Two => "memory.events",
            };
            fs::read_to_string(folder.join(file)).ok()
        });
        told.is_some_and(|told| {
            told.lines().any(|line| line.strip_prefix("oom_kill ").is_some_and(|count| count.trim() != "0"))
        })
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        for (_, version, folder) in self.folders.drain(..) {
            if version == Version::Two {
                // Whatever is left in it goes with it. Kernels before 5.14 do not know the file.
                let _ = fs::write(folder.join("cgroup.kill"), "1");
            }
            if remove(&folder).is_err() {
                later(folder);
            }
        }
    }
}

/// Removes an empty group; one that is gone is as good.
fn remove(folder: &Path) -> io::Result<()> {
    match fs::remove_dir(folder) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        Ok(()) | Err(_) => Ok(()),
    }
}

/// Tries a group that is not empty yet again, so often; then the next host removes it.
const TRIES: usize = 100;
const BETWEEN: Duration = Duration::from_millis(20);

/// Hands a group to the thread that removes what the dying still hold.
fn later(folder: PathBuf) {
    static SWEEPER: OnceLock<Mutex<Option<mpsc::SyncSender<PathBuf>>>> = OnceLock::new();
    let sweeper = SWEEPER.get_or_init(|| {
        // Full: a thousand groups wait; what comes then is left to the next host.
        let (sender, inbox) = mpsc::sync_channel::<PathBuf>(1024);
        let sweep = move || {
            for folder in inbox {
                for _ in 0..TRIES {
                    if remove(&folder).is_ok() {
                        break;
                    }
                    thread::sleep(BETWEEN);
                }
            }
        };
        let begun = thread::Builder::new().name("cgroup-sweep".to_owned()).spawn(sweep);
        Mutex::new(begun.ok().map(|_| sender))
    });
    if let Some(sender) = &*sweeper.lock().unwrap_or_else(PoisonError::into_inner) {
        let _ = sender.try_send(folder);
    }
}

#[cfg(test)]
mod tests;
