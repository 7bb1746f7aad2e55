//! Finds a plugin's file and reads it once, without running it: the first steps of the pipeline.
//!
//! What is judged here is the file itself: that it is one, that nobody else can exchange it, that it is not too large.
//! Whatever happens to the path afterwards, the bytes that were read are the ones that are judged, hashed and run.

use std::{
    fs::File,
    io::{self, Read},
    os::unix::fs::FileTypeExt,
    path::{Path, PathBuf},
};

use agent_host_core::{
    failpoint,
    failpoint::Action,
    ports::instance::{Fault, PluginSpec, Stage},
};
use agent_plugin_protocol::Code;
use rustix::{
    fs::{Mode, OFlags},
    io::Errno,
};

use crate::custody::{self, Doubt};

/// A file that the configuration names and that is there.
#[derive(Debug)]
pub(crate) struct Candidate {
    path: PathBuf,
    limit: u64,
}

impl Candidate {
    /// Stage `discover`: the path leads to something.
    pub(crate) fn discover(spec: &PluginSpec) -> Result<Self, Fault> {
        Self::at(&spec.path, spec.limits.library)
    }

    /// The same for a path, and the largest size that is read.
    pub(crate) fn at(path: &Path, limit: u64) -> Result<Self, Fault> {
        match std::fs::metadata(path) {
            Ok(_) => Ok(Self { path: path.to_owned(), limit }),
            Err(error) => Err(open_fault(Stage::Discover, path, &error)),
        }
    }

    /// The file, as configured.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Reads the whole file. Blocks on the disk, never on a fifo.
    pub(crate) fn read(&self) -> Result<Vec<u8>, Fault> {
        let file = open(&self.path)?;
        let meta = file.metadata().map_err(|e| open_fault(Stage::Verify, &self.path, &e))?;
        if !meta.is_file() {
            return Err(not_a_file(&self.path, meta.file_type()));
        }
        self.in_custody()?;
        if meta.len() > self.limit {
            return Err(self.too_large(meta.len()));
        }
        let mut bytes = Vec::with_capacity(usize::try_from(meta.len()).unwrap_or(0));
        // One byte past the limit: a file that grew meanwhile is noticed, not read to its end.
        file.take(self.limit.saturating_add(1))
            .read_to_end(&mut bytes)
            .map_err(|e| open_fault(Stage::Verify, &self.path, &e))?;
        if bytes.len() as u64 > self.limit {
            return Err(self.too_large(bytes.len() as u64));
        }
        Ok(bytes)
    }

    /// Nobody but root and the host's user can exchange the file.
    ///
    /// Judged after it was opened: what was opened before its place was unsafe is then refused too.
    fn in_custody(&self) -> Result<(), Fault> {
        // Off for a broken twin: a host that loads what anybody may have put there.
        if failpoint!("runtime.custody") == Some(Action::Off) {
            return Ok(());
        }
        custody::judge(&self.path).map_err(|doubt| match doubt {
            Doubt::Unreadable(error) => open_fault(Stage::Verify, &self.path, &error),
            Doubt::Exposed(exposed) => Fault {
                hint: exposed.hint,
                ..Fault::new(Stage::Verify, Code::PluginInsecureMode, exposed.reason)
            },
        })
    }

    fn too_large(&self, size: u64) -> Fault {
        let reason = format!("{} has {size} bytes, the limit is {}", self.path.display(), self.limit);
        Fault::new(Stage::Verify, Code::PluginTooLarge, reason)
    }
}

/// Opens without waiting: opening a fifo for reading would otherwise hang until somebody writes to it.
pub(crate) fn open(path: &Path) -> Result<File, Fault> {
    // Looked at before it is opened too: to open some devices is to act on them.
    let before = std::fs::metadata(path).map_err(|e| open_fault(Stage::Verify, path, &e))?;
    if !before.is_file() {
        return Err(not_a_file(path, before.file_type()));
    }
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC | OFlags::NOCTTY;
    rustix::fs::open(path, flags, Mode::empty())
        .map(File::from)
        .map_err(|errno| open_fault(Stage::Verify, path, &errno.into()))
}

fn not_a_file(path: &Path, kind: std::fs::FileType) -> Fault {
    let what = if kind.is_dir() {
        "a directory"
    } else if kind.is_fifo() {
        "a fifo"
    } else if kind.is_socket() {
        "a socket"
    } else {
        "a device"
    };
    Fault::new(Stage::Verify, Code::PluginNotAFile, format!("{} is {what}", path.display()))
}

/// The fault of a file that could not be opened or read.
fn open_fault(stage: Stage, path: &Path, error: &io::Error) -> Fault {
    let code = match error.raw_os_error().map(Errno::from_raw_os_error) {
        Some(Errno::NOENT | Errno::NOTDIR) => Code::PluginNotFound,
        Some(Errno::NXIO | Errno::ISDIR) => Code::PluginNotAFile,
        _ => Code::PluginUnreadable,
    };
    Fault::new(stage, code, format!("{}: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_error_of_the_file_system_has_its_code() {
        let code = |errno: Errno| open_fault(Stage::Verify, Path::new("x"), &errno.into()).code;
        assert_eq!(code(Errno::NOENT), Code::PluginNotFound);
        assert_eq!(code(Errno::ACCESS), Code::PluginUnreadable);
        assert_eq!(code(Errno::IO), Code::PluginUnreadable);
        assert_eq!(code(Errno::NXIO), Code::PluginNotAFile);
    }
}
