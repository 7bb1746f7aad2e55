//! Writes configuration files: beside the old one first, then in its place, so that a reader sees the one or the other.

use std::{
    fs, io,
    io::Write as _,
    path::{Path, PathBuf},
};

use agent_host_core::{failpoint, failpoint::Action};

/// A new text that lies ready beside its file. Dropped, it is gone.
#[derive(Debug)]
pub(super) struct Ready {
    beside: PathBuf,
    file: PathBuf,
}

impl Ready {
    /// Writes the text beside the file, with the file's mode. What the file links to is what is replaced.
    ///
    /// Blocks on the disk.
    ///
    /// # Errors
    /// If it cannot be written there; the file is untouched.
    pub(super) fn write(file: &Path, text: &str) -> io::Result<Self> {
        let file = file.canonicalize()?;
        let mode = fs::metadata(&file)?.permissions();
        if mode.readonly() {
            return Err(io::Error::new(io::ErrorKind::PermissionDenied, "it is read-only"));
        }
        let name = file.file_name().unwrap_or_default().to_string_lossy().into_owned();
        // Hidden, so that nobody takes it for a file of the configuration.
        let beside = file.with_file_name(format!(".{name}.{}", uuid::Uuid::new_v4().simple()));
        let ready = Self { beside, file };
        let mut new = fs::File::create_new(&ready.beside)?;
        new.set_permissions(mode)?;
        new.write_all(text.as_bytes())?;
        new.sync_all()?;
        Ok(ready)
    }

    /// Puts it in the file's place.
    ///
    /// # Errors
    /// If that fails; the file is as it was.
    pub(super) fn put(self) -> io::Result<()> {
        match failpoint!("server.config_put") {
            None | Some(Action::Off | Action::Delay(_) | Action::Hang) => {
                fs::rename(&self.beside, &self.file)
            }
            Some(Action::Error | Action::Panic) => Err(io::Error::other("injected error")),
        }
    }
}

impl Drop for Ready {
    fn drop(&mut self) {
        // After `put` there is nothing any more.
        let _ = fs::remove_file(&self.beside);
    }
}
