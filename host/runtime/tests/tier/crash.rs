//! What is known of a worker that crashed: signal, address, call, thread, and the way there.

use std::{sync::Arc, time::Duration};

use agent_host_core::{
    crash::{CrashReport, CrashedCall, During, Frame},
    outcome::{Exit, ExitReport},
    ports::instance::Stage,
};
use agent_plugin_protocol::Code;
use serde_json::json;

use crate::support::{Call, PATIENCE, misbehaving, say, start};

/// Lets a plugin crash in a call, and answers what was told of it.
async fn crashed(switch: &str) -> (Call, Arc<ExitReport>) {
    let started = start(misbehaving(json!({}))).await.unwrap();
    let mut call = say(&started.handle, switch).await;
    let report = call.lost().await;
    (call, report)
}

fn told(report: &ExitReport) -> &CrashReport {
    report.crash.as_ref().unwrap_or_else(|| panic!("nothing was told: {report:?}"))
}

/// The frames, once they are found out.
async fn frames(crash: &CrashReport) -> Vec<Frame> {
    let found = async {
        loop {
            match crash.backtrace.found() {
                Some(found) => return found.expect("there are frames").to_vec(),
                None => tokio::time::sleep(Duration::from_millis(5)).await,
            }
        }
    };
    tokio::time::timeout(PATIENCE, found).await.expect("a backtrace is found out")
}

/// The deed itself, below what the compiler put into it.
async fn begins_in_segv(crash: &CrashReport) {
    let names = names(&frames(crash).await);
    assert!(names.iter().take(4).any(|name| name.contains("misbehaving::deeds::segv")), "{names:#?}");
}

fn names(frames: &[Frame]) -> Vec<String> {
    frames.iter().map(ToString::to_string).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crash_tells_signal_address_call_thread_and_the_way_there() {
    let (call, report) = crashed("!segv").await;
    let crash = told(&report);
    assert_eq!((crash.signal, crash.address, crash.stack_overflow), (11, Some(0x1000), false));
    let handle = CrashedCall { call: call.id, method: Some("handle"), run: Some(call.run.clone()) };
    assert_eq!(crash.during, During::Call(handle));
    assert_eq!(crash.thread, "slot");
    assert!(crash.open.is_empty(), "{crash:?}");
    let frames = frames(crash).await;
    // What is put into it lies above it.
    let own = |frame: &&Frame| frame.symbol.as_deref() == Some("misbehaving::deeds::segv");
    let top = frames.iter().take(4).find(own).unwrap_or_else(|| panic!("{frames:#?}"));
    assert!(top.module.contains("misbehaving") && top.offset > 0, "{top:?}");
    assert!(top.file.as_deref().is_some_and(|file| file.ends_with("deeds.rs")), "{top:?}");
    assert!(top.line.is_some_and(|line| line > 0), "{top:?}");
    let names = names(&frames);
    // Down to the thread's beginning, past the author's code and the runtime.
    assert!(names.iter().any(|name| name.contains("misbehaving::handle")), "{names:#?}");
    assert!(names.iter().any(|name| name.contains("tokio::runtime")), "{names:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn each_signal_is_told_as_what_it_was() {
    for (switch, signal, addressed, place) in [
        ("!crash-bus", 7, true, "misbehaving::signals::bus"),
        ("!crash-ill", 4, true, "misbehaving::signals::ill"),
        ("!crash-fpe", 8, true, "misbehaving::signals::fpe"),
        ("!crash-trap", 5, false, "misbehaving::signals::trap"),
        ("!crash-null-call", 11, true, "misbehaving::signals::null_call"),
        ("!abort", 6, false, "misbehaving::handle"),
        ("!crash-double-panic", 6, false, "misbehaving::signals::double_panic"),
    ] {
        let (call, report) = crashed(switch).await;
        assert_eq!(report.exit, Exit::Signal(signal), "{switch}: {report:?}");
        let crash = told(&report);
        assert_eq!((crash.signal, crash.address.is_some()), (signal, addressed), "{switch}: {crash:?}");
        assert!(!crash.stack_overflow, "{switch}: {crash:?}");
        assert!(matches!(&crash.during, During::Call(it) if it.call == call.id), "{switch}: {crash:?}");
        let names = names(&frames(crash).await);
        assert!(names.iter().any(|name| name.contains(place)), "{switch}: {names:#?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stack_overflow_is_named_as_one() {
    let (call, report) = crashed("!stackoverflow").await;
    assert_eq!(report.exit, Exit::Signal(11), "{report:?}");
    let crash = told(&report);
    assert!(crash.stack_overflow, "{crash:?}");
    assert!(matches!(&crash.during, During::Call(it) if it.call == call.id), "{crash:?}");
    let names = names(&frames(crash).await);
    let recursing = names.iter().filter(|name| name.contains("misbehaving::deeds::overflow")).count();
    assert!(recursing >= 5, "{names:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crash_outside_of_the_calls_own_code_blames_none_and_names_the_open_one() {
    for (switch, thread) in [("!crash-task", "slot"), ("!crash-thread", "own")] {
        let (call, report) = crashed(switch).await;
        let crash = told(&report);
        assert_eq!((&crash.during, crash.thread.as_str()), (&During::Elsewhere, thread), "{switch}");
        let open = CrashedCall { call: call.id, method: Some("handle"), run: Some(call.run.clone()) };
        assert_eq!(crash.open, [open], "{switch}: {crash:?}");
        begins_in_segv(crash).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn only_the_call_that_was_executed_is_blamed() {
    let started = start(misbehaving(json!({}))).await.unwrap();
    let mut waiting = say(&started.handle, "!wait").await;
    waiting.next().await;
    let mut call = say(&started.handle, "!segv").await;
    let report = call.lost().await;
    let crash = told(&report);
    assert!(matches!(&crash.during, During::Call(it) if it.call == call.id), "{crash:?}");
    assert_eq!(crash.open.iter().map(|it| it.call).collect::<Vec<_>>(), [waiting.id]);
}

#[tokio::test(flavor = "multi_thread")]
async fn tampering_costs_the_report_at_most_and_never_the_truth_of_the_end() {
    // The plugin's own action stands, and a thread without a stack for handlers has none: the signal alone is known.
    for switch in ["!crash-own-handler", "!crash-no-altstack", "!crash-thread-overflow"] {
        let (_, report) = crashed(switch).await;
        assert_eq!(report.exit, Exit::Signal(11), "{switch}");
        assert_eq!(report.crash, None, "{switch}");
    }
    // Without descriptors the stack cannot be copied; the rest is told.
    let (_, report) = crashed("!crash-closed").await;
    assert_eq!((report.exit.clone(), told(&report).address), (Exit::Signal(11), Some(0x1000)));
    begins_in_segv(told(&report)).await;
    // Where it closes the worker's socket and lives on, the worker cannot speak any more, and says that on its way out.
    let (_, report) = crashed("!crash-close-socket").await;
    assert_eq!((&report.exit, &report.crash), (&Exit::Status(76), &None));
    let said = report.stderr_tail.iter().any(|line| line.contains("closed descriptors that are not its own"));
    assert!(said, "{report:?}");
    // What a child of it did is not told as its own.
    let (_, report) = crashed("!crash-forked").await;
    assert_eq!((report.exit.clone(), told(&report).signal), (Exit::Signal(6), 6));
    // One of many that crash at once is told, whole.
    let (_, report) = crashed("!crash-many").await;
    assert_eq!((report.exit.clone(), told(&report).address), (Exit::Signal(11), Some(0x1000)));
    begins_in_segv(told(&report)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_end_that_is_no_crash_has_no_report_of_one() {
    for switch in ["!exit0", "!exit1", "!memory"] {
        let (_, report) = crashed(switch).await;
        let aborted_for_memory = report.exit == Exit::Memory;
        assert_eq!(report.crash.is_some(), aborted_for_memory, "{switch}: {report:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crash_in_create_says_so() {
    let fault = start(misbehaving(json!({"create": "segv"}))).await.unwrap_err();
    assert_eq!((fault.stage, fault.code), (Stage::Init, Code::PluginInitCrashed));
    assert!(fault.reason.contains("SIGSEGV at 0x1000 in create"), "{}", fault.reason);
}
