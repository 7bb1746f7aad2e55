//! Makes the private copy that is loaded: the very bytes that were judged, in memory that nobody can change.
//!
//! The operator's path is never given to the dynamic loader: `cp` over a mapped file is SIGBUS, and glibc hands
//! back the stale library for a path that it knows.

use std::{fs::File, io::Write, os::fd::OwnedFd, sync::Arc};

use agent_host_core::ports::instance::{Fault, Stage};
use agent_plugin_protocol::{Code, PluginDescriptor};
use rustix::{
    fs::{MemfdFlags, SealFlags},
    io::Errno,
};

use crate::verify::VerifiedArtifact;

/// A sealed copy of a library; all workers of its generation share it.
#[derive(Debug)]
pub(crate) struct StagedLibrary {
    /// The sealed memory.
    pub(crate) file: OwnedFd,
    /// SHA-256 of its bytes, lower-case hex.
    pub(crate) digest: String,
    /// What the library says of itself.
    pub(crate) descriptor: Arc<PluginDescriptor>,
}

impl StagedLibrary {
    /// Stage `stage`.
    pub(crate) fn seal(artifact: VerifiedArtifact) -> Result<Self, Fault> {
        let VerifiedArtifact { bytes, digest, descriptor } = artifact;
        let file = sealed(descriptor.id.as_str(), &bytes).map_err(|error| {
            let reason = format!("no private copy of {} bytes could be made: {error}", bytes.len());
            Fault::new(Stage::Stage, Code::PluginLoadFailed, reason)
        })?;
        Ok(Self { file, digest, descriptor })
    }
}

fn sealed(name: &str, bytes: &[u8]) -> std::io::Result<OwnedFd> {
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    let mut file = File::from(rustix::fs::memfd_create(format!("plugin-{name}"), flags)?);
    file.write_all(bytes)?;
    let all = SealFlags::SHRINK | SealFlags::GROW | SealFlags::WRITE | SealFlags::SEAL;
    while_busy(|| rustix::fs::fcntl_add_seals(&file, all))?;
    Ok(file.into())
}

/// Tries again while the kernel says `EBUSY`: it does not seal memory of which it holds a page itself at that moment
/// (reclaim, compaction and DAMON do, in passing). It waits some 150 ms by itself before it says so.
fn while_busy(mut seal: impl FnMut() -> Result<(), Errno>) -> Result<(), Errno> {
    for _ in 1..SEAL_TRIES {
        match seal() {
            Err(Errno::BUSY) => {}
            done => return done,
        }
    }
    seal()
}

/// With the kernel's own wait, about 3 s: longer than any passing hold, shorter than an operator's patience.
const SEAL_TRIES: u32 = 20;

#[cfg(test)]
mod tests {
    use std::os::unix::fs::FileExt;

    use super::*;

    #[test]
    fn a_busy_moment_is_waited_for_and_anything_else_is_not() {
        let mut answers = vec![Ok(()), Err(Errno::BUSY), Err(Errno::BUSY)];
        assert_eq!(while_busy(|| answers.pop().unwrap()), Ok(()));
        let mut tries = 0;
        let mut always = |errno| {
            while_busy(|| {
                tries += 1;
                Err(errno)
            })
        };
        assert_eq!(always(Errno::PERM), Err(Errno::PERM));
        assert_eq!(always(Errno::BUSY), Err(Errno::BUSY));
        assert_eq!(tries, 1 + SEAL_TRIES);
    }

    #[test]
    fn the_copy_can_be_read_and_never_changed() {
        let file = File::from(sealed("x", b"library").unwrap());
        let mut read = [0; 7];
        file.read_exact_at(&mut read, 0).unwrap();
        assert_eq!(&read, b"library");
        assert!(file.write_at(b"L", 0).is_err());
        assert!(file.set_len(0).is_err());
    }
}
