//! What stands in the way, against the simplest things behind it: each fault hits what it names, for its time only.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use agent_host_core::{
    chaos::{Kind, Order, Share},
    outcome::{Exit, ExitReport},
    ports::{
        BoxFuture,
        chaos::{Doors, Ended, Injected, NotInjected},
        clock::SystemClock,
        instance::{CallOutput, InstanceCommand, InstanceHandle, Invocation, Isolation, KillReason, Strike},
        network::{Network, NoNetwork},
        tools::{ToolCall, ToolError, ToolHost},
    },
    service::{ServiceName, ServiceState, ServiceTable},
};
use agent_plugin_protocol::{
    CallId, Code, Generation, PanicStrategy, PluginDescriptor, PluginId, PluginKind, RunId, call::ToolInfo,
};
use bytes::Bytes;
use serde_json::{Value, json};
use tokio::{
    sync::{mpsc, watch},
    time::{Instant, advance},
};

use super::{Board, FaultyNetwork, FaultyTools, relay::Relay, services};

fn board() -> Arc<Board> {
    Board::new(Arc::new(SystemClock))
}

fn echo() -> PluginId {
    PluginId::new("echo").unwrap()
}

async fn begin(board: &Arc<Board>, order: Order) -> Result<Injected, NotInjected> {
    board.handle().begin(order.judged().unwrap()).await
}

/// The board's own tasks run before the test goes on.
async fn settle() {
    for _ in 0..20 {
        tokio::task::yield_now().await;
    }
}

#[test]
fn each_fault_has_its_series() {
    assert_eq!(agent_host_telemetry::metric::FAULTS, Kind::ALL.map(Kind::name));
}

#[tokio::test(start_paused = true)]
async fn a_fault_hits_its_share_and_ends_by_itself() {
    let board = board();
    let order =
        Order { share: Some(20), lasting: Some(Duration::from_secs(5)), ..Order::of(Kind::StoreFail) };
    let injected = begin(&board, order).await.unwrap();
    let hits = (0..50).filter(|_| board.hit(Kind::StoreFail, |_| true).is_some()).count();
    assert_eq!(hits, 10);
    assert!(board.hit(Kind::StoreFull, |_| true).is_none(), "it is no other fault");
    let shown = board.handle().injected();
    assert_eq!((shown.len(), shown[0].hits, shown[0].how()), (1, 10, None));
    assert!(shown[0].left > Duration::from_secs(4) && shown[0].id == injected.id);

    advance(Duration::from_secs(5)).await;
    assert!(board.hit(Kind::StoreFail, |_| true).is_none(), "its time is over, whatever its task does");
    settle().await;
    let shown = board.handle().injected();
    assert_eq!((shown.len(), shown[0].how(), shown[0].left), (1, Some(Ended::Expired), Duration::ZERO));
    assert!(shown[0].ended.is_some_and(|(_, at)| at >= shown[0].since), "{shown:?}");
}

#[tokio::test(start_paused = true)]
async fn an_operator_ends_one_or_all_and_no_more_than_eight_are_at_once() {
    let board = board();
    for _ in 0..8 {
        begin(&board, Order::of(Kind::StoreSlow)).await.unwrap();
    }
    let refused = begin(&board, Order::of(Kind::StoreSlow)).await.unwrap_err();
    assert_eq!(refused.code, Code::ChaosTooMany);
    let handle = board.handle();
    assert_eq!(handle.end(Some(99)), vec![]);
    let ended = handle.end(Some(3));
    assert_eq!((ended.len(), ended[0].id, ended[0].how()), (1, 3, Some(Ended::Stopped)));
    assert_eq!(handle.end(Some(3)), vec![], "once");
    begin(&board, Order::of(Kind::StoreSlow)).await.unwrap();
    assert_eq!(handle.end(None).len(), 8);
    settle().await;
    assert!(board.hit(Kind::StoreSlow, |_| true).is_none());
    assert!(handle.injected().iter().all(|one| one.how() == Some(Ended::Stopped)));
    begin(&board, Order::of(Kind::StoreSlow)).await.unwrap();
    handle.close();
    settle().await;
    let shown = handle.injected();
    assert_eq!(shown[0].how(), Some(Ended::HostEnded), "{shown:?}");
    for _ in 0..20 {
        begin(&board, Order::of(Kind::StoreSlow)).await.unwrap();
        handle.end(None);
    }
    assert_eq!(handle.injected().len(), 16, "the last, and no more");
}

/// Doors that count.
#[derive(Default)]
struct Counting(AtomicUsize);

impl Doors for Counting {
    fn cut(&self, _share: Share) -> usize {
        self.0.fetch_add(1, Ordering::Relaxed);
        3
    }
}

#[tokio::test(start_paused = true)]
async fn an_act_is_done_once_or_again_and_again_for_its_time() {
    let board = board();
    let refused = begin(&board, Order::of(Kind::ConnectionsCut)).await.unwrap_err();
    assert_eq!(refused.code, Code::ChaosNoTarget, "before the doors are open");
    let doors = Arc::new(Counting::default());
    board.handle().attach(Arc::<Counting>::clone(&doors));
    let once = begin(&board, Order::of(Kind::ConnectionsCut)).await.unwrap();
    assert_eq!((once.hits, once.how()), (3, Some(Ended::Done)));
    advance(Duration::from_secs(60)).await;
    settle().await;
    assert_eq!(doors.0.load(Ordering::Relaxed), 1);

    let (every, lasting) = (Some(Duration::from_secs(1)), Some(Duration::from_secs(5)));
    begin(&board, Order { every, lasting, ..Order::of(Kind::ConnectionsCut) }).await.unwrap();
    for _ in 0..20 {
        advance(Duration::from_millis(500)).await;
        settle().await;
    }
    // At once, and then after each second; at the end of the fifth it is over.
    assert_eq!(doors.0.load(Ordering::Relaxed), 1 + 1 + 4);
}

/// An instance of which the test has the other end.
fn instance(
    isolation: Isolation,
) -> (InstanceHandle, mpsc::Receiver<InstanceCommand>, watch::Sender<Option<Arc<ExitReport>>>) {
    let (commands, orders) = mpsc::channel(8);
    let (end, exit) = watch::channel(None);
    let descriptor = PluginDescriptor {
        id: echo(),
        kind: PluginKind::Agent,
        version: "1.0.0".to_owned(),
        description: "scripted".to_owned(),
        abi: (1, 0),
        sdk_version: "0.1.0".to_owned(),
        rustc_version: "1.95.0".to_owned(),
        panic: PanicStrategy::Unwind,
        requires: Vec::new(),
    };
    let handle = InstanceHandle {
        plugin: echo(),
        generation: Generation(1),
        descriptor: Arc::new(descriptor),
        isolation,
        commands,
        exit,
    };
    (handle, orders, end)
}

fn of_echo(kind: Kind) -> Order {
    Order { plugin: Some(echo()), ..Order::of(kind) }
}

#[tokio::test(start_paused = true)]
async fn a_worker_is_struck_if_it_serves_and_has_a_process_and_what_was_stopped_goes_on() {
    let board = board();
    let refused = begin(&board, of_echo(Kind::WorkerKill)).await.unwrap_err();
    assert_eq!(refused.code, Code::ChaosNoTarget, "it was never started");
    let (handle, mut orders, _end) = instance(Isolation::Process);
    board.targets.started(&handle);
    let ended = begin(&board, of_echo(Kind::WorkerKill)).await.unwrap();
    assert_eq!((ended.how(), ended.hits), (Some(Ended::Done), 1));
    assert!(matches!(orders.recv().await, Some(InstanceCommand::Strike(Strike::Kill))));

    begin(&board, Order { lasting: Some(Duration::from_secs(2)), ..of_echo(Kind::WorkerHang) })
        .await
        .unwrap();
    assert!(matches!(orders.recv().await, Some(InstanceCommand::Strike(Strike::Stop))));
    advance(Duration::from_secs(2)).await;
    assert!(matches!(orders.recv().await, Some(InstanceCommand::Strike(Strike::Continue))));

    board.targets.serves(&echo(), Generation(2));
    let refused = begin(&board, of_echo(Kind::WorkerCrash)).await.unwrap_err();
    assert_eq!(refused.code, Code::ChaosNoTarget, "that generation is none that was started");
    let (trusted, _orders, _end) = instance(Isolation::InProcess);
    board.targets.started(&InstanceHandle { generation: Generation(2), ..trusted.clone() });
    let refused = begin(&board, of_echo(Kind::WorkerCrash)).await.unwrap_err();
    assert!(refused.reason.contains("in-process"), "{refused:?}");
    assert!(
        board.handle().injected().iter().all(|one| one.ended.is_some()),
        "what was refused is not in force"
    );
}

#[tokio::test(start_paused = true)]
async fn a_fault_keeps_no_instance_alive() {
    let board = board();
    let (handle, mut orders, _end) = instance(Isolation::Process);
    board.targets.started(&handle);
    begin(&board, of_echo(Kind::WorkerHang)).await.unwrap();
    drop(handle);
    assert!(matches!(orders.recv().await, Some(InstanceCommand::Strike(Strike::Stop))));
    assert!(orders.recv().await.is_none(), "nobody can order it any more");
}

fn invoke(number: u64, run: bool) -> (Invocation, mpsc::Receiver<(CallId, CallOutput)>) {
    let (outputs, told) = mpsc::channel(8);
    let invocation = Invocation {
        call: CallId(number),
        method: "handle",
        run: run.then(|| RunId::new("r1").unwrap()),
        payload: Bytes::new(),
        deadline: Duration::from_secs(9),
        desk: None,
        outputs,
    };
    (invocation, told)
}

#[tokio::test(start_paused = true)]
async fn runs_fail_as_by_a_panic_and_a_self_test_is_none() {
    let board = board();
    let (InstanceHandle { commands: inner, exit, .. }, mut arrived, _end) = instance(Isolation::Process);
    board.targets.started(&instance(Isolation::Process).0);
    let (outer, orders) = mpsc::channel(8);
    tokio::spawn(Relay::new(Arc::clone(&board), echo(), inner, exit).run(orders));
    begin(&board, of_echo(Kind::RunsFail)).await.unwrap();
    let (run, mut told) = invoke(1, true);
    outer.send(InstanceCommand::Invoke(run)).await.unwrap();
    let Some((_, CallOutput::Completed(body))) = told.recv().await else { panic!("it is completed") };
    let completion: Value = serde_json::from_slice(&body).unwrap();
    assert_eq!(completion["status"], "panicked", "{completion}");
    let (probe, _told) = invoke(2, false);
    outer.send(InstanceCommand::Invoke(probe)).await.unwrap();
    assert!(matches!(arrived.recv().await, Some(InstanceCommand::Invoke(it)) if it.call == CallId(2)));
    board.handle().end(None);
    let (run, _told) = invoke(3, true);
    outer.send(InstanceCommand::Invoke(run)).await.unwrap();
    assert!(matches!(arrived.recv().await, Some(InstanceCommand::Invoke(it)) if it.call == CallId(3)));
}

#[tokio::test(start_paused = true)]
async fn a_run_that_is_held_goes_before_what_is_said_of_it_and_hears_of_the_end() {
    let board = board();
    let (InstanceHandle { commands: inner, exit, .. }, mut arrived, end) = instance(Isolation::Process);
    board.targets.started(&instance(Isolation::Process).0);
    let (outer, orders) = mpsc::channel(8);
    tokio::spawn(Relay::new(Arc::clone(&board), echo(), inner, exit).run(orders));
    let late = Order { delay: Some(Duration::from_secs(3)), ..of_echo(Kind::RunsSlow) };
    begin(&board, late).await.unwrap();
    let begun = Instant::now();
    let (first, _first) = invoke(1, true);
    outer.send(InstanceCommand::Invoke(first)).await.unwrap();
    assert!(matches!(arrived.recv().await, Some(InstanceCommand::Invoke(it)) if it.call == CallId(1)));
    assert_eq!(begun.elapsed(), Duration::from_secs(3), "it is late");

    let (second, _second) = invoke(2, true);
    outer.send(InstanceCommand::Invoke(second)).await.unwrap();
    outer.send(InstanceCommand::Cancel { call: CallId(2) }).await.unwrap();
    assert!(matches!(arrived.recv().await, Some(InstanceCommand::Invoke(it)) if it.call == CallId(2)));
    assert!(matches!(arrived.recv().await, Some(InstanceCommand::Cancel { call: CallId(2) })));
    assert_eq!(begun.elapsed(), Duration::from_secs(3), "and at once");

    let (third, mut third_told) = invoke(3, true);
    outer.send(InstanceCommand::Invoke(third)).await.unwrap();
    settle().await;
    arrived.close();
    let report =
        ExitReport { exit: Exit::Hung, uptime: Duration::ZERO, stderr_tail: Vec::new(), crash: None };
    end.send_replace(Some(Arc::new(report)));
    assert!(matches!(third_told.recv().await, Some((CallId(3), CallOutput::Lost(_)))));
    outer.closed().await;
    assert!(outer.send(InstanceCommand::Kill(KillReason::Stopped)).await.is_err());
}

struct OneTool;

impl ToolHost for OneTool {
    fn list(&self) -> Vec<ToolInfo> {
        Vec::new()
    }

    fn call_at_once(&self, _tool: &str, _arguments: &Value) -> Option<Result<Value, ToolError>> {
        Some(Ok(json!(1)))
    }

    fn call(&self, _call: ToolCall) -> BoxFuture<'_, Result<Value, ToolError>> {
        Box::pin(std::future::ready(Ok(json!(1))))
    }
}

#[tokio::test(start_paused = true)]
async fn tools_and_peers_fail_by_their_codes_and_are_there_again() {
    let board = board();
    let tools = FaultyTools::new(Arc::clone(&board), Arc::new(OneTool));
    let call = || ToolCall {
        plugin: echo(),
        scope: agent_host_core::identity::Scope { tenant: "t".into(), user: "u".into() },
        run: RunId::new("r1").unwrap(),
        tool: "clock".to_owned(),
        arguments: json!({}),
    };
    assert!(tools.call_at_once("clock", &json!({})).is_some());
    begin(&board, Order::of(Kind::ToolsFail)).await.unwrap();
    assert!(tools.call_at_once("clock", &json!({})).is_none(), "it takes the way on which it can fail");
    assert_eq!(tools.call(call()).await.unwrap_err().code, Code::ToolFailed);
    board.handle().end(None);
    assert!(tools.call(call()).await.is_ok());

    let network = FaultyNetwork::new(Arc::clone(&board), Arc::new(NoNetwork));
    let connect = async || {
        let connected = network.connect(echo(), Vec::new(), "h:1".to_owned()).await;
        connected.err().map(|error| error.code)
    };
    assert_eq!(connect().await, Some(Code::NetworkDenied));
    begin(&board, Order::of(Kind::NetworkFail)).await.unwrap();
    assert_eq!(connect().await, Some(Code::NetworkUnreachable));
    board.handle().end(None);
    assert_eq!(connect().await, Some(Code::NetworkDenied));
}

#[tokio::test(start_paused = true)]
async fn a_service_is_gone_for_a_time_whatever_is_reported_and_then_as_it_is_reported() {
    let board = board();
    let there = || ServiceTable::new(ServiceName::ALL.map(|name| (name, ServiceState::Available)));
    let reported = watch::Sender::new(Arc::new(there()));
    let mut seen = services(&board, reported.subscribe());
    begin(&board, Order { service: Some(ServiceName::Tools), ..Order::of(Kind::ServiceDown) }).await.unwrap();
    seen.changed().await.unwrap();
    assert!(
        !seen.borrow().is_available(ServiceName::Tools) && seen.borrow().is_available(ServiceName::Threads)
    );
    assert_eq!(board.handle().injected()[0].hits, 1);
    reported.send_replace(Arc::new(ServiceTable::new([(ServiceName::Tools, ServiceState::Available)])));
    seen.changed().await.unwrap();
    assert_eq!(seen.borrow_and_update().available(), Vec::<String>::new());
    advance(Duration::from_secs(30)).await;
    seen.changed().await.unwrap();
    assert_eq!(seen.borrow().available(), ["tools"]);
}
