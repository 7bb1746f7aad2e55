//! The table. Files that it speaks of lie in the given folder for as long as that exists.

use std::path::Path;

use super::{case::Case, deeds, files, native};

/// Every case.
pub(crate) fn all(folder: &Path) -> Vec<Case> {
    let mut all = files::cases(folder);
    all.extend(native::cases(folder));
    all.extend(deeds::starts());
    all.extend(deeds::ends());
    all.extend(deeds::lies());
    all
}

#[test]
fn the_table_is_long_and_names_each_case_once() {
    let folder = tempfile::tempdir().unwrap();
    let all = all(folder.path());
    let names: std::collections::BTreeSet<&str> = all.iter().map(|case| case.name.as_str()).collect();
    assert_eq!(names.len(), all.len(), "two cases have one name");
    assert!(all.len() >= 100, "only {} cases", all.len());
}
