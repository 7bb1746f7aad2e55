//! Questions to the person across the end of the host: what a run asked before a kill is answered after it, once, by its
//! own person, and an answer that nobody took yet is still that answer.

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::{
    client::{Client, Run},
    harness::{Host, PATIENCE, Plugin, Setup},
    scenario::ready,
};

/// It asks whatever it is told, and says the answer when there is one.
fn asking() -> Setup {
    Setup::new().plugin(Plugin::misbehaving("bad").config("handle", "\"ask\""))
}

fn answer(asked: &Run, id: &str, response: Value) -> Value {
    json!({
        "type": "interrupt_response", "id": id, "run_id": asked.id(), "response": response,
        "interrupt_id": asked.completed()["interrupts"][0]["interrupt_id"],
    })
}

/// A run that ended with a question.
async fn ask(host: &Host) -> Result<Run, String> {
    ready(host).await?;
    let asked = Client::connect(host, "alice").await?.run("do it").await?;
    if asked.status() == "input_required" { Ok(asked) } else { Err(format!("{:?}", asked.completed())) }
}

/// Answers, on a connection of its own.
async fn say(host: &Host, frame: &Value) -> Result<Run, String> {
    let mut client = Client::connect(host, "alice").await?;
    client.send(frame).await?;
    client.gather(frame["id"].as_str().unwrap_or("")).await
}

/// The answer's run is the asker's, with the answer.
fn check(answered: &Run, asked: &Run, response: &Value) -> Result<(), String> {
    answered.answered_by("bad")?;
    let told = (answered.thread(), answered.text());
    if told == (asked.thread(), format!("you answered {response}").as_str()) {
        Ok(())
    } else {
        Err(format!("not resumed: {told:?}"))
    }
}

/// What is known of an answer that was accepted: the same again is it, another is none.
async fn answered_once(host: &Host, asked: &Run, run: &str) -> Result<(), String> {
    let mut client = Client::connect(host, "alice").await?;
    client.send(&answer(asked, "answer-1", true.into())).await?;
    let again = client.expect("accepted").await?;
    if again["duplicate"] != true || again["run_id"] != run {
        return Err(format!("not the same answer: {again}"));
    }
    client.send(&answer(asked, "answer-2", false.into())).await?;
    client.until("error").await.and_then(|error| match error["code"].as_str() {
        Some("interrupt.not_found") => Ok(()),
        _ => Err(format!("answered twice: {error}")),
    })
}

/// Asked, killed, answered, killed: the answer begins one run, which resumes the one that asked.
async fn a_question_outlives_a_kill(faults: &str) -> Result<(), String> {
    let setup = asking().failpoints(faults);
    let mut host = setup.start();
    let asked = ask(&host).await?;
    host.start_again(&setup);
    ready(&host).await?;
    for stranger in ["bob", "carol"] {
        let mut theirs = Client::connect(&host, stranger).await?;
        theirs.send(&answer(&asked, "answer-1", true.into())).await?;
        theirs.expect_error("interrupt.not_found").await?;
    }
    let answered = say(&host, &answer(&asked, "answer-1", true.into())).await?;
    check(&answered, &asked, &true.into())?;
    if answered.accepted["resumes"] != asked.id() {
        return Err(format!("it resumes nothing: {}", answered.accepted));
    }
    answered_once(&host, &asked, answered.id()).await?;
    host.start_again(&setup);
    ready(&host).await?;
    answered_once(&host, &asked, answered.id()).await
}

#[tokio::test]
async fn a_question_that_was_asked_before_a_kill_is_answered_after_it_once() {
    assert_eq!(a_question_outlives_a_kill("").await, Ok(()));
}

#[tokio::test]
async fn a_host_that_forgets_its_questions_is_noticed() {
    let objection = a_question_outlives_a_kill("store.questions=off").await.unwrap_err();
    assert!(objection.contains("interrupt.not_found"), "{objection}");
}

#[tokio::test]
async fn a_question_outlives_an_end_in_order() {
    let setup = asking();
    let mut host = setup.start();
    let asked = ask(&host).await.unwrap();
    host.signal(Signal::TERM);
    host.ended(PATIENCE).await.unwrap();
    host.start_again(&setup);
    ready(&host).await.unwrap();
    let words = json!({ "shall": ["I", 2.5, null] });
    let answered = say(&host, &answer(&asked, "answer-1", words.clone())).await.unwrap();
    check(&answered, &asked, &words).unwrap();
}

/// The host dies after it accepted the answer and before the agent that asked had it: the next host's run has the answer
/// as it was given, a value and no text.
#[tokio::test]
async fn an_answer_that_nobody_took_before_a_kill_reaches_who_asked() {
    let mut host = asking().start();
    let asked = ask(&host).await.unwrap();
    let starting = Plugin::bad_create("bad", "hang").key("timeouts", "{ init = \"60s\" }");
    host.start_again(&Setup::new().set("routing.wait", "\"60s\"").plugin(starting));
    let mut client = Client::connect(&host, "alice").await.unwrap();
    client.send(&answer(&asked, "answer-1", true.into())).await.unwrap();
    let accepted = client.expect("accepted").await.unwrap();

    host.start_again(&asking());
    ready(&host).await.unwrap();
    let mut client = Client::connect(&host, "alice").await.unwrap();
    client.send(&json!({ "type": "subscribe", "thread_id": asked.thread(), "after_seq": 0 })).await.unwrap();
    let mut last = client.until("agent_completed").await.unwrap();
    while last["run_id"] != accepted["run_id"] {
        last = client.until("agent_completed").await.unwrap();
    }
    let told = &last["payload"];
    assert_eq!((&told["status"], &told["text"]), (&"ok".into(), &"you answered true".into()), "{last}");
    answered_once(&host, &asked, accepted["run_id"].as_str().unwrap()).await.unwrap();
}
