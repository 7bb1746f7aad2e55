//! Writes configuration files: beside the old one first, then in its place, so that a reader sees the one or the other;
//! and several as one: if the place of one cannot be had, the others are as they were; what the end of the host cuts off,
//! the next one completes.

use std::{
    fs, io,
    io::Write as _,
    path::{Path, PathBuf},
    time::Duration,
};

use agent_host_core::{failpoint, failpoint::Action};

use super::journal::Journal;

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
    pub(super) fn write(file: &Path, text: &[u8]) -> io::Result<Self> {
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
        new.write_all(text)?;
        new.sync_all()?;
        Ok(ready)
    }

    /// Puts all of them in their files' places. `dir` is the folder of the configuration, where the next start looks for a
    /// change of several files that the end of this host cut off.
    ///
    /// Blocks on the disk.
    ///
    /// # Errors
    /// If that fails for one; every file is as it was, or is named with the reason why it is not.
    pub(super) fn put_all(all: Vec<Self>, dir: Option<&Path>) -> io::Result<()> {
        // Ready before anything is done, so that to take back needs no room on the disk. The last is never taken back.
        let before = all.iter().take(all.len().saturating_sub(1)).map(Self::former);
        let before = before.collect::<io::Result<Vec<_>>>()?;
        let journal = Journal::begin(dir, &all, &before)?;
        let put = Self::put_each(all, before);
        journal.end();
        put
    }

    fn put_each(all: Vec<Self>, before: Vec<Self>) -> io::Result<()> {
        for (at, one) in all.into_iter().enumerate() {
            // Where tests have the host end between two files.
            while at > 0 && failpoint!("server.config_between") == Some(Action::Hang) {
                std::thread::sleep(Duration::from_millis(10));
            }
            if let Err(error) = one.put() {
                return Err(taken_back(before.into_iter().take(at), error));
            }
        }
        Ok(())
    }

    /// The file, and where its new text lies.
    pub(super) fn paths(&self) -> (&Path, &Path) {
        (&self.file, &self.beside)
    }

    /// The file as it is, to be put back.
    fn former(&self) -> io::Result<Self> {
        Self::write(&self.file, &fs::read(&self.file)?)
    }

    fn put(self) -> io::Result<()> {
        let name = self.file.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let fails = failpoint!("server.config_put" / name) == Some(Action::Error);
        // Off for a broken twin: a host that writes in place, and a disk that is full half-way.
        if failpoint!("server.config_beside") == Some(Action::Off) {
            let text = fs::read(&self.beside)?;
            fs::write(&self.file, if fails { &text[..text.len() / 2] } else { &text })?;
        }
        match fails {
            true => Err(io::Error::other("injected error")),
            false => fs::rename(&self.beside, &self.file),
        }
    }
}

/// Puts back what was; the error says of what cannot be put back.
fn taken_back(before: impl Iterator<Item = Ready>, error: io::Error) -> io::Error {
    // Off for a broken twin: a host that leaves what it has written so far.
    if failpoint!("server.config_taken_back") == Some(Action::Off) {
        return error;
    }
    before.fold(error, |error, former| {
        let file = former.file.display().to_string();
        match former.put() {
            Ok(()) => error,
            Err(as_well) => io::Error::other(format!("{error}; {file} has the new text, as: {as_well}")),
        }
    })
}

impl Drop for Ready {
    fn drop(&mut self) {
        // After `put` there is nothing any more.
        let _ = fs::remove_file(&self.beside);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The last of three becomes a folder before its new text is put there.
    #[test]
    fn where_one_cannot_be_replaced_the_others_are_as_they_were() {
        let folder = std::env::temp_dir().join(format!("agent-host-files-{}", uuid::Uuid::new_v4()));
        fs::create_dir(&folder).unwrap();
        let files = ["a.toml", "b.toml", "c.toml"].map(|name| folder.join(name));
        for file in &files {
            fs::write(file, "old").unwrap();
        }
        let ready = |which: &[PathBuf]| -> Vec<Ready> {
            which.iter().map(|file| Ready::write(file, b"new").unwrap()).collect()
        };
        let all = ready(&files);
        fs::remove_file(&files[2]).unwrap();
        fs::create_dir(&files[2]).unwrap();
        Ready::put_all(all, Some(&folder)).unwrap_err();
        let texts = || files[..2].iter().map(|file| fs::read_to_string(file).unwrap()).collect::<Vec<_>>();
        assert_eq!(texts(), ["old", "old"]);
        Ready::put_all(ready(&files[..2]), Some(&folder)).unwrap();
        assert_eq!(texts(), ["new", "new"]);
        assert_eq!(fs::read_dir(&folder).unwrap().count(), 3, "nothing is left beside them");
        fs::remove_dir_all(&folder).unwrap();
    }
}
