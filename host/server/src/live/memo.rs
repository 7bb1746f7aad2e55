//! Notes beside the log which switches stand in no file, so that the next host can say that they ended with this one: a
//! start goes by the files alone.

use std::{
    fs::{self, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
    time::SystemTime,
};

use agent_host_core::{failpoint, failpoint::Action, timestamp::rfc3339};
use agent_host_gateway::admin::view::OverridePart;
use agent_host_telemetry::happening::SwitchEnded;

/// The file within `store.path`.
const NAME: &str = "switches.json";

/// The note of one host.
#[derive(Debug, Clone)]
pub(super) struct Memo {
    folder: PathBuf,
    /// As of the last try.
    noted: Vec<OverridePart>,
}

impl Memo {
    /// Nothing is noted yet.
    pub(super) fn within(folder: &Path) -> Self {
        Self { folder: folder.to_owned(), noted: Vec::new() }
    }

    /// What the host before noted, and takes the note away. A switch whose time was over by now ended as it was to.
    pub(super) fn take(&self, now: SystemTime) -> Vec<OverridePart> {
        let file = self.folder.join(NAME);
        let Ok(bytes) = fs::read(&file) else { return Vec::new() };
        // A note that cannot be read says nothing of what holds: the files do.
        let mut ended: Vec<OverridePart> = serde_json::from_slice(&bytes).unwrap_or_else(|error| {
            tracing::warn!(file = %file.display(), %error, "which switches ended with the host before cannot be read");
            Vec::new()
        });
        let now = rfc3339(now);
        // Times of one form and length: the later is the greater.
        ended.retain(|one| one.until.as_ref().is_none_or(|until| *until > now));
        for one in &ended {
            SwitchEnded {
                key: one.key.clone(),
                value: one.value.to_string(),
                until: one.until.clone().unwrap_or_default(),
                reason: one.reason.clone(),
            }
            .emit();
        }
        let _ = fs::remove_file(&file);
        ended
    }

    /// Whether these are what was noted last.
    pub(super) fn holds(&self, switches: &[OverridePart]) -> bool {
        self.noted == switches
    }

    /// Notes these, and no others. Blocks on the disk.
    pub(super) fn note(&mut self, switches: Vec<OverridePart>) {
        // Off for a broken twin: a host whose next one knows of nothing.
        if failpoint!("server.switches_noted") == Some(Action::Off) {
            return;
        }
        if let Err(error) = self.write(&switches) {
            let folder = self.folder.display();
            tracing::warn!(%folder, %error, "a switch that no file keeps could not be noted: the next host will not tell of it");
        }
        // Tried once for each change: what cannot be written now is no reason for a line in the log each moment.
        self.noted = switches;
    }

    fn write(&self, switches: &[OverridePart]) -> io::Result<()> {
        let file = self.folder.join(NAME);
        if switches.is_empty() {
            return match fs::remove_file(&file) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
                Ok(()) | Err(_) => Ok(()),
            };
        }
        fs::DirBuilder::new().recursive(true).mode(0o700).create(&self.folder)?;
        let next = self.folder.join(".switches.json.next");
        let mut writing =
            OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&next)?;
        writing.write_all(&serde_json::to_vec(switches)?)?;
        writing.sync_all()?;
        fs::rename(&next, &file)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use serde_json::json;

    use super::*;

    #[test]
    fn what_was_cut_short_is_told_once_and_what_was_over_is_not() {
        let folder = std::env::temp_dir().join(format!("agent-host-memo-{}", uuid::Uuid::new_v4()));
        let at = |seconds| SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
        let of = |id: &str, until: Option<u64>| OverridePart {
            key: format!("plugins.{id}.enabled"),
            value: json!(false),
            until: until.map(|seconds| rfc3339(at(seconds))),
            reason: "ordered".to_owned(),
        };
        let (long, short, open) = (of("long", Some(200)), of("short", Some(100)), of("open", None));
        let mut memo = Memo::within(&folder);
        memo.note(vec![long.clone(), short, open.clone()]);
        let next = Memo::within(&folder);
        assert_eq!(next.take(at(150)), [long.clone(), open]);
        assert_eq!(next.take(at(150)), [], "told once");
        memo.note(Vec::new());
        memo.note(vec![long]);
        memo.note(Vec::new());
        assert_eq!(next.take(at(150)), [], "taken back in time");
        fs::write(folder.join(NAME), "{").unwrap();
        assert_eq!(next.take(at(150)), [], "no start fails for a note");
        fs::remove_dir_all(&folder).unwrap();
    }
}
