//! Warm spares: who serves when the one that served dies.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, Ordering::Relaxed},
    },
    time::Duration,
};

use agent_host_core::{
    outcome::Exit,
    ports::instance::{Fault, Stage},
};
use agent_plugin_protocol::{Code, Generation, PluginId};
use tokio::time::Instant;

use super::{
    fake::{FakeRuntime, Script, echo},
    host::{Host, message, plugin},
};
use crate::{PluginOrder, settings::PluginSettings, view::SparesView};

fn spared() -> PluginSettings {
    PluginSettings { spares: 1, ..plugin("echo") }
}

/// Starts take a second, those after the first.
fn slow(generation: Generation) -> agent_host_core::ports::BoxFuture<'static, Result<Script, Fault>> {
    Box::pin(async move {
        if generation.0 > 1 {
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        Ok(echo())
    })
}

fn spares(host: &Host) -> SparesView {
    host.engine.plugins()[0].spares.clone()
}

async fn ready(host: &Host) {
    for _ in 0..10_000 {
        if spares(host).ready > 0 {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("no spare: {:?}", spares(host));
}

#[tokio::test(start_paused = true)]
async fn a_spare_serves_at_once_and_the_next_one_is_loaded() {
    let host = Host::new(vec![spared()], FakeRuntime::default().starting("echo", slow));
    ready(&host).await;
    assert_eq!(host.client("ann").ask(message("m0", "hi")).await.last["responder"]["generation"], 1);
    let died = Instant::now();
    host.kill("echo#1", Exit::Signal(11));
    host.until(|status| status.plugins[0].generation.0 == 2 && status.plugins[0].state == "healthy").await;
    assert_eq!(died.elapsed(), Duration::ZERO, "nothing was waited for");
    assert_eq!(host.client("ann").ask(message("m1", "hi")).await.last["responder"]["generation"], 2);
    ready(&host).await;
    assert_eq!(spares(&host), SparesView { wanted: 1, ready: 1, fault: None });
    assert_eq!(host.engine.plugins()[0].view.restarts, 1);
}

#[tokio::test(start_paused = true)]
async fn a_run_that_its_plugins_crash_lost_is_tried_on_the_spare() {
    use super::fake::{Step, script};
    let runtime = FakeRuntime::default().starting("echo", |generation| {
        Box::pin(
            async move { Ok(if generation.0 == 1 { script([Step::Die(Exit::Signal(11))]) } else { echo() }) },
        )
    });
    let host = Host::new(vec![spared()], runtime);
    ready(&host).await;
    let seen = host.client("ann").ask(message("m0", "hi")).await;
    assert_eq!((&seen.last["status"], &seen.last["responder"]["generation"]), (&"ok".into(), &2.into()));
}

/// The one that serves dies while its spare is still being loaded: that start is the restart.
#[tokio::test(start_paused = true)]
async fn a_spare_that_is_being_loaded_becomes_the_next_generation() {
    let host = Host::new(vec![spared()], FakeRuntime::default().starting("echo", slow));
    host.until(|status| status.plugins[0].state == "healthy").await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    let died = Instant::now();
    host.kill("echo#1", Exit::Signal(11));
    host.until(|status| status.plugins[0].generation.0 == 2 && status.plugins[0].state == "healthy").await;
    assert_eq!(died.elapsed(), Duration::from_millis(500), "the rest of the start that was under way");
}

#[tokio::test(start_paused = true)]
async fn a_crash_loop_is_quarantined_with_spares_as_without() {
    let host = Host::new(vec![spared()], FakeRuntime::default().with("echo", echo()));
    let mut deaths = 0;
    while host.engine.plugins()[0].view.state != "quarantined" {
        deaths += 1;
        assert!(deaths <= 4, "the budget is 3");
        host.until(|status| status.plugins[0].state == "healthy").await;
        let generation = host.engine.plugins()[0].view.generation;
        host.kill(&format!("echo#{generation}"), Exit::Signal(11));
        host.until(|status| {
            status.plugins[0].state == "quarantined" || status.plugins[0].generation > generation
        })
        .await;
    }
    assert_eq!(deaths, 4);
    tokio::time::sleep(Duration::from_secs(300)).await;
    assert_eq!(spares(&host).ready, 0, "who is left alone has no spare");
    assert_eq!(host.living(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_spare_that_cannot_be_had_is_no_hot_loop_and_the_plugin_serves() {
    let starts = Arc::new(AtomicU32::new(0));
    let counted = starts.clone();
    let runtime = FakeRuntime::default().starting("echo", move |generation| {
        counted.fetch_add(1, Relaxed);
        Box::pin(async move {
            match generation.0 {
                1 => Ok(echo()),
                _ => Err(Fault::new(Stage::Init, Code::PluginInitError, "only one at a time")),
            }
        })
    });
    let host = Host::new(vec![spared()], runtime);
    host.until(|status| status.plugins[0].state == "healthy").await;
    tokio::time::sleep(Duration::from_secs(600)).await;
    let starts = starts.load(Relaxed);
    assert!((4..=60).contains(&starts), "{starts} starts in ten minutes; the budget is 3 a minute");
    assert_eq!(spares(&host).fault.unwrap().code, Code::PluginInitError);
    assert_eq!(host.engine.status().plugins[0].state, "healthy");
    assert_eq!(host.client("ann").ask(message("m0", "hi")).await.agent, "echo");
}

#[tokio::test(start_paused = true)]
async fn an_idle_spare_that_dies_is_replaced_and_costs_the_serving_one_nothing() {
    let host = Host::new(vec![spared()], FakeRuntime::default().with("echo", echo()));
    ready(&host).await;
    host.kill("echo#2", Exit::Memory);
    host.gone("echo#2").await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    ready(&host).await;
    assert_eq!(host.living(), 2);
    let detail = &host.engine.plugins()[0];
    assert_eq!((detail.view.generation.0, detail.restarts.used, detail.view.restarts), (1, 0, 0));
    assert!(detail.last_crash.is_none());
}

#[tokio::test(start_paused = true)]
async fn a_reload_replaces_the_spare_too() {
    let host = Host::new(vec![spared()], FakeRuntime::default().with("echo", echo()));
    ready(&host).await;
    host.engine.control(&PluginId::new("echo").unwrap(), PluginOrder::Reload).await.unwrap();
    host.gone("echo#1").await;
    host.gone("echo#2").await;
    ready(&host).await;
    assert_eq!(host.living(), 2);
    host.kill("echo#3", Exit::Signal(9));
    host.until(|status| status.plugins[0].generation.0 == 4 && status.plugins[0].state == "healthy").await;
}

#[tokio::test(start_paused = true)]
async fn disabling_and_draining_leave_no_spare_behind() {
    let host = Host::new(vec![spared()], FakeRuntime::default().starting("echo", slow));
    ready(&host).await;
    host.engine.control(&PluginId::new("echo").unwrap(), PluginOrder::Disable).await.unwrap();
    host.gone("echo#2").await;
    host.engine.control(&PluginId::new("echo").unwrap(), PluginOrder::Enable).await.unwrap();
    // Its spare is still being loaded when the host goes away.
    host.engine.drain(Duration::from_secs(5)).await;
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert_eq!(host.living(), 0);
}

#[tokio::test(start_paused = true)]
async fn without_a_wish_for_one_there_is_none() {
    let started = Arc::new(AtomicBool::new(false));
    let seen = started.clone();
    let runtime = FakeRuntime::default().starting("echo", move |generation| {
        seen.fetch_or(generation.0 > 1, Relaxed);
        Box::pin(async { Ok(echo()) })
    });
    let host = Host::new(vec![plugin("echo")], runtime);
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert!(!started.load(Relaxed));
    assert_eq!(spares(&host), SparesView { wanted: 0, ready: 0, fault: None });
}
