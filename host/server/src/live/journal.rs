//! Makes a change of several files one across the end of the host: what replaces what is written down before the first
//! file is replaced, and the next start completes it.

use std::{
    fs::{self, File},
    io::{self, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

use agent_host_core::{failpoint, failpoint::Action, hash::bytes_hash};
use agent_host_telemetry::happening::ConfigChangeCutOff;
use serde::{Deserialize, Serialize};

use super::files::Ready;

/// The file in the configuration folder, hidden: it is there while files are replaced. It has no text of theirs.
const NAME: &str = ".change.json";

/// A change that is under way.
#[derive(Debug, Serialize, Deserialize)]
struct Change {
    files: Vec<Replacement>,
    /// Copies of the old texts, made to take the change back: of no use to the next host.
    copies: Vec<PathBuf>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Replacement {
    file: PathBuf,
    /// Where its new text lies until it is put in its place.
    beside: PathBuf,
    old: [u8; 32],
    new: [u8; 32],
}

/// How far a replacement came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// The new text lies beside the old one.
    Ready,
    Done,
    /// The old text is there, and no new one.
    TakenBack,
    /// Somebody else wrote the file since, or one of the two is gone.
    Other,
}

impl Replacement {
    fn of(ready: &Ready) -> io::Result<Self> {
        let (file, beside) = ready.paths();
        let hash = |path: &Path| fs::read(path).map(|bytes| bytes_hash(&bytes));
        let (old, new) = (hash(file)?, hash(beside)?);
        Ok(Self { file: file.to_owned(), beside: beside.to_owned(), old, new })
    }

    fn stage(&self) -> Stage {
        let hash = |path: &Path| fs::read(path).ok().map(|bytes| bytes_hash(&bytes));
        match (hash(&self.file), hash(&self.beside)) {
            (Some(file), Some(beside)) if file == self.old && beside == self.new => Stage::Ready,
            (Some(file), None) if file == self.new => Stage::Done,
            (Some(file), None) if file == self.old => Stage::TakenBack,
            (_, _) => Stage::Other,
        }
    }
}

/// The note of a change, held while it is made.
#[derive(Debug)]
pub(super) struct Journal {
    /// The file and its lock: a host that starts meanwhile in the same folder leaves it alone.
    held: Option<(PathBuf, File)>,
}

impl Journal {
    /// Writes down what is about to replace what, where that is more than one file, and which copies were made for it. Blocks
    /// on the disk.
    ///
    /// # Errors
    /// If that cannot be written: then nothing may be replaced.
    pub(super) fn begin(dir: Option<&Path>, all: &[Ready], copies: &[Ready]) -> io::Result<Self> {
        // Off for a broken twin: a host that does not know what it was about.
        let off = failpoint!("server.config_journal") == Some(Action::Off);
        let Some(dir) = dir.filter(|_| all.len() > 1 && !off) else { return Ok(Self { held: None }) };
        let change = Change {
            files: all.iter().map(Replacement::of).collect::<io::Result<_>>()?,
            copies: copies.iter().map(|copy| copy.paths().1.to_owned()).collect(),
        };
        let path = dir.join(NAME);
        let mut file = File::options().write(true).create(true).truncate(false).mode(0o600).open(&path)?;
        file.lock()?;
        file.set_len(0)?;
        file.write_all(&serde_json::to_vec(&change)?)?;
        file.sync_all()?;
        File::open(dir)?.sync_all()?;
        Ok(Self { held: Some((path, file)) })
    }

    /// The change was made, or taken back.
    pub(super) fn end(self) {
        if let Some((path, _locked)) = self.held {
            // If that fails, the next start finds that nothing is left to be done.
            let _ = fs::remove_file(path);
        }
    }
}

/// What became of a change that the end of a host had cut off.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Finished {
    /// All its files are replaced now.
    Completed(Vec<PathBuf>),
    /// Some are, others are not: somebody wrote them since, or they cannot be replaced.
    Left { files: Vec<PathBuf>, reason: String },
}

/// Completes the change that the host before was making in this folder, if its end cut one off: before the files are read.
/// Blocks on the disk.
pub(crate) fn finish(dir: &Path) -> Option<Finished> {
    let path = dir.join(NAME);
    let file = File::open(&path).ok()?;
    // Another host is at it, or has just been.
    if file.try_lock().is_err() || !path.exists() {
        return None;
    }
    let finished = match serde_json::from_reader(io::BufReader::new(&file)) {
        Ok(Change { files, copies }) => {
            let finished = complete(&files);
            copies.iter().for_each(|copy| drop(fs::remove_file(copy)));
            finished
        }
        // It was cut off before anything was replaced.
        Err(_) => None,
    };
    let _ = fs::remove_file(&path);
    finished
}

fn complete(files: &[Replacement]) -> Option<Finished> {
    let stages: Vec<Stage> = files.iter().map(Replacement::stage).collect();
    let (ready, done) = (stages.contains(&Stage::Ready), stages.contains(&Stage::Done));
    let whole = stages.iter().all(|stage| matches!(stage, Stage::Ready | Stage::Done));
    let waiting =
        || files.iter().zip(&stages).filter(|(_, stage)| **stage == Stage::Ready).map(|(one, _)| one);
    let all = || files.iter().map(|one| one.file.clone()).collect();
    if whole && ready {
        let put = waiting().try_for_each(|one| fs::rename(&one.beside, &one.file));
        return Some(match put {
            Ok(()) => Finished::Completed(all()),
            Err(error) => {
                let_go(files);
                Finished::Left { files: all(), reason: format!("one cannot be replaced: {error}") }
            }
        });
    }
    let_go(files);
    // All new, or all as they were: nothing was cut off.
    (done && !whole).then(|| Finished::Left {
        files: all(),
        reason: "another edit came between, and none is overwritten".to_owned(),
    })
}

/// Takes away new texts that are in no file's place.
fn let_go(files: &[Replacement]) {
    files.iter().for_each(|one| drop(fs::remove_file(&one.beside)));
}

impl Finished {
    /// Says it, once there is a log.
    pub(crate) fn tell(&self) {
        let (outcome, files, reason) = match self {
            Self::Completed(files) => ("completed", files, ""),
            Self::Left { files, reason } => ("left", files, reason.as_str()),
        };
        let files = files.iter().map(|file| file.display().to_string()).collect::<Vec<_>>().join(", ");
        ConfigChangeCutOff { outcome, files, reason: reason.to_owned() }.emit();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A folder with three files, of whose change so many are done and the others wait.
    fn cut_off(done: usize) -> (PathBuf, Vec<PathBuf>) {
        let folder = std::env::temp_dir().join(format!("agent-host-journal-{}", uuid::Uuid::new_v4()));
        fs::create_dir(&folder).unwrap();
        let files: Vec<_> = ["a", "b", "c"].map(|name| folder.join(format!("{name}.toml"))).into();
        files.iter().for_each(|file| fs::write(file, "old").unwrap());
        let ready: Vec<_> = files.iter().map(|file| Ready::write(file, b"new").unwrap()).collect();
        let copies = [Ready::write(&files[0], b"old").unwrap()];
        let journal = Journal::begin(Some(&folder), &ready, &copies).unwrap();
        for one in &ready[..done] {
            let (file, beside) = one.paths();
            fs::rename(beside, file).unwrap();
        }
        assert_eq!(finish(&folder), None, "the host that makes it is still there");
        // As at a kill: nothing is tidied up, and the lock is gone.
        ready.into_iter().chain(copies).for_each(std::mem::forget);
        drop(journal);
        (folder, files)
    }

    fn texts(files: &[PathBuf]) -> Vec<String> {
        files.iter().map(|file| fs::read_to_string(file).unwrap()).collect()
    }

    #[test]
    fn what_was_cut_off_is_completed_wherever_it_was() {
        for done in 0..=3 {
            let (folder, files) = cut_off(done);
            let told = (done < 3).then(|| Finished::Completed(files.clone()));
            assert_eq!(finish(&folder), told, "{done} were done");
            assert_eq!(texts(&files), ["new", "new", "new"]);
            assert_eq!(finish(&folder), None, "once");
            assert_eq!(fs::read_dir(&folder).unwrap().count(), 3, "nothing is left beside them");
            fs::remove_dir_all(&folder).unwrap();
        }
    }

    #[test]
    fn a_later_edit_is_not_overwritten() {
        let (folder, files) = cut_off(1);
        fs::write(&files[2], "edited").unwrap();
        assert!(matches!(finish(&folder), Some(Finished::Left { .. })));
        assert_eq!(texts(&files), ["new", "old", "edited"]);
        assert_eq!(fs::read_dir(&folder).unwrap().count(), 3, "nothing is left beside them");
        fs::remove_dir_all(&folder).unwrap();
    }

    #[test]
    fn a_change_that_had_not_begun_or_was_taken_back_is_none() {
        let (folder, files) = cut_off(0);
        let hidden = |entry: &fs::DirEntry| entry.file_name().to_string_lossy().contains(".toml.");
        for entry in fs::read_dir(&folder).unwrap().flatten().filter(hidden) {
            fs::remove_file(entry.path()).unwrap();
        }
        assert_eq!(finish(&folder), None);
        assert_eq!(texts(&files), ["old", "old", "old"]);
        fs::write(folder.join(NAME), "{\"files\":[").unwrap();
        assert_eq!(finish(&folder), None, "cut off while it was written down");
        assert_eq!(fs::read_dir(&folder).unwrap().count(), 3, "nothing is left beside them");
        fs::remove_dir_all(&folder).unwrap();
    }
}
