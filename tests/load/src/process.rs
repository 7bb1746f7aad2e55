//! What a tree of processes uses, read from `/proc`: the host and its workers count as one.

use std::{collections::HashMap, fs, time::Duration};

use rustix::process::Pid;

/// A server and all its descendants.
#[derive(Debug, Clone)]
pub struct Tree(Vec<i32>);

/// Memory of a tree, in KiB.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Memory {
    /// Resident, shared pages divided among those who share them.
    pub proportional: u64,
    /// Resident.
    pub resident: u64,
}

impl Tree {
    /// The processes that are there now.
    pub fn of(root: u32) -> Self {
        let mut children: HashMap<i32, Vec<i32>> = HashMap::new();
        for (pid, parent) in all_processes() {
            children.entry(parent).or_default().push(pid);
        }
        let mut tree = vec![root as i32];
        let mut next = 0;
        while let Some(pid) = tree.get(next) {
            tree.extend(children.remove(pid).unwrap_or_default());
            next += 1;
        }
        Self(tree)
    }

    /// The descendants, without the root.
    pub fn workers(&self) -> impl Iterator<Item = Pid> {
        self.0.iter().skip(1).filter_map(|pid| Pid::from_raw(*pid))
    }

    /// User and system time so far, in steps of the kernel's tick (10 ms).
    pub fn cpu(&self) -> Duration {
        let ticks: u64 = self.0.iter().filter_map(|pid| cpu_ticks(*pid)).sum();
        Duration::from_secs_f64(ticks as f64 / rustix::param::clock_ticks_per_second() as f64)
    }

    /// Memory of the root alone: connections live there.
    pub fn memory(&self) -> Memory {
        let text = self.0.first().map(|pid| format!("/proc/{pid}/smaps_rollup"));
        let text = text.and_then(|path| fs::read_to_string(path).ok()).unwrap_or_default();
        Memory { proportional: field(&text, "Pss:"), resident: field(&text, "Rss:") }
    }
}

fn all_processes() -> impl Iterator<Item = (i32, i32)> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|entry| {
        let pid = entry.file_name().to_str()?.parse().ok()?;
        Some((pid, stat(pid)?.get(1)?.parse().ok()?))
    })
}

fn cpu_ticks(pid: i32) -> Option<u64> {
    let stat = stat(pid)?;
    Some(stat.get(11)?.parse::<u64>().ok()? + stat.get(12)?.parse::<u64>().ok()?)
}

/// The fields of `/proc/PID/stat` after the name, which may itself hold spaces: state, parent, …
fn stat(pid: i32) -> Option<Vec<String>> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, fields) = text.rsplit_once(") ")?;
    Some(fields.split(' ').map(str::to_owned).collect())
}

fn field(rollup: &str, name: &str) -> u64 {
    let line = rollup.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default();
    line.trim().trim_end_matches(" kB").parse().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_is_in_its_own_tree_and_uses_memory() {
        let tree = Tree::of(std::process::id());
        assert_eq!(tree.0.first(), Some(&(std::process::id() as i32)));
        assert!(tree.memory().resident > 0);
        assert!(tree.memory().proportional <= tree.memory().resident);
    }

    #[test]
    fn a_field_is_read_in_kib() {
        assert_eq!(field("Rss:                 5784 kB\nPss:   12 kB\n", "Pss:"), 12);
    }
}
