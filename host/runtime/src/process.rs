//! The worker tier of the runtime: takes a plugin from its file to an answered probe, in a process of its own.
//!
//! `Candidate → VerifiedArtifact → StagedLibrary → worker: load → init → dependencies → probe`. Each step has a
//! deadline, and its failure is a [`Fault`]; whatever fails, the worker is gone before the fault is told.

use std::{
    ops::RangeInclusive,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use agent_host_core::{
    failpoint,
    failpoint::Action,
    isolation::{Layer, LayerState, SandboxReport},
    outcome::{Exit, ExitReport},
    ports::{
        BoxFuture,
        instance::{Fault, InstanceHandle, Isolation, PluginRuntime, PluginSpec, Stage, Started},
        library::Seen,
        progress::Progress,
    },
    sanitise,
};
use agent_host_telemetry::happening;
use agent_plugin_protocol::{Code, Generation, PluginId, call::HEARTBEAT};
use bytes::Bytes;
use serde::de::DeserializeOwned;
use tokio::{
    sync::{mpsc, watch},
    time::{Instant, timeout_at},
};

use crate::{
    crash::{
        backtrace::Scene,
        desk::{Case, Desk, Evidence},
    },
    create,
    frames::{FromWorker, PROTOCOL, ToWorker},
    hello::{HostHello, LoadFailed, WorkerHello},
    instance::{Instance, log_line},
    link::{Gone, Link, describe},
    prepare::{Prepared, look, prepare},
    probe::prove,
    sandbox::{Sandbox, Users},
    shelf::Shelf,
    spawn::{WorkerCommand, spawn},
    speaker::Speaker,
    stage::StagedLibrary,
    words::Rate,
};

/// Orders that may wait for an instance. Full: senders wait; the instance reads its orders before anything else.
pub(crate) const ORDERS: usize = 256;
/// How long the host waits for a first word at most, where `timeouts.init` is longer: nothing foreign runs before it.
const FIRST_WORD: Duration = Duration::from_secs(30);

/// Figures of a tier that tests turn down.
#[derive(Debug, Clone, Copy)]
pub struct Tuning {
    /// How often a plugin's runtime tells that it lives; a few missed end it.
    pub heartbeat: Duration,
}

impl Default for Tuning {
    fn default() -> Self {
        Self { heartbeat: HEARTBEAT }
    }
}

/// Starts plugins in worker processes.
#[derive(Debug, Clone)]
pub struct ProcessRuntime {
    command: WorkerCommand,
    tuning: Tuning,
    shelf: Arc<Shelf>,
    require: Vec<Layer>,
    users: Option<Arc<Users>>,
    desk: Desk,
    /// That plugins are not confined has been said.
    warned: Arc<AtomicBool>,
}

/// What the operator demands of the sandbox, and gives to it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Confinement {
    /// Layers without which a plugin fails rather than run weaker.
    pub require: Vec<Layer>,
    /// Users for plugins, one each, where the host is root.
    pub users: Option<RangeInclusive<u32>>,
}

impl ProcessRuntime {
    /// A runtime whose workers are started by `command`.
    pub fn new(command: WorkerCommand, tuning: Tuning) -> Self {
        Self {
            command,
            tuning,
            shelf: Arc::default(),
            require: Vec::new(),
            users: None,
            desk: Desk::default(),
            warned: Arc::default(),
        }
    }

    /// The same, with what the operator demands of the sandbox.
    pub fn confined(self, confinement: Confinement) -> Self {
        let root = rustix::process::geteuid().is_root();
        let users = confinement.users.filter(|_| root).map(|range| Arc::new(Users::new(range)));
        Self { require: confinement.require, users, ..self }
    }
}

impl PluginRuntime for ProcessRuntime {
    fn start(
        &self,
        spec: Arc<PluginSpec>,
        generation: Generation,
        available: Arc<[String]>,
        progress: Progress,
    ) -> BoxFuture<'static, Result<Started, Fault>> {
        let (runtime, kept) = (self.clone(), self.shelf.take(&spec));
        Box::pin(async move {
            if spec.isolation != Isolation::Process {
                let reason =
                    format!("isolation = \"{}\" is not one of worker processes", spec.isolation.as_str());
                return Err(Fault::new(Stage::Load, Code::PluginConfigInvalid, reason));
            }
            progress.begun(Stage::Verify);
            let prepared = prepare(&spec, kept, &runtime.shelf).await?;
            let begun = runtime.bring_up(Arc::clone(&spec), generation, &prepared, &available, progress);
            let started = begun.await?;
            runtime.shelf.keep(&spec, generation, &prepared.library);
            Ok(started)
        })
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

impl ProcessRuntime {
    /// The stages that follow `stage`, in a worker: for its own plugins, and as the preflight of those of another tier.
    ///
    /// Cancel safe: dropping the future ends the worker.
    pub(crate) async fn bring_up(
        &self,
        spec: Arc<PluginSpec>,
        generation: Generation,
        prepared: &Prepared,
        available: &[String],
        progress: Progress,
    ) -> Result<Started, Fault> {
        Start { runtime: self.clone(), spec, generation, progress }.run(prepared, available).await
    }
}

/// One start, on its way through the stages.
struct Start {
    runtime: ProcessRuntime,
    spec: Arc<PluginSpec>,
    generation: Generation,
    progress: Progress,
}

impl Start {
    async fn run(self, prepared: &Prepared, available: &[String]) -> Result<Started, Fault> {
        let Prepared { library, folder } = prepared;
        self.progress.begun(Stage::Load);
        let (mut link, sandbox) = self.load(library, folder.clone()).await?;
        self.progress.begun(Stage::Init);
        if let Err((gone, fault)) = self.init(&mut link).await {
            return Err(self.told(fault, link.end(gone).await));
        }
        self.progress.begun(Stage::Dependencies);
        if let Err(fault) = self.dependencies(library, available) {
            link.end(Gone::Kill(Exit::Stopped)).await;
            return Err(fault);
        }
        self.progress.begun(Stage::Probe);
        let handle = self.serve(library, link);
        prove(&handle, self.spec.timeouts.init).await?;
        Ok(Started { handle, digest: library.digest.clone(), sandbox })
    }

    /// Stage `load`: a worker in its sandbox, with the library loaded.
    async fn load(
        &self,
        library: &StagedLibrary,
        folder: Option<PathBuf>,
    ) -> Result<(Link, SandboxReport), Fault> {
        let deadline = Instant::now() + self.spec.timeouts.init;
        let no_worker = |error: std::io::Error| {
            let reason = format!("no worker process could be started: {error}");
            Fault::new(Stage::Load, Code::PluginHandshakeFailed, reason)
        };
        match failpoint!("runtime.spawn") {
            Some(Action::Error) => return Err(no_worker(std::io::Error::other("injected"))),
            Some(action) => tokio::time::sleep(action.pause().unwrap_or_default()).await,
            None => {}
        }
        let user = self.user(folder.clone()).await?;
        let spawned = timeout_at(deadline, spawn(self.runtime.command.clone(), folder.clone())).await;
        let spawned =
            spawned.map_err(|_| no_worker(std::io::ErrorKind::TimedOut.into()))?.map_err(no_worker)?;
        let scene = self.scene(library).map_err(no_worker)?;
        let mut link = Link::new(spawned, scene, self.speaker()).map_err(no_worker)?;
        // Before its first word: what it makes from here on is born into its group.
        let cgroup = self.enclose(&mut link).await;
        let hello = ToWorker::Hello(self.hello(folder, user, cgroup));
        if let Err(error) = link.greet(&hello) {
            let failing = self.handshake(&format!("it does not listen: {error}"));
            return Err(self.told(failing, link.end(Gone::Ended).await));
        }
        match self.loaded(&mut link, deadline).await {
            Ok(sandbox) => Ok((link, sandbox)),
            Err((gone, fault)) => Err(self.told(fault, link.end(gone).await)),
        }
    }

    async fn loaded(&self, link: &mut Link, deadline: Instant) -> Result<SandboxReport, (Gone, Failing)> {
        let first = deadline.min(Instant::now() + FIRST_WORD);
        let hello = match self.word(link, first).await {
            Ok(FromWorker::Hello(body)) => parse::<WorkerHello>(&body),
            Ok(_) => None,
            Err(Silence::TimedOut) => {
                return Err(ending(self.handshake("it gave no first word in time")));
            }
            Err(Silence::Gone(gone)) => {
                let failing = self.handshake("it ended before its first word");
                return Err((gone, failing));
            }
        };
        let Some(hello) = hello.filter(|hello| hello.protocol == PROTOCOL) else {
            return Err(ending(self.handshake("its first word is not that of a worker of this host")));
        };
        let failing = |code, reason: &str| Failing::new(Stage::Load, code, reason);
        if !hello.sandbox.enforces(Layer::Namespace) {
            link.is_bare();
        }
        if let Some((layer, words)) = hello.sandbox.lacks(&self.runtime.require) {
            let reason = format!("the sandbox's layer {layer} is required, and here it is {words}");
            return Err(ending(failing(Code::PluginSandboxUnavailable, &reason)));
        }
        match self.word(link, deadline).await {
            Ok(FromWorker::Loaded) => {
                self.judge(&hello.sandbox);
                Ok(hello.sandbox)
            }
            Ok(FromWorker::LoadFailed(body)) => {
                let told = parse::<LoadFailed>(&body);
                let (code, reason) =
                    told.map_or((Code::PluginLoadFailed, String::new()), |told| (told.code, told.reason));
                Err(ending(failing(code, &sanitise::line(&reason, 600))))
            }
            Ok(_) => Err(ending(self.handshake("it did not say whether the library is loaded"))),
            Err(Silence::TimedOut) => Err(ending(failing(
                Code::PluginLoadTimeout,
                &format!("the library was not loaded within {:?}", self.spec.timeouts.init),
            ))),
            Err(Silence::Gone(gone)) => Err((
                gone,
                failing(Code::PluginLoadCrashed, "the worker died while it loaded the library").crash(),
            )),
        }
    }

    /// Says once, aloud, that plugins of this host are not confined.
    fn judge(&self, sandbox: &SandboxReport) {
        let weaknesses = sandbox.weaknesses();
        if !weaknesses.is_empty() && !self.runtime.warned.swap(true, Ordering::Relaxed) {
            let plugin = self.spec.id.to_string();
            happening::IsolationWeak { plugin, reason: weaknesses.join("; ") }.emit();
        }
    }

    /// Stage `init`: the author's constructor.
    async fn init(&self, link: &mut Link) -> Result<(), (Gone, Failing)> {
        let failing = |code, reason: &str| Failing::new(Stage::Init, code, reason);
        match self.word(link, Instant::now() + self.spec.timeouts.init).await {
            Ok(FromWorker::Created(_)) => Ok(()),
            Ok(FromWorker::CreateFailed(body)) => {
                let (code, reason) = create::failure(&body);
                Err(ending(failing(code, &reason)))
            }
            Ok(_) => {
                Err(ending(failing(Code::PluginHandshakeFailed, "the worker did not say how create ended")))
            }
            Err(Silence::TimedOut) => Err(ending(failing(
                Code::PluginInitTimeout,
                &format!("create did not return within {:?}", self.spec.timeouts.init),
            ))),
            Err(Silence::Gone(gone)) => {
                Err((gone, failing(Code::PluginInitCrashed, "the worker died in create").crash()))
            }
        }
    }

    /// Stage `dependencies`: what the operator and the library say it needs is there.
    fn dependencies(&self, library: &StagedLibrary, available: &[String]) -> Result<(), Fault> {
        let mut needed = self.spec.requires.iter().chain(&library.descriptor.requires);
        match needed.find(|service| !available.contains(service)) {
            None => Ok(()),
            Some(service) => {
                let reason = format!(
                    "it requires the service {:?}, which is not available",
                    sanitise::line(service, 64)
                );
                Err(Fault::new(Stage::Dependencies, Code::PluginDependencyMissing, reason))
            }
        }
    }

    /// Puts the worker into a control group, on a thread that may wait: the kernel takes milliseconds for it.
    async fn enclose(&self, link: &mut Link) -> LayerState {
        let (spec, generation, pid) = (Arc::clone(&self.spec), self.generation, link.pid());
        match tokio::task::spawn_blocking(move || Sandbox::enclose(&spec, generation, pid)).await {
            Ok((group, state)) => {
                link.enclosed(group);
                state
            }
            Err(error) => LayerState::unavailable(format!("the host failed to make it: {error}")),
        }
    }

    /// Who speaks where it does.
    fn speaker(&self) -> Speaker {
        Speaker::new(self.spec.id.clone(), self.generation, &self.spec.secrets)
    }

    /// Hands the worker to the task that owns it from now on.
    fn serve(&self, library: &StagedLibrary, link: Link) -> InstanceHandle {
        let (commands, orders) = mpsc::channel(ORDERS);
        let (ended, exit) = watch::channel(None);
        let instance = Instance::new(self.speaker(), link, self.runtime.desk.clone());
        tokio::spawn(instance.run(self.runtime.tuning.heartbeat, orders, ended));
        InstanceHandle {
            plugin: self.spec.id.clone(),
            generation: self.generation,
            descriptor: Arc::clone(&library.descriptor),
            isolation: Isolation::Process,
            commands,
            exit,
        }
    }

    /// The user that the worker becomes, where the host has one for it.
    async fn user(&self, folder: Option<PathBuf>) -> Result<Option<u32>, Fault> {
        let Some(users) = self.runtime.users.clone() else { return Ok(None) };
        let plugin = self.spec.id.clone();
        let settled = tokio::task::spawn_blocking(move || users.settle(&plugin, folder.as_deref())).await;
        let settled =
            settled.unwrap_or_else(|_| Err("the choice ended by a panic: a bug of the host".to_owned()));
        let fault = |reason| Fault::new(Stage::Load, Code::PluginSandboxUnavailable, reason);
        settled.map(Some).map_err(|reason| fault(format!("no user of its own: {reason}")))
    }

    /// What a backtrace of the worker would be made from.
    fn scene(&self, library: &StagedLibrary) -> std::io::Result<Scene> {
        let name = self.spec.path.file_name().map(|name| name.to_string_lossy()).unwrap_or_default();
        Ok(Scene {
            library: library.file.try_clone()?,
            digest: library.digest.clone(),
            name: sanitise::line(&name, 128),
            program: self.runtime.command.program.clone(),
        })
    }

    /// The fault of a worker that has ended.
    fn told(&self, failing: Failing, (report, evidence): (ExitReport, Option<Evidence>)) -> Fault {
        let report = Arc::new(report);
        if let Some(evidence) = evidence {
            let (plugin, generation) = (self.spec.id.clone(), self.generation);
            self.runtime.desk.take(Case { plugin, generation, report: Arc::clone(&report), evidence });
        }
        failing.told(&report)
    }

    fn hello(&self, folder: Option<PathBuf>, user: Option<u32>, cgroup: LayerState) -> Bytes {
        let create = create::params(&self.spec, self.generation, folder.as_deref());
        let sandbox = Sandbox::of(&self.spec, folder, user, self.runtime.require.clone(), cgroup);
        let hello = HostHello { protocol: [PROTOCOL, PROTOCOL], features: Vec::new(), sandbox, create };
        // It cannot fail: the maps have text keys. An empty body would be refused by the worker.
        serde_json::to_vec(&hello).unwrap_or_default().into()
    }

    /// The worker's next word of its start; log lines and heartbeats in between are taken care of.
    async fn word(&self, link: &mut Link, deadline: Instant) -> Result<FromWorker, Silence> {
        let mut rate = Rate::new(50);
        let listen = async {
            let mut gone = None;
            loop {
                while let Some(frame) = link.next().map_err(Silence::Gone)? {
                    match frame {
                        FromWorker::Log(line) => log_line(&self.speaker(), &mut rate, &line),
                        FromWorker::Heartbeat => {}
                        word => return Ok(word),
                    }
                }
                // What a worker said before it died comes first.
                if let Some(gone) = gone {
                    return Err(Silence::Gone(gone));
                }
                gone = link.exchange().await.err();
            }
        };
        timeout_at(deadline, listen).await.unwrap_or(Err(Silence::TimedOut))
    }

    fn handshake(&self, what: &str) -> Failing {
        Failing::new(Stage::Load, Code::PluginHandshakeFailed, &format!("the worker process: {what}")).crash()
    }
}

/// Why a worker's word did not come.
enum Silence {
    TimedOut,
    Gone(Gone),
}

/// A fault that waits for the worker's end, which may have more to tell.
struct Failing {
    fault: Fault,
    crashed: bool,
}

impl Failing {
    fn new(stage: Stage, code: Code, reason: &str) -> Self {
        Self { fault: Fault::new(stage, code, reason), crashed: false }
    }

    fn crash(mut self) -> Self {
        self.crashed = true;
        self
    }

    fn told(mut self, report: &ExitReport) -> Fault {
        if self.crashed {
            self.fault.reason = format!("{}: {}", self.fault.reason, describe(report));
        }
        self.fault
    }
}

/// A failure of a worker that still lives and has to be ended.
fn ending(failing: Failing) -> (Gone, Failing) {
    (Gone::Kill(Exit::Stopped), failing)
}

fn parse<T: DeserializeOwned>(body: &[u8]) -> Option<T> {
    serde_json::from_slice(body).ok()
}
