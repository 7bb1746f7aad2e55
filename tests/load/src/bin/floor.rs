//! The floor: axum's WebSocket with small buffers and one flush per burst, and nothing of a host.
//!
//! A JSON message in, the five JSON events out. With `--native` also the frames that the native protocol sends beside
//! them: `welcome`, `accepted` and `user_message`.
#![forbid(unsafe_code)]

use std::{io, net::SocketAddr, time::Instant};

use axum::{
    Router,
    extract::{
        State,
        ws::{Message, Utf8Bytes, WebSocket, WebSocketUpgrade},
    },
    response::Response,
    routing::any,
};
use futures_util::{SinkExt, StreamExt};
use hyper_util::{rt::TokioIo, service::TowerToHyperService};
use serde::{Deserialize, Serialize};
use serde_json::json;
use tokio::net::TcpListener;

#[derive(Deserialize)]
struct UserMessage {
    id: String,
    content: String,
}

/// The frames, typed: building a `Value` first would cost more than the socket, and flatter the host.
#[derive(Serialize)]
struct Event<'a, P> {
    #[serde(rename = "type")]
    kind: &'a str,
    seq: u64,
    thread_id: &'a str,
    run_id: &'a str,
    agent: &'a str,
    time: &'a str,
    payload: P,
}

#[derive(Serialize)]
struct Accepted<'a> {
    #[serde(rename = "type")]
    kind: &'a str,
    id: &'a str,
    thread_id: &'a str,
    run_id: &'a str,
}

#[derive(Serialize)]
struct Said<'a> {
    message_id: &'a str,
    content: &'a str,
}

#[derive(Serialize)]
struct Started<'a> {
    message: &'a str,
    level: &'a str,
}

#[derive(Serialize)]
struct Thinking<'a> {
    text: &'a str,
}

#[derive(Serialize)]
struct Tool<'a> {
    tool_call_id: &'a str,
    tool: &'a str,
    status: &'a str,
}

#[derive(Serialize)]
struct Completed<'a> {
    status: &'a str,
    text: &'a str,
    duration_ms: u64,
}

fn main() -> io::Result<()> {
    let native = std::env::args().any(|argument| argument == "--native");
    let mut builder = tokio::runtime::Builder::new_current_thread();
    // 1: looking for new work after each task keeps the tail short at saturation.
    builder.enable_io().global_queue_interval(1).build()?.block_on(serve(native))
}

async fn serve(native: bool) -> io::Result<()> {
    let listener = TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], 0))).await?;
    println!("floor listening on http://{}", listener.local_addr()?);
    let service = TowerToHyperService::new(Router::new().route("/ws", any(upgrade)).with_state(native));
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let service = service.clone();
        tokio::spawn(async move {
            let http = hyper::server::conn::http1::Builder::new();
            // A connection's fault is the client's own; there is nobody else to tell.
            let _ = http.serve_connection(TokioIo::new(stream), service).with_upgrades().await;
        });
    }
}

async fn upgrade(State(native): State<bool>, upgrade: WebSocketUpgrade) -> Response {
    let upgrade = upgrade.protocols(["agent-host.v1"]).read_buffer_size(BUFFER).write_buffer_size(BUFFER);
    upgrade.on_upgrade(move |socket| async move {
        // Ends when the client goes, which is the only end there is.
        let _ = converse(socket, native).await;
    })
}

async fn converse(mut socket: WebSocket, native: bool) -> Result<(), axum::Error> {
    if native {
        socket.send(text(&json!({"type": "welcome", "protocol": "agent-host.v1"}))).await?;
    }
    let mut seq = 0;
    while let Some(message) = socket.next().await {
        let Message::Text(said) = message? else { continue };
        let Ok(said) = serde_json::from_str::<UserMessage>(&said) else { continue };
        for frame in answer(&said, &mut seq, native) {
            socket.feed(frame).await?;
        }
        socket.flush().await?;
    }
    Ok(())
}

fn answer(said: &UserMessage, seq: &mut u64, native: bool) -> Vec<Message> {
    let (begun, id, content) = (Instant::now(), said.id.as_str(), said.content.as_str());
    let mut frames = Vec::with_capacity(7);
    if native {
        frames.push(text(&Accepted { kind: "accepted", id, thread_id: THREAD, run_id: id }));
        frames.push(event(seq, id, "user_message", Said { message_id: id, content }));
    }
    let call = Tool { tool_call_id: "1", tool: "clock", status: "ok" };
    frames.push(event(seq, id, "agent_started", Started { message: "started", level: "full" }));
    frames.push(event(seq, id, "agent_thinking", Thinking { text: "about it" }));
    frames.push(event(seq, id, "tool_executing", &call));
    frames.push(event(seq, id, "tool_completed", &call));
    let duration_ms = begun.elapsed().as_millis() as u64;
    frames.push(event(seq, id, "agent_completed", Completed { status: "ok", text: content, duration_ms }));
    frames
}

fn event(seq: &mut u64, run_id: &str, kind: &str, payload: impl Serialize) -> Message {
    *seq += 1;
    let time = "2026-01-01T00:00:00.000Z";
    text(&Event { kind, seq: *seq, thread_id: THREAD, run_id, agent: "load", time, payload })
}

fn text(frame: &impl Serialize) -> Message {
    let json = serde_json::to_string(frame).expect("texts and numbers always serialise");
    Message::Text(Utf8Bytes::from(json))
}

/// 4 KiB in each direction; axum's own default is 128 KiB for reading.
const BUFFER: usize = 4096;

const THREAD: &str = "0198a1b2-7c3d-7e4f-8a5b-6c7d8e9f0a1b";
