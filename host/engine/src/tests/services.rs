//! Services come and go: what requires them follows, without a restart of the host.

use std::{sync::Arc, time::Duration};

use agent_host_core::{
    level::ServiceLevel,
    ports::{
        BoxFuture,
        instance::{Fault, PluginSpec, Stage},
    },
    service::{ServiceName, ServiceState, ServiceTable},
};
use agent_plugin_protocol::{Code, EventKind, Generation, call::request};
use serde_json::json;

use super::{
    fake::{FakeRuntime, Script, Step, echo},
    host::{Host, message, plugin},
};
use crate::{Outgoing, settings::PluginSettings};

fn requiring(id: &str, service: &str) -> PluginSettings {
    let plain = plugin(id);
    let spec = PluginSpec { requires: vec![service.to_owned()], ..(*plain.spec).clone() };
    PluginSettings { spec: Arc::new(spec), ..plain }
}

fn set(host: &Host, name: ServiceName, state: ServiceState) {
    host.services.send_modify(|table| {
        let others = table.iter().map(|(name, state)| (name, state.clone()));
        *table = Arc::new(ServiceTable::new(others.chain([(name, state)]).collect::<Vec<_>>()));
    });
}

fn down() -> ServiceState {
    ServiceState::Unavailable { code: Code::ServiceUnavailable, reason: "10.0.0.7 refused".to_owned() }
}

#[tokio::test(start_paused = true)]
async fn a_running_plugin_gets_no_runs_while_its_service_is_away_and_comes_back_with_it() {
    let runtime = FakeRuntime::default().with("needy", echo()).with("echo", echo());
    let host = Host::new(vec![requiring("needy", "threads"), plugin("echo")], runtime);
    host.level(ServiceLevel::Full).await;

    set(&host, ServiceName::Threads, down());
    host.until(|status| status.plugins[0].state == "degraded").await;
    let status = host.engine.status();
    assert_eq!(status.level, ServiceLevel::Partial);
    assert_eq!(status.plugins[0].fault.as_ref().unwrap().code, Code::PluginDependencyMissing);
    let named: Vec<_> = status.missing.iter().map(|m| (m.name.as_str(), m.kind)).collect();
    assert_eq!(named, [("needy", "agent"), ("threads", "service")]);
    assert!(status.missing.iter().all(|m| !m.reason.contains("10.0.0.7")), "clients see no addresses");
    assert_eq!(host.client("ann").ask(message("m1", "hi")).await.agent, "echo");

    // A probe that succeeds does not bring it back.
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(host.engine.status().plugins[0].state, "degraded");

    set(&host, ServiceName::Threads, ServiceState::Available);
    host.level(ServiceLevel::Full).await;
    assert_eq!(host.engine.status().plugins[0].generation, Generation(1), "without a restart");
    assert_eq!(host.client("ann").ask(message("m2", "hi")).await.agent, "needy");
}

#[tokio::test(start_paused = true)]
async fn a_plugin_that_could_not_start_for_want_of_a_service_starts_when_it_comes() {
    let starter = |generation: Generation| -> BoxFuture<'static, Result<Script, Fault>> {
        Box::pin(async move {
            match generation.0 {
                1 => Err(Fault::new(Stage::Dependencies, Code::PluginDependencyMissing, "requires llm")),
                _ => Ok(echo()),
            }
        })
    };
    let host = Host::new(vec![plugin("needy")], FakeRuntime::default().starting("needy", starter));
    host.until(|status| !status.starting).await;
    assert_eq!(host.engine.status().level, ServiceLevel::Fallback);
    // Nothing comes of waiting, and nothing of another service's going.
    set(&host, ServiceName::Tools, down());
    tokio::time::sleep(Duration::from_secs(600)).await;
    assert_eq!(host.engine.status().plugins[0].generation, Generation(1));
    set(&host, ServiceName::Tools, ServiceState::Available);
    host.until(|status| status.plugins[0].state == "healthy").await;
    set(&host, ServiceName::Llm, ServiceState::Available);
    host.level(ServiceLevel::Full).await;
}

#[tokio::test(start_paused = true)]
async fn a_service_that_is_not_configured_is_missed_where_an_enabled_plugin_requires_it() {
    let lacking = |_: Generation| -> BoxFuture<'static, Result<Script, Fault>> {
        Box::pin(async {
            Err(Fault::new(Stage::Dependencies, Code::PluginDependencyMissing, "requires llm"))
        })
    };
    let runtime = FakeRuntime::default().with("echo", echo()).starting("needy", lacking);
    let host = Host::new(vec![requiring("needy", "llm"), plugin("echo")], runtime);
    host.level(ServiceLevel::Partial).await;
    host.until(|status| !status.starting).await;
    let status = host.engine.status();
    let named: Vec<_> = status.missing.iter().map(|m| (m.name.as_str(), m.kind, m.code)).collect();
    let expected =
        [("needy", "agent", Code::PluginDependencyMissing), ("llm", "service", Code::ServiceNotConfigured)];
    assert_eq!(named, expected);
}

#[tokio::test(start_paused = true)]
async fn what_a_plugin_asks_of_an_absent_service_is_refused_by_code_and_the_run_goes_on() {
    let script = Script {
        handle: vec![
            Step::Request(request::THREAD_HISTORY, json!({"limit": 1})),
            Step::Request(request::TOOLS_CALL, json!({"name": "add", "arguments": {"a": 1}})),
            Step::Request(request::LLM_COMPLETE, json!({})),
            Step::Reply("done"),
        ],
        ..echo()
    };
    let host = Host::healthy(&["asker"], FakeRuntime::default().with("asker", script)).await;
    set(&host, ServiceName::Threads, down());
    set(&host, ServiceName::Tools, down());
    host.level(ServiceLevel::Partial).await;
    let run = host.client("ann").ask(message("m1", "hi")).await;
    assert_eq!((&run.last["status"], &run.last["text"]), (&json!("ok"), &json!("done")));
    assert_eq!(host.told("service.unavailable"), 2);
    assert_eq!(host.told("llm.unavailable"), 1);
}

#[tokio::test(start_paused = true)]
async fn without_events_the_answer_is_complete_and_only_the_commentary_is_missing() {
    let script = Script {
        handle: vec![
            Step::Think("hm"),
            Step::Delta("a whole "),
            Step::Delta("answer"),
            Step::Complete(agent_plugin_protocol::call::Completion::Ok { value: json!({}) }),
        ],
        ..echo()
    };
    let host = Host::healthy(&["talker"], FakeRuntime::default().with("talker", script)).await;
    set(&host, ServiceName::Events, down());
    host.level(ServiceLevel::Partial).await;
    let run = host.client("ann").ask(message("m1", "hi")).await;
    assert_eq!(run.last["text"], "a whole answer");
    assert_eq!(run.kinds, [EventKind::UserMessage, EventKind::AgentStarted, EventKind::AgentCompleted]);
    host.log("ann", &run.accepted.thread).await;
}

/// The level goes and stays away; what else is missing changes more often than the settling time is long.
#[tokio::test(start_paused = true)]
async fn a_level_is_told_though_the_list_keeps_changing() {
    let host = Host::healthy(&["echo"], FakeRuntime::default().with("echo", echo())).await;
    tokio::time::sleep(Duration::from_secs(3)).await;
    let mut client = host.client("ann");
    set(&host, ServiceName::Delegate, down());
    for state in [down(), ServiceState::Available].iter().cycle().take(10) {
        tokio::time::sleep(Duration::from_millis(300)).await;
        set(&host, ServiceName::Tools, state.clone());
    }
    let Some(Outgoing::Status { status, .. }) = client.session.try_next() else {
        panic!("nobody was told of the level")
    };
    assert_eq!(status.level, ServiceLevel::Partial);
}

/// A host that holds it back is found out, in a process of its own: failpoints are set by the environment.
#[cfg(feature = "failpoints")]
#[test]
fn a_host_that_holds_a_level_back_is_found_out() {
    let output = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "tests::services::a_level_is_told_though_the_list_keeps_changing"])
        .env("AGENT_HOST_FAILPOINTS", "engine.settle_level=off")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    assert!(!output.status.success() && said.contains("nobody was told of the level"), "{said}");
}
