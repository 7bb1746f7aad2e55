//! The machine: which core is whose, how loaded it is, what it is called.

use std::{fs, ops::Range, process::Command};

use rustix::thread::CpuSet;
use serde::Serialize;

use crate::error::{Attempt, Error};

/// One core for the servers, another for the generator.
#[derive(Debug, Clone, Copy)]
pub struct Cores {
    /// The servers' core; `None`: any, and as many threads as a server likes.
    pub server: Option<usize>,
    /// The generator's core.
    pub generator: usize,
}

/// Where and of what the figures are.
#[derive(Debug, Clone, Serialize)]
pub struct Place {
    /// The processor's name.
    pub processor: String,
    /// How many cores there are.
    pub cores: usize,
    /// The kernel's release.
    pub kernel: String,
    /// The commit, with `+` if there are changes; empty if unknown.
    pub commit: String,
    /// When, in UTC.
    pub at: String,
}

impl Cores {
    /// The servers may use any core: for scenarios that measure time rather than cost.
    #[must_use]
    pub fn shared(self) -> Self {
        Self { server: None, ..self }
    }

    /// Runs `work` pinned to the servers' core, as its children then are, and pins this thread to the generator's.
    ///
    /// # Errors
    /// The kernel refuses the core.
    pub fn as_server<T>(self, work: impl FnOnce() -> T) -> Result<T, Error> {
        match self.server {
            Some(core) => pin(core..core + 1)?,
            None => pin(0..CpuSet::MAX_CPU)?,
        }
        let result = work();
        pin(self.generator..self.generator + 1)?;
        Ok(result)
    }
}

impl Place {
    /// This machine, now.
    pub fn here() -> Self {
        let cpuinfo = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let name = cpuinfo.lines().find_map(|line| line.strip_prefix("model name")).unwrap_or_default();
        let changed = if output("git", &["status", "--porcelain", "-uno"]).is_empty() { "" } else { "+" };
        Self {
            processor: name.trim_start_matches([' ', '\t', ':']).to_owned(),
            // Not what this thread may use, which is one.
            cores: cpuinfo.lines().filter(|line| line.starts_with("processor")).count(),
            kernel: fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default().trim().to_owned(),
            commit: format!("{}{changed}", output("git", &["rev-parse", "--short", "HEAD"])),
            at: output("date", &["-u", "+%Y-%m-%d %H:%M"]),
        }
    }
}

/// The load average of the last minute.
pub fn load_average() -> f64 {
    let text = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split(' ').next().and_then(|first| first.parse().ok()).unwrap_or_default()
}

fn pin(cores: Range<usize>) -> Result<(), Error> {
    let mut set = CpuSet::new();
    cores.for_each(|core| set.set(core));
    rustix::thread::sched_setaffinity(None, &set).attempt("cannot pin to a core")
}

fn output(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output();
    output.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned()).unwrap_or_default()
}
