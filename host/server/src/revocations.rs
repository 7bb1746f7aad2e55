//! Keeps the revoked tokens in a file beside the log.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
    time::SystemTime,
};

use agent_host_gateway::revoked::{Keep, RevokedTokens};

/// The file within `store.path`.
const NAME: &str = "revocations.json";

/// What the last host kept there.
///
/// # Errors
/// If there is a list that cannot be read. Which tokens are revoked is not known then, so the host must not let any in.
pub(crate) fn load(folder: &Path, now: SystemTime) -> Result<RevokedTokens, String> {
    let file = folder.join(NAME);
    let kept = match fs::read(&file) {
        Ok(bytes) => Some(bytes),
        // No folder is no list; whoever needs the folder for more says so.
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => None,
        Err(error) => return Err(told(&file, &error)),
    };
    let keep = Box::new(Kept { folder: folder.to_owned() });
    RevokedTokens::of(kept.as_deref(), keep, now).map_err(|error| told(&file, &error))
}

fn told(file: &Path, error: &dyn std::error::Error) -> String {
    format!("cannot read the revoked tokens in {}: {error}", file.display())
}

struct Kept {
    folder: PathBuf,
}

impl Keep for Kept {
    fn keep(&self, list: &[u8]) -> io::Result<()> {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(&self.folder)?;
        let (file, next) = (self.folder.join(NAME), self.folder.join("revocations.json.next"));
        let mut writing =
            OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&next)?;
        writing.write_all(list)?;
        writing.sync_all()?;
        fs::rename(&next, &file)?;
        // The name as well: without it a power cut brings the older list back.
        File::open(&self.folder)?.sync_all()
    }
}
