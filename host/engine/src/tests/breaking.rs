//! The breaker of a plugin, and the one run that tries it.

use std::{sync::atomic::Ordering::Relaxed, time::Duration};

use agent_host_core::level::ServiceLevel;
use agent_plugin_protocol::{Code, EventKind, PluginId, call::Completion};

use super::{
    fake::{FakeRuntime, Script, Step, script},
    host::{Host, message},
};
use crate::{PluginOrder, view::PluginDetail};

fn panics() -> Script {
    script([Step::Complete(Completion::Panicked { message: "boom".to_owned() })])
}

fn detail(host: &Host, id: &str) -> PluginDetail {
    host.engine.plugin(&PluginId::new(id).unwrap()).unwrap()
}

/// A host whose one plugin failed until its breaker opened.
async fn opened(script: Script) -> Host {
    let host = Host::healthy(&["bad"], FakeRuntime::default().with("bad", script)).await;
    for n in 0..5 {
        host.client("ann").ask(message(&format!("m{n}"), "hi")).await;
    }
    host.until(|status| status.plugins[0].state == "degraded").await;
    host
}

#[tokio::test(start_paused = true)]
async fn a_plugin_that_keeps_failing_gets_no_runs_until_its_trial() {
    let host = opened(panics()).await;
    assert_eq!(host.engine.status().missing[0].code, Code::PluginBreakerOpen);
    let handled = host.told("handle");
    assert_eq!(host.client("ann").ask(message("m9", "hi")).await.agent, "fallback");
    assert_eq!(host.told("handle"), handled);
    let breaker = detail(&host, "bad").breaker;
    assert_eq!((breaker.state, breaker.calls, breaker.failures), ("open", 5, 5));
    assert_eq!(breaker.retry_at.unwrap().duration_since(breaker.since).unwrap(), Duration::from_secs(5));
}

/// Its self-test is answered all the while: only a run that succeeds says that runs succeed.
#[tokio::test(start_paused = true)]
async fn the_self_test_does_not_close_a_breaker() {
    let host = opened(panics()).await;
    tokio::time::sleep(Duration::from_secs(600)).await;
    let detail = detail(&host, "bad");
    assert_eq!((detail.view.state, detail.breaker.state), ("degraded", "open"));
}

#[tokio::test(start_paused = true)]
async fn a_trial_that_fails_opens_it_for_longer() {
    let host = opened(panics()).await;
    let mut pause = Duration::from_secs(5);
    for n in 10..16 {
        tokio::time::sleep(pause + Duration::from_millis(1)).await;
        let handled = host.told("handle");
        let seen = host.client("ann").ask(message(&format!("m{n}"), "hi")).await;
        assert_eq!((seen.agent.as_str(), host.told("handle")), ("fallback", handled + 1), "one trial");
        assert_eq!(host.client("ann").ask(message(&format!("n{n}"), "hi")).await.agent, "fallback");
        assert_eq!(host.told("handle"), handled + 1, "and no second");
        let breaker = detail(&host, "bad").breaker;
        pause = (pause * 2).min(Duration::from_secs(60));
        assert_eq!(breaker.retry_at.unwrap().duration_since(breaker.since).unwrap(), pause);
    }
}

/// Five runs that fail, then a plugin that waits until it is told to go on.
fn mending() -> (FakeRuntime, std::sync::Arc<std::sync::atomic::AtomicBool>) {
    let mended = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    let script = Script {
        handle: panics().handle,
        mended: Some((
            mended.clone(),
            vec![Step::Think("well"), Step::Sleep(Duration::from_secs(1)), Step::Reply("hello")],
        )),
        ..Script::default()
    };
    (FakeRuntime::default().with("bad", script), mended)
}

#[tokio::test(start_paused = true)]
async fn exactly_one_of_many_messages_is_the_trial_and_its_success_closes_it() {
    let (runtime, mended) = mending();
    let host = Host::healthy(&["bad"], runtime).await;
    for n in 0..5 {
        host.client("ann").ask(message(&format!("m{n}"), "hi")).await;
    }
    host.until(|status| status.plugins[0].state == "degraded").await;
    mended.store(true, Relaxed);
    tokio::time::sleep(Duration::from_secs(6)).await;
    let handled = host.told("handle");
    let mut asking = Vec::new();
    for n in 10..30 {
        let mut client = host.client(&format!("user{n}"));
        asking.push(tokio::spawn(async move { client.ask(message("m", "hi")).await }));
    }
    let mut answered = 0;
    for asked in asking {
        let seen = asked.await.unwrap();
        assert_eq!(seen.kinds.last(), Some(&EventKind::AgentCompleted));
        answered += usize::from(seen.agent == "bad");
    }
    assert_eq!((answered, host.told("handle")), (1, handled + 1));
    host.level(ServiceLevel::Full).await;
    assert_eq!(detail(&host, "bad").breaker.state, "closed");
    assert_eq!(host.client("ann").ask(message("m99", "hi")).await.agent, "bad");
}

#[tokio::test(start_paused = true)]
async fn while_the_trial_is_under_way_the_breaker_is_half_open_and_a_cancelled_one_leaves_it_to_the_next() {
    let (runtime, mended) = mending();
    let host = Host::healthy(&["bad"], runtime).await;
    for n in 0..5 {
        host.client("ann").ask(message(&format!("m{n}"), "hi")).await;
    }
    host.until(|status| status.plugins[0].state == "degraded").await;
    mended.store(true, Relaxed);
    tokio::time::sleep(Duration::from_secs(6)).await;
    let mut client = host.client("bob");
    client.send(message("m1", "hi")).await;
    let accepted = client.accepted().await;
    client.event_of(EventKind::AgentThinking).await;
    assert_eq!(detail(&host, "bad").breaker.state, "half_open");
    client.session.handle(crate::Incoming::Cancel { run: accepted.run.clone() }).await;
    assert_eq!(client.finish(accepted).await.last["status"], "cancelled");
    assert_eq!(host.client("cid").ask(message("m1", "hi")).await.agent, "bad", "the next is the trial");
    host.level(ServiceLevel::Full).await;
}

#[tokio::test(start_paused = true)]
async fn an_operators_reset_closes_it_at_once() {
    let host = opened(panics()).await;
    let detail = host.engine.control(&PluginId::new("bad").unwrap(), PluginOrder::Reset).await.unwrap();
    assert_eq!((detail.view.state, detail.breaker.state, detail.breaker.calls), ("healthy", "closed", 0));
}
