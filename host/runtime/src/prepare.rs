//! The stages before anything foreign runs, which all block on the disk: `discover`, `verify`, `stage`. For every tier.

use std::{
    io,
    os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use agent_host_core::ports::{
    instance::{Fault, PluginSpec, Stage},
    library::Seen,
};
use agent_plugin_protocol::Code;

use crate::{
    candidate::Candidate,
    shelf::{Mark, Shelf},
    stage::StagedLibrary,
    verify::verify,
};

/// How long reading and judging the file may take: a network disk that hangs is not waited for.
const DISK: Duration = Duration::from_secs(30);

/// What a plugin is started from.
#[derive(Debug)]
pub(crate) struct Prepared {
    /// The private copy of the bytes that were judged.
    pub(crate) library: Arc<StagedLibrary>,
    /// The plugin's own folder, absolute.
    pub(crate) folder: Option<PathBuf>,
}

/// Takes a plugin from its path to a private copy that was found fit to be loaded, if it is not `kept` from before, and
/// makes its own folder.
pub(crate) async fn prepare(
    spec: &Arc<PluginSpec>,
    kept: Option<Arc<StagedLibrary>>,
    shelf: &Arc<Shelf>,
) -> Result<Prepared, Fault> {
    let work = {
        let (spec, shelf) = (Arc::clone(spec), Arc::clone(shelf));
        move || {
            let library = match kept {
                Some(kept) => kept,
                None => read(&spec, &shelf)?,
            };
            Ok(Prepared { library, folder: spec.data_dir.as_deref().and_then(own_folder) })
        }
    };
    let stuck = |what: &str| {
        Fault::new(Stage::Verify, Code::PluginUnreadable, format!("{}: {what}", spec.path.display()))
    };
    // A disk that hangs keeps its thread, not the start.
    match tokio::time::timeout(DISK, tokio::task::spawn_blocking(work)).await {
        Ok(Ok(done)) => done,
        Ok(Err(_)) => Err(stuck("the check ended by a panic: a bug of the host")),
        Err(_) => Err(stuck("it could not be read within 30 s")),
    }
}

fn read(spec: &PluginSpec, shelf: &Shelf) -> Result<Arc<StagedLibrary>, Fault> {
    // Before it is read: what is written meanwhile shows at the next look.
    shelf.mark(&spec.id, Mark::of(&spec.path));
    let candidate = Candidate::discover(spec)?;
    StagedLibrary::seal(verify(spec, &candidate)?).map(Arc::new)
}

/// Looks at the plugin's file; see [`Shelf::look`]. A disk that hangs has nothing to tell.
pub(crate) async fn look(spec: Arc<PluginSpec>, shelf: Arc<Shelf>) -> Option<Seen> {
    let work = tokio::task::spawn_blocking(move || shelf.look(&spec));
    tokio::time::timeout(DISK, work).await.ok()?.ok()?
}

/// Makes the plugin's own folder, for its eyes only. Without one it still runs.
fn own_folder(path: &Path) -> Option<PathBuf> {
    match private(path) {
        Ok(folder) => Some(folder),
        Err(error) => {
            tracing::warn!(folder = %path.display(), %error, "the plugin's own folder could not be made");
            None
        }
    }
}

/// A folder that is there already may be another's, a link to elsewhere, or open to others: only the last is mended.
fn private(path: &Path) -> io::Result<PathBuf> {
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(path)?;
    let meta = path.symlink_metadata()?;
    if !meta.is_dir() {
        return Err(io::Error::other("it is no folder but a link"));
    }
    let user = rustix::process::geteuid();
    // Root may have given it to the user as whom the plugin runs.
    if meta.uid() != user.as_raw() && !user.is_root() {
        return Err(io::Error::other(format!("it belongs to user {}", meta.uid())));
    }
    if meta.mode() & 0o077 != 0 {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o700))?;
    }
    // Absolute, as a worker works elsewhere.
    path.canonicalize()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_of_its_own_is_private_and_no_link() {
        let root = tempfile::tempdir().unwrap();
        let mode = |path: &Path| path.metadata().unwrap().mode() & 0o777;
        let fresh = root.path().join("plugins/a");
        assert_eq!(private(&fresh).unwrap(), fresh.canonicalize().unwrap());
        assert_eq!((mode(&fresh), mode(fresh.parent().unwrap())), (0o700, 0o700));

        std::fs::set_permissions(&fresh, std::fs::Permissions::from_mode(0o755)).unwrap();
        private(&fresh).unwrap();
        assert_eq!(mode(&fresh), 0o700, "what was open is closed");

        let link = root.path().join("plugins/b");
        std::os::unix::fs::symlink(&fresh, &link).unwrap();
        assert!(private(&link).is_err(), "another's");
    }
}
