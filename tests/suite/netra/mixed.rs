//! One user, seven sockets, three wires: two of each older version and three of the native one, at once on one host. Each
//! has a conversation of its own, and all are conversations of the same person.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::{
    client::Version,
    conformance::{Greeted, judge},
    v2::spoken,
};
use crate::{
    client::Client,
    harness::{Host, PATIENCE, Setup, http, tokens},
    scenario::ready,
};

const NATIVE: usize = 3;

fn setup() -> Setup {
    // As config/staging.toml has it.
    spoken(Setup::echo()).set("limits.runs_at_once", "8")
}

/// What came of a message: where it was said, and the answer.
struct Heard {
    thread: String,
    answer: String,
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

async fn heard_by_older(older: &mut Greeted) -> Result<Heard, String> {
    let completed = judge(&older.client.until("agent_completed").await?)?;
    Ok(Heard { thread: text(&completed["thread_id"]), answer: text(&completed["final_response"]) })
}

/// All speak before anybody listens, twice: in a new conversation, and again in the same.
async fn seven_of_three_wires_talk(host: &Host) -> Result<(), String> {
    ready(host).await?;
    let (mut older, mut native) = (Vec::new(), Vec::new());
    for version in [Version::V1, Version::V2, Version::V1, Version::V2] {
        older.push(Greeted::of(host, version, "alice").await?);
    }
    for _ in 0..NATIVE {
        native.push(Client::connect(host, "alice").await?);
    }
    let mut threads: Vec<Option<String>> = vec![None; older.len() + native.len()];
    for round in ["first", "second"] {
        let words = |at: usize| format!("the {round} of {at}");
        for (at, one) in older.iter_mut().enumerate() {
            let said =
                json!({ "type": "chat", "payload": { "content": words(at), "thread_id": threads[at] } });
            one.client.say(&said).await?;
        }
        let mut ids = Vec::new();
        for (at, one) in native.iter_mut().enumerate() {
            let at = at + older.len();
            let more = threads[at].as_ref().map_or(json!({}), |thread| json!({ "thread_id": thread }));
            ids.push(one.say(&words(at), more).await?);
        }
        let mut heard = Vec::new();
        for one in &mut older {
            heard.push(heard_by_older(one).await?);
        }
        for (one, id) in native.iter_mut().zip(ids) {
            let run = one.gather(&id).await?;
            heard.push(Heard { thread: run.thread().to_owned(), answer: run.text().to_owned() });
        }
        for (at, Heard { thread, answer }) in heard.into_iter().enumerate() {
            if !answer.contains(&words(at)) {
                return Err(format!("socket {at} said {:?} and heard {answer:?}", words(at)));
            }
            if threads[at].as_ref().is_some_and(|before| *before != thread) {
                return Err(format!("socket {at} went on in {thread}, not in {:?}", threads[at]));
            }
            threads[at] = Some(thread);
        }
    }
    let theirs: BTreeSet<String> = threads.into_iter().flatten().collect();
    if theirs.len() != older.len() + native.len() {
        return Err(format!("not a conversation each: {theirs:?}"));
    }
    is_one_person(host, &theirs).await?;
    // Another one who knows a conversation's name begins one of his own.
    let mut bob = Greeted::of(host, Version::V1, "bob").await?;
    let said = json!({ "type": "chat", "payload": { "content": "hello", "thread_id": theirs.first() } });
    bob.client.say(&said).await?;
    match heard_by_older(&mut bob).await?.thread {
        thread if theirs.contains(&thread) => Err(format!("bob is let into {thread}")),
        _ => Ok(()),
    }
}

/// The same person has them all, whichever wire they were said on, and another has none.
async fn is_one_person(host: &Host, theirs: &BTreeSet<String>) -> Result<(), String> {
    for (user, expected) in [("alice", theirs), ("bob", &BTreeSet::new())] {
        let bearer = format!("Bearer {}", tokens::of(user));
        let answer = http::get(host.address, "/v1/threads", &[("Authorization", &bearer)], PATIENCE).await?;
        let page = answer.json()?;
        let listed = page["threads"].as_array().into_iter().flatten();
        let listed: BTreeSet<String> = listed.map(|thread| text(&thread["thread_id"])).collect();
        if listed != *expected {
            return Err(format!("{user} has {listed:?}, not {expected:?}: {page}"));
        }
    }
    Ok(())
}

twin! {
    seven_of_three(seven_of_three_wires_talk) on setup();
    faults ""; broken by "store.scope=off", says "bob is let into"
}

#[tokio::test]
async fn a_host_with_room_for_six_is_found_out() {
    let host = setup().set("limits.connections_per_user", "6").start();
    let objection = seven_of_three_wires_talk(&host).await.unwrap_err();
    assert!(objection.contains("429"), "red for another reason: {objection}");
}
