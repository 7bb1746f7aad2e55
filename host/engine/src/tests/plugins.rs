//! The life of the plugins, and what is told of it.

use std::{sync::atomic::Ordering::Relaxed, time::Duration};

use agent_host_core::{
    level::ServiceLevel,
    outcome::Exit,
    ports::{
        BoxFuture,
        instance::{Fault, Stage},
    },
};
use agent_plugin_protocol::{Code, Generation};

use super::{
    fake::{FakeRuntime, Script, echo},
    host::{Host, message, plugin},
};
use crate::Outgoing;

/// A plugin that cannot be loaded, and will not be mended by another try.
pub(super) fn failing(
    _id: &str,
) -> impl Fn(Generation) -> BoxFuture<'static, Result<Script, Fault>> + Send + Sync {
    |_| {
        Box::pin(async {
            Err(Fault::new(Stage::Verify, Code::PluginNotFound, "/secret/path.so is not there"))
        })
    }
}

#[tokio::test(start_paused = true)]
async fn a_plugin_that_cannot_load_costs_only_itself_and_its_path_is_not_told() {
    let runtime = FakeRuntime::default().with("echo", echo()).starting("broken", failing("broken"));
    let host = Host::new(vec![plugin("broken"), plugin("echo")], runtime);
    host.level(ServiceLevel::Partial).await;
    let status = host.engine.status();
    let missing = &status.missing[0];
    assert_eq!(
        (missing.name.as_str(), missing.kind, missing.code),
        ("broken", "agent", Code::PluginNotFound)
    );
    assert!(!missing.reason.contains("/secret"));
    let view = &status.plugins[0];
    assert_eq!((view.verdict, view.state, view.served_by.as_deref()), ("failed", "failed", Some("echo")));
    assert!(view.fault.as_ref().unwrap().reason.contains("/secret"), "operators see it");
}

#[tokio::test(start_paused = true)]
async fn a_stuck_start_costs_only_its_own_deadline() {
    let stuck = |_| -> BoxFuture<'static, Result<Script, Fault>> { Box::pin(std::future::pending()) };
    let runtime = FakeRuntime::default().with("echo", echo()).starting("stuck", stuck);
    let host = Host::new(vec![plugin("stuck"), plugin("echo")], runtime);
    host.until(|status| status.plugins[1].state == "healthy").await;
    assert_eq!(host.client("ann").ask(message("m1", "hi")).await.agent, "echo");
    host.level(ServiceLevel::Partial).await;
    assert_eq!(host.engine.status().plugins[0].fault.as_ref().unwrap().code, Code::PluginLoadTimeout);
}

#[tokio::test(start_paused = true)]
async fn a_disabled_plugin_is_shown_and_not_loaded() {
    let mut off = plugin("off");
    off.enabled = false;
    let host = Host::new(vec![off, plugin("echo")], FakeRuntime::default().with("echo", echo()));
    host.level(ServiceLevel::Full).await;
    let status = host.engine.status();
    assert_eq!((status.plugins[0].verdict, status.plugins[0].generation.0), ("disabled", 0));
}

#[tokio::test(start_paused = true)]
async fn a_tier_that_this_host_lacks_is_a_fault_that_says_so() {
    let mut trusted = plugin("trusted");
    let mut spec = (*trusted.spec).clone();
    spec.isolation = agent_host_core::ports::instance::Isolation::InProcess;
    trusted.spec = std::sync::Arc::new(spec);
    let host = Host::new(vec![trusted], FakeRuntime::default());
    host.level(ServiceLevel::Fallback).await;
    assert_eq!(host.engine.status().plugins[0].fault.as_ref().unwrap().code, Code::PluginSandboxUnavailable);
}

#[tokio::test(start_paused = true)]
async fn a_plugin_that_died_is_restarted_at_once_and_quarantined_when_it_keeps_dying() {
    let host = Host::healthy(&["echo"], FakeRuntime::default().with("echo", echo())).await;
    for generation in 2..=4 {
        host.kill("echo", Exit::Signal(9));
        host.until(|status| {
            status.plugins[0].generation.0 == generation && status.plugins[0].state == "healthy"
        })
        .await;
        assert_eq!(host.client("ann").ask(message(&format!("m{generation}"), "hi")).await.agent, "echo");
    }
    host.kill("echo", Exit::Signal(9));
    host.until(|status| status.plugins[0].state == "quarantined").await;
    let status = host.engine.status();
    assert_eq!((status.level, status.missing[0].code), (ServiceLevel::Fallback, Code::PluginQuarantined));
    assert_eq!(status.plugins[0].restarts, 3);
    assert_eq!(host.client("ann").ask(message("m9", "hi")).await.agent, "fallback");
}

#[tokio::test(start_paused = true)]
async fn a_plugin_that_does_not_answer_its_probe_is_degraded_until_it_does() {
    let script = echo();
    let deaf = script.deaf.clone();
    let host = Host::healthy(&["echo"], FakeRuntime::default().with("echo", script)).await;
    deaf.store(true, Relaxed);
    host.until(|status| status.plugins[0].state == "degraded").await;
    assert_eq!(host.engine.status().missing[0].code, Code::PluginProbeFailed);
    assert_eq!(host.client("ann").ask(message("m1", "hi")).await.agent, "fallback");
    tokio::time::sleep(Duration::from_secs(600)).await;
    let history = host.engine.plugins()[0].history.clone();
    let told: Vec<_> = history.iter().map(|change| change.to).collect();
    assert_eq!(told, ["healthy", "degraded"], "the change is told, not each self-test");
    deaf.store(false, Relaxed);
    host.level(ServiceLevel::Full).await;
    assert_eq!(host.client("ann").ask(message("m2", "hi")).await.agent, "echo");
}

#[tokio::test(start_paused = true)]
async fn clients_are_told_of_a_level_that_held_and_not_of_one_that_passed() {
    let host = Host::healthy(&["echo"], FakeRuntime::default().with("echo", echo())).await;
    tokio::time::sleep(Duration::from_secs(3)).await;
    let mut client = host.client("ann");
    host.kill("echo", Exit::Signal(9));
    host.until(|status| status.plugins[0].generation.0 == 2 && status.plugins[0].state == "healthy").await;
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert!(client.session.try_next().is_none(), "it was back before the settling time was over");
    for generation in 3..=5 {
        host.kill("echo", Exit::Signal(9));
        host.until(|status| {
            let echo = &status.plugins[0];
            echo.state == "quarantined" || (echo.generation.0 == generation && echo.state == "healthy")
        })
        .await;
    }
    host.until(|status| status.plugins[0].state == "quarantined").await;
    tokio::time::sleep(Duration::from_secs(3)).await;
    let Some(Outgoing::Status { status, changed }) = client.session.try_next() else { panic!("told") };
    assert_eq!((status.level, changed), (ServiceLevel::Fallback, vec!["echo".to_owned()]));
    assert!(client.session.try_next().is_none());
}
