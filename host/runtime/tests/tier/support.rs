//! What the tests share: the libraries they load, a runtime over the example worker, and calls into instances.

use std::{
    io::{Read, Seek},
    path::{Path, PathBuf},
    process::Command,
    sync::{Arc, OnceLock},
    time::{Duration, Instant},
};

use agent_host_core::{
    outcome::ExitReport,
    ports::instance::{
        CALL_OUTPUTS, CallOutput, Fault, InstanceCommand, InstanceHandle, Invocation, Isolation, Limits,
        PluginRuntime, PluginSpec, Started, Timeouts,
    },
    ports::progress::Progress,
};
use agent_host_runtime::{InProcessRuntime, ProcessRuntime, Tuning, WorkerCommand};
use agent_plugin_protocol::{
    CallId, Generation, MessageId, PluginId, PluginKind, RunId, ThreadId,
    call::{Completion, HandleParams, IncomingMessage, method},
};
use bytes::Bytes;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tokio::sync::mpsc;

/// Long enough for a busy machine; a test that needs it has failed.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// `target/<profile>`, where the test itself was built.
pub(crate) fn built() -> PathBuf {
    let exe = std::env::current_exe().expect("a running test has a path");
    exe.ancestors().nth(2).expect("tests are built into target/<profile>/deps").to_owned()
}

/// A plugin of this workspace, built where it is missing or old.
pub(crate) fn library(name: &str) -> PathBuf {
    static BUILT: OnceLock<()> = OnceLock::new();
    BUILT.get_or_init(|| {
        let mut cargo = Command::new(env!("CARGO"));
        cargo.args(["build", "--quiet", "-p", "echo", "-p", "misbehaving"]);
        if built().ends_with("release") {
            cargo.arg("--release");
        }
        assert!(cargo.status().expect("cargo runs").success(), "the plugins for the tests do not build");
    });
    built().join(format!("lib{name}.so"))
}

/// A library of C source, with what else the compiler shall be told.
pub(crate) fn c_library(folder: &Path, name: &str, source: &str, more: &[&str]) -> PathBuf {
    let (code, out) = (folder.join(format!("{name}.c")), folder.join(format!("lib{name}.so")));
    std::fs::write(&code, source).expect("the temporary folder can be written");
    let status = Command::new("cc").args(["-shared", "-fPIC", "-o"]).arg(&out).arg(&code).args(more).status();
    assert!(status.expect("a C compiler is there: the build needs one").success());
    out
}

/// The descriptor section as C source: what makes a C library pass for a plugin.
pub(crate) fn c_descriptor() -> String {
    use agent_plugin_protocol::{PanicStrategy, section};
    let bytes = section::encode(section::Identity {
        id: "c-plugin",
        kind: PluginKind::Agent,
        version: "1.0.0",
        description: "written in C",
        sdk_version: "0.1.0",
        rustc_version: "none",
        panic: PanicStrategy::Unwind,
        requires: "",
    });
    let bytes = bytes.map(|b| b.to_string()).join(",");
    format!(
        "__attribute__((section(\".agent_plugin\"), used)) const unsigned char descriptor[] = {{{bytes}}};\n"
    )
}

pub(crate) fn worker() -> WorkerCommand {
    WorkerCommand { program: built().join("examples/worker"), args: vec!["worker".into()] }
}

pub(crate) fn runtime() -> ProcessRuntime {
    ProcessRuntime::new(worker(), Tuning::default())
}

pub(crate) fn spec(path: impl Into<PathBuf>) -> PluginSpec {
    PluginSpec {
        id: PluginId::new("slot").unwrap(),
        kind: PluginKind::Agent,
        path: path.into(),
        isolation: Isolation::Process,
        sha256: None,
        trust: Default::default(),
        config: json!({}),
        secrets: Default::default(),
        network: Vec::new(),
        requires: Vec::new(),
        timeouts: Timeouts {
            init: Duration::from_secs(20),
            tool: Duration::from_secs(5),
            idle: Duration::from_secs(5),
            run: Duration::from_secs(30),
            grace: Duration::from_secs(1),
            queue: Duration::ZERO,
        },
        limits: Limits {
            memory: 2 << 30,
            concurrent_runs: 8,
            queued_runs: 0,
            library: 1 << 30,
            open_files: 256,
            cpu_percent: 0,
        },
        tools: Vec::new(),
        threads: 2,
        data_dir: None,
        log_level: "info".into(),
    }
}

pub(crate) fn misbehaving(config: Value) -> PluginSpec {
    PluginSpec { config, ..spec(library("misbehaving")) }
}

/// The tier of this very process; what it stages passes through a folder of its own, which is left empty.
pub(crate) fn in_process() -> InProcessRuntime {
    in_process_with(Tuning::default())
}

pub(crate) fn in_process_with(tuning: Tuning) -> InProcessRuntime {
    static STAGED: OnceLock<tempfile::TempDir> = OnceLock::new();
    let staged = STAGED.get_or_init(|| tempfile::tempdir().expect("the temporary folder can be written"));
    InProcessRuntime::new(runtime(), staged.path().join("staged"), tuning)
}

/// The same plugin in this process: one word, and the pin that the word demands.
pub(crate) fn trusted(spec: PluginSpec) -> PluginSpec {
    let digest = Sha256::digest(std::fs::read(&spec.path).expect("the library is there"));
    let pin = digest.iter().map(|byte| format!("{byte:02x}")).collect();
    PluginSpec { isolation: Isolation::InProcess, sha256: Some(pin), ..spec }
}

pub(crate) async fn start_with(runtime: &dyn PluginRuntime, spec: PluginSpec) -> Result<Started, Fault> {
    let start = runtime.start(Arc::new(spec), Generation(1), Arc::from([]), Progress::unheard());
    tokio::time::timeout(PATIENCE, start).await.expect("a start keeps to its deadlines")
}

/// Starts a plugin in the tier that its spec names.
pub(crate) async fn start(spec: PluginSpec) -> Result<Started, Fault> {
    match spec.isolation {
        Isolation::InProcess => start_with(&in_process(), spec).await,
        Isolation::Process | Isolation::BuiltIn => start_with(&runtime(), spec).await,
    }
}

/// Runs one ignored test of this program in a process of its own, and answers whether it passed, with what it said.
pub(crate) fn alone(test: &str, failpoints: &str) -> (bool, String) {
    library("misbehaving");
    let mut alone = Command::new(std::env::current_exe().expect("a running test has a path"));
    alone.args(["--ignored", "--exact", "--nocapture", test]).env("AGENT_HOST_FAILPOINTS", failpoints);
    let mut said = tempfile::tempfile().expect("the temporary folder can be written");
    let mouth = || said.try_clone().expect("a descriptor can be had");
    let mut child = alone.stdout(mouth()).stderr(mouth()).spawn().expect("this program can be run");
    let deadline = Instant::now() + 2 * PATIENCE;
    let status = loop {
        match child.try_wait().expect("a child can be waited for") {
            Some(status) => break status.success(),
            None if Instant::now() > deadline => {
                child.kill().expect("a child can be killed");
                child.wait().expect("a child can be waited for");
                break false;
            }
            None => std::thread::sleep(Duration::from_millis(10)),
        }
    };
    let mut words = Vec::new();
    said.rewind().expect("a file can be rewound");
    said.read_to_end(&mut words).expect("a file can be read");
    let said = String::from_utf8_lossy(&words).into_owned();
    (status && said.contains("1 passed"), said)
}

/// An open call.
pub(crate) struct Call {
    pub(crate) id: CallId,
    pub(crate) run: RunId,
    pub(crate) outputs: mpsc::Receiver<(CallId, CallOutput)>,
    handle: InstanceHandle,
}

/// Says something to an agent.
pub(crate) async fn say(handle: &InstanceHandle, text: &str) -> Call {
    let run = RunId::random();
    let params = HandleParams {
        run_id: run.clone(),
        thread_id: ThreadId::random(),
        message_id: "m".into(),
        message: IncomingMessage {
            id: MessageId::random(),
            content: text.into(),
            metadata: Default::default(),
        },
        retry: false,
        answer: None,
        roster: Vec::new(),
    };
    let (outputs, inbox) = mpsc::channel(CALL_OUTPUTS);
    let id = CallId(getrandom::u64().unwrap());
    let payload = Bytes::from(serde_json::to_vec(&params).unwrap());
    let invocation = Invocation {
        call: id,
        method: method::HANDLE,
        run: Some(run.clone()),
        payload,
        deadline: PATIENCE,
        desk: None,
        outputs,
    };
    handle.commands.send(InstanceCommand::Invoke(invocation)).await.expect("the instance takes orders");
    Call { id, run, outputs: inbox, handle: handle.clone() }
}

impl Call {
    /// The next output; events are credited as a consumer would, requests are left to the test.
    pub(crate) async fn next(&mut self) -> CallOutput {
        let output = tokio::time::timeout(PATIENCE, self.outputs.recv()).await;
        let (call, output) = output.expect("a call goes on or ends").expect("a call has a last word");
        assert_eq!(call, self.id);
        if matches!(output, CallOutput::Emitted { .. }) {
            let credit = InstanceCommand::Credit { call, events: 1 };
            // The instance may be gone: then the last word is on its way.
            let _ = self.handle.commands.send(credit).await;
        }
        output
    }

    /// Answers every request with an error until the last word comes; with it, how many events there were.
    pub(crate) async fn ended(&mut self) -> (usize, CallOutput) {
        let mut events = 0;
        loop {
            match self.next().await {
                CallOutput::Emitted { .. } => events += 1,
                CallOutput::Request { request, .. } => self.refuse(request).await,
                last => return (events, last),
            }
        }
    }

    pub(crate) async fn refuse(&self, request: u64) {
        let answer = json!({"status": "error", "code": "tool.denied", "message": "no", "retryable": false});
        let answer = Bytes::from(answer.to_string());
        let _ = self.handle.commands.send(InstanceCommand::Respond { call: self.id, request, answer }).await;
    }

    /// The report of the instance's end, as the last word.
    pub(crate) async fn lost(&mut self) -> Arc<ExitReport> {
        match self.ended().await.1 {
            CallOutput::Lost(report) => report,
            other => panic!("expected the loss of the instance, not {other:?}"),
        }
    }

    pub(crate) async fn completed(&mut self) -> Completion {
        match self.ended().await.1 {
            CallOutput::Completed(body) => serde_json::from_slice(&body).unwrap(),
            other => panic!("expected a completion, not {other:?}"),
        }
    }
}

pub(crate) async fn exit_of(handle: &InstanceHandle) -> Arc<ExitReport> {
    let mut exit = handle.exit.clone();
    let report = tokio::time::timeout(PATIENCE, exit.wait_for(Option::is_some)).await;
    report.expect("an instance ends").expect("its end is told").clone().expect("waited for")
}

/// Everything below `parent`: the processes around workers too.
pub(crate) fn descendants(parent: u32) -> Vec<u32> {
    children(parent).into_iter().flat_map(|child| [vec![child], descendants(child)].concat()).collect()
}

/// The workers below `parent`: of each chain of processes the last, which is the one that runs the plugin.
pub(crate) fn workers(parent: u32) -> Vec<u32> {
    let below = children(parent).into_iter();
    below
        .flat_map(|child| {
            let further = workers(child);
            if further.is_empty() { vec![child] } else { further }
        })
        .collect()
}

/// Processes whose parent is `parent`, dead ones that nobody reaped included.
pub(crate) fn children(parent: u32) -> Vec<u32> {
    let processes = std::fs::read_dir("/proc").unwrap().flatten();
    let pids = processes.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    pids.filter(|pid| parent_of(*pid) == Some(parent)).collect()
}

fn parent_of(pid: u32) -> Option<u32> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit_once(')')?.1.split_whitespace().nth(1)?.parse().ok()
}

/// Waits until something outside of this process is so.
pub(crate) async fn eventually(what: &str, mut so: impl FnMut() -> bool) {
    let waiting = async {
        while !so() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(PATIENCE, waiting)
        .await
        .unwrap_or_else(|_| panic!("not within {PATIENCE:?}: {what}"));
}
