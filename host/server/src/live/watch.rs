//! Notices that a file of the configuration became another: by looking, which sees what editors, `mv` and mounted
//! ConfigMaps do alike, and needs no descriptors.

use std::{
    collections::BTreeMap,
    fs,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    time::Duration,
};

/// How often it is looked. A look is a few `stat`s.
pub(super) const EVERY: Duration = Duration::from_millis(500);

/// What the files look like from outside.
type Seen = BTreeMap<PathBuf, [i64; 5]>;

/// The watch on one folder.
#[derive(Debug, Default)]
pub(super) struct Watch {
    /// As of the last change that was told.
    told: Seen,
    /// As of the last look.
    last: Seen,
}

impl Watch {
    /// From now on.
    pub(super) fn of(dir: &Path) -> Self {
        let now = seen(dir);
        Self { told: now.clone(), last: now }
    }

    /// Whether something changed since that was last told, and has been the same for two looks: while a file is being
    /// written, or written again and again, its reader waits.
    pub(super) fn look(&mut self, dir: &Path) -> bool {
        self.judge(seen(dir))
    }

    /// What is there now is known already.
    pub(super) fn known(&mut self, dir: &Path) {
        *self = Self::of(dir);
    }

    fn judge(&mut self, now: Seen) -> bool {
        let steady = now == self.last;
        self.last = now;
        if !steady || self.last == self.told {
            return false;
        }
        self.told.clone_from(&self.last);
        true
    }
}

/// The TOML files of the folder and of its `plugins.d`; links are followed, as their reader does.
fn seen(dir: &Path) -> Seen {
    let folders = [dir.to_owned(), dir.join("plugins.d")];
    let files = folders.iter().filter_map(|folder| fs::read_dir(folder).ok()).flatten().flatten();
    let files =
        files.map(|entry| entry.path()).filter(|path| path.extension().is_some_and(|it| it == "toml"));
    files.filter_map(|path| Some((path.clone(), mark(&path)?))).collect()
}

fn mark(path: &Path) -> Option<[i64; 5]> {
    let meta = fs::metadata(path).ok()?;
    let moment = |seconds: i64, nanos: i64| seconds.wrapping_mul(1_000_000_000).wrapping_add(nanos);
    Some([
        meta.ino().cast_signed(),
        meta.size().cast_signed(),
        i64::from(meta.mode()),
        moment(meta.mtime(), meta.mtime_nsec()),
        moment(meta.ctime(), meta.ctime_nsec()),
    ])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(time: i64) -> Seen {
        Seen::from([(PathBuf::from("host.toml"), [1, 2, 3, time, time])])
    }

    #[test]
    fn a_change_is_told_once_when_it_holds() {
        let mut watch = Watch { told: at(0), last: at(0) };
        assert!(!watch.judge(at(0)));
        assert!(!watch.judge(at(1)), "it may still be written");
        assert!(watch.judge(at(1)));
        assert!(!watch.judge(at(1)), "told already");
    }

    #[test]
    fn a_storm_is_told_when_it_is_over() {
        let mut watch = Watch { told: at(0), last: at(0) };
        assert!((1..100).all(|time| !watch.judge(at(time))));
        assert!(watch.judge(at(99)));
    }

    #[test]
    fn a_file_that_goes_and_comes_back_as_it_was_is_no_change() {
        let mut watch = Watch { told: at(0), last: at(0) };
        assert!(!watch.judge(Seen::new()));
        assert!(!watch.judge(at(0)));
        assert!(!watch.judge(at(0)));
    }

    #[test]
    fn the_files_of_both_folders_are_seen_and_no_others() {
        let dir = std::env::temp_dir().join(format!("agent-host-watch-{}", uuid::Uuid::new_v4()));
        fs::create_dir_all(dir.join("plugins.d")).unwrap();
        for file in ["host.toml", "plugins.d/echo.toml", "plugins.d/.echo.toml.swp", "notes.txt"] {
            fs::write(dir.join(file), "x = 1").unwrap();
        }
        let names: Vec<_> =
            seen(&dir).into_keys().map(|path| path.strip_prefix(&dir).unwrap().to_owned()).collect();
        assert_eq!(names, [Path::new("host.toml"), Path::new("plugins.d/echo.toml")]);
        fs::remove_dir_all(dir).unwrap();
    }
}
