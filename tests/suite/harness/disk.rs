//! A host's disk, as the fixture `broken-disk` makes it: it fails as told, and loses its power.

use tempfile::TempDir;

use super::{Host, Setup, artifacts};

/// The disk of one host.
pub(crate) struct Disk(TempDir);

impl Disk {
    /// A sound one.
    pub(crate) fn new() -> Self {
        let disk = Self(tempfile::tempdir().expect("a temporary folder"));
        disk.heal();
        disk
    }

    /// The same host, on this disk.
    pub(crate) fn under(&self, setup: Setup) -> Setup {
        let folder = self.0.path().to_str().expect("test paths are UTF-8");
        let library = artifacts::broken_disk();
        setup.env("BROKEN_DISK", folder).env("LD_PRELOAD", library.to_str().expect("test paths are UTF-8"))
    }

    /// From now on: `write=…`, `sync=…`, one a line.
    pub(crate) fn fault(&self, faults: &str) {
        let next = self.0.path().join("next");
        std::fs::write(&next, faults).unwrap();
        std::fs::rename(next, self.0.path().join("faults")).unwrap();
    }

    /// No fault any more.
    pub(crate) fn heal(&self) {
        self.fault("");
    }

    /// The power fails: the host is gone, and of its log what was not synced. Then it starts again.
    pub(crate) fn lose_power(&self, host: &mut Host, setup: &Setup) {
        host.kill();
        self.heal();
        let (log, platter) = (host.folder().join("data/log"), self.0.path().join("platter"));
        for name in ["log.db", "log.db-wal", "log.db-shm"] {
            let _ = std::fs::remove_file(log.join(name));
            if platter.join(name).exists() {
                std::fs::copy(platter.join(name), log.join(name)).unwrap();
            }
        }
        host.start_again(setup);
    }
}
