//! Plugins in worker processes, end to end: what they answer, how they fail, and that nothing is left behind.

use std::{
    io::{BufRead, BufReader},
    process::{Command, Stdio},
    sync::Arc,
    time::Duration,
};

use agent_host_core::{
    isolation::{Enforcement, Layer},
    outcome::Exit,
    ports::{
        instance::{CallOutput, InstanceCommand, KillReason, PluginRuntime, PluginSpec, Stage, Timeouts},
        library::Seen,
        progress::Progress,
    },
};
use agent_host_runtime::{ProcessRuntime, Tuning};
use agent_plugin_protocol::{Code, Generation, PluginKind, call::Completion};
use serde_json::json;

use crate::support::{
    Call, descendants, eventually, exit_of, library, misbehaving, runtime, say, spec, start, start_with,
    worker, workers,
};

/// Signals, the same on every Linux.
const SIGABRT: i32 = 6;
const SIGSEGV: i32 = 11;

fn impatient(spec: PluginSpec) -> PluginSpec {
    let timeouts = Timeouts { init: Duration::from_secs(4), ..spec.timeouts };
    PluginSpec { timeouts, ..spec }
}

#[tokio::test(flavor = "multi_thread")]
async fn echo_answers_and_ends_when_it_is_told_to() {
    let started = start(spec(library("echo"))).await.unwrap();
    assert_eq!(started.handle.descriptor.id.as_str(), "echo");
    assert_eq!(started.digest.len(), 64);
    let (events, last) = say(&started.handle, "hello there").await.ended().await;
    assert!(events >= 2, "{events} events");
    assert!(matches!(last, CallOutput::Completed(_)), "{last:?}");
    let stop = InstanceCommand::Stop { grace: Duration::from_secs(20) };
    started.handle.commands.send(stop).await.unwrap();
    assert_eq!(exit_of(&started.handle).await.exit, Exit::Stopped);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_layer_of_the_sandbox_is_in_force_and_reported() {
    let started = start(spec(library("echo"))).await.unwrap();
    for layer in Layer::ALL {
        let state = started.sandbox.0.get(layer).unwrap_or_else(|| panic!("{layer} is not reported"));
        assert_eq!(state.reason.is_empty(), state.state == Enforcement::Enforced, "{layer}: {state:?}");
    }
    // Of every Linux that this is built on; the others depend on the machine and on who runs this.
    let lacks = started.sandbox.lacks(&[
        Layer::Descriptors,
        Layer::Environment,
        Layer::NoNewPrivs,
        Layer::Capabilities,
        Layer::Hidden,
        Layer::Seccomp,
        Layer::Rlimits,
        Layer::MemoryLimit,
        Layer::OomScore,
        Layer::ParentDeathSignal,
        Layer::ProcessGroup,
        Layer::WorkingFolder,
    ]);
    assert_eq!(lacks, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn each_death_in_a_call_is_told_as_what_it_was() {
    for (switch, exit) in [
        ("!segv", Exit::Signal(SIGSEGV)),
        ("!think-segv", Exit::Signal(SIGSEGV)),
        ("!abort", Exit::Signal(SIGABRT)),
        ("!exit0", Exit::Status(0)),
        ("!exit1", Exit::Status(1)),
        ("!memory", Exit::Memory),
        ("!flood", Exit::Flood),
        ("!lie-request-flood", Exit::Flood),
    ] {
        let started = start(misbehaving(json!({}))).await.unwrap();
        let mut call = say(&started.handle, switch).await;
        let report = if exit == Exit::Flood { drained(&mut call).await } else { call.lost().await };
        assert_eq!(report.exit, exit, "{switch}: {report:?}");
        assert_eq!(exit_of(&started.handle).await, report);
    }
}

/// As a consumer that gives no credit.
async fn drained(call: &mut Call) -> Arc<agent_host_core::outcome::ExitReport> {
    loop {
        match call.outputs.recv().await.unwrap().1 {
            CallOutput::Lost(report) => return report,
            CallOutput::Emitted { .. } | CallOutput::Request { .. } | CallOutput::Served(..) => {}
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stack_overflow_is_a_signal_and_not_silence() {
    let started = start(misbehaving(json!({}))).await.unwrap();
    let report = say(&started.handle, "!stackoverflow").await.lost().await;
    assert!(matches!(report.exit, Exit::Signal(SIGABRT | SIGSEGV)), "{report:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_panic_costs_its_call_and_not_the_worker() {
    let started = start(misbehaving(json!({}))).await.unwrap();
    let panicked = say(&started.handle, "!panic").await.completed().await;
    assert!(matches!(panicked, Completion::Panicked { .. }), "{panicked:?}");
    let echoed = say(&started.handle, "still here?").await.completed().await;
    assert!(matches!(echoed, Completion::Ok { .. }), "{echoed:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_looping_worker_is_killed_on_demand() {
    let started = start(misbehaving(json!({}))).await.unwrap();
    let mut call = say(&started.handle, "!loop").await;
    started.handle.commands.send(InstanceCommand::Kill(KillReason::Hung)).await.unwrap();
    assert_eq!(call.lost().await.exit, Exit::Hung);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kill_is_told_when_nothing_of_the_worker_is_left() {
    let started = start(misbehaving(json!({}))).await.unwrap();
    let enclosed = started.sandbox.enforces(Layer::Namespace);
    let all = descendants(std::process::id());
    assert_eq!(all.len(), if enclosed { 3 } else { 1 }, "{all:?}");
    started.handle.commands.send(InstanceCommand::Kill(KillReason::Stopped)).await.unwrap();
    exit_of(&started.handle).await;
    // Not even a remainder that somebody else would have to reap.
    let left: Vec<_> =
        all.iter().filter(|pid| std::path::Path::new(&format!("/proc/{pid}")).exists()).collect();
    assert!(left.is_empty(), "{left:?} of {all:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_whose_threads_are_all_blocked_is_hung() {
    let tuning = Tuning { heartbeat: Duration::from_millis(1200) };
    let started = start_with(&ProcessRuntime::new(worker(), tuning), misbehaving(json!({}))).await.unwrap();
    let mut call = say(&started.handle, "!block-all").await;
    assert_eq!(call.lost().await.exit, Exit::Hung);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancelled_call_ends_and_an_abandoned_one_is_forgotten() {
    let started = start(misbehaving(json!({}))).await.unwrap();
    let mut call = say(&started.handle, "!wait").await;
    assert!(matches!(call.next().await, CallOutput::Emitted { .. }));
    started.handle.commands.send(InstanceCommand::Cancel { call: call.id }).await.unwrap();
    assert_eq!(call.completed().await, Completion::Cancelled);

    let mut abandoned = say(&started.handle, "!late").await;
    started.handle.commands.send(InstanceCommand::Abandon { call: abandoned.id }).await.unwrap();
    assert!(abandoned.outputs.recv().await.is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lying_plugin_leaves_the_instance_well() {
    let started = start(misbehaving(json!({}))).await.unwrap();
    for lie in [
        "json",
        "empty",
        "kind",
        "utf8",
        "large",
        "foreign-emit",
        "foreign-complete",
        "completion-large",
        "twice",
        "after",
        "method",
        "log",
        "log-flood",
    ] {
        let (_, last) = say(&started.handle, &format!("!lie-{lie}")).await.ended().await;
        assert!(matches!(last, CallOutput::Completed(_)), "{lie}: {last:?}");
    }
    let echoed = say(&started.handle, "still here?").await.completed().await;
    assert!(matches!(echoed, Completion::Ok { .. }), "{echoed:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_plugin_prints_is_kept_for_the_report_and_cannot_act() {
    let started = start(misbehaving(json!({}))).await.unwrap();
    say(&started.handle, "!stderr").await.ended().await;
    let report = say(&started.handle, "!abort").await.lost().await;
    assert!(!report.stderr_tail.is_empty() && report.stderr_tail.len() <= 20);
    assert!(!report.stderr_tail.join("").contains(char::is_control));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_create_that_fails_says_how() {
    for (create, code) in [
        ("error", Code::PluginInitError),
        ("config", Code::PluginConfigInvalid),
        ("panic", Code::PluginInitPanicked),
        ("segv", Code::PluginInitCrashed),
        ("abort", Code::PluginInitCrashed),
        ("exit0", Code::PluginInitCrashed),
    ] {
        let fault = start(misbehaving(json!({"create": create}))).await.unwrap_err();
        assert_eq!((fault.stage, fault.code), (Stage::Init, code), "{create}: {}", fault.reason);
    }
    let crash = start(misbehaving(json!({"create": "segv"}))).await.unwrap_err();
    assert!(crash.reason.contains("SIGSEGV"), "{}", crash.reason);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_create_that_hangs_costs_its_deadline() {
    for create in ["sleep", "loop", "hang"] {
        let fault = start(impatient(misbehaving(json!({"create": create})))).await.unwrap_err();
        assert_eq!((fault.stage, fault.code), (Stage::Init, Code::PluginInitTimeout), "{}", fault.reason);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_probe_that_fails_is_told() {
    for probe in ["error", "panic", "segv"] {
        let fault = start(misbehaving(json!({"probe": probe}))).await.unwrap_err();
        assert_eq!((fault.stage, fault.code), (Stage::Probe, Code::PluginProbeFailed), "{}", fault.reason);
    }
    let fault = start(impatient(misbehaving(json!({"probe": "hang"})))).await.unwrap_err();
    assert_eq!(fault.code, Code::PluginProbeFailed);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_service_is_named() {
    let needy = PluginSpec { requires: vec!["llm".into()], ..spec(library("echo")) };
    let fault = start(needy.clone()).await.unwrap_err();
    assert_eq!((fault.stage, fault.code), (Stage::Dependencies, Code::PluginDependencyMissing));
    assert!(fault.reason.contains("llm"), "{}", fault.reason);
    let available: Arc<[String]> = Arc::from(["llm".to_owned()]);
    runtime().start(Arc::new(needy), Generation(1), available, Progress::unheard()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_kind_must_be_the_configured_one() {
    let wrong = PluginSpec { kind: PluginKind::Supervisor, ..spec(library("echo")) };
    let fault = start(wrong).await.unwrap_err();
    assert_eq!((fault.stage, fault.code), (Stage::Verify, Code::PluginConfigInvalid));
    assert!(fault.hint.contains("set `kind = \"agent\"`"), "{}", fault.hint);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drop_that_hangs_ends_with_the_grace() {
    let started = start(misbehaving(json!({"drop": "hang"}))).await.unwrap();
    let stop = InstanceCommand::Stop { grace: Duration::from_millis(100) };
    started.handle.commands.send(stop).await.unwrap();
    assert_eq!(exit_of(&started.handle).await.exit, Exit::Stopped);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_program_that_is_no_worker_is_a_failed_handshake() {
    let command = agent_host_runtime::WorkerCommand { program: "/bin/true".into(), args: Vec::new() };
    let runtime = ProcessRuntime::new(command, Tuning::default());
    let fault = start_with(&runtime, spec(library("echo"))).await.unwrap_err();
    assert_eq!((fault.stage, fault.code), (Stage::Load, Code::PluginHandshakeFailed));
}

#[tokio::test(flavor = "multi_thread")]
async fn this_program_is_the_one_that_runs() {
    // The test program lists its tests instead of becoming a worker: a failed handshake, with its words.
    let runtime =
        ProcessRuntime::new(agent_host_runtime::WorkerCommand::this_program("--list"), Tuning::default());
    let fault = start_with(&runtime, spec(library("echo"))).await.unwrap_err();
    assert_eq!(fault.code, Code::PluginHandshakeFailed);
    assert!(fault.reason.contains(" tests,"), "{}", fault.reason);
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_starts_at_once_do_not_wait_for_a_stuck_one() {
    let stuck = tokio::spawn(start(misbehaving(json!({"create": "sleep"}))));
    let starts = (0..10).map(|_| tokio::spawn(start(spec(library("echo")))));
    for started in starts.collect::<Vec<_>>() {
        started.await.unwrap().unwrap();
    }
    assert!(!stuck.is_finished());
    stuck.abort();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_library_that_is_replaced_while_it_runs_is_not_touched() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("mit Leerzeichen und Ümläut.so");
    std::fs::copy(library("echo"), &path).unwrap();
    let started = start(spec(&path)).await.unwrap();
    std::fs::write(&path, b"overwritten in place").unwrap();
    let (_, last) = say(&started.handle, "hello").await.ended().await;
    assert!(matches!(last, CallOutput::Completed(_)));
    assert_eq!(start(spec(&path)).await.unwrap_err().code, Code::PluginNotElf);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_takes_the_bytes_that_ran_until_the_file_is_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("echo.so");
    std::fs::copy(library("echo"), &path).unwrap();
    let (runtime, plugin) = (runtime(), spec(&path).id);
    let digest = start_with(&runtime, spec(&path)).await.unwrap().digest;
    std::fs::write(&path, b"no library any more").unwrap();
    assert_eq!(start_with(&runtime, spec(&path)).await.unwrap().digest, digest);

    // What an operator orders is refused, and the next restart still has what ran.
    runtime.reread(&plugin);
    assert_eq!(start_with(&runtime, spec(&path)).await.unwrap_err().code, Code::PluginNotElf);
    assert_eq!(start_with(&runtime, spec(&path)).await.unwrap().digest, digest);

    std::fs::copy(library("misbehaving"), &path).unwrap();
    runtime.reread(&plugin);
    let next = start_with(&runtime, spec(&path)).await.unwrap().digest;
    assert_ne!(next, digest);
    // Bytes that were judged under another order are judged again.
    let pinned = PluginSpec { sha256: Some(digest), ..spec(&path) };
    assert_eq!(start_with(&runtime, pinned).await.unwrap_err().code, Code::PluginDigestMismatch);
    assert_eq!(start_with(&runtime, spec(&path)).await.unwrap().digest, next);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_becomes_another_is_seen_once_it_has_settled() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("echo.so");
    std::fs::copy(library("echo"), &path).unwrap();
    let (runtime, plugin) = (runtime(), Arc::new(spec(&path)));
    assert_eq!(runtime.look(Arc::clone(&plugin)).await, None, "it was never started");
    start_with(&runtime, spec(&path)).await.unwrap();
    let looks = async || [runtime.look(Arc::clone(&plugin)).await, runtime.look(Arc::clone(&plugin)).await];
    assert_eq!(looks().await, [None, None]);

    std::fs::remove_file(&path).unwrap();
    let [None, Some(Seen::Candidate(gone))] = looks().await else { panic!("its removal is seen") };
    assert_eq!((gone.digest, gone.fault.unwrap().code), (None, Code::PluginNotFound));
    assert_eq!(looks().await, [None, None], "it is told once");

    std::fs::copy(library("misbehaving"), &path).unwrap();
    let [None, Some(Seen::Candidate(other))] = looks().await else { panic!("another library is seen") };
    assert_eq!((other.digest.map(|it| it.len()), other.fault), (Some(64), None));

    std::fs::copy(library("echo"), &path).unwrap();
    assert_eq!(looks().await, [None, Some(Seen::Same)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn each_plugin_works_in_its_own_folder() {
    let folder = tempfile::tempdir().unwrap();
    let own = folder.path().join("plugins/slot");
    let with_folder = PluginSpec { data_dir: Some(own.clone()), ..spec(library("echo")) };
    let _started = start(with_folder).await.unwrap();
    let pids = workers(std::process::id());
    assert!(own.is_dir());
    let works_there =
        pids.iter().any(|pid| std::fs::read_link(format!("/proc/{pid}/cwd")).is_ok_and(|cwd| cwd == own));
    assert!(works_there);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_inherits_neither_environment_nor_descriptors() {
    let folder = tempfile::tempdir().unwrap();
    let secret = std::fs::File::create(folder.path().join("secret")).unwrap();
    // A descriptor that the host forgot to close on exec.
    rustix::io::fcntl_setfd(&secret, rustix::io::FdFlags::empty()).unwrap();
    let own = folder.path().join("own");
    let _started = start(PluginSpec { data_dir: Some(own.clone()), ..spec(library("echo")) }).await.unwrap();
    let works_there = |pid: &u32| std::fs::read_link(format!("/proc/{pid}/cwd")).is_ok_and(|cwd| cwd == own);
    let pid = workers(std::process::id()).into_iter().find(works_there).unwrap();
    let open = std::fs::read_dir(format!("/proc/{pid}/fd")).unwrap().flatten();
    let open = open.filter_map(|fd| std::fs::read_link(fd.path()).ok()).collect::<Vec<_>>();
    assert!(!open.iter().any(|target| target.ends_with("secret")), "{open:?}");
    let environment = std::fs::read(format!("/proc/{pid}/environ")).unwrap();
    let environment = String::from_utf8_lossy(&environment).into_owned();
    let named = environment.split('\0').filter(|entry| !entry.is_empty()).collect::<Vec<_>>();
    assert!(named.iter().all(|e| e.starts_with("TMPDIR=") || e.starts_with("HOME=")), "{named:?}");
}

/// A host that starts one plugin and waits: run by the tests below as a process of its own.
#[test]
#[ignore = "a part of other tests"]
fn host_of_one_plugin() {
    let threads = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    threads.block_on(async {
        let _started = start(misbehaving(json!({}))).await.unwrap();
        println!("\nworkers: {:?}", workers(std::process::id()));
        std::future::pending::<()>().await;
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn workers_end_with_their_host() {
    library("misbehaving");
    let mut host = Command::new(std::env::current_exe().unwrap())
        .args(["--ignored", "--exact", "worker::host_of_one_plugin", "--nocapture"])
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let lines = BufReader::new(host.stdout.take().unwrap()).lines();
    let line = lines.map_while(Result::ok).find(|line| line.starts_with("workers: ")).unwrap();
    let worker = line.trim_start_matches("workers: [").trim_end_matches(']').parse::<u32>().unwrap();
    assert!(std::path::Path::new(&format!("/proc/{worker}")).exists());
    host.kill().unwrap();
    host.wait().unwrap();
    eventually("the worker ends with its host", || {
        let state = std::fs::read_to_string(format!("/proc/{worker}/stat")).unwrap_or_default();
        // Gone, or dead and waiting for init to reap it.
        state.rsplit_once(')').is_none_or(|(_, rest)| rest.trim_start().starts_with('Z'))
    })
    .await;
}
