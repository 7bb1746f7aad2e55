//! Judges who could exchange a file: nobody but root and the host's own user may be able to, anywhere on its way.
//!
//! The way is walked from `/` as the kernel walks it, links included: a safe file in an unsafe folder is an unsafe file.
//! A link counts by the folder that it stands in and by what it leads to.

mod group;

use std::{
    collections::VecDeque,
    ffi::OsString,
    fs::Metadata,
    io,
    os::unix::fs::MetadataExt,
    path::{Component, Path, PathBuf},
};

use rustix::io::Errno;

/// Someone else could exchange the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Exposed {
    /// What is wrong, with which part of the path.
    pub(crate) reason: String,
    /// The command that mends it.
    pub(crate) hint: String,
}

/// Why a file has no clean bill.
#[derive(Debug)]
pub(crate) enum Doubt {
    /// Someone else could exchange it.
    Exposed(Exposed),
    /// It could not be looked at.
    Unreadable(io::Error),
}

/// Links that are followed, as many as the kernel's own limit.
const MOST_LINKS: usize = 40;

/// Walks to the file and judges every part of its way. Blocks on the disk.
pub(crate) fn judge(file: &Path) -> Result<(), Doubt> {
    Walk::new(file).map_err(Doubt::Unreadable)?.run(rustix::process::geteuid().as_raw())
}

struct Walk {
    /// A real path, without links.
    at: PathBuf,
    ahead: VecDeque<OsString>,
    links: usize,
}

impl Walk {
    fn new(file: &Path) -> io::Result<Self> {
        let mut walk = Self { at: PathBuf::from("/"), ahead: VecDeque::new(), links: 0 };
        walk.insert(&std::path::absolute(file)?);
        Ok(walk)
    }

    /// Puts the parts of `path` before what is still ahead.
    fn insert(&mut self, path: &Path) {
        let parts = path.components().filter_map(|part| match part {
            Component::Normal(name) => Some(name.to_owned()),
            Component::ParentDir => Some(OsString::from("..")),
            Component::RootDir | Component::CurDir | Component::Prefix(_) => None,
        });
        for part in parts.collect::<Vec<_>>().into_iter().rev() {
            self.ahead.push_front(part);
        }
    }

    fn run(mut self, user: u32) -> Result<(), Doubt> {
        let mut shared = guarded(&self.at, &look(&self.at)?, user)?;
        while let Some(name) = self.ahead.pop_front() {
            if name == ".." {
                self.at.pop();
                continue;
            }
            let next = self.at.join(&name);
            let meta = look(&next)?;
            if meta.is_symlink() {
                // In a folder that is everybody's, the sticky bit keeps a link for its owner only.
                if shared {
                    owned(&next, &meta, user)?;
                }
                self.follow(&next)?;
                continue;
            }
            shared = guarded(&next, &meta, user)?;
            self.at = next;
        }
        Ok(())
    }

    fn follow(&mut self, link: &Path) -> Result<(), Doubt> {
        self.links += 1;
        if self.links > MOST_LINKS {
            return Err(Doubt::Unreadable(Errno::LOOP.into()));
        }
        let target = std::fs::read_link(link).map_err(Doubt::Unreadable)?;
        if target.is_absolute() {
            self.at = PathBuf::from("/");
        }
        self.insert(&target);
        Ok(())
    }
}

fn look(path: &Path) -> Result<Metadata, Doubt> {
    path.symlink_metadata().map_err(Doubt::Unreadable)
}

/// Whether a folder is shared by a sticky bit (as `/tmp` is): others may add to it, and not take away.
fn guarded(path: &Path, meta: &Metadata, user: u32) -> Result<bool, Doubt> {
    owned(path, meta, user)?;
    let writers = [
        (0o002, "o-w", "everybody".to_owned()),
        (0o020, "g-w", format!("the members of group {}", meta.gid())),
    ];
    let mut open = writers.into_iter().filter(|(bit, _, _)| meta.mode() & bit != 0);
    let open = open.find(|(bit, _, _)| *bit == 0o002 || !group::is_of_one(meta.gid(), meta.uid(), path));
    let Some((_, change, who)) = open else { return Ok(false) };
    if meta.is_dir() && meta.mode() & 0o1000 != 0 {
        return Ok(true);
    }
    Err(Doubt::Exposed(Exposed {
        reason: format!("{} can be written by {who}", path.display()),
        hint: format!("chmod {change} {}", quoted(path)),
    }))
}

/// The owner can always change what is its own.
fn owned(path: &Path, meta: &Metadata, user: u32) -> Result<(), Doubt> {
    if meta.uid() == 0 || meta.uid() == user {
        return Ok(());
    }
    let mine = if user == 0 {
        "root, as whom this host runs".to_owned()
    } else {
        format!("root nor to the host's user {user}")
    };
    let neither = if user == 0 { "not to " } else { "neither to " };
    Err(Doubt::Exposed(Exposed {
        reason: format!("{} belongs to user {}, {neither}{mine}", path.display(), meta.uid()),
        hint: format!("chown -h root {}", quoted(path)),
    }))
}

/// For a shell.
fn quoted(path: &Path) -> String {
    let text = path.display().to_string();
    let plain = text.chars().all(|c| c.is_ascii_alphanumeric() || "/._-+".contains(c));
    if plain { text } else { format!("'{}'", text.replace('\'', r"'\''")) }
}

#[cfg(test)]
mod tests;
