//! A supervisor chooses who answers, or asks several and joins what they say; and one that is bad at it costs its
//! deadline, never the message.

use std::time::Duration;

use serde_json::{Value, json};

use crate::{
    client::{Client, Run},
    harness::{Host, Plugin, Setup, artifacts, clock::Moment, eventually},
    scenario::ready,
};

/// What a supervisor that does not choose may cost, with room for a busy machine: its two seconds.
const CHOICE: Duration = Duration::from_secs(4);

const TOOLS: &str = "[\"calculator\", \"clock\"]";

fn assistant() -> Plugin {
    Plugin::at("assistant", artifacts::assistant()).key("tools", TOOLS)
}

fn supervisor() -> Plugin {
    Plugin::at("supervisor", artifacts::supervisor()).key("kind", "\"supervisor\"").key("tools", TOOLS)
}

/// The fixture, with one of its switches.
fn bad(at: &str, deed: &str) -> Plugin {
    let boss = Plugin::at("boss", artifacts::misbehaving_supervisor())
        .key("kind", "\"supervisor\"")
        .key("timeouts", "{ init = \"2s\", tool = \"1s\", idle = \"2s\", run = \"6s\", grace = \"200ms\" }")
        .key("restart", "{ max = 50, within = \"60s\" }");
    boss.config(at, &format!("\"{deed}\""))
}

async fn asked(setup: &Setup, message: &str) -> (Host, Run) {
    let host = setup.start();
    ready(&host).await.unwrap();
    let mut client = Client::connect(&host, "alice").await.unwrap();
    let run = client.run(message).await.unwrap();
    (host, run)
}

/// `agent type` of the run's events.
fn told(run: &Run) -> Vec<String> {
    let name = |event: &Value, field: &str| event[field].as_str().unwrap_or_default().to_owned();
    run.events.iter().map(|event| format!("{} {}", name(event, "agent"), name(event, "type"))).collect()
}

#[tokio::test]
async fn the_agent_whose_description_fits_answers() {
    let host = Setup::echo().plugin(assistant()).plugin(supervisor()).start();
    ready(&host).await.unwrap();
    let mut client = Client::connect(&host, "alice").await.unwrap();
    client.run("@echo hello").await.unwrap().answered_by("echo").unwrap();
    let run = client.run("@assistant what is 6*7?").await.unwrap();
    run.answered_by("assistant").unwrap();
    assert!(run.text().contains("42"), "{}", run.text());
    // The assistant's words, not the echo's; see their Cargo.toml.
    client
        .run("please use your tools and remember this conversation")
        .await
        .unwrap()
        .answered_by("assistant")
        .unwrap();
    client.run_with("hello", json!({"agent": "echo"})).await.unwrap().answered_by("echo").unwrap();
}

#[tokio::test]
async fn a_question_to_two_agents_is_answered_by_both() {
    let setup = Setup::echo().plugin(assistant()).plugin(supervisor());
    let (_host, run) = asked(&setup, "@echo @assistant what is 2+3").await;
    run.answered_by("supervisor").unwrap();
    assert!(run.text().contains("echo: what is 2+3"), "{}", run.text());
    assert!(run.text().contains("assistant: ") && run.text().contains('5'), "{}", run.text());
    let told = told(&run);
    for line in [
        "supervisor agent_started",
        "supervisor agent_delegated",
        "echo agent_message_delta",
        "assistant tool_executing",
        "assistant tool_completed",
        "supervisor agent_returned",
        "supervisor agent_completed",
    ] {
        assert!(told.iter().any(|l| l == line), "no {line} in {told:?}");
    }
    let returned = run.events.iter().filter(|event| event["type"] == "agent_returned");
    assert_eq!(returned.filter(|event| event["payload"]["status"] == "ok").count(), 2);
}

#[tokio::test]
async fn an_agent_that_crashes_over_its_part_leaves_the_other_s() {
    let setup = Setup::echo().plugin(Plugin::misbehaving("bad").hasty()).plugin(supervisor());
    for deed in ["!segv", "!hang", "!panic", "!error", "!ask", "!flood"] {
        let host = setup.start();
        ready(&host).await.unwrap();
        let mut client = Client::connect(&host, "alice").await.unwrap();
        let run = client.run(&format!("@echo @bad {deed}")).await.unwrap();
        run.answered_by("supervisor").unwrap_or_else(|e| panic!("{deed}: {e}"));
        assert!(run.text().contains(&format!("echo: {deed}")), "{deed}: {}", run.text());
        assert!(run.text().contains("bad could not answer"), "{deed}: {}", run.text());
        client.run_with("and you?", json!({"agent": "echo"})).await.unwrap().answered_by("echo").unwrap();
    }
}

#[tokio::test]
async fn a_supervisor_that_does_not_choose_costs_its_deadline_and_never_the_message() {
    for deed in ["error", "panic", "abort", "exit", "hang", "sleep", "nobody", "itself"] {
        let host = Setup::echo().plugin(bad("route", deed)).start();
        ready(&host).await.unwrap();
        let mut client = Client::connect(&host, "alice").await.unwrap();
        let began = Moment::now();
        let run = client.run("hello").await.unwrap();
        run.answered_by("echo").unwrap_or_else(|e| panic!("{deed}: {e}"));
        assert!(began.elapsed() < CHOICE, "{deed} cost {:?}", began.elapsed());
    }
}

#[tokio::test]
async fn a_supervisor_that_does_not_load_costs_nothing() {
    let missing = Plugin::at("boss", "/nowhere/libboss.so").key("kind", "\"supervisor\"");
    let agent = Plugin::at("boss", artifacts::echo()).key("kind", "\"supervisor\"");
    for boss in [bad("create", "error"), bad("create", "abort"), missing, agent] {
        let (host, run) = asked(&Setup::echo().plugin(boss), "hello").await;
        run.answered_by("echo").unwrap();
        let client = Client::connect(&host, "bob").await.unwrap();
        assert_eq!(client.welcome["service"]["level"], "partial", "{}", client.welcome);
        assert_eq!(client.welcome["service"]["missing"][0]["name"], "boss", "{}", client.welcome);
    }
}

#[tokio::test]
async fn a_supervisor_that_ends_in_the_midst_of_its_work_ends_its_run_and_nobody_else_s() {
    for (deed, code) in
        [("panic", "plugin.panicked"), ("abort", "plugin.crashed"), ("hang", "plugin.timeout_run")]
    {
        let setup = Setup::echo()
            .plugin(
                Plugin::misbehaving("bad")
                    .key("timeouts", "{ init = \"20s\", idle = \"30s\", grace = \"5s\" }"),
            )
            .plugin(bad("handle", deed));
        let (host, run) = asked(&setup, "@bad !wait").await;
        assert_eq!((run.status(), run.codes()), ("failed", vec![code]), "{deed}: {:?}", told(&run));
        assert_eq!(run.payload("agent_returned")["status"], "failed", "{deed}");
        eventually("the agent is free again", async || {
            let mut client = Client::connect(&host, "alice").await?;
            client.run_with("are you there?", json!({"agent": "bad"})).await?.answered_by("bad")
        })
        .await
        .unwrap();
    }
}
