//! Maps libraries into this process: one at a time, each from a private file, and never unmaps one.
//!
//! Not from the sealed memory that workers load from: its path would be `/proc/self/fd/N`, the number is used again,
//! and glibc hands out the library that it already has under a path. Each load has a file of its own, so a generation
//! shares nothing with another, not even with one of the same bytes. The file is gone as soon as it is mapped.

use std::{
    fs::{DirBuilder, File, OpenOptions, Permissions},
    io,
    os::unix::fs::{DirBuilderExt, FileExt, MetadataExt, OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
    sync::atomic::{AtomicBool, AtomicU32, Ordering},
    time::Duration,
};

use agent_host_core::ports::instance::{Fault, Stage};
use agent_host_telemetry::happening::{DynamicLoaderStuck, GenerationsPiledUp};
use agent_plugin_protocol::Code;
use tokio::sync::Mutex;

use super::apart::{self, Blocked};
use crate::{module::Module, stage::StagedLibrary};

/// Generations between two warnings: about 20 MiB, as one that is over keeps 0.65 MiB.
const PILE: u32 = 32;

/// Generations that were ever mapped into this process: none is unmapped.
static MAPPED: AtomicU32 = AtomicU32::new(0);
/// Whose turn it is: loading is serial in one process. Waiting is bounded, as each turn has its deadline.
static TURN: Mutex<()> = Mutex::const_new(());

/// A thread is inside `dlopen`.
static OPENING: AtomicBool = AtomicBool::new(false);

/// See the module.
#[derive(Debug)]
pub(crate) struct Loader {
    folder: PathBuf,
}

impl Loader {
    /// A loader whose files pass through `folder`.
    pub(crate) fn new(folder: PathBuf) -> Self {
        Self { folder }
    }

    /// Stages `stage` and `load`. When it takes too long its thread is left behind.
    ///
    /// A static initialiser that hangs holds glibc's own lock, which every further `dlopen` needs, and every thread
    /// that first uses a thread-local with a destructor: then no other load is begun until it comes back, and the
    /// operator is told to restart the host. The preflight is what keeps this from happening.
    ///
    /// Cancel safe: a load that was begun is ended, also when nobody waits for it.
    pub(crate) async fn load(&self, library: &StagedLibrary, within: Duration) -> Result<Module, Fault> {
        let failed = |code, reason| Fault::new(Stage::Load, code, reason);
        let copy = library.file.try_clone().map_err(no_copy)?;
        let (folder, digest) = (self.folder.clone(), library.digest.clone());
        let work = move || {
            let file = PrivateFile::new(&folder, &digest, &File::from(copy)).map_err(no_copy)?;
            OPENING.store(true, Ordering::Release);
            let opened = Module::open(&file.path);
            OPENING.store(false, Ordering::Release);
            opened.map_err(|error| failed(error.code, error.reason))
        };
        // A task of its own, so that a turn is as long as its load even if the start is given up.
        let turn = tokio::spawn(async move {
            let _turn = TURN.lock().await;
            // In one's own turn: an earlier load is still there.
            if stuck() {
                return Err(Blocked::Late);
            }
            apart::run("plugin-load", within, work).await
        });
        let ended =
            |what: &str| failed(Code::PluginLoadFailed, format!("the library was not loaded: {what}"));
        let module = match turn.await {
            Ok(Ok(module)) => module?,
            Ok(Err(Blocked::Late)) => {
                let reason = if stuck() {
                    DynamicLoaderStuck { digest: library.digest.clone() }.emit();
                    "a static initialiser hangs, and the dynamic loader of this process with it"
                } else {
                    "no answer in time"
                };
                let reason = format!("the library was not loaded within {within:?}: {reason}");
                return Err(failed(Code::PluginLoadTimeout, reason));
            }
            Ok(Err(Blocked::NoThread(error))) => return Err(ended(&error.to_string())),
            Err(_) => return Err(ended("the loader ended by a panic, a bug of the host")),
        };
        count();
        Ok(module)
    }
}

/// Whether a library is being opened: to be asked by whoever does not open one.
fn stuck() -> bool {
    OPENING.load(Ordering::Acquire)
}

fn count() {
    let generations = MAPPED.fetch_add(1, Ordering::Relaxed) + 1;
    if generations.is_multiple_of(PILE) {
        GenerationsPiledUp { generations, threads_left_behind: apart::left_behind() }.emit();
    }
}

fn no_copy(error: io::Error) -> Fault {
    Fault::new(Stage::Stage, Code::PluginLoadFailed, format!("no private copy could be made: {error}"))
}

/// A copy of a library that is removed again when it is dropped.
struct PrivateFile {
    path: PathBuf,
}

impl PrivateFile {
    /// The file is named by its hash, this process, and a number: no path is ever used twice.
    fn new(folder: &Path, digest: &str, bytes: &File) -> io::Result<Self> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        private_folder(folder)?;
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        if number == 0 {
            sweep(folder);
        }
        let path = folder.join(format!("{digest}.{}.{number}.so", std::process::id()));
        // Not followed and not taken over: what stands there was not made by this process.
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path)?;
        let copy = Self { path };
        io::copy(&mut FromStart { file: bytes, at: 0 }, &mut file)?;
        Ok(copy)
    }
}

impl Drop for PrivateFile {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_file(&self.path) {
            tracing::debug!(file = %self.path.display(), %error, "a staged library could not be removed");
        }
    }
}

/// Makes the folder, for this user only; a folder of somebody else's is refused.
fn private_folder(folder: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    let meta = std::fs::symlink_metadata(folder)?;
    if !meta.is_dir() || meta.uid() != rustix::process::geteuid().as_raw() {
        return Err(io::Error::other(format!("{} is not a folder of this user's", folder.display())));
    }
    if meta.mode() & 0o077 != 0 {
        std::fs::set_permissions(folder, Permissions::from_mode(0o700))?;
    }
    Ok(())
}

/// Removes what a host left that died in the midst of a load: a library that crashes its host does so just there.
fn sweep(folder: &Path) {
    let Ok(entries) = std::fs::read_dir(folder) else { return };
    for path in entries.flatten().map(|entry| entry.path()) {
        let pid = path.file_name().and_then(|name| name.to_str()?.split('.').nth(1)?.parse::<u32>().ok());
        // With this process's own number it is from an earlier life: this is its first load.
        let dead = |pid: u32| pid == std::process::id() || !Path::new(&format!("/proc/{pid}")).exists();
        if pid.is_some_and(dead) {
            let _ = std::fs::remove_file(&path);
        }
    }
}

/// Reads a file from its start, whatever the position of its descriptor, which is shared.
struct FromStart<'a> {
    file: &'a File,
    at: u64,
}

impl io::Read for FromStart<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.file.read_at(buffer, self.at)?;
        self.at += read as u64;
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_is_private_whole_and_gone_when_it_is_dropped() {
        let outside = tempfile::tempdir().unwrap();
        let folder = outside.path().join("a").join("staged");
        DirBuilder::new().recursive(true).create(&folder).unwrap();
        std::fs::set_permissions(&folder, Permissions::from_mode(0o755)).unwrap();
        std::fs::write(folder.join("d1.4294967295.0.so"), "left by a host that is gone").unwrap();
        std::fs::write(folder.join("something else"), "").unwrap();
        let mut bytes = tempfile::tempfile().unwrap();
        io::Write::write_all(&mut bytes, b"library").unwrap();

        let (one, two) = (
            PrivateFile::new(&folder, "d1", &bytes).unwrap(),
            PrivateFile::new(&folder, "d1", &bytes).unwrap(),
        );
        assert_ne!(one.path, two.path);
        assert_eq!(std::fs::read(&one.path).unwrap(), b"library");
        assert_eq!(std::fs::metadata(&folder).unwrap().mode() & 0o777, 0o700);
        assert_eq!(std::fs::metadata(&one.path).unwrap().mode() & 0o777, 0o600);
        drop((one, two));
        let left: Vec<_> = std::fs::read_dir(&folder).unwrap().flatten().map(|e| e.file_name()).collect();
        assert_eq!(left, ["something else"]);
    }
}
