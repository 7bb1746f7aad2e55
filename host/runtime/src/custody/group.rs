//! Tells whether a group is a user's private one: with the umask 002 of many systems, what it may write is still that
//! user's alone.

use std::path::Path;

/// Whether nobody but the user of that id is in the group, as far as this machine's own files tell. What they do not
/// tell (a group of a directory service, an access list on the file) is taken for others.
pub(super) fn is_of_one(group: u32, user: u32, path: &Path) -> bool {
    let read = |file: &str| std::fs::read(file).map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    match (read("/etc/passwd"), read("/etc/group")) {
        (Ok(users), Ok(groups)) => is_private(group, user, &users, &groups) && !has_access_list(path),
        _ => false,
    }
}

/// With an access list, the group's bits of the mode speak for everybody in that list.
fn has_access_list(path: &Path) -> bool {
    let mut nothing: [u8; 0] = [];
    rustix::fs::getxattr(path, "system.posix_acl_access", &mut nothing).is_ok_and(|length| length > 0)
}

fn is_private(group: u32, user: u32, users: &str, groups: &str) -> bool {
    let mut primary = users.lines().filter_map(|line| {
        let fields: Vec<&str> = line.split(':').collect();
        Some((*fields.first()?, fields.get(2)?.parse::<u32>().ok()?, fields.get(3)?.parse::<u32>().ok()?))
    });
    let named: Vec<(&str, u32, u32)> = primary.by_ref().collect();
    let name = named.iter().find(|(_, id, _)| *id == user).map(|(name, _, _)| *name);
    let others_primary = named.iter().any(|(_, id, of)| *of == group && *id != user);
    let mut members = groups.lines().filter_map(|line| {
        let fields: Vec<&str> = line.split(':').collect();
        (fields.get(2)?.parse::<u32>().ok()? == group).then(|| fields.get(3).copied().unwrap_or_default())
    });
    let Some(first) = members.next() else { return false };
    let others = std::iter::once(first)
        .chain(members)
        .flat_map(|list| list.split(','))
        .any(|member| !member.is_empty() && Some(member) != name);
    !others_primary && !others
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_is_private_only_if_all_that_is_known_says_so() {
        let users = "root:x:0:0::/:/bin/sh\nann:x:1000:1000::/:\nbob:x:1001:1001::/:\ncal:x:1002:50::/:\n";
        let groups = "root:x:0:\nann:x:1000:\nbob:x:1001:bob\nstaff:x:50:\nwheel:x:10:ann,bob\n";
        let private = |group, user| is_private(group, user, users, groups);
        assert!(private(1000, 1000) && private(1001, 1001) && private(0, 0));
        assert!(!private(1000, 1001), "another's");
        assert!(!private(10, 1000), "with members");
        assert!(!private(50, 1000), "someone's primary group");
        assert!(!private(4711, 1000), "known to nobody");
        assert!(!is_private(0, 0, users, "root:x:0:ann\n"));
    }
}
