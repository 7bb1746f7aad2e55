//! A client is lost while its run goes on: the agent's `on_disconnect` says whether that is cancelled.

use serde_json::{Value, json};
use tokio::{io::AsyncWriteExt as _, net::TcpStream};

use crate::{
    client::Client,
    harness::{Host, PATIENCE, Plugin, Setup, eventually, http, tokens, within},
    netra::client::{Older, Version},
    scenario::ready,
};

/// Two agents that wait until they are told to stop. No clock ends their runs while a test is patient.
fn setup() -> Setup {
    let clocks = "{ idle = \"10m\", run = \"10m\", grace = \"200ms\" }";
    Setup::new()
        .plugin(Plugin::misbehaving("strict").key("on_disconnect", "\"cancel\"").key("timeouts", clocks))
        .plugin(Plugin::misbehaving("lasting").key("timeouts", clocks))
        .set("routing.order", "[\"strict\", \"lasting\"]")
        .set("gateway.netra.v2", "true")
}

/// How a client is lost.
#[derive(Debug, Clone, Copy)]
enum Loss {
    Closes,
    BreaksOff,
}

async fn read(host: &Host, user: &str, path: &str) -> Result<Value, String> {
    let bearer = format!("Bearer {}", tokens::of(user));
    http::get(host.address, path, &[("Authorization", &bearer)], PATIENCE).await?.json()
}

/// The thread's event of that kind, as soon as there is one.
async fn told(host: &Host, user: &str, thread: &str, kind: &str) -> Result<Value, String> {
    let path = format!("/v1/threads/{thread}/events");
    let found = async || {
        let log = read(host, user, &path).await?;
        let event = log["events"].as_array().and_then(|all| all.iter().find(|event| event["type"] == kind));
        event.cloned().ok_or_else(|| format!("no {kind}: {log}"))
    };
    within(2 * PATIENCE, "the log", found).await
}

/// The run of that thread is cancelled, and says why.
async fn ends_deserted(host: &Host, user: &str, thread: &str) -> Result<(), String> {
    let ended = told(host, user, thread, "agent_completed").await?;
    let (status, code) = (&ended["payload"]["status"], &ended["payload"]["error"]["code"]);
    match (status == "cancelled", code == "run.connection_lost") {
        (true, true) => Ok(()),
        _ => Err(format!("ended otherwise: {ended}")),
    }
}

/// One connection has a run of either agent, and is lost: the one's ends, the other's is there for who comes back.
async fn each_agent_has_its_way(host: &Host) -> Result<(), String> {
    ready(host).await?;
    for (user, loss) in [("alice", Loss::Closes), ("bob", Loss::BreaksOff)] {
        let mut client = Client::connect(host, user).await?;
        let mut begun = Vec::new();
        for agent in ["strict", "lasting"] {
            client.say("!wait", json!({ "agent": agent })).await?;
            begun.push(client.until("accepted").await?);
            client.until("agent_thinking").await?;
        }
        match loss {
            Loss::Closes => drop(client.close().await?),
            Loss::BreaksOff => drop(client),
        }
        let thread = |at: usize| begun[at]["thread_id"].as_str().unwrap_or_default();
        ends_deserted(host, user, thread(0)).await.map_err(|why| format!("{loss:?}: {why}"))?;
        let mut back = Client::connect(host, user).await?;
        back.send(&json!({ "type": "subscribe", "thread_id": thread(1), "after_seq": 0 })).await?;
        back.until("agent_thinking").await?;
        back.send(&json!({ "type": "cancel", "run_id": begun[1]["run_id"] })).await?;
        let ended = back.until("agent_completed").await?;
        if ended["payload"]["status"] != "cancelled" || !ended["payload"]["error"].is_null() {
            return Err(format!("{loss:?}: not by the person: {ended}"));
        }
    }
    Ok(())
}

twin! {
    a_lost_client(each_agent_has_its_way) on setup();
    faults ""; broken by "engine.on_disconnect=off", says "no agent_completed"
}

#[tokio::test]
async fn the_older_wires_clients_are_lost_alike() {
    let host = setup().start();
    ready(&host).await.unwrap();
    for (version, user) in Version::BOTH.into_iter().zip(["alice", "bob"]) {
        let mut client = Older::of(&host, version, user).await.unwrap();
        let message = match version {
            Version::V1 => {
                client.greeting().await.unwrap();
                json!({ "content": "!wait", "agent": "strict" })
            }
            Version::V2 => {
                let (given, _) = client.handshake().await.unwrap();
                let (thread, run) = (&given["thread_id"], &given["run_id"]);
                json!({ "content": "!wait", "agent": "strict", "thread_id": thread, "run_id": run })
            }
        };
        client.say(&json!({ "type": "user_message", "payload": message })).await.unwrap();
        let frames = client.until("agent_thinking").await.unwrap();
        let thread = frames.last().unwrap()["thread_id"].as_str().unwrap().to_owned();
        drop(client);
        ends_deserted(&host, user, &thread).await.unwrap();
    }
}

#[tokio::test]
async fn who_asked_over_http_and_waits_no_more_is_lost_too() {
    let host = setup().start();
    ready(&host).await.unwrap();
    let body = json!({ "message": "!wait", "agent": "strict" }).to_string();
    let request = format!(
        "POST /api/agents/execute HTTP/1.1\r\nHost: {}\r\nAuthorization: Bearer {}\r\n\
         Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        host.address,
        tokens::of("alice"),
        body.len()
    );
    let mut waits = TcpStream::connect(host.address).await.unwrap();
    waits.write_all(request.as_bytes()).await.unwrap();
    let begun = async || {
        let threads = read(&host, "alice", "/v1/threads").await?;
        let thread = threads["threads"][0]["thread_id"].as_str().ok_or_else(|| format!("none: {threads}"))?;
        Ok(thread.to_owned())
    };
    let thread = eventually("the run begins", begun).await.unwrap();
    told(&host, "alice", &thread, "agent_thinking").await.unwrap();
    drop(waits);
    ends_deserted(&host, "alice", &thread).await.unwrap();
}

/// What an operator closes is the host's own act.
#[tokio::test]
async fn a_connection_that_an_operator_closes_leaves_its_run_to_go_on() {
    let host = setup().operated().start();
    ready(&host).await.unwrap();
    let mut client = Client::connect(&host, "alice").await.unwrap();
    client.say("!wait", json!({})).await.unwrap();
    let kept = client.until("accepted").await.unwrap();
    client.until("agent_thinking").await.unwrap();
    let operator = format!("Bearer {}", tokens::operator(&["admin:toggle"]));
    let path = format!("/admin/v1/connections/{}", client.welcome["connection_id"].as_str().unwrap());
    let headers = [("Authorization", operator.as_str())];
    let answer = http::request(host.admin, "DELETE", &path, &headers, PATIENCE).await.unwrap();
    assert!(answer.status < 300, "{answer:?}");
    assert_eq!(client.attend().await, "Closed(4406)");
    // A run that is deserted later ends, so the moment of this one is over too.
    let mut other = Client::connect(&host, "bob").await.unwrap();
    other.say("!wait", json!({})).await.unwrap();
    let lost = other.until("accepted").await.unwrap();
    other.until("agent_thinking").await.unwrap();
    drop(other);
    ends_deserted(&host, "bob", lost["thread_id"].as_str().unwrap()).await.unwrap();
    let mut back = Client::connect(&host, "alice").await.unwrap();
    back.send(&json!({ "type": "cancel", "run_id": kept["run_id"] })).await.unwrap();
    let ended = told(&host, "alice", kept["thread_id"].as_str().unwrap(), "agent_completed").await.unwrap();
    assert_eq!(
        (&ended["payload"]["status"], &ended["payload"]["error"]),
        (&json!("cancelled"), &Value::Null),
        "{ended}"
    );
}
