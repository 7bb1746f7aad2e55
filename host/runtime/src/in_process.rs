//! The in-process tier: a trusted plugin, taken through a preflight in a worker and then into the host's own process.
//!
//! `Candidate → VerifiedArtifact (pinned) → StagedLibrary → preflight → load → init → probe`. What the preflight finds
//! is the verdict, and nothing of the plugin is then mapped here. This is trust, not isolation: code that means harm
//! can behave in a preflight, and nothing stops it afterwards. A generation that hangs or floods is declared gone
//! and gets nothing more to do; its code stays mapped, and its threads cannot be stopped.

mod apart;
mod instance;
mod living;
mod loader;
mod voice;

use std::{path::PathBuf, sync::Arc};

use agent_host_core::{
    failpoint,
    failpoint::Action,
    isolation::{Layer, LayerState, SandboxReport},
    outcome::{Exit, ExitReport},
    ports::{
        BoxFuture,
        instance::{
            Fault, InstanceCommand, InstanceHandle, Isolation, PluginRuntime, PluginSpec, Stage, Started,
        },
        library::Seen,
        progress::Progress,
    },
};
use agent_plugin_protocol::{Code, Generation, PluginId};
use tokio::sync::{mpsc, watch};

use self::{apart::Blocked, instance::Instance, living::Living, loader::Loader, voice::Voice};
use crate::{
    create, host_api,
    link::describe,
    module::Module,
    prepare::{Prepared, look, prepare},
    probe::prove,
    process::{ORDERS, ProcessRuntime, Tuning},
    shelf::Shelf,
    speaker::Speaker,
    stage::StagedLibrary,
};

/// Starts plugins inside this process.
#[derive(Debug, Clone)]
pub struct InProcessRuntime {
    preflight: ProcessRuntime,
    loader: Arc<Loader>,
    tuning: Tuning,
    shelf: Arc<Shelf>,
}

impl InProcessRuntime {
    /// A runtime whose preflights are made by `preflight`, and whose libraries pass through the folder `staged`: made
    /// private, and empty but while a library is being loaded.
    pub fn new(preflight: ProcessRuntime, staged: PathBuf, tuning: Tuning) -> Self {
        Self { preflight, loader: Arc::new(Loader::new(staged)), tuning, shelf: Arc::default() }
    }
}

impl PluginRuntime for InProcessRuntime {
    fn start(
        &self,
        spec: Arc<PluginSpec>,
        generation: Generation,
        available: Arc<[String]>,
        progress: Progress,
    ) -> BoxFuture<'static, Result<Started, Fault>> {
        let kept = self.shelf.take(&spec);
        let start = Start { runtime: self.clone(), spec, generation, progress };
        Box::pin(async move { start.run(kept, &available).await })
    }

    fn reread(&self, plugin: &PluginId) {
        self.shelf.reread(plugin);
    }

    fn serves(&self, plugin: &PluginId, generation: Generation) {
        self.shelf.serves(plugin, generation);
    }

    fn look(&self, spec: Arc<PluginSpec>) -> BoxFuture<'static, Option<Seen>> {
        Box::pin(look(spec, Arc::clone(&self.shelf)))
    }
}

/// One start, on its way through the stages.
struct Start {
    runtime: InProcessRuntime,
    spec: Arc<PluginSpec>,
    generation: Generation,
    progress: Progress,
}

/// Of the sandbox: nothing.
fn no_sandbox() -> SandboxReport {
    let off = LayerState::off("it runs in the host's own process");
    SandboxReport(Layer::ALL.iter().map(|layer| (*layer, off.clone())).collect())
}

impl Start {
    async fn run(self, kept: Option<Arc<StagedLibrary>>, available: &[String]) -> Result<Started, Fault> {
        if self.spec.isolation != Isolation::InProcess {
            let reason =
                format!("isolation = \"{}\" is not that of this process", self.spec.isolation.as_str());
            return Err(Fault::new(Stage::Load, Code::PluginConfigInvalid, reason));
        }
        self.progress.begun(Stage::Verify);
        let prepared = prepare(&self.spec, kept, &self.runtime.shelf).await?;
        self.progress.begun(Stage::Load);
        self.preflight(&prepared, available).await?;
        let module = self.runtime.loader.load(&prepared.library, self.spec.timeouts.init).await?;
        self.progress.begun(Stage::Init);
        let (living, voice, fate) = self.create(module, &prepared).await?;
        self.progress.begun(Stage::Probe);
        let handle = self.serve(&prepared, Instance::new(living, voice, fate));
        prove(&handle, self.spec.timeouts.init).await?;
        self.runtime.shelf.keep(&self.spec, self.generation, &prepared.library);
        Ok(Started { handle, digest: prepared.library.digest.clone(), sandbox: no_sandbox() })
    }

    /// The whole start in a worker first, with the same bytes, and an orderly end.
    async fn preflight(&self, prepared: &Prepared, available: &[String]) -> Result<(), Fault> {
        if failpoint!("runtime.preflight") == Some(Action::Off) {
            return Ok(());
        }
        let told = |fault: Fault| Fault { reason: format!("in its preflight: {}", fault.reason), ..fault };
        let spec = Arc::clone(&self.spec);
        // All of it is one stage of the start that is ordered.
        let preflight = &self.runtime.preflight;
        let begun = preflight.bring_up(spec, self.generation, prepared, available, Progress::unheard());
        let started = begun.await.map_err(told)?;
        let report = stopped(&started.handle, self.spec.timeouts.grace).await;
        // One that has to be killed because its end takes too long is no danger: here it is left behind.
        if report.exit != Exit::Stopped {
            let reason = format!("when it was stopped: {}", describe(&report));
            return Err(told(Fault::new(Stage::Probe, Code::PluginProbeFailed, reason)));
        }
        Ok(())
    }

    /// Stage `init`: the author's constructor, here.
    async fn create(
        &self,
        module: Module,
        prepared: &Prepared,
    ) -> Result<(Living, Arc<Voice>, mpsc::Receiver<Exit>), Fault> {
        let failed = |code, reason: String| Fault::new(Stage::Init, code, reason);
        let (voice, fate) =
            Voice::new(Speaker::new(self.spec.id.clone(), self.generation, &self.spec.secrets));
        let voice = Arc::new(voice);
        let host = host_api::register(Arc::clone(&voice) as Arc<_>);
        let params = create::params(&self.spec, self.generation, prepared.folder.as_deref());
        // It cannot fail: the maps have text keys. An empty body would be refused by the plugin.
        let params = serde_json::to_vec(&params).unwrap_or_default();
        let plugin = self.spec.id.clone();
        let within = self.spec.timeouts.init;
        let work = move || {
            let made = module.create(host_api::table(), host, params);
            made.map(|instance| Living::new(plugin, host, instance))
        };
        let reason = match apart::run(&format!("{}-create", self.spec.id), within, work).await {
            Ok(Ok(living)) => {
                if let Some(instance) = living.instance() {
                    voice.speaks_for(instance.answers());
                }
                return Ok((living, voice, fate));
            }
            Ok(Err(error)) => {
                let (code, reason) = create::failure(&error);
                failed(code, reason)
            }
            Err(Blocked::Late) => {
                failed(Code::PluginInitTimeout, format!("create did not return within {within:?}"))
            }
            Err(Blocked::NoThread(error)) => {
                failed(Code::PluginInitError, format!("no thread could be had for create: {error}"))
            }
        };
        host_api::unregister(host);
        Err(reason)
    }

    /// Hands the instance to the task that owns it from now on.
    fn serve(&self, prepared: &Prepared, instance: Instance) -> InstanceHandle {
        let (commands, orders) = mpsc::channel(ORDERS);
        let (ended, exit) = watch::channel(None);
        tokio::spawn(instance.run(self.runtime.tuning.heartbeat, orders, ended));
        InstanceHandle {
            plugin: self.spec.id.clone(),
            generation: self.generation,
            descriptor: Arc::clone(&prepared.library.descriptor),
            isolation: Isolation::InProcess,
            commands,
            exit,
        }
    }
}

/// Stops an instance in order and waits for its end.
async fn stopped(handle: &InstanceHandle, grace: std::time::Duration) -> Arc<ExitReport> {
    // One that is gone already takes no order; its end says why.
    let _ = handle.commands.send(InstanceCommand::Stop { grace }).await;
    let mut exit = handle.exit.clone();
    let report = exit.wait_for(Option::is_some).await.ok().and_then(|report| report.clone());
    let nobody = || ExitReport {
        exit: Exit::Stopped,
        uptime: Default::default(),
        stderr_tail: Vec::new(),
        crash: None,
    };
    report.unwrap_or_else(|| Arc::new(nobody()))
}
