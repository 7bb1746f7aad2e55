//! What changed between two views of the service, by name: `changed` of `service_status`.

use crate::view::{Missing, Status};

/// Whether a client that was told `before` must be told `after`, and the names of what changed.
pub(super) fn between(before: &Status, after: &Status) -> Option<Vec<String>> {
    let same =
        before.level == after.level && before.reason == after.reason && before.missing == after.missing;
    (!same).then(|| {
        let gone = before.missing.iter().filter(|m| !after.missing.contains(m));
        let new = after.missing.iter().filter(|m| !before.missing.contains(m));
        let mut names: Vec<String> = gone.chain(new).map(|m: &Missing| m.name.clone()).collect();
        names.sort();
        names.dedup();
        names
    })
}
