//! What a client can do to a run: cancel it, and answer what it asks.

use serde_json::{Value, json};

use crate::{
    client::Client,
    harness::{Host, Plugin, Setup},
    scenario::ready,
};

fn setup() -> Setup {
    Setup::new().plugin(
        Plugin::misbehaving("bad").key("timeouts", "{ idle = \"60s\", run = \"60s\", grace = \"2s\" }"),
    )
}

/// A run of this message under way.
async fn started(host: &Host, content: &str) -> (Client, Value) {
    ready(host).await.unwrap();
    let mut client = Client::connect(host, "alice").await.unwrap();
    client.say(content, json!({})).await.unwrap();
    let accepted = client.expect("accepted").await.unwrap();
    client.until("agent_started").await.unwrap();
    (client, accepted)
}

#[tokio::test]
async fn a_cancelled_run_ends_cancelled_whether_or_not_its_agent_listens() {
    let host = setup().start();
    for content in ["!wait", "!ignore-cancel"] {
        let (mut client, accepted) = started(&host, content).await;
        client.send(&json!({ "type": "cancel", "run_id": accepted["run_id"] })).await.unwrap();
        let completed = client.until("agent_completed").await.unwrap();
        assert_eq!(completed["payload"]["status"], "cancelled", "{content}: {completed}");
        assert_eq!(completed["run_id"], accepted["run_id"]);
        let again = json!({ "type": "cancel", "run_id": accepted["run_id"] });
        client.send(&again).await.unwrap();
        client.expect_error("run.not_cancellable").await.unwrap();
        ready(&host).await.unwrap();
    }
}

#[tokio::test]
async fn any_connection_of_the_user_may_cancel_and_no_other_user() {
    let host = setup().start();
    let (mut client, accepted) = started(&host, "!wait").await;
    let cancel = json!({ "type": "cancel", "run_id": accepted["run_id"] });
    let mut bob = Client::connect(&host, "bob").await.unwrap();
    bob.send(&cancel).await.unwrap();
    bob.expect_error("run.not_found").await.unwrap();
    let mut other = Client::connect(&host, "alice").await.unwrap();
    other.send(&cancel).await.unwrap();
    let completed = client.until("agent_completed").await.unwrap();
    assert_eq!(completed["payload"]["status"], "cancelled", "{completed}");
}

#[tokio::test]
async fn a_question_is_answered_on_another_connection_once() {
    // It asks whatever it is told, and says the answer when there is one.
    let host = Setup::new().plugin(Plugin::misbehaving("bad").config("handle", "\"ask\"")).start();
    ready(&host).await.unwrap();
    let mut asker = Client::connect(&host, "alice").await.unwrap();
    let asked = asker.run("do it").await.unwrap();
    assert_eq!(asked.status(), "input_required", "{}", asked.completed());
    let question = &asked.completed()["interrupts"][0];
    assert_eq!(question["prompt"], "really?");

    let answer = |id: &str, response: Value| {
        json!({
            "type": "interrupt_response", "id": id, "run_id": asked.id(),
            "interrupt_id": question["interrupt_id"], "response": response,
        })
    };
    let mut bob = Client::connect(&host, "bob").await.unwrap();
    bob.send(&answer("answer-0", true.into())).await.unwrap();
    bob.expect_error("interrupt.not_found").await.unwrap();

    let mut other = Client::connect(&host, "alice").await.unwrap();
    other.send(&answer("answer-1", true.into())).await.unwrap();
    let resumed = other.gather("answer-1").await.unwrap();
    assert_eq!(resumed.accepted["resumes"], asked.id(), "{}", resumed.accepted);
    assert_ne!(resumed.id(), asked.id(), "a new run");
    assert_eq!(resumed.thread(), asked.thread());
    assert_eq!(resumed.payload("user_message")["metadata"]["interrupt_id"], question["interrupt_id"]);
    resumed.answered_by("bad").unwrap();
    assert_eq!(resumed.text(), "you answered true");

    other.send(&answer("answer-1", true.into())).await.unwrap();
    let again = other.expect("accepted").await.unwrap();
    assert_eq!((&again["duplicate"], &again["run_id"]), (&true.into(), &resumed.id().into()), "{again}");
    other.send(&answer("answer-2", false.into())).await.unwrap();
    other.expect_error("interrupt.not_found").await.unwrap();
}
