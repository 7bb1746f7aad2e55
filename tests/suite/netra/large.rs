//! Large frames of the second version, both ways: a message of 5 MiB is taken and answered on the connection that sent it,
//! and an answer as long as an answer may be comes whole.

use serde_json::{Value, json};

use super::{
    client::{Older, kinds},
    v2::{message, spoken},
    whole,
};
use crate::{
    harness::{Host, Setup, eventually, http, metrics::Metrics, tokens},
    scenario::ready,
};

/// What that wire's clients may send.
const MOST: usize = 5 * 1024 * 1024;
/// The longest answer.
const LONGEST_ANSWER: usize = 1024 * 1024;

/// A message whose frame has so many bytes.
fn of_bytes(bytes: usize, given: &Value) -> Value {
    let around = message("", given).to_string().len();
    message(&"a".repeat(bytes - around), given)
}

async fn shaken(host: &Host) -> Result<(Older, Value), String> {
    ready(host).await?;
    let mut client = Older::cli(host, "alice").await?;
    let (given, _) = client.handshake().await?;
    Ok((client, given))
}

async fn is_answered_on_its_own_connection(host: &Host) -> Result<(), String> {
    let (mut client, given) = shaken(host).await?;
    for turn in 0..3 {
        client.say(&of_bytes(MOST - turn, &given)).await?;
        let run = client.until("agent_completed").await?;
        whole(&run, "echo")?;
        if kinds(&run)[0] != "ack" || run.iter().any(|frame| frame["thread_id"] != given["thread_id"]) {
            return Err(format!("not a run of its thread: {:?}", kinds(&run)));
        }
        // The echo of it, as far as an answer goes.
        let answer = run.last().and_then(|last| last["final_response"].as_str()).unwrap_or_default();
        let echoed = answer.bytes().take_while(|byte| *byte == b'a').count();
        if echoed != LONGEST_ANSWER || !answer.ends_with("longer than 1 MiB]") {
            return Err(format!("{echoed} bytes were echoed, and {} answered", answer.len()));
        }
    }
    client.say(&message("still here", &given)).await?;
    whole(&client.until("agent_completed").await?, "echo")
}

twin! {
    messages_of_5_mib(is_answered_on_its_own_connection) on spoken(Setup::echo());
    faults ""; broken by "engine.outbox.left=off", says "closed with 1011"
}

/// Other connections, whoever's, notice nothing, and nothing of it is lost.
#[tokio::test]
async fn a_large_message_is_in_its_thread_whole_and_disturbs_nobody() {
    let host = spoken(Setup::echo()).start();
    let (mut client, given) = shaken(&host).await.unwrap();
    let mut other = Older::browser(&host, "bob").await.unwrap();
    other.greeting().await.unwrap();
    client.say(&of_bytes(MOST, &given)).await.unwrap();
    other.say(&json!({ "type": "chat", "content": "hello" })).await.unwrap();
    whole_of(&other.until("agent_completed").await.unwrap(), "bob");
    client.until("agent_completed").await.unwrap();
    let path = format!("/v1/threads/{}/events", given["thread_id"].as_str().unwrap());
    let bearer = format!("Bearer {}", tokens::of("alice"));
    let headers = [("Authorization", bearer.as_str())];
    let answer = http::get(host.address, &path, &headers, crate::harness::PATIENCE).await.unwrap();
    let page = answer.json().unwrap();
    let first = &page["events"][0];
    assert_eq!(first["type"], "user_message", "{first}");
    let kept = first["payload"]["content"].as_str().map(str::len);
    assert_eq!(kept, Some(MOST - message("", &given).to_string().len()));
    eventually("nobody was closed", async || {
        match Metrics::of(&host).await?.sum("agent_host_slow_consumers_total") {
            0.0 => Ok(()),
            slow => Err(format!("{slow} were")),
        }
    })
    .await
    .unwrap();
}

fn whole_of(run: &[Value], user: &str) {
    let completed = run.last().unwrap();
    assert_eq!((&completed["user_id"], &completed["agent_name"]), (&json!(user), &json!("echo")));
}

/// One byte more than it may have is said, then closed: the next connection goes on.
#[tokio::test]
async fn a_frame_above_its_limit_is_refused_by_name_and_closed_1009() {
    let host = spoken(Setup::echo()).start();
    let (mut client, given) = shaken(&host).await.unwrap();
    client.say(&message("before", &given)).await.unwrap();
    client.until("agent_completed").await.unwrap();
    client.say(&of_bytes(MOST + 1, &given)).await.unwrap();
    let refused = client.until("error_message").await.unwrap();
    assert_eq!(refused.last().unwrap()["details"]["code"], "frame.too_large");
    assert_eq!(client.hear(crate::harness::PATIENCE).await, Ok(Err(1009)));
    let (mut again, _) = shaken(&host).await.unwrap();
    again.say(&message("after", &given)).await.unwrap();
    whole(&again.until("agent_completed").await.unwrap(), "echo").unwrap();
}

/// The same holds where an operator lets native frames, and so those of the first version, be as large.
#[tokio::test]
async fn the_first_version_takes_as_much_where_it_may() {
    let host = super::staging(Setup::echo()).set("limits.frame_bytes", "\"8MiB\"").start();
    ready(&host).await.unwrap();
    let mut client = Older::browser(&host, "alice").await.unwrap();
    client.greeting().await.unwrap();
    for _ in 0..2 {
        client.say(&json!({ "type": "chat", "content": "a".repeat(7 * 1024 * 1024) })).await.unwrap();
        whole(&client.until("agent_completed").await.unwrap(), "echo").unwrap();
    }
}
