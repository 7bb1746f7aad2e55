//! Keeps the bytes that a plugin was last healthy with, for its restarts, and notices when its file becomes another.
//!
//! A restart after a crash is no deployment: it takes the bytes that were judged and have run, whatever lies at the path
//! by then. The file is read again when somebody asks for that, or where nothing of the plugin was ever healthy.

use std::{
    collections::HashMap,
    fs::Metadata,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use agent_host_core::{
    failpoint,
    failpoint::Action,
    ports::{
        instance::{Fault, Isolation, PluginSpec},
        library::{Candidate as Found, Seen, Trust},
    },
};
use agent_plugin_protocol::{Generation, PluginId, PluginKind};

use crate::{
    candidate::Candidate,
    stage::StagedLibrary,
    verify::{hex_digest, signature, verify_bytes},
};

/// The shelf of one tier. Its entries are as many as the plugins ever started.
#[derive(Debug, Default)]
pub(crate) struct Shelf(Mutex<HashMap<PluginId, Kept>>);

#[derive(Debug, Default)]
struct Kept {
    /// What generations were healthy with, oldest first: the one that serves, newer ones, and a few before it.
    libraries: Vec<Ran>,
    /// The generation that serves, once that was said; until then the newest does.
    serving: Option<Generation>,
    /// The next start reads the file.
    reread: bool,
    /// The file as it was when it was last read.
    mark: Option<Mark>,
    /// The file as the last look saw it, if that is another: a copy may be under way.
    changing: Option<Mark>,
}

/// Bytes that a generation was healthy with.
#[derive(Debug)]
struct Ran {
    order: Order,
    generation: Generation,
    library: Arc<StagedLibrary>,
}

/// What the bytes were judged by: under another order they would have to be judged again.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Order {
    path: PathBuf,
    kind: PluginKind,
    isolation: Isolation,
    sha256: Option<String>,
    trust: Trust,
}

impl Kept {
    /// What a restart takes.
    fn current(&self) -> Option<&Ran> {
        let at_most = |ran: &&Ran| self.serving.is_none_or(|serving| ran.generation <= serving);
        self.libraries.iter().rev().find(at_most)
    }

    /// Forgets all but what may be started from again.
    fn tidy(&mut self) {
        let Some(at) = self.current().map(|ran| ran.generation) else { return };
        // A restart runs from the same bytes under another number: those of a generation on trial are not to be
        // forgotten for it.
        let same = self.current().map(|ran| Arc::clone(&ran.library));
        let again = |ran: &Ran| same.as_ref().is_some_and(|same| Arc::ptr_eq(same, &ran.library));
        self.libraries.retain(|ran| ran.generation >= at || !again(ran));
        let before = self.libraries.iter().filter(|ran| ran.generation < at).count();
        self.libraries.drain(..before.saturating_sub(BEFORE));
        // Spares and candidates that came to nothing.
        let first = self.libraries.partition_point(|ran| ran.generation <= at);
        let after = self.libraries.len() - first;
        self.libraries.drain(first..first + after.saturating_sub(AFTER));
    }
}

/// Generations before the one that serves whose bytes are kept, to be gone back to.
const BEFORE: usize = 1;
/// Generations after it whose bytes are kept: a spare, a candidate and the one of a change may be loaded at once.
const AFTER: usize = 4;

impl Order {
    fn of(spec: &PluginSpec) -> Self {
        Self {
            path: spec.path.clone(),
            kind: spec.kind,
            isolation: spec.isolation,
            sha256: spec.sha256.clone(),
            trust: spec.trust.clone(),
        }
    }
}

/// What a file and its signature look like from outside. Whoever writes or exchanges them changes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Mark(Vec<Option<[i64; 6]>>);

impl Mark {
    /// Blocks on the disk; opens nothing.
    pub(crate) fn of(path: &Path) -> Self {
        let files = std::iter::once(path.to_owned()).chain(signature::files(path));
        Self(files.map(|file| std::fs::metadata(file).ok().as_ref().map(outside)).collect())
    }
}

/// With both times, as `cp -p` sets the one and nobody the other.
fn outside(meta: &Metadata) -> [i64; 6] {
    let number = |value: u64| value.cast_signed();
    let mtime = meta.mtime().wrapping_mul(1_000_000_000).wrapping_add(meta.mtime_nsec());
    let ctime = meta.ctime().wrapping_mul(1_000_000_000).wrapping_add(meta.ctime_nsec());
    [number(meta.dev()), number(meta.ino()), number(meta.size()), i64::from(meta.mode()), mtime, ctime]
}

impl Shelf {
    /// The bytes to start from, where the file is not to be read. To be asked in the order in which starts are ordered.
    pub(crate) fn take(&self, spec: &PluginSpec) -> Option<Arc<StagedLibrary>> {
        let mut all = self.lock();
        let kept = all.get_mut(&spec.id)?;
        // Off for a broken twin: a host whose restarts take whatever lies at the path.
        let asked = std::mem::take(&mut kept.reread) || failpoint!("runtime.shelf") == Some(Action::Off);
        let ran = kept.current()?;
        (!asked && ran.order == Order::of(spec)).then(|| Arc::clone(&ran.library))
    }

    /// A generation is healthy with these bytes.
    pub(crate) fn keep(&self, spec: &PluginSpec, generation: Generation, library: &Arc<StagedLibrary>) {
        let mut all = self.lock();
        let kept = all.entry(spec.id.clone()).or_default();
        let ran = Ran { order: Order::of(spec), generation, library: Arc::clone(library) };
        let at = kept.libraries.partition_point(|other| other.generation <= generation);
        kept.libraries.insert(at, ran);
        kept.tidy();
    }

    /// That generation serves: a restart takes what it ran from. It may be one from before, after a step back.
    pub(crate) fn serves(&self, plugin: &PluginId, generation: Generation) {
        let mut all = self.lock();
        let kept = all.entry(plugin.clone()).or_default();
        kept.serving = Some(generation);
        kept.tidy();
    }

    /// The file is being read in this state.
    pub(crate) fn mark(&self, plugin: &PluginId, mark: Mark) {
        let mut all = self.lock();
        let kept = all.entry(plugin.clone()).or_default();
        (kept.mark, kept.changing) = (Some(mark), None);
    }

    /// The next start reads the file.
    pub(crate) fn reread(&self, plugin: &PluginId) {
        self.lock().entry(plugin.clone()).or_default().reread = true;
    }

    /// Looks at the file; reads it only if it is another than when it was last read, and was so at the last look too.
    pub(crate) fn look(&self, spec: &PluginSpec) -> Option<Seen> {
        let now = Mark::of(&spec.path);
        let running = {
            let mut all = self.lock();
            // What was never started is not watched.
            let kept = all.get_mut(&spec.id)?;
            let steady = kept.changing.as_ref() == Some(&now);
            if kept.mark.as_ref()? == &now {
                kept.changing = None;
                return None;
            }
            kept.changing = Some(now.clone());
            if !steady {
                return None;
            }
            (kept.mark, kept.changing) = (Some(now), None);
            kept.current().map(|ran| ran.library.digest.clone())
        };
        let found = found(spec);
        let same = found.fault.is_none() && found.digest.is_some() && found.digest == running;
        Some(if same { Seen::Same } else { Seen::Candidate(found) })
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<PluginId, Kept>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What lies at the path, judged as far as it can be without running it.
fn found(spec: &PluginSpec) -> Found {
    let read = |spec: &PluginSpec| -> Result<(Candidate, Vec<u8>), Fault> {
        let candidate = Candidate::discover(spec)?;
        let bytes = candidate.read()?;
        Ok((candidate, bytes))
    };
    match read(spec) {
        Err(fault) => Found { digest: None, fault: Some(fault) },
        Ok((candidate, bytes)) => {
            let digest = Some(hex_digest(&bytes));
            Found { digest, fault: verify_bytes(spec, &candidate, bytes).err() }
        }
    }
}
