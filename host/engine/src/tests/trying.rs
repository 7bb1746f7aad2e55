//! A new generation that is tried on a share of the threads: promoted, taken back, or given up for another order.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use agent_host_core::{
    canary::{CanaryPolicy, Runs},
    outcome::Exit,
    ports::{
        BoxFuture,
        instance::{Fault, PluginSpec, Stage},
    },
    share::Share,
};
use agent_plugin_protocol::{Code, Generation, PluginId, RunId, ThreadId};
use serde_json::json;

use super::{
    fake::{FakeRuntime, Script, Step, echo, script},
    host::{Host, message, plugin},
};
use crate::{
    ControlError, PluginOrder, Settings, session::Message, settings::PluginSettings, view::PluginDetail,
};

const SHARE: u16 = 50;

/// Tried for five minutes on half of the threads, judged from the tenth run on.
fn tried(id: &str) -> PluginSettings {
    let plugin = plugin(id);
    let canary = CanaryPolicy { share: Share::percent(SHARE), ..plugin.canary };
    // No breaker: the judge is what is looked at.
    PluginSettings { canary, breaker: false, rollback_window: Duration::from_secs(60), ..plugin }
}

/// The same as another version.
fn version(plugin: PluginSettings, number: u32) -> PluginSettings {
    let spec = PluginSpec { config: json!({ "version": number }), ..PluginSpec::clone(&plugin.spec) };
    PluginSettings { spec: Arc::new(spec), ..plugin }
}

fn settings(plugins: Vec<PluginSettings>) -> Settings {
    Settings { plugins, ..Settings::default() }
}

/// The first generation is good; those after it do that.
fn then(
    later: impl Fn() -> Script + Send + Sync + 'static,
) -> impl Fn(Generation) -> BoxFuture<'static, Result<Script, Fault>> + Send + Sync {
    let later = Arc::new(later);
    move |generation| {
        let later = Arc::clone(&later);
        Box::pin(async move { Ok(if generation.0 == 1 { echo() } else { later() }) })
    }
}

fn fails() -> Script {
    script([Step::CompleteRaw("nonsense")])
}

fn id() -> PluginId {
    PluginId::new("echo").unwrap()
}

fn shown(host: &Host) -> PluginDetail {
    host.engine.plugin(&id()).unwrap()
}

async fn order(host: &Host, order: PluginOrder) -> Result<PluginDetail, ControlError> {
    host.engine.control(&id(), order).await
}

/// A host whose plugin serves as generation 1, with generation 2 on trial.
async fn on_trial(runtime: FakeRuntime) -> Host {
    let host = Host::new(vec![tried("echo")], runtime);
    host.until(|status| status.plugins[0].state == "healthy").await;
    host.engine.configure(settings(vec![version(tried("echo"), 2)])).await.unwrap();
    assert_eq!(shown(&host).canary.unwrap().generation, Generation(2));
    host
}

/// A message in a new thread of that name.
fn in_thread(n: usize) -> Message {
    let thread = ThreadId::new(&format!("thread-{n}")).unwrap();
    Message { thread: Some(thread), given: Some(RunId::random()), ..message(&format!("m{n}"), "hi") }
}

/// Who answered in each of so many threads.
async fn ask(host: &Host, threads: std::ops::Range<usize>) -> Vec<u32> {
    let mut client = host.client("ann");
    let mut answered = Vec::new();
    for n in threads {
        let seen = client.ask(in_thread(n)).await;
        let generation = seen.last["responder"]["generation"].as_u64().unwrap();
        answered.push(u32::try_from(generation).unwrap());
    }
    answered
}

/// Asks in new threads until that is so.
async fn ask_until(host: &Host, mut threads: std::ops::Range<usize>, holds: impl Fn(&PluginDetail) -> bool) {
    while !holds(&shown(host)) {
        let next = threads.next().expect("it comes to be within so many messages");
        ask(host, next..next + 1).await;
    }
}

fn drawn(n: usize, generation: u32) -> bool {
    let thread = ThreadId::new(&format!("thread-{n}")).unwrap();
    Share::percent(SHARE).takes(&thread, &id(), Generation(generation))
}

#[tokio::test(start_paused = true)]
async fn a_thread_stays_with_one_generation_and_the_share_is_as_asked() {
    let host = on_trial(FakeRuntime::default().with("echo", echo())).await;
    let answered = ask(&host, 0..200).await;
    let expected: Vec<u32> = (0..200).map(|n| if drawn(n, 2) { 2 } else { 1 }).collect();
    assert_eq!(answered, expected);
    let tried = answered.iter().filter(|generation| **generation == 2).count();
    assert!((70..130).contains(&tried), "{tried}");
    let canary = shown(&host).canary.unwrap();
    assert_eq!(canary.runs, Runs { ended: u32::try_from(tried).unwrap(), failed: 0 });
    assert_eq!(canary.beside.ended, 200 - canary.runs.ended);
    assert_eq!(host.living(), 2);
}

#[tokio::test(start_paused = true)]
async fn at_the_end_of_its_time_it_serves_and_the_one_before_is_kept() {
    let host = on_trial(FakeRuntime::default().with("echo", echo())).await;
    ask(&host, 0..20).await;
    tokio::time::sleep(Duration::from_secs(299)).await;
    assert!(shown(&host).canary.is_some(), "its time is not over");
    host.until(|status| status.plugins[0].generation == Generation(2)).await;
    let echo = shown(&host);
    assert_eq!((echo.canary, echo.former, echo.rolled_back), (None, Some(Generation(1)), None));
    assert_eq!(ask(&host, 20..40).await, [2; 20]);
    host.gone("echo#1").await;
}

#[tokio::test(start_paused = true)]
async fn one_that_fails_more_than_the_other_is_taken_back() {
    let host = on_trial(FakeRuntime::default().starting("echo", then(fails))).await;
    ask_until(&host, 0..100, |echo| echo.rolled_back.is_some()).await;
    let echo = shown(&host);
    let back = echo.rolled_back.unwrap();
    assert_eq!((back.from, back.to, back.code), (Generation(2), Generation(1), Code::PluginCanaryWorse));
    assert!(back.reason.starts_with("10 of 10 of its runs failed"), "{}", back.reason);
    assert_eq!(echo.candidate.unwrap().fault.unwrap().reason, back.reason);
    assert_eq!((echo.view.state, echo.view.generation, echo.canary), ("healthy", Generation(1), None));
    assert_eq!(ask(&host, 200..220).await, [1; 20]);
    host.gone("echo#2").await;
    // What was taken back is not tried again for an edit that has nothing to do with it.
    let other = Settings { wait: Duration::from_secs(9), ..settings(vec![version(tried("echo"), 2)]) };
    host.engine.configure(other).await.unwrap();
    assert_eq!((shown(&host).canary, host.living()), (None, 1));
    // A reload asks for it by name: it is tried again.
    order(&host, PluginOrder::Reload).await.unwrap();
    assert_eq!(shown(&host).canary.unwrap().generation, Generation(3));
}

/// Its people are answered all the same: by the one beside it.
#[tokio::test(start_paused = true)]
async fn what_it_fails_is_answered_by_the_one_beside_it() {
    let host = on_trial(FakeRuntime::default().starting("echo", then(fails))).await;
    let answered = ask(&host, 0..10).await;
    assert_eq!(answered, [1; 10]);
    assert!(shown(&host).canary.unwrap().runs.failed > 0);
}

#[tokio::test(start_paused = true)]
async fn what_befalls_both_is_no_reason_to_take_it_back() {
    let runtime = FakeRuntime::default().with("echo", fails());
    let host = on_trial(runtime).await;
    ask(&host, 0..60).await;
    let canary = shown(&host).canary.expect("both fail the same");
    assert_eq!(canary.runs.failed, canary.runs.ended);
    assert!(canary.runs.ended > 10 && canary.beside.failed == canary.beside.ended, "{canary:?}");
}

#[tokio::test(start_paused = true)]
async fn little_is_judged_at_the_end() {
    let host = on_trial(FakeRuntime::default().starting("echo", then(fails))).await;
    ask_until(&host, 0..50, |echo| echo.canary.as_ref().is_some_and(|canary| canary.runs.failed > 2)).await;
    tokio::time::sleep(Duration::from_secs(301)).await;
    let echo = shown(&host);
    assert_eq!(echo.rolled_back.unwrap().code, Code::PluginCanaryWorse);
    assert_eq!(echo.view.generation, Generation(1));
}

#[tokio::test(start_paused = true)]
async fn one_that_dies_is_taken_back_at_once_and_its_run_answered() {
    let host =
        on_trial(FakeRuntime::default().starting("echo", then(|| script([Step::Die(Exit::Signal(11))]))))
            .await;
    ask_until(&host, 0..50, |echo| echo.rolled_back.is_some()).await;
    let echo = shown(&host);
    assert_eq!((echo.rolled_back.unwrap().code, echo.view.restarts), (Code::PluginCrashed, 0));
    assert_eq!((echo.view.state, echo.view.generation), ("healthy", Generation(1)));
    assert!(echo.retiring.is_empty(), "{:?}", echo.retiring);
    assert_eq!(host.living(), 1);
}

#[tokio::test(start_paused = true)]
async fn its_breaker_and_its_self_test_count_as_those_of_one_that_serves() {
    let with_breaker = |number| PluginSettings { breaker: true, ..version(tried("echo"), number) };
    let host = Host::new(vec![with_breaker(1)], FakeRuntime::default().starting("echo", then(fails)));
    host.until(|status| status.plugins[0].state == "healthy").await;
    host.engine.configure(settings(vec![with_breaker(2)])).await.unwrap();
    ask_until(&host, 0..50, |echo| echo.rolled_back.is_some()).await;
    let back = shown(&host).rolled_back.unwrap();
    assert_eq!(back.code, Code::PluginBreakerOpen, "before the tenth run: {}", back.reason);

    let deaf = echo();
    let hears = deaf.deaf.clone();
    let host = on_trial(FakeRuntime::default().starting("echo", then(move || deaf.clone()))).await;
    hears.store(true, std::sync::atomic::Ordering::Relaxed);
    tokio::time::sleep(Duration::from_secs(60)).await;
    let echo = shown(&host);
    assert_eq!(echo.rolled_back.unwrap().code, Code::PluginProbeFailed);
    assert_eq!((echo.view.state, echo.view.generation), ("healthy", Generation(1)));
}

#[tokio::test(start_paused = true)]
async fn an_operator_promotes_it_or_takes_it_back() {
    let host = on_trial(FakeRuntime::default().with("echo", echo())).await;
    let echo = order(&host, PluginOrder::Promote).await.unwrap();
    assert_eq!((echo.view.generation, echo.former, echo.canary), (Generation(2), Some(Generation(1)), None));
    assert_eq!(ask(&host, 0..10).await, [2; 10]);
    let again = order(&host, PluginOrder::Promote).await.unwrap_err();
    assert_eq!(again, ControlError::NoCanary(id()));

    host.engine.configure(settings(vec![version(tried("echo"), 3)])).await.unwrap();
    assert_eq!(shown(&host).former, None, "it is the one that serves that is gone back to");
    let echo = order(&host, PluginOrder::Rollback).await.unwrap();
    assert_eq!((echo.view.generation, echo.canary), (Generation(2), None));
    assert_eq!(echo.rolled_back.unwrap().code, Code::PluginRolledBack);
    assert_eq!(ask(&host, 10..20).await, [2; 10]);
    host.gone("echo#3").await;
}

/// The one that serves lives its own life meanwhile.
#[tokio::test(start_paused = true)]
async fn the_death_of_the_one_that_serves_is_followed_by_one_of_its_own_kind() {
    let host = on_trial(FakeRuntime::default().with("echo", echo())).await;
    host.kill("echo#1", Exit::Signal(9));
    host.until(|status| {
        status.plugins[0].generation == Generation(3) && status.plugins[0].state == "healthy"
    })
    .await;
    let canary = shown(&host).canary.expect("it goes on");
    assert_eq!(canary.generation, Generation(2));
    let answered: BTreeSet<u32> = ask(&host, 0..40).await.into_iter().collect();
    assert_eq!(answered, BTreeSet::from([2, 3]));
    tokio::time::sleep(Duration::from_secs(301)).await;
    assert_eq!(shown(&host).view.generation, Generation(2), "a smaller number, and the newer one");
    assert_eq!(ask(&host, 40..50).await, [2; 10]);
}

#[tokio::test(start_paused = true)]
async fn where_the_one_that_serves_gives_up_the_one_on_trial_serves() {
    let first_only = |generation: Generation| -> BoxFuture<'static, Result<Script, Fault>> {
        Box::pin(async move {
            match generation.0 {
                1 | 2 => Ok(echo()),
                _ => Err(Fault::new(Stage::Verify, Code::PluginNotFound, "it is gone")),
            }
        })
    };
    let host = on_trial(FakeRuntime::default().starting("echo", first_only)).await;
    host.kill("echo#1", Exit::Signal(9));
    host.until(|status| {
        status.plugins[0].generation == Generation(2) && status.plugins[0].state == "healthy"
    })
    .await;
    assert_eq!(shown(&host).canary, None);
    assert_eq!(ask(&host, 0..10).await, [2; 10]);
}

#[tokio::test(start_paused = true)]
async fn another_version_takes_the_place_of_the_one_on_trial() {
    let host = on_trial(FakeRuntime::default().with("echo", echo())).await;
    host.engine.configure(settings(vec![version(tried("echo"), 3)])).await.unwrap();
    host.gone("echo#2").await;
    let echo = shown(&host);
    assert_eq!((echo.view.generation, echo.canary.unwrap().generation), (Generation(1), Generation(3)));
    assert_eq!(echo.rolled_back, None, "nothing is held against it");
    // Its time begins anew.
    tokio::time::sleep(Duration::from_secs(200)).await;
    host.engine.configure(settings(vec![version(tried("echo"), 4)])).await.unwrap();
    tokio::time::sleep(Duration::from_secs(200)).await;
    assert_eq!(shown(&host).canary.unwrap().generation, Generation(4));
    // Back to what serves: nothing is loaded for that, and nothing is on trial.
    host.engine.configure(settings(vec![tried("echo")])).await.unwrap();
    host.gone("echo#4").await;
    let echo = shown(&host);
    assert_eq!((echo.view.generation, echo.canary, echo.candidate), (Generation(1), None, None));
    assert_eq!(host.living(), 1);
}

#[tokio::test(start_paused = true)]
async fn one_that_cannot_be_had_leaves_the_one_on_trial_alone() {
    let broken_third = |generation: Generation| -> BoxFuture<'static, Result<Script, Fault>> {
        Box::pin(async move {
            match generation.0 {
                3 => Err(Fault::new(Stage::Init, Code::PluginInitError, "no such model")),
                _ => Ok(echo()),
            }
        })
    };
    let host = on_trial(FakeRuntime::default().starting("echo", broken_third)).await;
    host.engine.configure(settings(vec![version(tried("echo"), 3)])).await.unwrap_err();
    assert_eq!(shown(&host).canary.unwrap().generation, Generation(2));
    // The edit of before is what is in force: nothing is loaded for it.
    host.engine.configure(settings(vec![version(tried("echo"), 2)])).await.unwrap();
    assert_eq!(host.living(), 2);
}

#[tokio::test(start_paused = true)]
async fn switched_off_nothing_is_left_and_switched_on_it_is_what_was_wanted() {
    let host = on_trial(FakeRuntime::default().with("echo", echo())).await;
    order(&host, PluginOrder::Disable).await.unwrap();
    host.gone("echo#1").await;
    host.gone("echo#2").await;
    assert_eq!(shown(&host).canary, None);
    // Beside nothing there is no trial.
    let echo = order(&host, PluginOrder::Enable).await.unwrap();
    assert_eq!((echo.view.state, echo.view.generation, echo.canary), ("healthy", Generation(3), None));
    let again = settings(vec![version(tried("echo"), 2)]);
    host.engine.configure(again).await.unwrap();
    assert_eq!((shown(&host).view.generation, host.living()), (Generation(3), 1), "it is version 2");

    host.engine.configure(settings(vec![version(tried("echo"), 4)])).await.unwrap();
    let off = PluginSettings { enabled: false, ..version(tried("echo"), 4) };
    host.engine.configure(settings(vec![off])).await.unwrap();
    host.gone("echo#3").await;
    host.gone("echo#4").await;
    assert_eq!(host.living(), 0);
}

#[tokio::test(start_paused = true)]
async fn other_terms_hold_at_once() {
    let host = on_trial(FakeRuntime::default().with("echo", echo())).await;
    let terms = |share, lasts| {
        let plugin = version(tried("echo"), 2);
        let canary = CanaryPolicy { share, lasts: Duration::from_secs(lasts), ..plugin.canary };
        settings(vec![PluginSettings { canary, ..plugin }])
    };
    host.engine.configure(terms(Share::ALL, 600)).await.unwrap();
    assert_eq!(ask(&host, 0..20).await, [2; 20]);
    tokio::time::sleep(Duration::from_secs(400)).await;
    assert!(shown(&host).canary.is_some(), "its time is longer now");
    host.engine.configure(terms(Share::NONE, 600)).await.unwrap();
    let plugin = shown(&host);
    assert_eq!((plugin.view.generation, plugin.canary), (Generation(1), None));
    assert!(plugin.rolled_back.unwrap().reason.contains("0%"));
    assert_eq!(ask(&host, 20..40).await, [1; 20]);

    let host = on_trial(FakeRuntime::default().with("echo", echo())).await;
    host.engine.configure(terms(Share::percent(SHARE), 10)).await.unwrap();
    tokio::time::sleep(Duration::from_secs(11)).await;
    assert_eq!(shown(&host).view.generation, Generation(2), "its time is shorter now");
}

#[tokio::test(start_paused = true)]
async fn a_host_that_goes_away_takes_it_along() {
    let host = on_trial(FakeRuntime::default().with("echo", echo())).await;
    host.engine.drain(Duration::from_secs(1)).await;
    tokio::time::sleep(Duration::from_secs(400)).await;
    assert_eq!(host.living(), 0);
}

/// A run that is under way when its generation is taken back is finished by it.
#[tokio::test(start_paused = true)]
async fn what_it_has_begun_it_finishes() {
    let slow = || script([Step::Think("on it"), Step::Sleep(Duration::from_secs(5)), Step::Reply("done")]);
    let host = on_trial(FakeRuntime::default().starting("echo", then(slow))).await;
    let n = (0..100).find(|n| drawn(*n, 2)).unwrap();
    let mut client = host.client("ann");
    client.send(in_thread(n)).await;
    let accepted = client.accepted().await;
    client.event_of(agent_plugin_protocol::EventKind::AgentThinking).await;
    order(&host, PluginOrder::Rollback).await.unwrap();
    let seen = client.finish(accepted).await;
    assert_eq!((&seen.last["status"], &seen.last["responder"]["generation"]), (&"ok".into(), &2.into()));
    host.gone("echo#2").await;
}
