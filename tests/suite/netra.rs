//! The wire of the platform that this host replaces: a client written from the facts alone completes a conversation in
//! every service level, and each of its frames is answered.

pub(crate) mod client;
mod closes;
pub(crate) mod conformance;
mod forms;
mod large;
mod missing;
mod mixed;
mod paths;
mod python;
mod silence;
pub(crate) mod v2;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use rustix::process::Signal;
use serde_json::json;
use tokio::{net::TcpStream, time::timeout};

use self::{
    client::{Older, Version, kinds},
    conformance::Greeted,
};
use crate::{
    client::PROTOCOL,
    harness::{
        Host, PATIENCE, Plugin, Setup,
        http::{self, UPGRADE_WITHIN},
        tokens::{self, OTHER_SECRET},
    },
    scenario::ready,
};

fn staging(setup: Setup) -> Setup {
    setup.set("gateway.default_protocol", "\"netra-v1\"")
}

/// Greets, asks, and is answered by `agent`; the person's words come back only from an agent.
async fn conversation(host: &Host, agent: &str, degraded: bool) -> Result<(), String> {
    ready(host).await?;
    let mut client = Older::browser(host, "alice").await?;
    let greeting = client.greeting().await?;
    let expected: &[&str] = match degraded {
        false => &["connection_established", "ping"],
        true => &["service_info", "connection_established", "ping"],
    };
    if kinds(&greeting) != expected {
        return Err(format!("greeted by {greeting:?}"));
    }
    client.say(&json!({ "type": "user_message", "payload": { "content": "hello there" } })).await?;
    whole(&client.until("agent_completed").await?, agent)
}

/// Whether the frames up to `agent_completed` tell a run that `agent` answered, in the superset of the fields.
fn whole(run: &[serde_json::Value], agent: &str) -> Result<(), String> {
    let started = run.iter().find(|frame| frame["type"] == "agent_started").ok_or("no agent_started")?;
    let completed = run.last().ok_or("no frame")?;
    for frame in [started, completed] {
        let all =
            frame["run_id"].is_string() && frame["thread_id"].is_string() && frame["user_id"] == "alice";
        if !all || frame["event"] != frame["type"] || !frame["payload"].is_object() {
            return Err(format!("not the superset: {frame}"));
        }
    }
    if completed["agent_name"] != agent || completed["payload"]["status"] != "completed" {
        return Err(format!("answered by {completed}"));
    }
    if completed["final_response"].as_str().is_none_or(str::is_empty) {
        return Err(format!("no answer: {completed}"));
    }
    Ok(())
}

#[tokio::test]
async fn a_conversation_is_whole_in_full() {
    conversation(&staging(Setup::echo()).start(), "echo", false).await.unwrap();
}

#[tokio::test]
async fn a_conversation_is_whole_in_partial() {
    let setup = Setup::echo().plugin(Plugin::at("gone", "/nowhere/libgone.so"));
    conversation(&staging(setup).start(), "echo", true).await.unwrap();
}

#[tokio::test]
async fn a_conversation_is_whole_in_fallback() {
    conversation(&staging(Setup::new()).start(), "fallback", true).await.unwrap();
}

twin! {
    /// Their failure: something in the upgrade panics after a valid token.
    a_valid_token_is_answered(answered_or_told_to_wait) on staging(Setup::echo());
    faults "gateway.upgrade.session=panic"; broken by "gateway.upgrade.guard=off;gateway.panic_answer=off", says "500"
}

async fn answered_or_told_to_wait(host: &Host) -> Result<(), String> {
    let protocol = format!("jwt-auth, jwt.{}", tokens::of("alice"));
    match upgraded(host, &protocol).await?.status {
        101 | 503 => Ok(()),
        status => Err(format!("a valid token got {status}")),
    }
}

async fn upgraded(host: &Host, protocol: &str) -> Result<http::Answer, String> {
    let headers: Vec<(&str, &str)> = http::UPGRADE
        .iter()
        .copied()
        .filter(|(name, _)| !name.eq_ignore_ascii_case(PROTOCOL))
        .chain([("Sec-WebSocket-Protocol", protocol)])
        .collect();
    http::get(host.address, "/ws", &headers, UPGRADE_WITHIN).await
}

#[tokio::test]
async fn their_names_of_what_is_missing_come_before_the_welcome() {
    let supervisor = Plugin::at("chooser", "/nowhere/libchooser.so").key("kind", "\"supervisor\"");
    let faults = "services.llm=error\nservices.threads=error\nservices.events=error\n";
    let host = staging(Setup::echo().plugin(supervisor)).failpoints(faults).start();
    ready(&host).await.unwrap();
    let greeting = Older::browser(&host, "alice").await.unwrap().greeting().await.unwrap();
    assert_eq!(kinds(&greeting), ["service_info", "connection_established", "ping"]);
    let named = greeting[0]["data"]["missing_dependencies"].as_array().unwrap();
    for name in ["agent_supervisor", "llm_manager", "thread_service", "websocket_bridge"] {
        assert!(named.contains(&json!(name)), "{name} is not in {named:?}");
    }
    assert_eq!(greeting[0]["data"]["fallback_active"], true);
}

#[tokio::test]
async fn every_listed_form_of_a_token_opens_both_paths() {
    let host = staging(Setup::echo()).start();
    let token = tokens::of("alice");
    let encoded = URL_SAFE_NO_PAD.encode(&token);
    let forms: [(&'static str, String, Option<&str>); 9] = [
        ("authorization", format!("Bearer {token}"), None),
        (PROTOCOL, format!("jwt-auth, jwt.{encoded}"), Some("jwt-auth")),
        (PROTOCOL, format!("jwt-auth, jwt.{token}"), Some("jwt-auth")),
        (PROTOCOL, format!("jwt, jwt.{encoded}"), Some("jwt")),
        (PROTOCOL, format!("bearer, bearer.{token}"), Some("bearer")),
        (PROTOCOL, format!("agent_chat, jwt-auth.{token}"), Some("agent_chat")),
        (PROTOCOL, format!("jwt-auth, staging-auth.{token}"), Some("jwt-auth")),
        (PROTOCOL, format!("jwt-auth, bearer.{encoded}"), Some("jwt-auth")),
        (PROTOCOL, format!("jwt-auth, jwt.staging.{token}"), Some("jwt-auth")),
    ];
    for (name, value, answer) in forms {
        for path in ["/ws", "/websocket"] {
            let mut client = Older::connect(&host, path, &[(name, value.clone())]).await.unwrap();
            assert_eq!(client.answered.as_deref(), answer);
            let greeting = client.greeting().await.unwrap();
            let welcome = &greeting[greeting.len() - 2]["data"];
            assert_eq!((&welcome["user_id"], &welcome["connection_ready"]), (&json!("alice"), &json!(true)));
        }
    }
    for alone in [format!("jwt.{encoded}"), format!("bearer.{token}"), format!("staging-auth.{token}")] {
        let answer = upgraded(&host, &alone).await.unwrap();
        assert_eq!((answer.status, answer.header("sec-websocket-protocol")), (101, None), "{answer:?}");
    }
}

#[tokio::test]
async fn a_wrong_token_or_none_is_a_403() {
    let older = staging(Setup::echo()).start();
    let native = Setup::echo().start();
    let bad = tokens::signed(&tokens::claims("alice"), OTHER_SECRET);
    let expired = tokens::signed(&tokens::claims_with("alice", json!({ "exp": 1 })), tokens::SECRET);
    for token in [&bad, &expired, "nonsense"] {
        for host in [&older, &native] {
            let answer = upgraded(host, &format!("jwt-auth, jwt.{token}")).await.unwrap();
            assert_eq!(answer.status, 403, "{answer:?}");
            assert_eq!(upgraded(host, &format!("agent-host.v1, bearer.{token}")).await.unwrap().status, 401);
        }
    }
    assert_eq!(upgraded(&native, "jwt-auth").await.unwrap().status, 403);
    // Where nothing is offered, the default decides.
    let nothing: Vec<(&str, &str)> =
        http::UPGRADE.iter().copied().filter(|(name, _)| !name.eq_ignore_ascii_case(PROTOCOL)).collect();
    for (host, status) in [(&older, 403), (&native, 401)] {
        let answer = http::get(host.address, "/ws", &nothing, UPGRADE_WITHIN).await.unwrap();
        assert_eq!(answer.status, status, "{answer:?}");
    }
}

#[tokio::test]
async fn only_unknown_subprotocols_are_closed_1003() {
    let host = staging(Setup::echo()).start();
    let token = format!("Bearer {}", tokens::of("alice"));
    // A strict library would object to the answer without a name, so the bytes are read as they come.
    let answer = upgraded_then(&host, &token, "soap").await;
    assert!(answer.contains("101 ") && answer.contains("\u{3}\u{eb}No supported subprotocols"), "{answer:?}");
}

/// The answer to an upgrade and what follows it until the host is done, one character for each byte.
async fn upgraded_then(host: &Host, authorization: &str, protocol: &str) -> String {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let mut socket = TcpStream::connect(host.address).await.unwrap();
    let request = format!(
        "GET /ws HTTP/1.1\r\nHost: {}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nAuthorization: {authorization}\r\n\
         Sec-WebSocket-Protocol: {protocol}\r\n\r\n",
        host.address,
    );
    socket.write_all(request.as_bytes()).await.unwrap();
    let mut bytes = Vec::new();
    let _ = timeout(PATIENCE, socket.read_to_end(&mut bytes)).await;
    bytes.into_iter().map(char::from).collect()
}

/// Whatever the level, and in both versions.
#[tokio::test]
async fn every_frame_is_answered() {
    every_frame_is_answered_by(&v2::spoken(Setup::echo()).start()).await;
    every_frame_is_answered_by(&v2::spoken(Setup::new()).start()).await;
    let nothing_left = "runtime.spawn=error;fallback.answer=error;store.commit=error;store.append=error";
    every_frame_is_answered_by(&v2::spoken(Setup::echo()).failpoints(nothing_left).start()).await;
}

async fn every_frame_is_answered_by(host: &Host) {
    ready(host).await.unwrap();
    for version in Version::BOTH {
        let Greeted { mut client, .. } = Greeted::of(host, version, "alice").await.unwrap();
        every_frame_is_answered_to(&mut client).await;
    }
}

async fn every_frame_is_answered_to(client: &mut Older) {
    for (said, answer) in [
        (r#"{"type":"ping"}"#, "pong"),
        (r#"{"type":"heartbeat"}"#, "heartbeat_ack"),
        (r#"{"type":"typing_started"}"#, "ack"),
        (r#"{"type":"thread_switch","payload":{}}"#, "ack"),
        (r#"{"type":"no_such_type"}"#, "ack"),
        (r#"{"no":"type"}"#, "ack"),
        (r#"{"type":"user_message","payload":{"content":"  "}}"#, "error_message"),
        (r#"{"type":"chat"}"#, "error_message"),
        ("{not json", "error_message"),
        ("[]", "error_message"),
        (r#"{"type":"agent","agent_name":"nobody","content":"hi"}"#, "agent_error"),
        (r#"{"type":"agent","agent_name":"No Body","content":"hi"}"#, "agent_error"),
    ] {
        client.say_text(said).await.unwrap();
        let frame = client.answer().await.unwrap();
        assert_eq!(frame["type"], answer, "{said} is answered by {frame}");
    }
    client.say_text("{").await.unwrap();
    let frame = client.answer().await.unwrap();
    assert_eq!(frame["error_code"], "FORMAT_ERROR");
    assert!(frame["error_message"].as_str().unwrap().starts_with("Invalid JSON: "), "{frame}");
    client.say(&json!({ "jsonrpc": "2.0", "id": 7, "method": "tools/list" })).await.unwrap();
    let frame = client.answer().await.unwrap();
    assert_eq!((&frame["id"], &frame["error"]["code"]), (&json!(7), &json!(-32601)), "{frame}");
}

#[tokio::test]
async fn every_text_form_yields_a_run() {
    let host = staging(Setup::echo()).start();
    ready(&host).await.unwrap();
    let mut client = Older::browser(&host, "alice").await.unwrap();
    client.greeting().await.unwrap();
    let types = "user_message message user user_input chat chat_message start_agent agent_request agent agent_task \
                 execute_agent";
    for (n, kind) in types.split_whitespace().enumerate() {
        let field = ["content", "message", "text", "user_request"][n % 4];
        let frame = match n % 2 {
            0 => json!({ "type": kind, "payload": { field: "hello" } }),
            _ => json!({ "type": kind, field: "hello" }),
        };
        client.say(&frame).await.unwrap();
        let run = client.until("agent_completed").await.unwrap();
        assert_eq!((&run[0]["type"], &run[0]["received_type"]), (&json!("ack"), &json!(kind)), "{run:?}");
        let completed = run.last().unwrap();
        assert_eq!((&completed["agent_name"], &run[0]["run_id"]), (&json!("echo"), &completed["run_id"]));
    }
}

#[tokio::test]
async fn a_thread_goes_on_and_a_stranger_s_becomes_a_new_one_which_is_said() {
    let host = staging(Setup::echo()).start();
    ready(&host).await.unwrap();
    let mut alice = Older::browser(&host, "alice").await.unwrap();
    alice.greeting().await.unwrap();
    alice.say(&json!({ "type": "chat", "content": "first" })).await.unwrap();
    let thread = alice.until("agent_completed").await.unwrap().last().unwrap()["thread_id"].clone();
    alice.say(&json!({ "type": "chat", "content": "second", "thread_id": thread })).await.unwrap();
    assert_eq!(alice.until("agent_completed").await.unwrap().last().unwrap()["thread_id"], thread);

    let mut mallory = Older::browser(&host, "mallory").await.unwrap();
    mallory.greeting().await.unwrap();
    for foreign in [thread.clone(), json!("no such thread")] {
        mallory
            .say(&json!({ "type": "chat", "payload": { "content": "mine", "thread_id": foreign } }))
            .await
            .unwrap();
        let run = mallory.until("agent_completed").await.unwrap();
        assert_eq!(kinds(&run)[0], "thread_not_found", "{run:?}");
        assert_ne!(run.last().unwrap()["thread_id"], thread);
        assert!(!format!("{run:?}").contains("second"), "{run:?}");
    }
}

#[tokio::test]
async fn seven_sockets_of_one_user_work_at_once() {
    // As config/staging.toml has it.
    let host = staging(Setup::echo()).set("limits.runs_at_once", "8").start();
    ready(&host).await.unwrap();
    let mut clients = Vec::new();
    for _ in 0..7 {
        let mut client = Older::browser(&host, "alice").await.unwrap();
        client.greeting().await.unwrap();
        clients.push(client);
    }
    for client in &mut clients {
        client.say(&json!({ "type": "chat", "content": "hello" })).await.unwrap();
    }
    for client in &mut clients {
        assert_eq!(client.until("agent_completed").await.unwrap().last().unwrap()["agent_name"], "echo");
    }
}

#[tokio::test]
async fn a_host_that_stops_says_so_and_closes_1001() {
    let host = staging(Setup::echo()).start();
    let mut client = Older::browser(&host, "alice").await.unwrap();
    client.greeting().await.unwrap();
    host.signal(Signal::TERM);
    let mut goodbyes = 0;
    let code = loop {
        match client.hear(PATIENCE).await.unwrap() {
            Ok(frame) => goodbyes += u32::from(frame["type"] == "server_shutdown"),
            Err(code) => break code,
        }
    };
    assert_eq!((goodbyes, code), (1, 1001));
}
