//! People who mean no good: too many connections, frames that break the protocol, the same message from two sides.

use serde_json::json;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};

use crate::{
    client::Client,
    harness::{Host, PATIENCE, Setup, eventually, http, tokens},
    scenario::ready,
};

#[tokio::test]
async fn a_user_has_so_many_connections_and_another_is_not_kept_out() {
    let host = Setup::echo().set("limits.connections_per_user", "8").start();
    let mut held = Vec::new();
    for _ in 0..8 {
        held.push(Client::connect(&host, "greedy").await.unwrap());
    }
    for _ in 0..20 {
        let refused = http::upgrade(host.address, Some(&tokens::of("greedy"))).await.unwrap();
        assert_eq!((refused.status, refused.code()), (429, Ok("limit.connections".into())), "{refused:?}");
        assert!(refused.header("retry-after").is_some(), "{refused:?}");
    }
    Client::connect(&host, "modest").await.unwrap();
    // A place comes back with the end of a connection.
    held.pop().unwrap().close().await.unwrap();
    eventually("there is a place again", async || Client::connect(&host, "greedy").await).await.unwrap();
}

#[tokio::test]
async fn the_same_message_on_two_connections_at_once_is_one_run() {
    let host = Setup::echo().set("limits.messages_per_minute", "0").set("limits.runs_at_once", "0").start();
    ready(&host).await.unwrap();
    let mut one = Client::connect(&host, "alice").await.unwrap();
    let mut two = Client::connect(&host, "alice").await.unwrap();
    for turn in 0..50 {
        let id = format!("twice-{turn}");
        let message = json!({ "type": "user_message", "id": id, "content": "once" });
        let (sent, also) = tokio::join!(one.send(&message), two.send(&message));
        sent.and(also).unwrap();
        let (first, second) = tokio::join!(whole(&mut one, &id), whole(&mut two, &id));
        let (first, second) = (first.unwrap(), second.unwrap());
        assert_eq!(first["run_id"], second["run_id"], "{first} {second}");
        assert_ne!(first["duplicate"], second["duplicate"], "{first} {second}");
    }
}

/// The acceptance of a message, once the run that it names has ended here.
async fn whole(client: &mut Client, id: &str) -> Result<serde_json::Value, String> {
    let accepted = client.until("accepted").await?;
    if accepted["id"] != id {
        return Err(format!("accepted another message than {id}: {accepted}"));
    }
    // Whichever side was later joins the run in its midst, or after its end: then it hears nothing more of it.
    if accepted["duplicate"] == false {
        client.until("agent_completed").await?;
    } else {
        let thread = &accepted["thread_id"];
        client.send(&json!({ "type": "unsubscribe", "thread_id": thread })).await?;
        client.send(&json!({ "type": "ping" })).await?;
        client.until("pong").await?;
    }
    Ok(accepted)
}

/// A frame of a client: mask of zeros, so that the bytes are what they look like.
fn frame(first: u8, masked: bool, payload: &[u8]) -> Vec<u8> {
    let length = u8::try_from(payload.len()).unwrap();
    assert!(length < 126, "short frames only");
    let mut bytes = vec![first, length | if masked { 0x80 } else { 0 }];
    bytes.extend_from_slice(if masked { &[0; 4] } else { &[] });
    bytes.extend_from_slice(payload);
    bytes
}

/// The code with which the host closes after these bytes.
async fn closed_after(host: &Host, bytes: &[u8]) -> Result<u16, String> {
    let mut socket = TcpStream::connect(host.address).await.map_err(|e| e.to_string())?;
    let mut request = format!("GET /ws HTTP/1.1\r\nHost: {}\r\n", host.address);
    for (name, value) in http::UPGRADE {
        request.push_str(&format!("{name}: {value}\r\n"));
    }
    request.push_str(&format!("Authorization: Bearer {}\r\n\r\n", tokens::of("mallory")));
    // Together with the upgrade, as some clients do.
    socket.write_all(&[request.as_bytes(), bytes].concat()).await.map_err(|e| e.to_string())?;
    let mut said = Vec::new();
    let read = timeout(PATIENCE, socket.read_to_end(&mut said)).await;
    read.map_err(|_| "not closed".to_owned())?.map_err(|e| e.to_string())?;
    // The last frame: 0x88, its length, the code, the reason.
    let at = said.iter().rposition(|byte| *byte == 0x88).ok_or("no close frame")?;
    match said.get(at + 2..at + 4) {
        Some(&[high, low]) => Ok(u16::from_be_bytes([high, low])),
        _ => Err(format!("a close without code: {:?}", &said[at..])),
    }
}

#[tokio::test]
async fn what_breaks_the_transport_is_closed_with_its_code() {
    let host = Setup::echo().start();
    let ping = br#"{"type":"ping"}"#;
    let declared = |length: u64| [&[0x81, 0xff][..], &length.to_be_bytes(), &[0; 4]].concat();
    for (what, bytes, code) in [
        ("an unmasked frame", frame(0x81, false, ping), 1002),
        ("a compressed frame that was not agreed on", frame(0xc1, true, ping), 1002),
        ("an unknown kind of frame", frame(0x83, true, b""), 1002),
        ("a control frame in pieces", frame(0x09, true, b"x"), 1002),
        ("a continuation of nothing", frame(0x80, true, b"x"), 1002),
        ("HTTP", b"GET / HTTP/1.1\r\n\r\n".to_vec(), 1002),
        ("a close of one byte", frame(0x88, true, b"x"), 1002),
        ("text that is not UTF-8", frame(0x81, true, b"\xff\xfe"), 1007),
        ("binary", frame(0x82, true, b"x"), 1003),
        ("a length of 2^62", declared(1 << 62), 1009),
        ("a length of 2^64 - 1", declared(u64::MAX), 1009),
    ] {
        let closed = closed_after(&host, &bytes).await;
        assert_eq!(closed, Ok(code), "{what}");
    }
    Client::connect(&host, "alice").await.unwrap();
}

#[tokio::test]
async fn a_flood_of_control_frames_ends_its_own_connection() {
    let host = Setup::echo().start();
    let flood = frame(0x89, true, b"x").repeat(5_000);
    let closed = closed_after(&host, &flood).await;
    // The end may overtake its reason, where the host has stopped reading.
    assert!(closed.as_ref().map_or(true, |code| *code == 4405), "{closed:?}");
    let live = http::get(host.address, "/live", &[], PATIENCE).await.unwrap();
    assert_eq!(live.status, 200, "{live:?}");
}
