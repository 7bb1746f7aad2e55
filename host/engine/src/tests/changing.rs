//! New settings for a host that serves: all at once or not at all, and back if the new fails.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::Duration,
};

use agent_host_core::{
    outcome::Exit,
    ports::{
        BoxFuture,
        instance::{Fault, PluginSpec, Stage},
    },
};
use agent_plugin_protocol::{Code, EventKind, Generation, PluginId};
use serde_json::json;

use super::{
    fake::{FakeRuntime, Script, Step, echo, script},
    host::{Host, message, plugin},
};
use crate::{ChangeError, ControlError, PluginOrder, Settings, settings::PluginSettings, view::PluginDetail};

fn settings(plugins: Vec<PluginSettings>) -> Settings {
    Settings { plugins, ..Settings::default() }
}

/// The same plugin as somebody else configures it.
fn changed(plugin: PluginSettings) -> PluginSettings {
    let spec = PluginSpec { config: json!({ "changed": true }), ..PluginSpec::clone(&plugin.spec) };
    PluginSettings { spec: Arc::new(spec), ..plugin }
}

fn kept(plugin: PluginSettings) -> PluginSettings {
    PluginSettings { rollback_window: Duration::from_secs(60), ..plugin }
}

fn off(plugin: PluginSettings) -> PluginSettings {
    PluginSettings { enabled: false, ..plugin }
}

fn broken() -> impl Fn(Generation) -> BoxFuture<'static, Result<Script, Fault>> + Send + Sync {
    |_| Box::pin(async { Err(Fault::new(Stage::Init, Code::PluginInitError, "no such model")) })
}

/// The first generation is good; those after it do that.
fn then(
    later: impl Fn() -> Result<Script, Fault> + Send + Sync + 'static,
) -> impl Fn(Generation) -> BoxFuture<'static, Result<Script, Fault>> + Send + Sync {
    let later = Arc::new(later);
    move |generation| {
        let later = Arc::clone(&later);
        Box::pin(async move { if generation.0 == 1 { Ok(echo()) } else { later() } })
    }
}

fn shown(host: &Host, id: &str) -> PluginDetail {
    host.engine.plugin(&PluginId::new(id).unwrap()).unwrap()
}

async fn who_answers(host: &Host, id: &str) -> (String, serde_json::Value) {
    let seen = host.client("ann").ask(message(id, "hi")).await;
    (seen.agent, seen.last["responder"]["generation"].clone())
}

#[tokio::test(start_paused = true)]
async fn a_plugin_is_added_changed_switched_off_and_taken_away_while_the_host_serves() {
    let runtime = FakeRuntime::default().with("echo", echo()).with("late", echo());
    let host = Host::healthy(&["echo"], runtime).await;
    host.engine.configure(settings(vec![plugin("late"), plugin("echo")])).await.unwrap();
    let ids = |host: &Host| host.engine.plugins().iter().map(|p| p.view.id.to_string()).collect::<Vec<_>>();
    assert_eq!(ids(&host), ["late", "echo"], "in the order of the configuration, and at once");
    assert_eq!(who_answers(&host, "m1").await, ("late".to_owned(), 1.into()));
    assert_eq!(shown(&host, "echo").view.generation.0, 1, "what did not change goes on");

    host.engine.configure(settings(vec![changed(plugin("late")), plugin("echo")])).await.unwrap();
    assert_eq!(who_answers(&host, "m2").await, ("late".to_owned(), 2.into()));
    host.gone("late#1").await;

    host.engine.configure(settings(vec![off(plugin("late")), plugin("echo")])).await.unwrap();
    assert_eq!(who_answers(&host, "m3").await, ("echo".to_owned(), 1.into()));
    host.gone("late#2").await;

    host.engine.configure(settings(vec![plugin("echo")])).await.unwrap();
    assert_eq!(ids(&host), ["echo"]);
    let unknown = host.engine.control(&PluginId::new("late").unwrap(), PluginOrder::Reload).await;
    assert!(matches!(unknown, Err(ControlError::Unknown(_))), "{unknown:?}");

    host.engine.configure(settings(vec![plugin("late"), plugin("echo")])).await.unwrap();
    assert_eq!(who_answers(&host, "m4").await, ("late".to_owned(), 3.into()), "no number is used twice");
    assert_eq!(host.living(), 2);
}

#[tokio::test(start_paused = true)]
async fn what_is_drained_stays_so_until_an_edit_takes_another_generation_of_it() {
    let runtime = FakeRuntime::default().with("echo", echo()).with("late", echo());
    let host = Host::healthy(&["echo"], runtime).await;
    let drained = host.engine.control(&PluginId::new("echo").unwrap(), PluginOrder::Drain).await.unwrap();
    assert_eq!(drained.view.state, "unloaded");
    host.engine.configure(settings(vec![kept(plugin("echo")), plugin("late")])).await.unwrap();
    assert_eq!(shown(&host, "echo").view.state, "unloaded");
    assert_eq!(who_answers(&host, "m1").await, ("late".to_owned(), 1.into()));
    host.engine.configure(settings(vec![changed(plugin("echo")), plugin("late")])).await.unwrap();
    assert_eq!((shown(&host, "echo").view.state, shown(&host, "echo").view.fault), ("healthy", None));
    assert_eq!(who_answers(&host, "m2").await, ("echo".to_owned(), 2.into()));
}

#[tokio::test(start_paused = true)]
async fn one_plugin_that_cannot_be_had_leaves_all_as_it_was() {
    let runtime = FakeRuntime::default().with("echo", echo()).with("good", echo()).starting("bad", broken());
    let host = Host::healthy(&["echo"], runtime).await;
    let wanted = Settings {
        wait: Duration::from_secs(9),
        ..settings(vec![plugin("good"), plugin("bad"), changed(plugin("echo"))])
    };
    let refused = host.engine.configure(wanted).await.unwrap_err();
    assert_eq!(refused.code(), Code::PluginInitError);
    assert!(
        refused.to_string().contains("`bad`") && refused.to_string().contains("no such model"),
        "{refused}"
    );
    assert_eq!(host.engine.plugins().len(), 1);
    assert_eq!(who_answers(&host, "m1").await, ("echo".to_owned(), 1.into()));
    host.gone("good#1").await;
    host.gone("echo#2").await;
    assert_eq!(host.living(), 1);
    // And the next one is judged anew.
    host.engine.configure(settings(vec![plugin("good"), plugin("echo")])).await.unwrap();
    assert_eq!(who_answers(&host, "m2").await.0, "good");
}

#[tokio::test(start_paused = true)]
async fn what_waits_for_the_rest_of_its_change_and_dies_is_a_refusal() {
    let gate = Arc::new(tokio::sync::Notify::new());
    let waits = gate.clone();
    let runtime =
        FakeRuntime::default().with("echo", echo()).with("good", echo()).starting("slow", move |_| {
            let gate = waits.clone();
            Box::pin(async move {
                gate.notified().await;
                Ok(echo())
            })
        });
    let host = Arc::new(Host::healthy(&["echo"], runtime).await);
    let engine = host.engine.clone();
    let change = tokio::spawn(async move {
        engine.configure(settings(vec![plugin("good"), plugin("slow"), plugin("echo")])).await
    });
    while !host.killers.lock().unwrap().contains_key("good#1") {
        tokio::task::yield_now().await;
    }
    let busy = host.engine.configure(settings(vec![])).await;
    assert_eq!(busy, Err(ChangeError::Busy));
    host.kill("good#1", Exit::Signal(11));
    host.gone("good#1").await;
    gate.notify_one();
    let refused = change.await.unwrap().unwrap_err();
    assert_eq!(refused.code(), Code::PluginCrashed, "{refused}");
    host.gone("slow#1").await;
    assert_eq!(host.living(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_run_that_goes_on_is_finished_by_the_generation_that_has_it() {
    let steps = [Step::Think("on it"), Step::Sleep(Duration::from_secs(5)), Step::Reply("done")];
    let host = Host::healthy(&["echo"], FakeRuntime::default().with("echo", script(steps))).await;
    let mut client = host.client("ann");
    client.send(message("m1", "hi")).await;
    let accepted = client.accepted().await;
    client.event_of(EventKind::AgentThinking).await;
    host.engine.configure(settings(vec![changed(plugin("echo"))])).await.unwrap();
    let seen = client.finish(accepted).await;
    assert_eq!((&seen.last["status"], &seen.last["responder"]["generation"]), (&"ok".into(), &1.into()));
    assert_eq!(who_answers(&host, "m2").await.1, 2);
}

#[tokio::test(start_paused = true)]
async fn an_order_that_comes_during_a_change_is_carried_out_after_it() {
    let gate = Arc::new(tokio::sync::Notify::new());
    let waits = gate.clone();
    let runtime = FakeRuntime::default().with("echo", echo()).starting("slow", move |_| {
        let gate = waits.clone();
        Box::pin(async move {
            gate.notified().await;
            Ok(echo())
        })
    });
    let host = Host::healthy(&["echo"], runtime).await;
    let (engine, other) = (host.engine.clone(), host.engine.clone());
    let change =
        tokio::spawn(async move { engine.configure(settings(vec![plugin("slow"), plugin("echo")])).await });
    tokio::task::yield_now().await;
    let order =
        tokio::spawn(
            async move { other.control(&PluginId::new("echo").unwrap(), PluginOrder::Disable).await },
        );
    tokio::time::sleep(Duration::from_millis(10)).await;
    assert_eq!(shown(&host, "echo").view.state, "healthy");
    gate.notify_one();
    change.await.unwrap().unwrap();
    assert_eq!(order.await.unwrap().unwrap().view.state, "disabled");
}

#[tokio::test(start_paused = true)]
async fn a_new_generation_that_crashes_is_taken_back_at_once() {
    let runtime = FakeRuntime::default().starting("echo", then(|| Ok(script([Step::Die(Exit::Signal(11))]))));
    let host = Host::new(vec![kept(plugin("echo"))], runtime);
    host.until(|status| status.plugins[0].state == "healthy").await;
    host.engine.configure(settings(vec![changed(kept(plugin("echo")))])).await.unwrap();
    assert_eq!(shown(&host, "echo").former, Some(Generation(1)));
    // The run that it lost is tried again, on the one before.
    assert_eq!(who_answers(&host, "m1").await, ("echo".to_owned(), 1.into()));
    let echo = shown(&host, "echo");
    assert_eq!((echo.view.state, echo.view.generation.0, echo.former), ("healthy", 1, None));
    let back = echo.rolled_back.unwrap();
    assert_eq!((back.from.0, back.to.0, back.code), (2, 1, Code::PluginCrashed));
    assert_eq!(echo.candidate.unwrap().fault.unwrap().code, Code::PluginCrashed);
    assert_eq!(host.living(), 1);

    // An edit that has nothing to do with it does not try it again.
    let edited = Settings { wait: Duration::from_secs(9), ..settings(vec![changed(kept(plugin("echo")))]) };
    host.engine.configure(edited).await.unwrap();
    assert_eq!(who_answers(&host, "m2").await, ("echo".to_owned(), 1.into()));
    // A crash of the one that serves is followed by one of its own kind.
    host.kill("echo#1", Exit::Signal(9));
    host.until(|status| status.plugins[0].generation.0 > 2 && status.plugins[0].state == "healthy").await;
    assert!(shown(&host, "echo").rolled_back.is_some());
}

#[tokio::test(start_paused = true)]
async fn a_new_generation_that_fails_its_messages_is_taken_back_when_its_breaker_opens() {
    let runtime =
        FakeRuntime::default().starting("echo", then(|| Ok(script([Step::CompleteRaw("nonsense")]))));
    let host = Host::new(vec![kept(plugin("echo"))], runtime);
    host.until(|status| status.plugins[0].state == "healthy").await;
    host.engine.configure(settings(vec![changed(kept(plugin("echo")))])).await.unwrap();
    for n in 0..20 {
        host.client("ann").ask(message(&format!("m{n}"), "hi")).await;
        if shown(&host, "echo").rolled_back.is_some() {
            break;
        }
    }
    let echo = shown(&host, "echo");
    assert_eq!(echo.rolled_back.unwrap().code, Code::PluginBreakerOpen);
    assert_eq!((echo.view.state, echo.view.generation.0), ("healthy", 1));
    host.gone("echo#2").await;
}

#[tokio::test(start_paused = true)]
async fn one_that_proves_itself_lets_the_one_before_go_and_is_not_taken_back_later() {
    let host = Host::new(vec![kept(plugin("echo"))], FakeRuntime::default().with("echo", echo()));
    host.until(|status| status.plugins[0].state == "healthy").await;
    host.engine.configure(settings(vec![changed(kept(plugin("echo")))])).await.unwrap();
    tokio::time::sleep(Duration::from_secs(59)).await;
    assert_eq!(host.living(), 2, "warm");
    host.gone("echo#1").await;
    assert_eq!(shown(&host, "echo").former, None);
    let nothing = host.engine.control(&PluginId::new("echo").unwrap(), PluginOrder::Rollback).await;
    assert_eq!(nothing.unwrap_err().code(), Code::PluginNothingBefore);
    host.kill("echo#2", Exit::Signal(9));
    host.until(|status| status.plugins[0].generation.0 == 3 && status.plugins[0].state == "healthy").await;
}

#[tokio::test(start_paused = true)]
async fn an_operator_takes_it_back_and_a_reload_tries_it_again() {
    let bad = Arc::new(AtomicBool::new(false));
    let seen = bad.clone();
    let runtime = FakeRuntime::default().starting(
        "echo",
        then(move || {
            seen.store(true, Relaxed);
            Ok(echo())
        }),
    );
    let host = Host::new(vec![kept(plugin("echo"))], runtime);
    host.until(|status| status.plugins[0].state == "healthy").await;
    let echo = PluginId::new("echo").unwrap();
    host.engine.control(&echo, PluginOrder::Reload).await.unwrap();
    assert_eq!(who_answers(&host, "m1").await.1, 2);
    let back = host.engine.control(&echo, PluginOrder::Rollback).await.unwrap();
    assert_eq!((back.view.state, back.view.generation.0), ("healthy", 1));
    assert_eq!(back.rolled_back.unwrap().code, Code::PluginRolledBack);
    assert_eq!(who_answers(&host, "m2").await.1, 1);
    host.gone("echo#2").await;
    let again = host.engine.control(&echo, PluginOrder::Reload).await.unwrap();
    assert_eq!((again.view.state, again.view.generation.0), ("healthy", 3));
    assert!(bad.load(Relaxed));
}

#[tokio::test(start_paused = true)]
async fn switching_off_or_going_away_leaves_nothing_that_was_kept() {
    let host = Host::new(vec![kept(plugin("echo"))], FakeRuntime::default().with("echo", echo()));
    host.until(|status| status.plugins[0].state == "healthy").await;
    let echo = PluginId::new("echo").unwrap();
    host.engine.control(&echo, PluginOrder::Reload).await.unwrap();
    host.engine.control(&echo, PluginOrder::Disable).await.unwrap();
    host.gone("echo#1").await;
    host.gone("echo#2").await;
    host.engine.control(&echo, PluginOrder::Enable).await.unwrap();
    host.engine.control(&echo, PluginOrder::Reload).await.unwrap();
    assert_eq!(host.living(), 2);
    host.engine.drain(Duration::from_secs(1)).await;
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert_eq!(host.living(), 0);
    let gone = host.engine.configure(settings(vec![plugin("echo")])).await;
    assert_eq!(gone, Err(ChangeError::Draining));
}

/// The one that is kept dies while it waits: there is nothing to go back to, and the new one serves on.
#[tokio::test(start_paused = true)]
async fn the_death_of_the_one_that_is_kept_costs_nothing() {
    let host = Host::new(vec![kept(plugin("echo"))], FakeRuntime::default().with("echo", echo()));
    host.until(|status| status.plugins[0].state == "healthy").await;
    let echo = PluginId::new("echo").unwrap();
    host.engine.control(&echo, PluginOrder::Reload).await.unwrap();
    host.kill("echo#1", Exit::Signal(9));
    host.gone("echo#1").await;
    assert_eq!(who_answers(&host, "m1").await.1, 2);
    assert_eq!(shown(&host, "echo").former, None);
}

/// What keeps a plugin in order is no matter of its generation.
#[tokio::test(start_paused = true)]
async fn how_often_it_may_be_restarted_holds_at_once_though_a_version_waits_that_was_taken_back() {
    let host = Host::new(vec![kept(plugin("echo"))], FakeRuntime::default().with("echo", echo()));
    host.until(|status| status.plugins[0].state == "healthy").await;
    host.engine.configure(settings(vec![changed(kept(plugin("echo")))])).await.unwrap();
    host.engine.control(&PluginId::new("echo").unwrap(), PluginOrder::Rollback).await.unwrap();
    let never = PluginSettings { restarts: 0, ..changed(kept(plugin("echo"))) };
    host.engine.configure(settings(vec![never])).await.unwrap();
    assert_eq!(shown(&host, "echo").view.generation.0, 1, "it is not tried again for that");
    host.kill("echo#1", Exit::Signal(9));
    host.until(|status| status.plugins[0].state == "quarantined").await;
}

#[tokio::test(start_paused = true)]
async fn without_a_time_to_go_back_what_is_kept_is_let_go() {
    let host = Host::new(vec![kept(plugin("echo"))], FakeRuntime::default().with("echo", echo()));
    host.until(|status| status.plugins[0].state == "healthy").await;
    host.engine.configure(settings(vec![changed(kept(plugin("echo")))])).await.unwrap();
    assert_eq!(shown(&host, "echo").former, Some(Generation(1)));
    let edited = PluginSettings { rollback_window: Duration::ZERO, ..changed(plugin("echo")) };
    host.engine.configure(settings(vec![edited])).await.unwrap();
    assert_eq!(shown(&host, "echo").former, None);
    host.gone("echo#1").await;
    assert_eq!(who_answers(&host, "m1").await.1, 2);
}
