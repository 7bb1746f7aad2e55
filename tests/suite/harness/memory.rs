//! Hosts have their folders in memory, where there is room. A host refuses messages while a sync of its log takes seconds, as
//! it should, and on a disk that others share that may be at any moment. What a test wants of a disk it has from a
//! [`Disk`](super::disk::Disk).

use std::path::Path;

use rustix::fs::{StatVfsMountFlags, statvfs};
use tempfile::{Builder, TempDir};

/// Where Linux has a file system in memory that is everybody's.
const MEMORY: &str = "/dev/shm";
/// Fewer free bytes there are not relied on.
const ROOM: u64 = 2 << 30;

/// A folder that is gone with this value.
pub(crate) fn folder() -> TempDir {
    let place = if serves(Path::new(MEMORY)) { MEMORY.into() } else { std::env::temp_dir() };
    Builder::new().prefix("agent-host-suite-").tempdir_in(place).expect("a temporary folder")
}

/// Whether a host can have all of it there: plugins are loaded from its folder.
fn serves(place: &Path) -> bool {
    statvfs(place).is_ok_and(|there| {
        let closed = there.f_flag.intersects(StatVfsMountFlags::NOEXEC | StatVfsMountFlags::RDONLY);
        !closed && there.f_bavail.saturating_mul(there.f_frsize) >= ROOM
    })
}
