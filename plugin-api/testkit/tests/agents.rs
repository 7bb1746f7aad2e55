//! Agents tested with the kit, and the suite held against agents that break the contract.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, reason = "in a test, an unexpected absence is the failure to report")]

use std::{future::pending, time::Duration};

use agent_plugin_api::{
    Agent, AgentError, Context, InitError, Message, Question, Reply, RosterEntry, RouteChoice, Secret, Setup,
    Supervisor, json,
    protocol::{
        PluginKind,
        call::{Completion, CreateErrorKind},
    },
    raw::RawHost,
};
use agent_plugin_testkit::{
    Event, Testkit, ToolAnswer,
    conformance::{self, Case, Plan, Report, Verdict},
    measure,
};

/// Does what its configuration says, to every message.
struct Actor(String);

#[derive(Default, serde::Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Role {
    role: String,
}

impl Agent for Actor {
    type Config = Role;

    async fn create(config: Role, _: Setup) -> Result<Self, InitError> {
        match config.role.as_str() {
            "stillborn" => Err(InitError::new("no")),
            role => Ok(Self(role.to_owned())),
        }
    }

    async fn handle(&self, ctx: &Context, message: Message) -> Result<Reply, AgentError> {
        let raw = RawHost::of(ctx);
        match self.0.as_str() {
            "panicky" => panic!("oh"),
            "deaf" => pending().await,
            "babbling" => {
                raw.emit(raw.call(), 1, "{\"text\":\n7}");
                Ok("answered".into())
            }
            "garrulous" => {
                raw.complete(raw.call(), r#"{"status":"ok","value":{}}"#);
                raw.emit(raw.call(), 1, r#"{"text":"late"}"#);
                Ok("again".into())
            }
            "mumbling" => {
                raw.complete(raw.call(), "not JSON");
                Ok("answered".into())
            }
            "connected" => {
                use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
                let mut peer = ctx.connect(&message.content).await?;
                peer.write_all(ctx.secret("key").map_or("none", Secret::expose).as_bytes()).await?;
                peer.shutdown().await?;
                let mut said = String::new();
                peer.read_to_string(&mut said).await?;
                Ok(said.into())
            }
            "helpless" => {
                ctx.tools().call("clock", json!({})).await.unwrap();
                Ok("answered".into())
            }
            "asking" => match ctx.answer() {
                None => {
                    ctx.thread().set_state(&json!({"topic": message.content})).await?;
                    Ok(Reply::ask(Question { prompt: "really?".to_owned(), schema: None }))
                }
                Some(answer) => {
                    let state: Option<serde_json::Value> = ctx.thread().state().await?;
                    Ok(format!("{} {}", state.unwrap()["topic"], answer.response).into())
                }
            },
            "waiting" => {
                ctx.thinking("waiting").step(1).await?;
                ctx.cancelled().await;
                Err(AgentError::cancelled())
            }
            "clerk" => {
                let time = ctx.tools().call("clock", json!({"zone": "utc"})).await?;
                ctx.delta("it is ").await?;
                ctx.delta(time.as_str().unwrap_or("late")).await?;
                Ok(Reply::streamed())
            }
            "recalling" => {
                let turns = ctx.thread().history(2).await?;
                Ok(turns.iter().map(|turn| turn.text.as_str()).collect::<Vec<_>>().join("|").into())
            }
            "oracle" => {
                let said = ctx.llm().complete(&json!({"q": message.content})).await?;
                Ok(said["a"].as_str().unwrap_or_default().into())
            }
            _ => {
                ctx.delta(&message.content).await?;
                Ok(Reply::streamed())
            }
        }
    }
}

fn kit(role: &str) -> Testkit<Actor> {
    Testkit::new().config(json!({"role": role}))
}

#[tokio::test]
async fn tools_are_answered_by_the_test_and_noted() {
    let transcript = kit("clerk").tool("clock", |_| json!("nine")).run("when?").await;
    assert_eq!(transcript.text(), "it is nine");
    assert_eq!(transcript.tool_calls()[0].arguments, json!({"zone": "utc"}));
    assert!(matches!(transcript.events(), [Event::Tool(_), Event::Delta(_), Event::Delta(_)]));
}

#[tokio::test]
async fn a_tool_that_is_not_there_is_denied_and_one_may_fail() {
    assert_eq!(kit("clerk").run("when?").await.error_code(), Some("tool.denied"));
    let broken = kit("clerk").tool("clock", |_| Err::<serde_json::Value, _>("stopped"));
    assert_eq!(broken.run("when?").await.error_code(), Some("tool.failed"));
    let busy = kit("clerk").tool("clock", |_| ToolAnswer::error("tool.failed", "busy").retryable());
    let transcript = busy.run("when?").await;
    assert!(matches!(transcript.completion(), Completion::Error { retryable: true, .. }));
}

#[tokio::test]
async fn the_conversation_grows_by_what_was_said() {
    let kit = kit("recalling").history([("user", "one"), ("agent", "two"), ("user", "three")]);
    let mut plugin = kit.start().unwrap();
    assert_eq!(plugin.run("x").await.text(), "two|three");
    assert_eq!(plugin.run("y").await.text(), "x|two|three");
    assert_eq!(plugin.history().len(), 7);
}

#[tokio::test]
async fn a_question_is_answered_in_a_new_run_with_the_state_kept() {
    let mut plugin = kit("asking").start().unwrap();
    let asked = plugin.run("cats").await;
    assert_eq!(asked.asked().unwrap().prompt, "really?");
    assert_eq!(asked.state::<serde_json::Value>().unwrap(), json!({"topic": "cats"}));
    assert_eq!(plugin.answer(&asked, json!(true)).await.text(), "\"cats\" true");
}

#[tokio::test]
async fn a_run_can_be_watched_and_cancelled() {
    let mut plugin = kit("waiting").start().unwrap();
    let mut run = plugin.begin("wait").await;
    assert!(matches!(run.next().await, Some(Event::Thinking { step: Some(1), .. })));
    run.cancel().await;
    assert!(run.finish().await.was_cancelled());
}

#[tokio::test]
async fn a_run_that_is_given_up_does_not_trouble_the_next() {
    let mut plugin = kit("waiting").start().unwrap();
    drop(plugin.begin("wait").await);
    let mut run = plugin.begin("again").await;
    run.cancel().await;
    assert!(run.finish().await.was_cancelled());
}

#[tokio::test]
async fn panics_and_failed_creations_are_values() {
    assert_eq!(kit("panicky").run("x").await.panic(), Some("oh"));
    assert_eq!(kit("stillborn").start().unwrap_err().kind, CreateErrorKind::Error);
    let typo = Testkit::<Actor>::new().config(json!({"rule": "x"}));
    assert_eq!(typo.start().unwrap_err().kind, CreateErrorKind::Config);
}

#[tokio::test]
async fn the_model_of_the_host_is_scripted_too() {
    let kit = kit("oracle").llm(|request| json!({"a": format!("{} indeed", request["q"].as_str().unwrap())}));
    assert_eq!(kit.run("why").await.text(), "why indeed");
}

/// Chooses as its configuration says.
struct Chief(String);

impl Supervisor for Chief {
    type Config = Role;

    async fn create(config: Role, _: Setup) -> Result<Self, InitError> {
        Ok(Self(config.role))
    }

    async fn route(
        &self,
        _: &Context,
        _: &Message,
        roster: &[RosterEntry],
    ) -> Result<RouteChoice, AgentError> {
        match self.0.as_str() {
            "dreaming" => Ok(RouteChoice::To("nobody-there".parse().unwrap())),
            "careless" => Ok(RouteChoice::To(roster[0].name.clone())),
            _ => Ok(roster.first().map_or(RouteChoice::Handle, |agent| RouteChoice::To(agent.name.clone()))),
        }
    }

    async fn handle(&self, ctx: &Context, message: Message) -> Result<Reply, AgentError> {
        Ok(format!("{:?}", ctx.delegate("echo", &message.content).await?).into())
    }
}

fn chief(role: &str) -> Testkit<Chief> {
    Testkit::supervisor().config(json!({"role": role}))
}

#[tokio::test]
async fn a_supervisor_chooses_and_delegates() {
    let kit = chief("").agent("echo", "says it back", |input| Ok(input.to_uppercase()));
    let mut plugin = kit.start().unwrap();
    assert_eq!(plugin.route("x").await, Ok(RouteChoice::To("echo".parse().unwrap())));
    let transcript = plugin.run("hey").await;
    assert_eq!(transcript.text(), "Ok { text: \"HEY\" }");
    assert_eq!(transcript.delegated()[0].input, "hey");
}

const PLAN: Plan =
    Plan { kind: PluginKind::Agent, patience: Duration::from_secs(10), grace: Duration::from_secs(3) };

async fn judged(kit: Testkit<Actor>, plan: Plan) -> Report {
    let mut plugin = kit.start().unwrap();
    conformance::run(plugin.subject(), &plan).await
}

async fn judged_chief(role: &str) -> Report {
    let mut plugin = chief(role).start().unwrap();
    conformance::run(plugin.subject(), &Plan { kind: PluginKind::Supervisor, ..PLAN }).await
}

#[tokio::test]
async fn orderly_agents_and_supervisors_conform() {
    for role in ["", "clerk", "asking", "recalling", "oracle"] {
        let report = judged(kit(role), PLAN).await;
        assert_eq!(report.failures(), [], "{role}");
        assert_eq!(report.cases.len(), Case::ALL.len());
    }
    let report = judged_chief("").await;
    assert_eq!(report.failures(), []);
    assert!(
        !report
            .cases
            .iter()
            .any(|one| matches!(one.verdict, Verdict::Skip { .. }) && one.case == Case::Route)
    );
}

#[tokio::test]
async fn each_broken_promise_is_found() {
    for (role, broken) in [
        ("panicky", Case::Message),
        ("babbling", Case::Events),
        ("garrulous", Case::Silence),
        ("mumbling", Case::Message),
        ("helpless", Case::Denial),
    ] {
        let report = judged(kit(role), PLAN).await;
        let failures = report.failures();
        assert!(failures.iter().any(|(case, _)| *case == broken), "{role}: {failures:?}");
    }
    let impatient = Plan { patience: Duration::from_millis(100), grace: Duration::from_millis(50), ..PLAN };
    let report = judged(kit("deaf"), impatient).await;
    for broken in [Case::Message, Case::Cancel] {
        assert!(report.failures().iter().any(|(case, _)| *case == broken), "{broken:?}");
    }
    let case = |report: &Report| report.failures().first().map(|(case, _)| *case);
    assert_eq!(case(&judged_chief("dreaming").await), Some(Case::Route));
    assert_eq!(case(&judged_chief("careless").await), Some(Case::EmptyRoster));
}

#[tokio::test]
async fn what_a_call_costs_is_measured() {
    let mut plugin = kit("").start().unwrap();
    let cost = measure(plugin.subject(), &PLAN, Duration::from_millis(50)).await.unwrap();
    assert!(cost.round_trip_us > 0.0 && cost.round_trips > 0 && cost.events_per_message == 1.0, "{cost:?}");
    let mut plugin = kit("panicky").start().unwrap();
    assert_eq!(measure(plugin.subject(), &PLAN, Duration::from_millis(50)).await, None);
}

#[tokio::test]
async fn a_secret_and_a_peer_are_scripted_and_every_other_peer_is_denied() {
    let kit = kit("connected")
        .secret("key", "k-1")
        .peer("api.example.com:443", |written| [b"got ", written].concat());
    assert_eq!(kit.run("api.example.com:443").await.text(), "got k-1");
    let denied = kit.run("evil.example.com:443").await;
    match denied.completion() {
        Completion::Error { code, .. } => assert_eq!(code, "network.denied"),
        other => panic!("{other:?}"),
    }
}
