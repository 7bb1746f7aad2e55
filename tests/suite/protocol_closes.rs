//! Closes: each way to break the WebSocket protocol has its code, and a close of the client's is answered.

use serde_json::json;
use tokio_tungstenite::tungstenite::{
    Message,
    protocol::frame::{
        CloseFrame, Frame,
        coding::{Data, OpCode},
    },
};

use crate::{
    client::{Client, End},
    harness::{Host, Setup},
};

/// A frame as it must not be, and the code that says so.
fn broken() -> Vec<(&'static str, Frame, u16)> {
    let text = |bytes: &'static [u8]| Frame::message(bytes, OpCode::Data(Data::Text), true);
    let mut reserved = text(b"{\"type\":\"ping\"}");
    reserved.header_mut().rsv1 = true;
    let headless = Frame::message(b"x".as_slice(), OpCode::Data(Data::Continue), true);
    vec![
        ("a reserved bit", reserved, 1002),
        ("a continuation of nothing", headless, 1002),
        ("bytes", Frame::message(b"\0\x9f".as_slice(), OpCode::Data(Data::Binary), true), 1003),
        ("text that is not UTF-8", text(b"{\"type\":\"\xff\xfe\"}"), 1007),
    ]
}

/// How the host ends a connection.
async fn end(client: &mut Client) -> End {
    loop {
        if let Err(end) = client.next().await {
            return end;
        }
    }
}

async fn connect(host: &Host) -> Client {
    Client::connect(host, "alice").await.unwrap()
}

#[tokio::test]
async fn each_broken_frame_closes_with_its_code() {
    let host = Setup::echo().start();
    for (what, frame, code) in broken() {
        let mut client = connect(&host).await;
        client.send_message(Message::Frame(frame)).await.unwrap();
        assert_eq!(end(&mut client).await, End::Closed(code), "{what}");
    }
}

#[tokio::test]
async fn a_message_in_pieces_is_one_message() {
    let host = Setup::echo().start();
    let mut client = connect(&host).await;
    let first = Frame::message(b"{\"type\":".as_slice(), OpCode::Data(Data::Text), false);
    let rest = Frame::message(b"\"ping\"}".as_slice(), OpCode::Data(Data::Continue), true);
    client.send_message(Message::Frame(first)).await.unwrap();
    client.send_message(Message::Ping(b"between".as_slice().into())).await.unwrap();
    client.send_message(Message::Frame(rest)).await.unwrap();
    client.expect("pong").await.unwrap();
}

#[tokio::test]
async fn a_large_frame_still_being_sent_sees_1009_and_no_reset() {
    let host = Setup::echo().start();
    let mut client = connect(&host).await;
    let content = "x".repeat(4 << 20);
    client.send(&json!({ "type": "user_message", "content": content })).await.unwrap();
    client.expect_error("frame.too_large").await.unwrap();
    assert_eq!(end(&mut client).await, End::Closed(1009));
}

#[tokio::test]
async fn the_client_s_own_close_code_comes_back() {
    let host = Setup::echo().start();
    for code in [1000_u16, 1001, 4000] {
        let mut client = connect(&host).await;
        let close = CloseFrame { code: code.into(), reason: "bye".into() };
        client.send_message(Message::Close(Some(close))).await.unwrap();
        assert_eq!(end(&mut client).await, End::Closed(code));
    }
}
