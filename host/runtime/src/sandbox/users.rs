//! Which user each plugin is, where the host is root: one of a range each, and the same one again after a restart.
//!
//! The owner of a plugin's own folder is the record of it; nothing else has to be kept.

use std::{
    collections::BTreeMap,
    ops::RangeInclusive,
    os::unix::fs::{MetadataExt, PermissionsExt},
    path::Path,
    sync::{Mutex, PoisonError},
};

use agent_plugin_protocol::PluginId;

/// The users for plugins, and who has which.
#[derive(Debug)]
pub(crate) struct Users {
    range: RangeInclusive<u32>,
    given: Mutex<BTreeMap<PluginId, u32>>,
}

impl Users {
    pub(crate) fn new(range: RangeInclusive<u32>) -> Self {
        Self { range, given: Mutex::new(BTreeMap::new()) }
    }

    /// The user of a plugin, who is made the owner of its folder. Blocks on the disk.
    ///
    /// # Errors
    /// If the range has no user left, or the folder could not be given; as half a sentence.
    pub(crate) fn settle(&self, plugin: &PluginId, folder: Option<&Path>) -> Result<u32, String> {
        let user = self.choose(plugin, folder).ok_or_else(|| {
            let (first, last) = (self.range.start(), self.range.end());
            format!(
                "every user of `[isolation] uid_range` ({first}-{last}) belongs to another plugin: widen it"
            )
        })?;
        if let Some(folder) = folder {
            hand_over(folder, user).map_err(|error| format!("{}: {error}", folder.display()))?;
        }
        Ok(user)
    }

    fn choose(&self, plugin: &PluginId, folder: Option<&Path>) -> Option<u32> {
        // Each change of the map is one insertion: it is sound even if a holder panicked.
        let mut given = self.given.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(user) = given.get(plugin) {
            return Some(*user);
        }
        let free = |user: &u32| self.range.contains(user) && !given.values().any(|taken| taken == user);
        let recorded = folder.and_then(owner).filter(free);
        let others = folder.and_then(Path::parent).map(owners).unwrap_or_default();
        let fresh = || self.range.clone().find(|user| free(user) && !others.contains(user));
        let user = recorded.or_else(fresh)?;
        given.insert(plugin.clone(), user);
        Some(user)
    }
}

fn owner(path: &Path) -> Option<u32> {
    path.symlink_metadata().ok().map(|it| it.uid())
}

/// Who owns what lies in a folder: those users are taken, also by plugins that are not configured now.
fn owners(folder: &Path) -> Vec<u32> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    entries.filter_map(|entry| owner(&entry.path())).collect()
}

/// Gives a folder to a user, and lets that user pass through the two above it, which are the host's own.
fn hand_over(folder: &Path, user: u32) -> std::io::Result<()> {
    std::os::unix::fs::lchown(folder, Some(user), Some(user))?;
    for above in folder.ancestors().skip(1).take(2) {
        let mode = above.metadata()?.permissions().mode();
        if mode & 0o011 != 0o011 {
            std::fs::set_permissions(above, PermissionsExt::from_mode((mode & 0o7777) | 0o011))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(name: &str) -> PluginId {
        PluginId::new(name).unwrap()
    }

    #[test]
    fn each_plugin_has_a_user_and_keeps_it() {
        let users = Users::new(20_000..=20_001);
        let one = users.settle(&id("one"), None).unwrap();
        let two = users.settle(&id("two"), None).unwrap();
        assert_ne!(one, two);
        assert_eq!(users.settle(&id("one"), None), Ok(one));
        let none = users.settle(&id("three"), None).unwrap_err();
        assert!(none.contains("20000-20001"), "{none}");
    }

    #[test]
    fn the_owner_of_the_folder_is_the_record() {
        if !rustix::process::geteuid().is_root() {
            return;
        }
        let root = tempfile::tempdir().unwrap();
        let folder = |name: &str| {
            let folder = root.path().join("plugins").join(name);
            std::fs::create_dir_all(&folder).unwrap();
            folder
        };
        let first = Users::new(20_000..=20_009).settle(&id("b"), Some(&folder("b"))).unwrap();
        // After a restart another plugin comes first, and takes no user that was given before.
        let users = Users::new(20_000..=20_009);
        let other = users.settle(&id("a"), Some(&folder("a"))).unwrap();
        assert_ne!(other, first);
        assert_eq!(users.settle(&id("b"), Some(&folder("b"))), Ok(first));
        assert_eq!(owner(&folder("b")), Some(first));
    }
}
