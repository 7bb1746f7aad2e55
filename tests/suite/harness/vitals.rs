//! How a process fares, as the kernel tells it: memory, descriptors, threads, time on a core.

use std::{fs, time::Duration};

use rustix::param::clock_ticks_per_second;

use super::{Host, eventually};

/// At one moment.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Vitals {
    /// Resident memory, in KiB.
    pub(crate) resident_kib: u64,
    /// Open descriptors.
    pub(crate) descriptors: usize,
    /// Threads.
    pub(crate) threads: u64,
    /// Time on a core so far, of the process without its children.
    pub(crate) cpu: Duration,
}

impl Vitals {
    /// Of the host itself, without its workers.
    pub(crate) fn of(host: &Host) -> Result<Self, String> {
        let folder = format!("/proc/{}", host.pid());
        let read = |file: &str| fs::read_to_string(format!("{folder}/{file}")).map_err(|e| e.to_string());
        let status = read("status")?;
        let field = |name: &str| -> Result<u64, String> {
            let line = status.lines().find_map(|line| line.strip_prefix(name));
            let word = line.and_then(|line| line.split_whitespace().next());
            word.and_then(|word| word.parse().ok()).ok_or_else(|| format!("no {name} in {folder}/status"))
        };
        // Behind the name, which may hold anything: the 12th and 13th field are the ticks in user and system mode.
        let stat = read("stat")?;
        let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
        let ticks: u64 = fields.iter().skip(11).take(2).filter_map(|field| field.parse::<u64>().ok()).sum();
        Ok(Self {
            resident_kib: field("VmRSS:")?,
            descriptors: fs::read_dir(format!("{folder}/fd")).map_err(|e| e.to_string())?.count(),
            threads: field("Threads:")?,
            cpu: Duration::from_millis(1_000 * ticks / clock_ticks_per_second()),
        })
    }
}

/// Waits until the host has as many descriptors as it had before.
pub(crate) async fn no_descriptor_is_left(host: &Host, before: &Vitals) -> Result<(), String> {
    eventually("no descriptor is left of it", async || {
        let now = Vitals::of(host)?;
        // A few more: the log's readers are opened as they are needed.
        match now.descriptors <= before.descriptors + 4 {
            true => Ok(()),
            false => Err(format!("{before:?} before, {now:?} now")),
        }
    })
    .await
}
