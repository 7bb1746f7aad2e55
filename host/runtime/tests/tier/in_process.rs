//! The same libraries by one word of configuration: what holds in both tiers, and what the tier of this process promises.

use std::{fs, path::Path, time::Duration};

use agent_host_core::{
    isolation::Enforcement,
    outcome::Exit,
    ports::instance::{
        CallOutput, InstanceCommand, Isolation, KillReason, PluginRuntime, PluginSpec, Stage, Timeouts,
    },
    ports::progress::Progress,
};
use agent_host_runtime::Tuning;
use agent_plugin_protocol::{Code, Generation, call::Completion};
use serde_json::json;

use crate::support::{
    alone, c_descriptor, c_library, children, eventually, exit_of, in_process, in_process_with, library,
    misbehaving, say, spec, start, start_with, trusted,
};

/// The same plugin in a worker and in this process.
fn both(spec: PluginSpec) -> [PluginSpec; 2] {
    let trusted = trusted(spec.clone());
    [spec, trusted]
}

fn impatient(spec: PluginSpec) -> PluginSpec {
    let timeouts = Timeouts { init: Duration::from_secs(4), ..spec.timeouts };
    PluginSpec { timeouts, ..spec }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_good_plugin_answers_and_ends_in_order_in_both_tiers() {
    for spec in both(spec(library("echo"))) {
        let isolation = spec.isolation;
        let started = start(spec).await.unwrap();
        assert_eq!(started.handle.isolation, isolation);
        let (events, last) = say(&started.handle, "hello there").await.ended().await;
        assert!(events >= 2, "{events} events");
        assert!(matches!(last, CallOutput::Completed(_)), "{last:?}");
        let stop = InstanceCommand::Stop { grace: Duration::from_secs(20) };
        started.handle.commands.send(stop).await.unwrap();
        assert_eq!(exit_of(&started.handle).await.exit, Exit::Stopped);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn in_process_is_said_to_be_without_the_sandbox() {
    let started = start(trusted(spec(library("echo")))).await.unwrap();
    assert!(started.sandbox.iter().count() >= 8);
    assert!(started.sandbox.iter().all(|(_, it)| it.state == Enforcement::Off), "{:?}", started.sandbox);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_create_that_fails_is_the_same_fault_in_both_tiers() {
    for (create, code) in [
        ("error", Code::PluginInitError),
        ("config", Code::PluginConfigInvalid),
        ("panic", Code::PluginInitPanicked),
        ("panic-drop", Code::PluginInitPanicked),
        ("segv", Code::PluginInitCrashed),
        ("abort", Code::PluginInitCrashed),
        ("exit0", Code::PluginInitCrashed),
        ("sleep", Code::PluginInitTimeout),
        ("loop", Code::PluginInitTimeout),
    ] {
        for spec in both(impatient(misbehaving(json!({"create": create})))) {
            let tier = spec.isolation.as_str();
            let fault = start(spec).await.unwrap_err();
            assert_eq!((fault.stage, fault.code), (Stage::Init, code), "{create}, {tier}: {}", fault.reason);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_probe_that_fails_is_the_same_fault_in_both_tiers() {
    for probe in ["error", "panic", "segv", "hang"] {
        for spec in both(impatient(misbehaving(json!({"probe": probe})))) {
            let fault = start(spec).await.unwrap_err();
            assert_eq!(
                (fault.stage, fault.code),
                (Stage::Probe, Code::PluginProbeFailed),
                "{}",
                fault.reason
            );
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_panic_or_an_error_costs_its_call_in_both_tiers() {
    for spec in both(misbehaving(json!({}))) {
        let started = start(spec).await.unwrap();
        for switch in ["!panic", "!panic-drop"] {
            let panicked = say(&started.handle, switch).await.completed().await;
            assert!(matches!(panicked, Completion::Panicked { .. }), "{switch}: {panicked:?}");
        }
        let failed = say(&started.handle, "!error").await.completed().await;
        assert!(matches!(failed, Completion::Error { .. }), "{failed:?}");
        let echoed = say(&started.handle, "still here?").await.completed().await;
        assert!(matches!(echoed, Completion::Ok { .. }), "{echoed:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn lies_leave_the_instance_well_in_both_tiers() {
    for spec in both(misbehaving(json!({}))) {
        let started = start(spec).await.unwrap();
        for lie in [
            "json",
            "empty",
            "kind",
            "utf8",
            "large",
            "foreign-emit",
            "foreign-complete",
            "foreign-request",
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
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_events_or_requests_ends_the_generation_in_both_tiers() {
    for switch in ["!lie-credit", "!lie-request-flood"] {
        for spec in both(misbehaving(json!({}))) {
            let started = start(spec).await.unwrap();
            let mut call = say(&started.handle, switch).await;
            // As a consumer that gives no credit and answers nothing.
            let report = loop {
                match call.outputs.recv().await.unwrap().1 {
                    CallOutput::Lost(report) => break report,
                    CallOutput::Completed(_) => break exit_of(&started.handle).await,
                    CallOutput::Emitted { .. } | CallOutput::Request { .. } | CallOutput::Served(..) => {}
                    other => panic!("{other:?}"),
                }
            };
            assert_eq!(report.exit, Exit::Flood, "{switch}");
            assert_eq!(exit_of(&started.handle).await, report);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancelled_call_ends_and_an_abandoned_one_is_forgotten_in_both_tiers() {
    for spec in both(misbehaving(json!({}))) {
        let started = start(spec).await.unwrap();
        let mut call = say(&started.handle, "!wait").await;
        assert!(matches!(call.next().await, CallOutput::Emitted { .. }));
        started.handle.commands.send(InstanceCommand::Cancel { call: call.id }).await.unwrap();
        assert_eq!(call.completed().await, Completion::Cancelled);

        let mut abandoned = say(&started.handle, "!late").await;
        started.handle.commands.send(InstanceCommand::Abandon { call: abandoned.id }).await.unwrap();
        assert!(abandoned.outputs.recv().await.is_none());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drop_that_panics_or_hangs_does_not_hold_the_end_up_in_either_tier() {
    for drop in ["panic", "hang"] {
        for spec in both(misbehaving(json!({"drop": drop}))) {
            let started = start(spec).await.unwrap();
            let stop = InstanceCommand::Stop { grace: Duration::from_millis(300) };
            started.handle.commands.send(stop).await.unwrap();
            assert_eq!(exit_of(&started.handle).await.exit, Exit::Stopped, "{drop}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn blocked_threads_are_a_hang_and_the_next_generation_serves() {
    let runtime = in_process_with(Tuning { heartbeat: Duration::from_millis(1200) });
    let started = start_with(&runtime, trusted(misbehaving(json!({})))).await.unwrap();
    let mut call = say(&started.handle, "!block-all").await;
    assert_eq!(call.lost().await.exit, Exit::Hung);
    let next = start(trusted(misbehaving(json!({})))).await.unwrap();
    let echoed = say(&next.handle, "and now?").await.completed().await;
    assert!(matches!(echoed, Completion::Ok { .. }), "{echoed:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn open_calls_hear_of_a_kill_and_a_stop_once() {
    let started = start(trusted(misbehaving(json!({})))).await.unwrap();
    let mut calls = [say(&started.handle, "!hang").await, say(&started.handle, "!sleep").await];
    started.handle.commands.send(InstanceCommand::Kill(KillReason::Hung)).await.unwrap();
    for call in &mut calls {
        assert_eq!(call.lost().await.exit, Exit::Hung);
        assert!(call.outputs.recv().await.is_none());
    }
    let stopped = start(trusted(misbehaving(json!({})))).await.unwrap();
    let mut call = say(&stopped.handle, "!wait").await;
    assert!(matches!(call.next().await, CallOutput::Emitted { .. }));
    stopped.handle.commands.send(InstanceCommand::Stop { grace: Duration::from_secs(20) }).await.unwrap();
    assert!(matches!(call.ended().await.1, CallOutput::Completed(_) | CallOutput::Lost(_)));
    assert!(call.outputs.recv().await.is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_handle_that_nobody_holds_ends_its_instance() {
    let started = start(trusted(misbehaving(json!({})))).await.unwrap();
    let mut exit = started.handle.exit.clone();
    drop(started);
    let report = exit.wait_for(Option::is_some).await.unwrap().clone().unwrap();
    assert_eq!(report.exit, Exit::Stopped);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_pin_or_with_another_one_nothing_is_loaded() {
    let unpinned = PluginSpec { isolation: Isolation::InProcess, ..spec(library("echo")) };
    let fault = start(unpinned.clone()).await.unwrap_err();
    assert_eq!((fault.stage, fault.code), (Stage::Verify, Code::PluginSignatureMissing));
    let wrong = PluginSpec { sha256: Some("0".repeat(64)), ..unpinned };
    let fault = start(wrong).await.unwrap_err();
    assert_eq!((fault.stage, fault.code), (Stage::Verify, Code::PluginDigestMismatch));
}

#[tokio::test(flavor = "multi_thread")]
async fn each_tier_refuses_the_plugins_of_the_other() {
    let fault = start_with(&in_process(), spec(library("echo"))).await.unwrap_err();
    assert_eq!(fault.code, Code::PluginConfigInvalid);
    let fault = start_with(&crate::support::runtime(), trusted(spec(library("echo")))).await.unwrap_err();
    assert_eq!(fault.code, Code::PluginConfigInvalid);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_build_that_aborts_on_panic_is_refused_here_and_served_by_a_worker() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("aborting.so");
    fs::write(&path, aborting(fs::read(library("echo")).unwrap())).unwrap();
    let fault = start(trusted(spec(&path))).await.unwrap_err();
    assert_eq!((fault.stage, fault.code), (Stage::Verify, Code::PluginPanicAbort));
    assert!(fault.hint.contains("process"), "{}", fault.hint);
    start(spec(&path)).await.unwrap();
}

/// The library as a build with panic=abort describes itself: the byte after magic and version.
fn aborting(mut library: Vec<u8>) -> Vec<u8> {
    let head = b"AGNTPLG\x01\x01\x00\x00\x00\x00";
    let places: Vec<_> =
        (0..library.len() - head.len()).filter(|at| library[*at..].starts_with(head)).collect();
    assert!(!places.is_empty(), "a library of this workspace has a descriptor");
    for at in places {
        library[at + head.len() - 1] = 1;
    }
    library
}

#[tokio::test(flavor = "multi_thread")]
async fn a_constructor_that_crashes_or_hangs_meets_only_the_preflight() {
    let folder = tempfile::tempdir().unwrap();
    for (name, body, code) in [
        ("segv", "*(volatile int *)8 = 1;", Code::PluginLoadCrashed),
        ("abort", "abort();", Code::PluginLoadCrashed),
        ("exit", "exit(0);", Code::PluginLoadCrashed),
        ("hang", "for (;;) pause();", Code::PluginLoadTimeout),
    ] {
        let fault =
            start(impatient(trusted(spec(constructed(folder.path(), name, body))))).await.unwrap_err();
        assert_eq!((fault.stage, fault.code), (Stage::Load, code), "{name}: {}", fault.reason);
        assert!(fault.reason.contains("preflight"), "{}", fault.reason);
    }
}

fn constructed(folder: &Path, name: &str, body: &str) -> std::path::PathBuf {
    let source = format!(
        "#include <stdlib.h>\n#include <unistd.h>\n{}\n__attribute__((constructor)) static void begin(void) {{ {body} }}",
        c_descriptor()
    );
    c_library(folder, name, &source, &[])
}

#[tokio::test(flavor = "multi_thread")]
async fn two_slots_of_one_library_are_two() {
    let config = |handle: &str| trusted(misbehaving(json!({"handle": handle})));
    let (one, two) = tokio::join!(start(config("panic")), start(config("")));
    let (one, two) = (one.unwrap(), two.unwrap());
    let panicked = say(&one.handle, "hello").await.completed().await;
    assert!(matches!(panicked, Completion::Panicked { .. }), "{panicked:?}");
    let echoed = say(&two.handle, "hello").await.completed().await;
    assert!(matches!(echoed, Completion::Ok { .. }), "{echoed:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn another_file_under_the_same_path_is_the_next_generation() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("plugin.so");
    let runtime = in_process();
    fs::copy(library("misbehaving"), &path).unwrap();
    let first = start_with(&runtime, trusted(spec(&path))).await.unwrap();
    // In place, as `cp` does it: the running generation has a copy of its own.
    fs::copy(library("echo"), &path).unwrap();
    let again = runtime.start(trusted(spec(&path)).into(), Generation(2), [].into(), Progress::unheard());
    let second = again.await.unwrap();
    assert_eq!(second.handle.generation, Generation(2));
    assert_eq!(second.handle.descriptor.id.as_str(), "echo");
    let panicked = say(&first.handle, "!panic").await.completed().await;
    assert!(matches!(panicked, Completion::Panicked { .. }), "{panicked:?}");
    let echoed = say(&second.handle, "!panic").await.completed().await;
    assert!(matches!(echoed, Completion::Ok { .. }), "{echoed:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_service_is_named_by_the_preflight() {
    let needy = PluginSpec { requires: vec!["llm".into()], ..trusted(spec(library("echo"))) };
    let fault = start(needy).await.unwrap_err();
    assert_eq!((fault.stage, fault.code), (Stage::Dependencies, Code::PluginDependencyMissing));
}

#[test]
fn what_cannot_be_stopped_is_declared_gone() {
    let (passed, said) = alone("in_process::alone_a_flood_and_a_loop", "");
    assert!(passed, "{said}");
}

/// In a process of its own: the threads spin until it ends.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a part of the test above"]
async fn alone_a_flood_and_a_loop() {
    let flooding = start(trusted(misbehaving(json!({})))).await.unwrap();
    let mut call = say(&flooding.handle, "!flood").await;
    let report = loop {
        match call.outputs.recv().await.unwrap().1 {
            CallOutput::Lost(report) => break report,
            CallOutput::Emitted { .. } => {}
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(report.exit, Exit::Flood);
    let looping = start(trusted(misbehaving(json!({})))).await.unwrap();
    let mut call = say(&looping.handle, "!loop").await;
    looping.handle.commands.send(InstanceCommand::Kill(KillReason::Hung)).await.unwrap();
    assert_eq!(call.lost().await.exit, Exit::Hung);
    let well = start(trusted(spec(library("echo")))).await.unwrap();
    assert!(matches!(say(&well.handle, "hello").await.completed().await, Completion::Ok { .. }));
    eventually("the preflights' workers are gone", || children(std::process::id()).is_empty()).await;
}

/// Broken twins: without the preflight, the host meets what it protects from.
#[cfg(feature = "failpoints")]
mod without_preflight {
    use super::*;

    const HELD: &str = "every deadline held";
    const OFF: &str = "runtime.preflight=off";

    #[test]
    fn a_crashing_constructor_takes_the_host_down() {
        let (passed, said) = alone("in_process::without_preflight::alone_segv", OFF);
        assert!(!passed && !said.contains("test result"), "{said}");
        let (passed, said) = alone("in_process::without_preflight::alone_segv", "");
        assert!(passed, "{said}");
    }

    #[tokio::test(flavor = "multi_thread")]
    #[ignore = "a part of the test above"]
    async fn alone_segv() {
        let folder = tempfile::tempdir().unwrap();
        let path = constructed(folder.path(), "segv", "*(volatile int *)8 = 1;");
        start(trusted(spec(path))).await.unwrap_err();
    }

    #[test]
    fn a_hang_costs_its_deadline_and_its_thread() {
        let (_, said) = alone("in_process::without_preflight::alone_hangs", OFF);
        assert!(said.contains(HELD), "{said}");
    }

    #[tokio::test(flavor = "multi_thread")]
    #[ignore = "a part of the test above"]
    async fn alone_hangs() {
        let sleepy = impatient(trusted(misbehaving(json!({"create": "sleep"}))));
        let fault = start(sleepy).await.unwrap_err();
        assert_eq!((fault.stage, fault.code), (Stage::Init, Code::PluginInitTimeout), "{}", fault.reason);
        let folder = tempfile::tempdir().unwrap();
        let path = constructed(folder.path(), "hang", "for (;;) pause();");
        let fault = start(impatient(trusted(spec(path)))).await.unwrap_err();
        assert_eq!((fault.stage, fault.code), (Stage::Load, Code::PluginLoadTimeout), "{}", fault.reason);
        // The dynamic loader is held by the hung initialiser: a further load is not even begun.
        let fault = start(trusted(spec(library("echo")))).await.unwrap_err();
        assert_eq!((fault.stage, fault.code), (Stage::Load, Code::PluginLoadTimeout), "{}", fault.reason);
        println!("{HELD}");
        // Not by `exit`, which waits for the dynamic loader too.
        std::process::abort();
    }
}
