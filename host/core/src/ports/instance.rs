//! A running generation of a plugin, and how one is started.

use std::{collections::BTreeMap, path::PathBuf, sync::Arc, time::Duration};

use agent_plugin_protocol::{
    CallId, Code, Generation, PluginDescriptor, PluginId, PluginKind, RunId, Secret,
};
use bytes::Bytes;
use tokio::sync::{mpsc, watch};

use super::{
    BoxFuture,
    library::{Seen, Trust},
    progress::Progress,
    tools::ToolError,
};
use crate::{isolation::SandboxReport, outcome::ExitReport};

/// Where a plugin's code runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Isolation {
    /// In a worker process of its own.
    Process,
    /// In the host's process: trust, not isolation.
    InProcess,
    /// Linked into the host.
    BuiltIn,
}

impl Isolation {
    /// The word in configuration, logs and the admin view.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Process => "process",
            Self::InProcess => "in-process",
            Self::BuiltIn => "built-in",
        }
    }
}

/// What the operator wants of one plugin: the slot, as the runtime needs it.
#[derive(Debug, Clone, PartialEq)]
pub struct PluginSpec {
    /// The slot's name.
    pub id: PluginId,
    /// The kind that the configuration says; the library must agree.
    pub kind: PluginKind,
    /// The library, resolved.
    pub path: PathBuf,
    /// Where it shall run.
    pub isolation: Isolation,
    /// The pinned digest (lower-case hex), if any.
    pub sha256: Option<String>,
    /// What the library must show before it is loaded.
    pub trust: Trust,
    /// `[plugins.x.config]`.
    pub config: serde_json::Value,
    /// Its own secrets, by name: for this plugin only.
    pub secrets: BTreeMap<String, Secret>,
    /// Peers, `host:port`, that it may reach through the host.
    pub network: Vec<String>,
    /// Names of the services it needs beside those its descriptor names.
    pub requires: Vec<String>,
    /// Deadlines.
    pub timeouts: Timeouts,
    /// Bounds.
    pub limits: Limits,
    /// Tools that it may call.
    pub tools: Vec<String>,
    /// Threads of its runtime.
    pub threads: u8,
    /// Its own folder, made by the runtime; `None`: it gets none.
    pub data_dir: Option<PathBuf>,
    /// Log level that its `tracing` forwards.
    pub log_level: String,
}

/// Deadlines of one plugin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timeouts {
    /// From spawn to ready: load, create and probe, each.
    pub init: Duration,
    /// One tool call.
    pub tool: Duration,
    /// Time without an event.
    pub idle: Duration,
    /// The whole run.
    pub run: Duration,
    /// Between cancel and kill.
    pub grace: Duration,
    /// How long a run waits for a place in a plugin that is full.
    pub queue: Duration,
}

/// Bounds of one plugin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Address space of its worker, in bytes; 0: none.
    pub memory: u64,
    /// Runs at once; further ones go elsewhere or wait.
    pub concurrent_runs: u32,
    /// Runs that may wait for a place; further ones are refused with `plugin.overloaded`.
    pub queued_runs: u32,
    /// Largest library file, in bytes.
    pub library: u64,
    /// Open files of its worker.
    pub open_files: u64,
    /// CPU of its worker with all that it makes, in percent of a core; 0: not bounded.
    pub cpu_percent: u32,
}

/// Where in its start a plugin failed. The stages of the loader, in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Stage {
    /// Finding the file.
    Discover,
    /// Reading it without running it.
    Verify,
    /// Making the private copy.
    Stage,
    /// The worker process and `dlopen`.
    Load,
    /// `create`.
    Init,
    /// The services it requires.
    Dependencies,
    /// The first self-test.
    Probe,
    /// Afterwards.
    Running,
}

impl Stage {
    /// The word in views and logs.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Discover => "discover",
            Self::Verify => "verify",
            Self::Stage => "stage",
            Self::Load => "load",
            Self::Init => "init",
            Self::Dependencies => "dependencies",
            Self::Probe => "probe",
            Self::Running => "running",
        }
    }
}

/// A plugin's fault, as a value (law 5): the same words in API, CLI, console, log and metric.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// Where.
    pub stage: Stage,
    /// The stable code.
    pub code: Code,
    /// One line: what happened, to what, why. Sanitised: it may quote a plugin.
    pub reason: String,
    /// What the operator can do.
    pub hint: String,
}

impl Fault {
    /// A fault whose hint is the code's own remedy.
    pub fn new(stage: Stage, code: Code, reason: impl Into<String>) -> Self {
        Self { stage, code, reason: reason.into(), hint: code.remedy().to_owned() }
    }
}

/// Starts plugins of one or more isolation tiers.
pub trait PluginRuntime: Send + Sync + 'static {
    /// Takes a plugin through the whole loader pipeline, up to the answered probe.
    ///
    /// Never takes longer than the spec's deadlines allow and leaves nothing behind when it fails. `available`
    /// names the services that are there; `progress` is told each stage as it begins. Cancel safe: dropping the future ends the worker.
    ///
    /// A plugin that was healthy before is started from the very bytes that it ran from then, whatever has become of
    /// its file: a restart after a crash is no deployment. [`reread`](Self::reread) asks for the file.
    fn start(
        &self,
        spec: Arc<PluginSpec>,
        generation: Generation,
        available: Arc<[String]>,
        progress: Progress,
    ) -> BoxFuture<'static, Result<Started, Fault>>;

    /// The next start of the plugin takes the file as it is then: for what an operator orders (reload, enable, reset).
    /// If that start fails, the bytes of before are kept for the one after it.
    fn reread(&self, _plugin: &PluginId) {}

    /// That generation serves: its bytes are the ones to start from after a crash. Bytes of a few generations before it are
    /// kept, to be gone back to.
    fn serves(&self, _plugin: &PluginId, _generation: Generation) {}

    /// Looks whether the plugin's file is still what its last start read, without loading it. `None`: nothing new since
    /// the last look. Cheap where nothing changed: no file is read. A change is told once it has held for two looks.
    fn look(&self, _spec: Arc<PluginSpec>) -> BoxFuture<'static, Option<Seen>> {
        Box::pin(std::future::ready(None))
    }
}

/// A generation that answered its probe.
#[derive(Debug)]
pub struct Started {
    /// How to talk to it.
    pub handle: InstanceHandle,
    /// SHA-256 of the library's bytes, lower-case hex.
    pub digest: String,
    /// What of the sandbox is in force around it.
    pub sandbox: SandboxReport,
}

/// A handle to a running generation; cheap to clone.
#[derive(Debug, Clone)]
pub struct InstanceHandle {
    /// The slot it serves.
    pub plugin: PluginId,
    /// Which loading.
    pub generation: Generation,
    /// What the library says of itself.
    pub descriptor: Arc<PluginDescriptor>,
    /// Where it runs.
    pub isolation: Isolation,
    /// Orders to it. Bounded: senders wait, as the instance reads its orders before anything else.
    pub commands: mpsc::Sender<InstanceCommand>,
    /// `Some` once it is gone; every open call has then had its [`CallOutput::Lost`].
    pub exit: watch::Receiver<Option<Arc<ExitReport>>>,
}

/// An order to an instance.
#[derive(Debug)]
pub enum InstanceCommand {
    /// Begin a call.
    Invoke(Invocation),
    /// Bring the answer to a request.
    Respond {
        /// Whose request.
        call: CallId,
        /// Which one.
        request: u64,
        /// An `Answer`, as JSON.
        answer: Bytes,
    },
    /// So many events of the call were consumed.
    Credit {
        /// Whose.
        call: CallId,
        /// How many.
        events: u32,
    },
    /// Ask the call to stop.
    Cancel {
        /// Which.
        call: CallId,
    },
    /// Forget the call: nobody listens any more. Later output of it is counted and dropped.
    Abandon {
        /// Which.
        call: CallId,
    },
    /// Take no new calls.
    Drain,
    /// End: drain, destroy, and after `grace` kill.
    Stop {
        /// How long the orderly end may take.
        grace: Duration,
    },
    /// End now; the report says why.
    Kill(KillReason),
    /// A fault that an operator injects into its process; where it has none of its own, nothing happens.
    Strike(Strike),
}

/// What an injected fault does to a worker's process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Strike {
    /// SIGKILL.
    Kill,
    /// SIGSEGV.
    Crash,
    /// SIGSTOP.
    Stop,
    /// SIGCONT.
    Continue,
}

/// Why the host ends an instance at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KillReason {
    /// A call ignored its cancellation, or the heartbeat stopped.
    Hung,
    /// It is not wanted any more.
    Stopped,
}

/// A call to begin.
#[derive(Debug)]
pub struct Invocation {
    /// Random, unique in the instance.
    pub call: CallId,
    /// A name of `protocol::call::method`.
    pub method: &'static str,
    /// The run that it belongs to, for the report of a crash.
    pub run: Option<RunId>,
    /// Its parameters, as JSON.
    pub payload: Bytes,
    /// How long it may take; told to the plugin. The host keeps its own clock.
    pub deadline: Duration,
    /// Answers some of its requests at once; a tier where foreign code could speak in its name does not use it.
    pub desk: Option<Arc<dyn Desk>>,
    /// Where its outputs go, tagged with the call. Capacity at least [`CALL_OUTPUTS`] for each call that shares it;
    /// the instance never waits on it: a plugin that overfills it is ended with `plugin.flood`.
    pub outputs: mpsc::Sender<(CallId, CallOutput)>,
}

/// Answers requests of one call on the thread that asks, where that takes microseconds: it saves the way to the run and
/// back, two changes of threads. The run hears of it afterwards, by [`CallOutput::Served`].
pub trait Desk: std::fmt::Debug + Send + Sync {
    /// Serves a request; `None`: it has to take the way to the run. Never waits.
    fn at_once(&self, method: &str, payload: &[u8]) -> Option<Served>;
}

/// A tool call that was granted and carried out.
#[derive(Debug)]
pub struct Served {
    /// The tool.
    pub tool: String,
    /// Its arguments.
    pub arguments: serde_json::Value,
    /// What it gave.
    pub result: Result<serde_json::Value, ToolError>,
    /// How long it took.
    pub duration: Duration,
}

/// Requests answered by its [`Desk`] that one call may have unread; further ones take the way to the run.
pub const SERVED: usize = 8;

/// Outputs that one call may have unread: its credit window, requests, those served at once, and the last word.
pub const CALL_OUTPUTS: usize = agent_plugin_protocol::call::CREDIT_WINDOW as usize + 64 + SERVED + 1;

/// What comes back of a call. Exactly one of the last three kinds ends it.
#[derive(Debug)]
pub enum CallOutput {
    /// An event (`emit_kind`), not yet judged.
    Emitted {
        /// The kind's number.
        kind: u32,
        /// Its payload.
        payload: Bytes,
    },
    /// The plugin asks the host something.
    Request {
        /// To be named in the answer.
        request: u64,
        /// A name of `protocol::call::request`, not yet judged.
        method: String,
        /// Its parameters, not yet judged.
        payload: Bytes,
    },
    /// A request that its [`Desk`] has answered, and its place among the [`SERVED`].
    Served(Box<Served>, Arc<()>),
    /// The last word: a `Completion`, not yet judged.
    Completed(Bytes),
    /// The plugin would not take the call.
    Rejected(agent_plugin_protocol::call::InvokeStatus),
    /// The instance ended.
    Lost(Arc<ExitReport>),
}
