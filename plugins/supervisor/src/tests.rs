//! The chooser with scripted agents.

use agent_plugin_api::{RouteChoice, protocol::PluginKind};
use agent_plugin_testkit::{
    Testkit,
    conformance::{self, Plan},
};

use super::Chooser;

fn kit() -> Testkit<Chooser> {
    Testkit::supervisor().agent("echo", "says back what it was told", |input| Ok(input.to_owned())).agent(
        "billing",
        "answers questions about invoices",
        |_| Err("the ledger is closed".to_owned()),
    )
}

fn to(name: &str) -> RouteChoice {
    RouteChoice::To(name.parse().expect("a plugin id"))
}

#[tokio::test]
async fn one_agent_is_chosen_and_two_are_asked_by_itself() {
    let mut plugin = kit().start().expect("it needs no configuration");
    assert_eq!(plugin.route("where are my invoices?").await, Ok(to("billing")));
    assert_eq!(plugin.route("@echo where are my invoices?").await, Ok(to("echo")));
    assert_eq!(plugin.route("@echo @billing hello").await, Ok(RouteChoice::Handle));
}

#[tokio::test]
async fn answers_are_joined_and_a_failure_is_one_of_them() {
    let transcript = kit().run("@echo @billing hello").await;
    assert_eq!(transcript.text(), "echo: hello\nbilling could not answer: the ledger is closed");
    assert_eq!(transcript.delegated().len(), 2);
}

#[tokio::test]
async fn nobody_s_answer_is_an_error() {
    let deaf = |_: &str| Err("no".to_owned());
    let kit = Testkit::<Chooser>::supervisor().agent("one", "", deaf).agent("two", "", deaf);
    assert_eq!(kit.run("@one @two hello").await.error_code(), Some("nobody_answered"));
}

#[tokio::test]
async fn it_keeps_the_contract() {
    let mut plugin = kit().start().expect("it needs no configuration");
    let report = conformance::run(plugin.subject(), &Plan::of(PluginKind::Supervisor)).await;
    assert_eq!(report.failures(), []);
}
