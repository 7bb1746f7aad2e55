//! After many crashes the host has as many descriptors and children as before. Run in a process of its own, to count them.

use crate::support::{alone, children, eventually, misbehaving, say, start};
use agent_host_core::outcome::Exit;
use serde_json::json;

fn descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").unwrap().count()
}

#[test]
fn fifty_crashes_and_given_up_starts_leave_nothing() {
    let (passed, said) = alone("leaks::fifty_crashes_alone", "");
    assert!(passed, "{said}");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "a part of the test above"]
async fn fifty_crashes_alone() {
    // Once for what is made once: the spawning thread, the blocking pool.
    crash().await;
    let before = descriptors();
    for round in 0..50 {
        crash().await;
        if round % 5 == 0 {
            let given_up = tokio::spawn(start(misbehaving(json!({"create": "sleep"}))));
            eventually("the worker is there", || !children(std::process::id()).is_empty()).await;
            given_up.abort();
        }
    }
    let own = std::process::id();
    eventually("every child is reaped", || children(own).is_empty()).await;
    eventually("every descriptor is closed", || descriptors() <= before).await;
}

async fn crash() {
    let started = start(misbehaving(json!({}))).await.unwrap();
    let report = say(&started.handle, "!segv").await.lost().await;
    assert_eq!(report.exit, Exit::Signal(11));
}
