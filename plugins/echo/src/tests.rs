//! Echo, tested without a host: `cargo test -p echo`.

use agent_plugin_api::{json, protocol::PluginKind};
use agent_plugin_testkit::{
    Event, Testkit,
    conformance::{self, Plan},
};

use super::Echo;

#[tokio::test]
async fn it_says_back_what_it_was_told_after_a_look_at_the_clock() {
    let kit = Testkit::<Echo>::new()
        .config(json!({"prefix": "You said: "}))
        .tool("clock", |_| json!({"time": "12:00"}));
    let transcript = kit.run("good day").await;
    assert_eq!(transcript.text(), "You said: good day");
    assert_eq!(transcript.thoughts(), ["looking at the clock", "saying it back"]);
    assert!(matches!(transcript.events(), [Event::Thinking { .. }, Event::Tool(_), ..]));
}

#[tokio::test]
async fn without_the_clock_it_answers_all_the_same_and_says_so() {
    let transcript = Testkit::<Echo>::new().run("hello").await;
    assert_eq!(transcript.text(), "hello");
    assert!(transcript.thoughts()[1].contains("may not look at the clock"));
}

#[tokio::test]
async fn a_typo_in_its_configuration_is_told() {
    assert!(Testkit::<Echo>::new().config(json!({"prefx": ""})).start().is_err());
}

#[tokio::test]
async fn it_keeps_the_contract() {
    let mut echo = Testkit::<Echo>::new().start().expect("it needs no configuration");
    let report = conformance::run(echo.subject(), &Plan::of(PluginKind::Agent)).await;
    assert_eq!(report.failures(), []);
}
