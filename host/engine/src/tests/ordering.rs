//! What operators order, and that it is so when they are answered.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::Duration,
};

use agent_host_core::{
    level::ServiceLevel,
    outcome::Exit,
    ports::instance::{Fault, Stage},
};
use agent_plugin_protocol::{Code, EventKind, PluginId};

use super::{
    fake::{FakeRuntime, Step, echo, script},
    host::{Host, message, plugin},
};
use crate::{
    ControlError, PluginOrder,
    view::{PluginDetail, StateChange},
};

async fn order(host: &Host, id: &str, order: PluginOrder) -> Result<PluginDetail, ControlError> {
    host.engine.control(&PluginId::new(id).unwrap(), order).await
}

fn states(history: &[StateChange]) -> Vec<(&str, &str)> {
    history.iter().map(|change| (change.from, change.to)).collect()
}

async fn one() -> Host {
    Host::healthy(&["echo"], FakeRuntime::default().with("echo", echo())).await
}

/// A plugin that works for a second.
async fn busy() -> Host {
    let steps = [Step::Think("on it"), Step::Sleep(Duration::from_secs(1)), Step::Reply("done")];
    Host::healthy(&["echo"], FakeRuntime::default().with("echo", script(steps))).await
}

#[tokio::test(start_paused = true)]
async fn disabled_it_is_unloaded_and_enabled_it_serves_as_the_next_generation() {
    let host = one().await;
    let off = order(&host, "echo", PluginOrder::Disable).await.unwrap();
    assert_eq!((off.view.verdict, off.view.state), ("disabled", "disabled"));
    assert_eq!(host.client("ann").ask(message("m1", "hi")).await.agent, "fallback");
    let again = order(&host, "echo", PluginOrder::Disable).await.unwrap();
    assert_eq!(again.view.state, "disabled");
    let on = order(&host, "echo", PluginOrder::Enable).await.unwrap();
    assert_eq!((on.view.state, on.view.generation.0), ("healthy", 2));
    assert_eq!(host.client("ann").ask(message("m2", "hi")).await.agent, "echo");
    let expected = [
        ("discovered", "healthy"),
        ("healthy", "draining"),
        ("draining", "unloaded"),
        ("unloaded", "disabled"),
        ("disabled", "discovered"),
        ("discovered", "healthy"),
    ];
    assert_eq!(states(&on.history), expected);
}

#[tokio::test(start_paused = true)]
async fn a_run_that_goes_on_is_finished_before_its_plugin_is_disabled() {
    let host = busy().await;
    let mut client = host.client("ann");
    client.send(message("m1", "hi")).await;
    let accepted = client.accepted().await;
    client.event_of(EventKind::AgentThinking).await;
    assert_eq!(host.engine.plugins()[0].in_flight, 1);
    let off = order(&host, "echo", PluginOrder::Disable).await.unwrap();
    assert_eq!((off.view.state, off.in_flight), ("disabled", 0));
    let seen = client.finish(accepted).await;
    assert_eq!((seen.agent.as_str(), &seen.last["status"]), ("echo", &"ok".into()));
}

#[tokio::test(start_paused = true)]
async fn drained_it_finishes_its_run_and_is_missed_until_it_is_brought_back() {
    let host = busy().await;
    let mut client = host.client("ann");
    client.send(message("m1", "hi")).await;
    let accepted = client.accepted().await;
    client.event_of(EventKind::AgentThinking).await;
    let out = order(&host, "echo", PluginOrder::Drain).await.unwrap();
    assert_eq!((out.view.verdict, out.view.state, out.in_flight), ("failed", "unloaded", 0));
    let fault = out.view.fault.unwrap();
    assert_eq!(fault.code, Code::PluginDraining);
    assert!(fault.hint.contains("plugins enable echo"), "{}", fault.hint);
    let seen = client.finish(accepted).await;
    assert_eq!((seen.agent.as_str(), &seen.last["status"]), ("echo", &"ok".into()));
    assert_eq!(host.client("ann").ask(message("m2", "hi")).await.agent, "fallback");
    assert_eq!(host.engine.status().missing[0].code, Code::PluginDraining, "it is wanted all the same");
    // Neither time nor a second order changes that.
    tokio::time::sleep(Duration::from_secs(3_600)).await;
    let again = order(&host, "echo", PluginOrder::Drain).await.unwrap();
    assert_eq!((again.view.state, again.view.generation.0), ("unloaded", 1));
    let steps = [
        (PluginOrder::Enable, 2),
        (PluginOrder::Drain, 2),
        (PluginOrder::Reset, 3),
        (PluginOrder::Drain, 3),
        (PluginOrder::Reload, 4),
    ];
    for (wanted, generation) in steps {
        let detail = order(&host, "echo", wanted).await.unwrap();
        let state = if wanted == PluginOrder::Drain { "unloaded" } else { "healthy" };
        assert_eq!((detail.view.state, detail.view.generation.0), (state, generation), "{wanted:?}");
    }
    assert_eq!(host.client("bob").ask(message("m1", "hi")).await.agent, "echo");
}

#[tokio::test(start_paused = true)]
async fn one_that_is_brought_back_while_it_drains_serves_beside_what_finishes() {
    let host = busy().await;
    let mut client = host.client("ann");
    client.send(message("m1", "hi")).await;
    let accepted = client.accepted().await;
    client.event_of(EventKind::AgentThinking).await;
    let (out, back) = tokio::join!(order(&host, "echo", PluginOrder::Drain), async {
        host.until(|status| status.plugins[0].state == "draining").await;
        order(&host, "echo", PluginOrder::Enable).await
    });
    let (out, back) = (out.unwrap(), back.unwrap());
    assert_eq!((back.view.state, back.view.generation.0, back.in_flight), ("healthy", 2, 1));
    assert_ne!(out.view.state, "draining", "the first order was answered when it was overtaken");
    let seen = client.finish(accepted).await;
    assert_eq!((&seen.last["status"], &seen.last["responder"]["generation"]), (&"ok".into(), &1.into()));
    host.gone("echo#1").await;
}

#[tokio::test(start_paused = true)]
async fn a_drained_plugin_can_be_switched_off_and_one_that_does_not_run_cannot_be_drained() {
    let host = busy().await;
    let mut client = host.client("ann");
    client.send(message("m1", "hi")).await;
    let accepted = client.accepted().await;
    client.event_of(EventKind::AgentThinking).await;
    let (_, off) = tokio::join!(order(&host, "echo", PluginOrder::Drain), async {
        host.until(|status| status.plugins[0].state == "draining").await;
        order(&host, "echo", PluginOrder::Disable).await
    });
    assert_eq!(off.unwrap().view.state, "disabled");
    assert_eq!(&client.finish(accepted).await.last["status"], "ok");
    assert_eq!(order(&host, "echo", PluginOrder::Drain).await.unwrap_err().code(), Code::PluginDisabled);
    let broken = FakeRuntime::default().starting("echo", |_| {
        Box::pin(async { Err(Fault::new(Stage::Load, Code::PluginLoadFailed, "no such symbol")) })
    });
    let host = Host::new(vec![plugin("echo")], broken);
    host.level(ServiceLevel::Fallback).await;
    assert_eq!(order(&host, "echo", PluginOrder::Drain).await.unwrap_err().code(), Code::PluginLoadFailed);
}

#[tokio::test(start_paused = true)]
async fn what_is_drained_while_it_starts_does_not_serve() {
    let runtime = FakeRuntime::default().starting("echo", |_| {
        Box::pin(async {
            tokio::time::sleep(Duration::from_secs(2)).await;
            Ok(echo())
        })
    });
    let host = Host::new(vec![plugin("echo")], runtime);
    host.until(|status| status.plugins[0].state == "discovered").await;
    let out = order(&host, "echo", PluginOrder::Drain).await.unwrap();
    assert_eq!(out.view.state, "unloaded");
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(host.engine.plugins()[0].view.state, "unloaded");
    host.gone("echo#1").await;
}

#[tokio::test(start_paused = true)]
async fn a_reload_takes_over_and_the_old_generation_finishes_its_run() {
    let host = busy().await;
    let mut client = host.client("ann");
    client.send(message("m1", "hi")).await;
    let accepted = client.accepted().await;
    client.event_of(EventKind::AgentThinking).await;
    let detail = order(&host, "echo", PluginOrder::Reload).await.unwrap();
    assert_eq!((detail.view.state, detail.view.generation.0), ("healthy", 2));
    assert_eq!((detail.retiring.len(), detail.in_flight), (1, 1), "the old one has its run");
    let other = host.client("bob").ask(message("m1", "hi")).await;
    assert_eq!(other.last["responder"]["generation"], 2);
    let seen = client.finish(accepted).await;
    assert_eq!((&seen.last["status"], &seen.last["responder"]["generation"]), (&"ok".into(), &1.into()));
    host.gone("echo#1").await;
    assert!(host.engine.plugins()[0].last_crash.is_none(), "it was asked to");
}

#[tokio::test(start_paused = true)]
async fn a_reload_that_fails_leaves_the_old_generation_serving_and_says_why() {
    let broken = Arc::new(AtomicBool::new(false));
    let file = broken.clone();
    let runtime = FakeRuntime::default().starting("echo", move |_| {
        let broken = file.load(Relaxed);
        Box::pin(async move {
            match broken {
                true => Err(Fault::new(Stage::Load, Code::PluginLoadFailed, "no such symbol")),
                false => Ok(echo()),
            }
        })
    });
    let host = Host::healthy(&["echo"], runtime).await;
    broken.store(true, Relaxed);
    let refused = order(&host, "echo", PluginOrder::Reload).await.unwrap_err();
    assert_eq!(refused.code(), Code::PluginLoadFailed);
    assert!(refused.to_string().contains("no such symbol"), "{refused}");
    let detail = &host.engine.plugins()[0];
    assert_eq!((detail.view.state, detail.view.generation.0), ("healthy", 1));
    assert_eq!(detail.candidate.as_ref().unwrap().fault.as_ref().unwrap().stage, Stage::Load);
    assert_eq!(host.client("ann").ask(message("m1", "hi")).await.agent, "echo");
    broken.store(false, Relaxed);
    let mended = order(&host, "echo", PluginOrder::Reload).await.unwrap();
    assert_eq!((mended.view.generation.0, mended.candidate), (3, None));
}

/// A hundred swaps under messages: each is answered once, by one generation or another.
#[tokio::test(start_paused = true)]
async fn no_message_is_lost_while_generations_replace_each_other() {
    let host = one().await;
    let engine = host.engine.clone();
    let swaps = tokio::spawn(async move {
        for _ in 0..100 {
            engine.control(&PluginId::new("echo").unwrap(), PluginOrder::Reload).await.unwrap();
        }
    });
    let mut client = host.client("ann");
    let mut asked = 0;
    while !swaps.is_finished() || asked < 100 {
        let seen = client.ask(message(&format!("m{asked}"), "hi")).await;
        assert_eq!((seen.agent.as_str(), &seen.last["status"]), ("echo", &"ok".into()), "{:?}", seen.kinds);
        asked += 1;
    }
    swaps.await.unwrap();
    assert_eq!(host.engine.plugins()[0].view.generation.0, 101);
}

#[tokio::test(start_paused = true)]
async fn a_reset_brings_a_quarantined_plugin_back_with_a_whole_budget() {
    let host = one().await;
    for generation in 1..=4 {
        host.until(|status| {
            status.plugins[0].generation.0 == generation && status.plugins[0].state == "healthy"
        })
        .await;
        host.kill("echo", Exit::Signal(11));
    }
    host.until(|status| status.plugins[0].state == "quarantined").await;
    let crash = host.engine.plugins()[0].last_crash.clone().unwrap();
    assert_eq!((crash.generation.0, &crash.report.exit), (4, &Exit::Signal(11)));
    let detail = order(&host, "echo", PluginOrder::Reset).await.unwrap();
    assert_eq!((detail.view.state, detail.restarts.used, detail.view.restarts), ("healthy", 0, 0));
    assert!(detail.history.len() <= 20);
    assert!(states(&detail.history).contains(&("failed", "quarantined")));
    assert_eq!(host.client("ann").ask(message("m9", "hi")).await.agent, "echo");
}

#[tokio::test(start_paused = true)]
async fn a_crash_names_the_calls_that_were_open() {
    let host = busy().await;
    let mut client = host.client("ann");
    client.send(message("m1", "hi")).await;
    let accepted = client.accepted().await;
    client.event_of(EventKind::AgentThinking).await;
    host.kill("echo", Exit::Signal(6));
    client.finish(accepted.clone()).await;
    host.until(|status| status.plugins[0].generation.0 == 2).await;
    let crash = host.engine.plugins()[0].last_crash.clone().unwrap();
    let calls: Vec<_> = crash.calls.iter().map(|call| (call.method, &call.run)).collect();
    assert_eq!(calls, [("handle", &accepted.run)]);
}

#[tokio::test(start_paused = true)]
async fn a_probe_is_answered_once_it_was_made() {
    let script = echo();
    let deaf = script.deaf.clone();
    let host = Host::healthy(&["echo"], FakeRuntime::default().with("echo", script)).await;
    assert_eq!(order(&host, "echo", PluginOrder::Probe).await.unwrap().view.state, "healthy");
    deaf.store(true, Relaxed);
    let detail = order(&host, "echo", PluginOrder::Probe).await.unwrap();
    assert_eq!((detail.view.state, detail.view.fault.unwrap().code), ("degraded", Code::PluginProbeFailed));
}

#[tokio::test(start_paused = true)]
async fn what_makes_no_sense_is_refused_by_code() {
    let mut off = plugin("off");
    off.enabled = false;
    let runtime = FakeRuntime::default().with("off", echo()).with("echo", echo());
    let host = Host::new(vec![off, plugin("echo")], runtime);
    host.level(ServiceLevel::Full).await;
    let code = async |id, wanted| order(&host, id, wanted).await.map(|_| ()).map_err(|e| e.code());
    for wanted in PluginOrder::ALL {
        assert_eq!(code("nobody", wanted).await, Err(Code::PluginUnknown));
    }
    for wanted in [PluginOrder::Drain, PluginOrder::Reload, PluginOrder::Reset, PluginOrder::Probe] {
        assert_eq!(code("off", wanted).await, Err(Code::PluginDisabled), "{wanted:?}");
    }
    host.kill("echo", Exit::Signal(11));
    host.engine.drain(Duration::from_secs(3)).await;
    for wanted in PluginOrder::ALL {
        assert_eq!(code("echo", wanted).await, Err(Code::HostDraining), "{wanted:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_an_operator_starts_is_the_file_and_what_starts_by_itself_is_what_ran() {
    let host = one().await;
    let reads = || host.told("echo shall be read again");
    host.kill("echo", Exit::Signal(11));
    host.until(|status| status.plugins[0].generation.0 == 2 && status.plugins[0].state == "healthy").await;
    assert_eq!(reads(), 0, "a restart");
    order(&host, "echo", PluginOrder::Reset).await.unwrap();
    assert_eq!(reads(), 0, "it runs: nothing is started");
    order(&host, "echo", PluginOrder::Reload).await.unwrap();
    assert_eq!(reads(), 1);
    order(&host, "echo", PluginOrder::Disable).await.unwrap();
    order(&host, "echo", PluginOrder::Enable).await.unwrap();
    assert_eq!(reads(), 2);
}
