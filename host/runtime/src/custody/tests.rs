//! Each way in which a file can be exchanged by others, and that what is safe passes.

use std::{
    fs::{self, Permissions},
    os::unix::fs::{PermissionsExt, chown, symlink},
};

use super::*;

/// A folder tree `top/mid/x.so`, private.
struct Tree {
    root: tempfile::TempDir,
}

impl Tree {
    fn new() -> Self {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir_all(root.path().join("top/mid")).unwrap();
        fs::write(root.path().join("top/mid/x.so"), "x").unwrap();
        Self { root }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.root.path().join(name)
    }

    fn mode(&self, name: &str, mode: u32) {
        fs::set_permissions(self.path(name), Permissions::from_mode(mode)).unwrap();
    }
}

#[track_caller]
fn exposed(path: &Path, part: &Path, hint: &str) {
    match judge(path) {
        Err(Doubt::Exposed(found)) => {
            assert!(found.reason.starts_with(&part.display().to_string()), "{found:?}");
            assert_eq!(found.hint, format!("{hint} {}", part.display()), "{found:?}");
        }
        other => panic!("{}: {other:?}", path.display()),
    }
}

#[track_caller]
fn safe(path: &Path) {
    assert!(judge(path).is_ok(), "{}: {:?}", path.display(), judge(path));
}

#[test]
fn every_part_of_the_way_counts() {
    for (part, mode) in [("top/mid/x.so", 0o644), ("top/mid", 0o755), ("top", 0o700)] {
        let tree = Tree::new();
        let file = tree.path("top/mid/x.so");
        safe(&file);
        tree.mode(part, mode | 0o002);
        exposed(&file, &tree.path(part), "chmod o-w");
        // Group 0 may be root's own, so another is taken.
        if rustix::process::geteuid().is_root() {
            chown(tree.path(part), None, Some(31_337)).unwrap();
            tree.mode(part, mode | 0o020);
            exposed(&file, &tree.path(part), "chmod g-w");
        }
        tree.mode(part, mode);
        safe(&file);
    }
}

#[test]
fn a_sticky_folder_protects_what_belongs_to_root_or_the_host() {
    let tree = Tree::new();
    let file = tree.path("top/mid/x.so");
    tree.mode("top", 0o1777);
    safe(&file);
    if rustix::process::geteuid().is_root() {
        chown(tree.path("top/mid"), Some(31_337), None).unwrap();
        exposed(&file, &tree.path("top/mid"), "chown -h root");
    }
}

#[test]
fn the_owner_counts_as_a_writer() {
    if !rustix::process::geteuid().is_root() {
        return; // Nobody else can give files away.
    }
    for part in ["top/mid/x.so", "top/mid", "top"] {
        let tree = Tree::new();
        chown(tree.path(part), Some(31_337), None).unwrap();
        exposed(&tree.path("top/mid/x.so"), &tree.path(part), "chown -h root");
    }
}

#[test]
fn a_link_is_judged_by_where_it_stands_and_by_what_it_leads_to() {
    let tree = Tree::new();
    fs::create_dir(tree.path("links")).unwrap();
    let link = tree.path("links/current.so");
    symlink("../top/mid/x.so", &link).unwrap();
    symlink(&link, tree.path("links/absolute.so")).unwrap();
    safe(&link);
    safe(&tree.path("links/absolute.so"));

    tree.mode("links", 0o777);
    exposed(&link, &tree.path("links"), "chmod o-w");
    tree.mode("links", 0o1777);
    safe(&link);
    if rustix::process::geteuid().is_root() {
        std::os::unix::fs::lchown(&link, Some(31_337), None).unwrap();
        exposed(&link, &link, "chown -h root");
        std::os::unix::fs::lchown(&link, Some(0), None).unwrap();
    }
    tree.mode("links", 0o755);
    tree.mode("top", 0o777);
    exposed(&link, &tree.path("top"), "chmod o-w");
}

#[test]
fn a_ring_of_links_ends() {
    let tree = Tree::new();
    symlink("ring.so", tree.path("ring.so")).unwrap();
    assert!(matches!(judge(&tree.path("ring.so")), Err(Doubt::Unreadable(_))));
}

#[test]
fn a_hint_can_be_pasted() {
    assert_eq!(quoted(Path::new("/a/b.so")), "/a/b.so");
    assert_eq!(quoted(Path::new("/a b/c'd")), r"'/a b/c'\''d'");
}
