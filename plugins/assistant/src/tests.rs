//! The assistant's loop around a model that follows a script, and the shipped plugin as a whole.

use agent_plugin_api::{
    Agent, AgentError, Context, InitError, Message, Reply, Setup, json,
    protocol::{
        PluginKind,
        chat::{ChatChunk, ChatRole},
    },
};
use agent_plugin_testkit::{
    Event, ScriptedModel, Testkit,
    conformance::{self, Plan},
};

use super::{Assistant, Config};

/// An assistant whose model the test has in its hands: the script waits in a list, as `create` makes the
/// agent and takes nothing but a configuration.
struct WithModel(Assistant);

static SCRIPTS: std::sync::Mutex<Vec<ScriptedModel>> = std::sync::Mutex::new(Vec::new());

#[derive(serde::Deserialize)]
struct Script {
    index: usize,
    #[serde(default)]
    config: Config,
}

impl Agent for WithModel {
    type Config = Script;

    async fn create(script: Script, _: Setup) -> Result<Self, InitError> {
        let model = SCRIPTS
            .lock()
            .map(|scripts| scripts[script.index].clone())
            .map_err(|_| InitError::new("poisoned"))?;
        Ok(Self(Assistant { config: script.config, model: Box::new(model) }))
    }

    async fn handle(&self, ctx: &Context, message: Message) -> Result<Reply, AgentError> {
        self.0.handle(ctx, message).await
    }
}

fn kit(model: &ScriptedModel, config: agent_plugin_api::Value) -> Testkit<WithModel> {
    let mut scripts = SCRIPTS.lock().expect("no test panics while it holds it");
    scripts.push(model.clone());
    Testkit::new().config(json!({"index": scripts.len() - 1, "config": config}))
}

#[tokio::test]
async fn a_tool_is_run_and_its_result_told_to_the_model() {
    let model = ScriptedModel::new().calls_tool("calculator", json!({"expression": "1+1"})).says("it is 2");
    let kit = kit(&model, json!({})).tool("calculator", |_| json!({"result": "2"}));
    let transcript = kit.run("1+1?").await;
    assert_eq!(transcript.text(), "it is 2");
    assert_eq!(transcript.tool_calls()[0].arguments["expression"], "1+1");
    let told = model.asked()[1].messages.last().cloned().expect("it was asked twice");
    assert_eq!((told.role, told.content.as_str()), (ChatRole::Tool, r#"{"result":"2"}"#));
}

#[tokio::test]
async fn a_tool_that_is_denied_is_told_to_the_model_too() {
    let model = ScriptedModel::new().calls_tool("calculator", json!({})).says("I may not");
    assert_eq!(kit(&model, json!({})).run("1+1?").await.text(), "I may not");
    assert!(model.asked()[1].messages.last().is_some_and(|told| told.content.contains("tool.denied")));
}

#[tokio::test]
async fn a_model_that_only_asks_for_tools_is_stopped() {
    let ask = |model: ScriptedModel| model.calls_tool("clock", json!({}));
    let model = ask(ask(ScriptedModel::new()));
    let transcript = kit(&model, json!({"rounds": 2})).run("time?").await;
    assert_eq!(transcript.error_code(), Some("too_many_rounds"));
}

#[tokio::test]
async fn a_model_s_failure_is_the_run_s() {
    let model = ScriptedModel::new().fails([ChatChunk::Text("I".to_owned())], "llm.unavailable", "gone");
    let transcript = kit(&model, json!({})).run("hello").await;
    assert_eq!((transcript.error_code(), transcript.streamed().as_str()), (Some("llm.unavailable"), "I"));
}

#[tokio::test]
async fn a_model_that_falls_silent_does_not_hold_a_cancelled_run() {
    let model = ScriptedModel::new().hangs([ChatChunk::Text("wait".to_owned())]);
    let mut plugin = kit(&model, json!({})).start().expect("it can be made");
    let mut run = plugin.begin("hello").await;
    assert_eq!(run.next().await, Some(Event::Delta("wait".to_owned())));
    run.cancel().await;
    assert!(run.finish().await.was_cancelled());
}

#[tokio::test]
async fn the_model_sees_the_conversation() {
    let model = ScriptedModel::new().says("hello again");
    let kit = kit(&model, json!({"history": 2})).history([("user", "a"), ("user", "b"), ("agent", "c")]);
    kit.run("d").await;
    let seen: Vec<_> = model.asked()[0].messages.iter().skip(1).map(|turn| turn.content.clone()).collect();
    assert_eq!(seen, ["b", "c", "d"]);
}

#[tokio::test]
async fn the_shipped_plugin_calculates_and_keeps_the_contract() {
    let kit = Testkit::<Assistant>::new().tool("calculator", |_| json!({"result": "14"}));
    assert!(kit.run("what is 2 + 3 * 4?").await.text().contains("14"));
    let mut plugin = kit.start().expect("it needs no configuration");
    let report = conformance::run(plugin.subject(), &Plan::of(PluginKind::Agent)).await;
    assert_eq!(report.failures(), []);
}
