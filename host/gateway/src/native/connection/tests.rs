use std::{sync::Arc, time::Duration};

use agent_host_core::identity::{Principal, Scope};
use agent_host_engine::session::Load;
use agent_host_engine::view::Status;
use agent_plugin_protocol::EventKind;
use futures_util::{SinkExt, StreamExt};
use serde_json::Value;
use tokio::{
    io::{AsyncReadExt, DuplexStream, duplex},
    sync::Semaphore,
    task::JoinHandle,
    time::Instant,
};
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::{Message, protocol::Role},
};
use tokio_util::sync::CancellationToken;

use crate::{
    Settings,
    host::Host,
    native::{DeliveredNetra, Shared, Speech, Upgraded, pace, serve},
    open::{Card, OpenConnections},
    revoked::RevokedTokens,
    rules::Rules,
    tests::support::{Script, Shifted, event, settings, token},
};

/// A connection over memory, under a paused clock.
struct Wire {
    client: WebSocketStream<DuplexStream>,
    script: Script,
    scope: Scope,
    revoked: Arc<RevokedTokens>,
    stop: CancellationToken,
    open: Arc<OpenConnections>,
    task: JoinHandle<()>,
}

mod lost;
mod older;
mod revoked;

async fn wire(buffer: usize, change: impl FnOnce(&mut Settings)) -> Wire {
    wire_of(buffer, change, |_, _| Speech::Native).await
}

async fn wire_of(
    buffer: usize,
    change: impl FnOnce(&mut Settings),
    speech: impl FnOnce(&Principal, Arc<Status>) -> Speech,
) -> Wire {
    let mut settings = settings();
    change(&mut settings);
    let clock = Arc::new(Shifted::default());
    let revoked = Arc::new(RevokedTokens::default());
    let shared = Arc::new(Shared {
        rules: Arc::new(Rules::new(settings, None, Arc::clone(&revoked), clock.clone())),
        clock,
        delivered: agent_host_telemetry::series::Delivered::on(crate::surface::Surface::Native.name()),
        delivered_netra: DeliveredNetra::default(),
        closers: Semaphore::new(1),
    });
    let (near, far) = duplex(buffer);
    let (script, stop) = (Script::new(), CancellationToken::new());
    let principal = Arc::new(shared.rules.now().users.verify(&token()).unwrap());
    let scope = principal.scope.clone();
    let card = Card {
        id: "c1".to_owned(),
        scope: principal.scope.clone(),
        surface: crate::surface::Surface::Native,
        since: std::time::SystemTime::UNIX_EPOCH,
        address: None,
        load: Load::default(),
        dismissed: tokio::sync::Notify::new(),
        cut: std::sync::atomic::AtomicBool::new(false),
    };
    let open = Arc::new(OpenConnections::default());
    let upgraded = Upgraded {
        stream: near,
        conversation: script.open(Arc::clone(&principal)),
        speech: speech(&principal, script.status()),
        principal,
        place: open.enter(card),
        welcome: vec!["{\"type\":\"welcome\"}".into()],
        accepted: Instant::now(),
    };
    let task = tokio::spawn(serve(upgraded, shared, stop.clone()));
    let client = WebSocketStream::from_raw_socket(far, Role::Client, None).await;
    Wire { client, script, scope, revoked, stop, open, task }
}

fn json(message: Message) -> Value {
    serde_json::from_str(message.to_text().unwrap()).unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_silent_client_is_pinged_and_then_closed_4403() {
    let start = Instant::now();
    let mut wire = wire(4096, |_| {}).await;
    assert_eq!(json(wire.client.next().await.unwrap().unwrap())["type"], "welcome");
    // Frames are taken off the stream without being answered: reading them would send the native pong.
    let raw = wire.client.get_mut();
    let mut buffer = vec![0; 4096];
    let read = raw.read(&mut buffer).await.unwrap();
    let pinged = start.elapsed();
    assert!((Duration::from_secs(20)..=Duration::from_millis(25_010)).contains(&pinged), "{pinged:?}");
    let text = String::from_utf8_lossy(&buffer[..read]).into_owned();
    assert!(text.contains(r#"{"type":"ping","positions":{}}"#) && text.ends_with("\u{fffd}\0"), "{text:?}");
    let read = raw.read(&mut buffer).await.unwrap();
    assert_eq!(&buffer[..4], &[0x88, read as u8 - 2, 0x11, 0x33], "close 4403");
    assert_eq!((start.elapsed() - pinged).as_secs(), 8);
    wire.task.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_native_pong_is_life_enough() {
    let start = Instant::now();
    let mut wire = wire(4096, |_| {}).await;
    let mut pings = 0;
    // Reading answers native pings.
    while start.elapsed() < Duration::from_secs(600) {
        match wire.client.next().await.unwrap().unwrap() {
            Message::Ping(_) => {
                pings += 1;
                wire.client.flush().await.unwrap();
            }
            Message::Close(frame) => panic!("{frame:?}"),
            _ => {}
        }
    }
    assert!((24..=31).contains(&pings), "{pings} pings in ten minutes");
}

#[tokio::test(start_paused = true)]
async fn any_frame_is_life_enough() {
    let mut wire = wire(4096, |_| {}).await;
    let mut pings = 0;
    while pings < 10 {
        let message = wire.client.next().await.unwrap().unwrap();
        if message.is_text() && json(message)["type"] == "ping" {
            pings += 1;
            wire.client.send(Message::text(r#"{"type":"pong"}"#)).await.unwrap();
        }
    }
    assert!(!wire.task.is_finished());
}

#[tokio::test(start_paused = true)]
async fn a_client_that_never_reads_is_closed_within_the_write_timeout() {
    let wire = wire(256, |_| {}).await;
    let start = Instant::now();
    for seq in 1..200 {
        wire.script.tell(Some(event(seq, EventKind::AgentThinking, "echo", r#"{"text":"…"}"#)));
    }
    wire.task.await.unwrap();
    let took = start.elapsed();
    assert!((Duration::from_secs(10)..Duration::from_secs(15)).contains(&took), "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn pings_carry_the_positions() {
    let mut wire = wire(4096, |_| {}).await;
    wire.client.send(Message::text(r#"{"type":"user_message","content":"x"}"#)).await.unwrap();
    loop {
        let message = wire.client.next().await.unwrap().unwrap();
        if message.is_text() {
            let frame = json(message);
            if frame["type"] == "ping" {
                assert_eq!(frame["positions"], serde_json::json!({"t1": 3}));
                break;
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_client_that_does_not_answer_a_close_is_not_waited_for_long() {
    let wire = wire(4096, |_| {}).await;
    let start = Instant::now();
    wire.stop.cancel();
    wire.task.await.unwrap();
    assert!(start.elapsed() <= Duration::from_secs(5));
}

#[tokio::test(start_paused = true)]
async fn a_client_that_vanishes_ends_the_task() {
    let wire = wire(4096, |_| {}).await;
    drop(wire.client);
    wire.task.await.unwrap();
}

/// Makes the thread of the test one that writes often.
async fn make_busy(wire: &mut Wire) {
    for seq in 1..=100 {
        wire.script.tell(Some(event(seq, EventKind::AgentCompleted, "echo", r#"{"text":"…"}"#)));
        wire.client.next().await.unwrap().unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn a_calm_host_tells_everything_at_once() {
    let mut wire = wire(4096, |_| {}).await;
    wire.client.next().await.unwrap().unwrap();
    let start = Instant::now();
    wire.script.tell(Some(event(1, EventKind::AgentThinking, "echo", r#"{"text":"…"}"#)));
    wire.client.next().await.unwrap().unwrap();
    assert_eq!(start.elapsed(), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn on_a_busy_host_the_parts_of_a_run_wait_for_its_end_or_for_a_moment() {
    let mut wire = wire(4096, |_| {}).await;
    wire.client.next().await.unwrap().unwrap();
    make_busy(&mut wire).await;
    let start = Instant::now();
    wire.script.tell(Some(event(101, EventKind::AgentThinking, "echo", r#"{"text":"…"}"#)));
    assert_eq!(json(wire.client.next().await.unwrap().unwrap())["seq"], 101);
    let waited = start.elapsed();
    assert!((pace::HOLD..=3 * pace::HOLD).contains(&waited), "{waited:?}");

    make_busy(&mut wire).await;
    let start = Instant::now();
    wire.script.tell(Some(event(102, EventKind::AgentThinking, "echo", r#"{"text":"…"}"#)));
    wire.script.tell(Some(event(103, EventKind::AgentCompleted, "echo", r#"{"text":"…"}"#)));
    for seq in [102, 103] {
        assert_eq!(json(wire.client.next().await.unwrap().unwrap())["seq"], seq);
    }
    assert_eq!(start.elapsed(), Duration::ZERO, "the last word takes along what waits");
}

#[tokio::test(start_paused = true)]
async fn what_waits_goes_out_before_an_answer_and_before_the_close() {
    let mut wire = wire(4096, |_| {}).await;
    wire.client.next().await.unwrap().unwrap();
    make_busy(&mut wire).await;
    wire.script.tell(Some(event(101, EventKind::AgentThinking, "echo", r#"{"text":"…"}"#)));
    // All tasks that are ready have their turn: the connection has taken it, and the clock has not moved.
    tokio::task::yield_now().await;
    wire.client.send(Message::text(r#"{"type":"ping"}"#)).await.unwrap();
    assert_eq!(json(wire.client.next().await.unwrap().unwrap())["seq"], 101);
    assert_eq!(json(wire.client.next().await.unwrap().unwrap())["type"], "pong");

    make_busy(&mut wire).await;
    wire.script.tell(Some(event(102, EventKind::AgentThinking, "echo", r#"{"text":"…"}"#)));
    tokio::task::yield_now().await;
    wire.stop.cancel();
    assert_eq!(json(wire.client.next().await.unwrap().unwrap())["seq"], 102);
    assert!(wire.client.next().await.unwrap().unwrap().is_close());
}
