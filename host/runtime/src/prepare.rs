//! The stages before anything foreign runs, which all block on the disk: `discover`, `verify`, `stage`. For every tier.

use std::{
    os::unix::fs::DirBuilderExt,
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
    match std::fs::DirBuilder::new().recursive(true).mode(0o700).create(path) {
        // Absolute, as a worker works elsewhere.
        Ok(()) => path.canonicalize().ok(),
        Err(error) => {
            tracing::warn!(folder = %path.display(), %error, "the plugin's own folder could not be made");
            None
        }
    }
}
