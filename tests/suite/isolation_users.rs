//! No user sees another's data: not by the same ids, not by guessing, not across tenants (law 7).

use serde_json::{Value, json};

use crate::{
    client::Client,
    harness::{
        Host, Plugin, Setup,
        tokens::{SECRET, claims_with, signed},
    },
    scenario::ready,
};

/// Everything that one user can do to another's thread and run must look as if they did not exist.
async fn a_stranger_finds_nothing(host: &Host, owner: &str, stranger: &str) -> Result<(), String> {
    let mut mine = Client::with_token(host, owner).await?;
    let id = mine.say("!wait", json!({ "agent": "bad" })).await?;
    let accepted = mine.expect("accepted").await?;
    mine.until("agent_thinking").await?;

    let mut theirs = Client::with_token(host, stranger).await?;
    let (thread, run) = (&accepted["thread_id"], &accepted["run_id"]);
    for (frame, code) in [
        (json!({ "type": "subscribe", "thread_id": thread, "after_seq": 0 }), "thread.not_found"),
        (
            json!({ "type": "user_message", "id": "x", "content": "hi", "thread_id": thread }),
            "thread.not_found",
        ),
        (json!({ "type": "cancel", "run_id": run }), "run.not_found"),
        (
            json!({ "type": "interrupt_response", "id": "y", "run_id": run, "interrupt_id": "i", "response": 1 }),
            "interrupt.not_found",
        ),
    ] {
        theirs.send(&frame).await?;
        let error = theirs.expect("error").await.map_err(|e| format!("{frame}: {e}"))?;
        let lawful = [code, "run.not_found"];
        if !lawful.contains(&error["code"].as_str().unwrap_or_default()) {
            return Err(format!("{frame}: expected {code}, got {error}"));
        }
    }
    // The same client-made id is another message.
    theirs.send(&json!({ "type": "user_message", "id": id, "content": "mine", "agent": "echo" })).await?;
    let own = theirs.gather(&id).await?;
    if own.accepted["duplicate"] != false || own.accepted["thread_id"] == *thread {
        return Err(format!("two users' ids met: {}", own.accepted));
    }
    // And the owner's run was not touched.
    mine.send(&json!({ "type": "cancel", "run_id": run })).await?;
    let completed = mine.until("agent_completed").await?;
    match completed["payload"]["status"] == "cancelled" && completed["run_id"] == *run {
        true => Ok(()),
        false => Err(format!("the owner's run ended otherwise: {completed}")),
    }
}

fn token(user: &str, tenant: Value) -> String {
    signed(&claims_with(user, json!({ "tenant": tenant })), SECRET)
}

fn setup() -> Setup {
    Setup::echo().plugin(Plugin::misbehaving("bad").key("timeouts", "{ idle = \"30s\" }"))
}

#[tokio::test]
async fn another_user_of_the_tenant_finds_nothing() {
    let host = setup().start();
    ready(&host).await.unwrap();
    let (alice, bob) = (token("alice", "acme".into()), token("bob", "acme".into()));
    a_stranger_finds_nothing(&host, &alice, &bob).await.unwrap();
}

#[tokio::test]
async fn the_same_name_in_another_tenant_finds_nothing() {
    let host = setup().start();
    ready(&host).await.unwrap();
    let (here, there) = (token("alice", "acme".into()), token("alice", "globex".into()));
    a_stranger_finds_nothing(&host, &here, &there).await.unwrap();
}

#[tokio::test]
async fn a_name_that_looks_like_tenant_and_user_is_not_taken_for_them() {
    let host = setup().start();
    ready(&host).await.unwrap();
    let (here, there) = (token("b/c", "a".into()), token("c", "a/b".into()));
    a_stranger_finds_nothing(&host, &here, &there).await.unwrap();
}

#[tokio::test]
async fn the_scenario_is_red_where_the_stranger_is_the_owner() {
    // The twin: to the owner everything is there, so the scenario must object.
    let host = setup().start();
    ready(&host).await.unwrap();
    let alice = token("alice", "acme".into());
    a_stranger_finds_nothing(&host, &alice, &alice).await.expect_err("it objects");
}
