//! That wire's two versions side by side, from the facts alone: what is asked of both is asked here, in every service
//! level, with an agent that crashes, hangs or is not there, and for each of the incident's dependencies.

use std::time::Duration;

use serde_json::{Value, json};

use super::{
    client::{Older, Version, kinds},
    v2::spoken,
};
use crate::{
    harness::{Host, Plugin, Setup, eventually},
    scenario::ready,
};

/// A connection that was greeted, and what its greeting said.
pub(crate) struct Greeted {
    pub(crate) client: Older,
    pub(crate) greeting: Vec<Value>,
}

impl Greeted {
    pub(crate) async fn of(host: &Host, version: Version, user: &str) -> Result<Self, String> {
        let mut client = Older::of(host, version, user).await?;
        let greeting = match version {
            Version::V1 => client.greeting().await?,
            Version::V2 => client.handshake().await?.1,
        };
        match kinds(&greeting).contains(&"connection_established") {
            true => Ok(Self { client, greeting }),
            false => Err(format!("{version:?} is not welcomed: {greeting:?}")),
        }
    }

    /// By that platform's names; none where nothing is.
    pub(crate) fn missing(&self) -> Vec<&str> {
        let info = self.greeting.iter().find(|frame| frame["data"]["event"] == "service_info");
        let named = info.and_then(|info| info["data"]["missing_dependencies"].as_array());
        named.into_iter().flatten().filter_map(Value::as_str).collect()
    }

    /// Asks, and answers how the run of it ended; it is whole, and no other's.
    pub(crate) async fn ask(&mut self, frame: &Value) -> Result<Value, String> {
        self.client.say(frame).await?;
        let run = self.client.until("agent_completed").await?;
        judge(&run)
    }
}

/// A run as it is told: acknowledged, begun once, ended once with something to read.
pub(super) fn judge(run: &[Value]) -> Result<Value, String> {
    let at = |kind: &str| run.iter().filter(|frame| frame["type"] == kind).collect::<Vec<_>>();
    let (acks, started, completed) = (at("ack"), at("agent_started"), at("agent_completed"));
    let ([ack], [started], [completed]) = (&acks[..], &started[..], &completed[..]) else {
        return Err(format!("not acknowledged, begun and ended once each: {:?}", kinds(run)));
    };
    for event in [started, completed] {
        if event["run_id"] != ack["run_id"] || event["thread_id"] != ack["thread_id"] {
            return Err(format!("of another run than {ack}: {event}"));
        }
        if event["event"] != event["type"] || !event["payload"].is_object() || event["timestamp"].is_null() {
            return Err(format!("not the superset: {event}"));
        }
    }
    // An answer, or why there is none: their client may look at nothing else.
    match completed["final_response"].as_str().is_some_and(|text| !text.is_empty()) {
        true => Ok((*completed).clone()),
        false => Err(format!("nothing to read: {completed}")),
    }
}

fn chat(text: &str) -> Value {
    json!({ "type": "chat", "content": text })
}

fn to_bad(text: &str) -> Value {
    json!({ "type": "agent_request", "payload": { "content": text, "agent_name": "bad" } })
}

/// Both versions talk, in a level and with what it lacks; the person's words come back from an agent alone.
async fn both_talk(host: &Host, agent: &str, missing: &[&str]) -> Result<(), String> {
    ready(host).await?;
    for version in Version::BOTH {
        let mut greeted = Greeted::of(host, version, "alice").await?;
        if let Some(unsaid) = missing.iter().find(|name| !greeted.missing().contains(name)) {
            return Err(format!("{version:?} is not told that {unsaid} is missing: {:?}", greeted.greeting));
        }
        for text in ["pelicans, please", "more pelicans"] {
            let completed = greeted.ask(&chat(text)).await?;
            let (answer, echoed) = (&completed["final_response"], completed.to_string().contains(text));
            if completed["agent_name"] != agent || echoed != (agent != "fallback") {
                return Err(format!("{version:?}: {text:?} is answered by {completed} ({answer})"));
            }
        }
    }
    Ok(())
}

/// What each of the incident's dependencies was called; their places are the scenarios' below.
const THEIRS: [&str; 4] = ["agent_supervisor", "llm_manager", "thread_service", "websocket_bridge"];

/// One of the four is missing: both versions are told which, and talk all the same.
async fn both_talk_without<const WHICH: usize>(host: &Host) -> Result<(), String> {
    both_talk(host, "echo", &THEIRS[WHICH..=WHICH]).await
}

fn chooser() -> Plugin {
    Plugin::at("chooser", "/nowhere/libchooser.so").key("kind", "\"supervisor\"")
}

// Their failure, four times: what is missing raises where the upgrade builds it, and every connection is a 500.
twin! {
    the_supervisor_raises(both_talk_without::<0>) on spoken(Setup::echo().plugin(chooser()));
    faults ""; broken by "gateway.builds_nothing=off", says "500: Internal Server Error: agent_supervisor"
}

twin! {
    the_llm_manager_raises(both_talk_without::<1>) on spoken(Setup::echo());
    faults "services.llm=error"; broken by "gateway.builds_nothing=off", says "500: Internal Server Error: llm_manager"
}

twin! {
    the_thread_service_raises(both_talk_without::<2>) on spoken(Setup::echo());
    faults "services.threads=error"; broken by "gateway.builds_nothing=off", says "500: Internal Server Error: thread_service"
}

twin! {
    the_event_bridge_raises(both_talk_without::<3>) on spoken(Setup::echo());
    faults "services.events=error"; broken by "gateway.builds_nothing=off", says "500: Internal Server Error: websocket_bridge"
}

/// A host that builds on the fly is no broken host while nothing is missing: it was not seen before that day.
#[tokio::test]
async fn the_build_on_the_fly_is_green_as_long_as_nothing_raises() {
    let host = spoken(Setup::echo()).failpoints("gateway.builds_nothing=off").start();
    both_talk(&host, "echo", &[]).await.unwrap();
    host.inject("services.llm=error");
    eventually("it raises", async || match Older::browser(&host, "alice").await {
        Err(raised) if raised.contains("500: Internal Server Error: llm_manager") => Ok(()),
        other => Err(format!("{:?}", other.map(|client| client.answered))),
    })
    .await
    .unwrap();
}

/// Level `basic`: nothing is left. The sockets stay and each message gets a clear error; with what is left again, an answer.
async fn both_are_told_that_nothing_is_left(host: &Host) -> Result<(), String> {
    ready(host).await?;
    for version in Version::BOTH {
        let mut greeted = Greeted::of(host, version, "alice").await?;
        for _ in 0..3 {
            greeted.client.say(&chat("hello there")).await?;
            let answer = greeted.client.answer().await?;
            if answer["type"] != "error_message" || answer["details"]["code"] != "store.unavailable" {
                return Err(format!("{version:?} gets no clear error: {answer}"));
            }
        }
        greeted.client.say(&json!({ "type": "ping" })).await?;
        let pong = greeted.client.answer().await?;
        if pong["type"] != "pong" {
            return Err(format!("{version:?} does not go on: {pong}"));
        }
        eventually("it is told that there is no store", async || {
            let fresh = Greeted::of(host, version, "bob").await?;
            match fresh.missing().contains(&"store") {
                true => Ok(()),
                false => Err(format!("{version:?}: {:?}", fresh.greeting)),
            }
        })
        .await?;
    }
    Ok(())
}

twin! {
    nothing_is_left(both_are_told_that_nothing_is_left) on spoken(Setup::echo());
    faults "runtime.spawn=error;fallback.answer=error;store.commit=error;store.append=error";
    broken by "store.begin=off", says "gets no clear error"
}

#[tokio::test]
async fn in_partial_and_fallback_both_versions_talk() {
    let gone = Plugin::at("gone", "/nowhere/libgone.so");
    let partial = spoken(Setup::echo().plugin(gone.clone())).start();
    both_talk(&partial, "echo", &["gone"]).await.unwrap();
    let fallback = spoken(Setup::new().plugin(gone)).start();
    both_talk(&fallback, "fallback", &["gone"]).await.unwrap();
    let none = spoken(Setup::new()).start();
    both_talk(&none, "fallback", &[]).await.unwrap();
}

fn with_a_bad_one() -> Setup {
    let bad = Plugin::misbehaving("bad").hasty().key("restart", "{ max = 50, within = \"60s\" }");
    spoken(Setup::echo().plugin(bad)).set("limits.messages_per_minute", "0")
}

/// An agent that crashes or hangs in the midst of a run: the run ends once, honestly, and the next message is answered.
async fn a_bad_run_ends_and_the_socket_goes_on(host: &Host) -> Result<(), String> {
    ready(host).await?;
    for version in Version::BOTH {
        for deed in ["!think-segv", "!exit0", "!panic", "!think-hang"] {
            let mut greeted = Greeted::of(host, version, "alice").await?;
            is_there_again(&mut greeted).await?;
            let completed = greeted.ask(&to_bad(deed)).await?;
            if !["failed", "degraded"].contains(&completed["run_status"].as_str().unwrap_or_default()) {
                return Err(format!("{version:?}: {deed} ended as if all were well: {completed}"));
            }
            let after = greeted.ask(&chat("and now?")).await?;
            if after["payload"]["status"] != "completed" {
                return Err(format!("{version:?}: after {deed} {after}"));
            }
        }
    }
    Ok(())
}

/// The bad agent answers: until then a deed would be asked of the fallback.
async fn is_there_again(greeted: &mut Greeted) -> Result<(), String> {
    for _ in 0..200 {
        let completed = greeted.ask(&to_bad("are you there?")).await?;
        if completed["agent_name"] == "bad" && completed["run_status"] == "ok" {
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    Err("the agent never came back".to_owned())
}

twin! {
    bad_runs(a_bad_run_ends_and_the_socket_goes_on) on with_a_bad_one();
    faults ""; broken by "runtime.isolation=off", says "onnection"
}

/// An agent that is named and not there is said so, and the socket goes on.
#[tokio::test]
async fn an_absent_agent_is_said_to_be_absent() {
    let gone = Plugin::at("gone", "/nowhere/libgone.so");
    let host = spoken(Setup::echo().plugin(gone)).start();
    ready(&host).await.unwrap();
    for version in Version::BOTH {
        let mut greeted = Greeted::of(&host, version, "alice").await.unwrap();
        let named = json!({ "type": "agent_request", "content": "hello there", "agent_name": "gone" });
        let completed = greeted.ask(&named).await.unwrap();
        assert_eq!(
            (&completed["agent_name"], &completed["run_status"]),
            (&json!("fallback"), &json!("degraded"))
        );
        assert!(!completed.to_string().contains("hello there"), "the fallback echoes: {completed}");
        let nobody = json!({ "type": "agent_request", "content": "hello", "agent_name": "nobody" });
        greeted.client.say(&nobody).await.unwrap();
        assert_eq!(greeted.client.answer().await.unwrap()["type"], "agent_error");
        assert_eq!(greeted.ask(&chat("hello")).await.unwrap()["agent_name"], "echo");
    }
}

/// Seven of each version, of one user, all at once.
#[tokio::test]
async fn seven_sockets_of_one_user_talk_at_once_in_each_version() {
    // As config/staging.toml has it.
    let host = spoken(Setup::echo()).set("limits.runs_at_once", "8").start();
    ready(&host).await.unwrap();
    for version in Version::BOTH {
        let mut sockets = Vec::new();
        for _ in 0..7 {
            sockets.push(Greeted::of(&host, version, "alice").await.unwrap());
        }
        for (at, socket) in sockets.iter_mut().enumerate() {
            socket.client.say(&chat(&format!("word {at}"))).await.unwrap();
        }
        for (at, socket) in sockets.iter_mut().enumerate() {
            let run = socket.client.until("agent_completed").await.unwrap();
            let completed = judge(&run).unwrap();
            let own = format!("word {at}");
            assert!(
                completed["final_response"].as_str().unwrap().contains(&own),
                "{version:?} {own}: {completed}"
            );
        }
    }
}
