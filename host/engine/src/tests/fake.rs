//! A plugin runtime whose instances follow a script.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, Mutex},
    time::Duration,
};

use agent_host_core::{
    outcome::{Exit, ExitReport},
    ports::{
        BoxFuture,
        instance::{
            CallOutput, Fault, InstanceCommand, InstanceHandle, Invocation, PluginRuntime, PluginSpec,
            Started,
        },
        progress::Progress,
    },
};
use agent_plugin_protocol::{
    CallId, Generation, PanicStrategy, PluginDescriptor, PluginId, PluginKind,
    call::{CREDIT_WINDOW, Completion, HandleParams, Reply, RouteChoice, method},
    event::emit_kind,
};
use bytes::Bytes;
use serde_json::{Value, json};
use tokio::sync::{mpsc, watch};

/// One thing that a scripted plugin does when it handles a message.
#[derive(Debug, Clone)]
pub(super) enum Step {
    Think(&'static str),
    Delta(&'static str),
    Raw(u32, &'static str),
    Request(&'static str, Value),
    /// Asks, and goes on without the answer.
    Post(&'static str, Value),
    /// Waits until so many answers of this call have come.
    Answers(u64),
    /// Says a piece of another message.
    DeltaOf(&'static str, &'static str),
    /// Waits for this long.
    Sleep(Duration),
    /// Goes on when it is asked to stop.
    UntilCancelled,
    Never,
    Reply(&'static str),
    Complete(Completion),
    CompleteRaw(&'static str),
    Die(Exit),
}

/// What a generation of a plugin does.
#[derive(Clone, Default)]
pub(super) struct Script {
    pub(super) handle: Vec<Step>,
    pub(super) route: Option<RouteChoice>,
    /// The self-test is not answered while this is set.
    pub(super) deaf: Arc<std::sync::atomic::AtomicBool>,
    /// Once this is set, it does that instead.
    pub(super) mended: Option<(Arc<std::sync::atomic::AtomicBool>, Vec<Step>)>,
}

pub(super) fn script(handle: impl IntoIterator<Item = Step>) -> Script {
    Script { handle: handle.into_iter().collect(), ..Script::default() }
}

pub(super) fn echo() -> Script {
    script([Step::Think("thinking"), Step::Delta("hello"), Step::Reply("hello")])
}

type Starter = Box<dyn Fn(Generation) -> BoxFuture<'static, Result<Script, Fault>> + Send + Sync>;

/// Starts instances by the scripts it was given, and keeps a journal of what they were told.
#[derive(Default)]
pub(super) struct FakeRuntime {
    starters: HashMap<String, Starter>,
    pub(super) journal: Arc<Mutex<Vec<String>>>,
    /// To end an instance from outside: by plugin, the latest generation; by `plugin#generation`, that one.
    pub(super) killers: Arc<Mutex<HashMap<String, mpsc::UnboundedSender<Exit>>>>,
}

impl FakeRuntime {
    pub(super) fn with(self, plugin: &str, script: Script) -> Self {
        self.starting(plugin, move |_| {
            let script = script.clone();
            Box::pin(async move { Ok(script) })
        })
    }

    pub(super) fn starting(
        mut self,
        plugin: &str,
        starter: impl Fn(Generation) -> BoxFuture<'static, Result<Script, Fault>> + Send + Sync + 'static,
    ) -> Self {
        self.starters.insert(plugin.to_owned(), Box::new(starter));
        self
    }
}

impl PluginRuntime for FakeRuntime {
    fn reread(&self, plugin: &PluginId) {
        self.journal.lock().unwrap().push(format!("{plugin} shall be read again"));
    }

    fn start(
        &self,
        spec: Arc<PluginSpec>,
        generation: Generation,
        _available: Arc<[String]>,
        _progress: Progress,
    ) -> BoxFuture<'static, Result<Started, Fault>> {
        let script = self.starters[spec.id.as_str()](generation);
        let (journal, killers) = (Arc::clone(&self.journal), Arc::clone(&self.killers));
        Box::pin(async move {
            let script = script.await?;
            let (commands, orders) = mpsc::channel(64);
            let (exit, exited) = watch::channel(None);
            let (killer, killed) = mpsc::unbounded_channel();
            killers.lock().unwrap().insert(spec.id.to_string(), killer.clone());
            killers.lock().unwrap().insert(format!("{}#{generation}", spec.id), killer);
            let descriptor = Arc::new(PluginDescriptor {
                id: spec.id.clone(),
                kind: spec.kind,
                version: "1.0.0".to_owned(),
                description: "scripted".to_owned(),
                abi: (1, 0),
                sdk_version: "0.1.0".to_owned(),
                rustc_version: "1.95.0".to_owned(),
                panic: PanicStrategy::Unwind,
                requires: Vec::new(),
            });
            let name = format!("{}#{generation}", spec.id);
            tokio::spawn(
                Instance { name, script, journal, exit, calls: HashMap::new() }.serve(orders, killed),
            );
            Ok(Started {
                handle: InstanceHandle {
                    plugin: spec.id.clone(),
                    generation,
                    descriptor,
                    isolation: spec.isolation,
                    commands,
                    exit: exited,
                },
                digest: "00".to_owned(),
                sandbox: Default::default(),
            })
        })
    }
}

struct Instance {
    name: String,
    script: Script,
    journal: Arc<Mutex<Vec<String>>>,
    exit: watch::Sender<Option<Arc<ExitReport>>>,
    calls: HashMap<CallId, Call>,
}

struct Call {
    outputs: mpsc::Sender<(CallId, CallOutput)>,
    message_id: String,
    steps: VecDeque<Step>,
    outstanding: u32,
    waits: Waits,
    requests: u64,
    answers: u64,
}

#[derive(PartialEq)]
enum Waits {
    No,
    Answers(u64),
    Cancel,
    Timer,
    Forever,
}

impl Instance {
    async fn serve(
        mut self,
        mut orders: mpsc::Receiver<InstanceCommand>,
        mut killed: mpsc::UnboundedReceiver<Exit>,
    ) {
        let (wake, mut woken) = mpsc::unbounded_channel();
        loop {
            let ids: Vec<CallId> = self.calls.keys().copied().collect();
            for id in ids {
                if let Some(exit) = self.advance(id, &wake) {
                    return self.die(exit);
                }
            }
            tokio::select! {
                order = orders.recv() => match order {
                    None => return self.die(Exit::Stopped),
                    Some(order) => if let Some(exit) = self.obey(order) {
                        return self.die(exit);
                    },
                },
                Some(exit) = killed.recv() => return self.die(exit),
                Some(call) = woken.recv() => if let Some(call) = self.calls.get_mut(&call) { call.waits = Waits::No },
            }
        }
    }

    fn note(&self, what: &str) {
        self.journal.lock().unwrap().push(format!("{} {what}", self.name));
    }

    fn obey(&mut self, order: InstanceCommand) -> Option<Exit> {
        match order {
            InstanceCommand::Invoke(invocation) => self.invoke(invocation),
            InstanceCommand::Respond { call, answer, .. } => {
                self.note(&format!("respond {}", String::from_utf8_lossy(&answer)));
                let call = self.calls.get_mut(&call)?;
                call.answers += 1;
                if matches!(call.waits, Waits::Answers(wanted) if wanted <= call.answers) {
                    call.waits = Waits::No;
                }
            }
            InstanceCommand::Credit { call, events } => {
                if let Some(call) = self.calls.get_mut(&call) {
                    call.outstanding -= events;
                }
            }
            InstanceCommand::Cancel { call } => {
                self.note("cancel");
                if let Some(call) = self.calls.get_mut(&call).filter(|call| call.waits == Waits::Cancel) {
                    call.waits = Waits::No;
                }
            }
            InstanceCommand::Abandon { call } => {
                self.note("abandon");
                self.calls.remove(&call);
            }
            InstanceCommand::Drain | InstanceCommand::Strike(_) => {}
            InstanceCommand::Stop { .. } => return Some(Exit::Stopped),
            InstanceCommand::Kill(_) => {
                self.note("kill");
                return Some(Exit::Hung);
            }
        }
        None
    }

    fn invoke(&mut self, Invocation { call, method, payload, outputs, .. }: Invocation) {
        let complete = |completion: &Completion| {
            let bytes = serde_json::to_vec(completion).unwrap().into();
            outputs.try_send((call, CallOutput::Completed(bytes))).unwrap();
        };
        match method {
            method::PROBE if self.script.deaf.load(std::sync::atomic::Ordering::Relaxed) => {}
            method::PROBE => complete(&Completion::Ok { value: Value::Null }),
            method::ROUTE => {
                self.note("route");
                if let Some(choice) = &self.script.route {
                    complete(&Completion::Ok { value: json!(choice) });
                }
            }
            method::HANDLE => {
                let params: HandleParams = serde_json::from_slice(&payload).unwrap();
                self.note(&format!("handle {}", params.message.content));
                if let Some(answer) = &params.answer {
                    self.note(&format!("answer {}", answer.response));
                }
                let mended = self
                    .script
                    .mended
                    .as_ref()
                    .filter(|(is, _)| is.load(std::sync::atomic::Ordering::Relaxed));
                let steps = mended.map_or(&self.script.handle, |(_, steps)| steps).clone().into();
                let waits = Waits::No;
                let call_state = Call {
                    outputs,
                    message_id: params.message_id,
                    steps,
                    outstanding: 0,
                    waits,
                    requests: 0,
                    answers: 0,
                };
                self.calls.insert(call, call_state);
            }
            other => panic!("{other}"),
        }
    }

    /// Goes on with a call as far as it can; an exit if its script dies.
    fn advance(&mut self, id: CallId, wake: &mpsc::UnboundedSender<CallId>) -> Option<Exit> {
        loop {
            let call = self.calls.get_mut(&id)?;
            if call.waits != Waits::No || call.outstanding >= CREDIT_WINDOW {
                return None;
            }
            let Some(step) = call.steps.pop_front() else {
                call.waits = Waits::Forever;
                return None;
            };
            let mut emit = |kind: u32, payload: Bytes| {
                call.outstanding += 1;
                call.outputs.try_send((id, CallOutput::Emitted { kind, payload })).unwrap();
            };
            match step {
                Step::Think(text) => emit(emit_kind::THINKING, json!({"text": text}).to_string().into()),
                Step::Delta(text) => {
                    let payload = json!({"message_id": call.message_id, "text": text}).to_string();
                    emit(emit_kind::MESSAGE_DELTA, payload.into());
                }
                Step::Raw(kind, payload) => emit(kind, Bytes::from_static(payload.as_bytes())),
                Step::DeltaOf(message_id, text) => {
                    let payload = json!({"message_id": message_id, "text": text}).to_string();
                    emit(emit_kind::MESSAGE_DELTA, payload.into());
                }
                Step::Answers(wanted) => {
                    if call.answers < wanted {
                        call.waits = Waits::Answers(wanted);
                    }
                }
                Step::Request(method, payload) => {
                    call.steps.push_front(Step::Answers(call.requests + 1));
                    call.steps.push_front(Step::Post(method, payload));
                }
                Step::Post(method, payload) => {
                    call.requests += 1;
                    let payload = payload.to_string().into();
                    let output =
                        CallOutput::Request { request: call.requests, method: method.to_owned(), payload };
                    call.outputs.try_send((id, output)).unwrap();
                }
                Step::Sleep(time) => {
                    call.waits = Waits::Timer;
                    let wake = wake.clone();
                    tokio::spawn(async move {
                        tokio::time::sleep(time).await;
                        let _ = wake.send(id);
                    });
                }
                Step::UntilCancelled => call.waits = Waits::Cancel,
                Step::Never => call.waits = Waits::Forever,
                Step::Reply(text) => {
                    let reply = Reply { text: Some(text.to_owned()), ..Reply::default() };
                    self.complete(
                        id,
                        serde_json::to_vec(&Completion::Ok { value: json!(reply) }).unwrap().into(),
                    );
                }
                Step::Complete(completion) => {
                    self.complete(id, serde_json::to_vec(&completion).unwrap().into())
                }
                Step::CompleteRaw(bytes) => self.complete(id, Bytes::from_static(bytes.as_bytes())),
                Step::Die(exit) => return Some(exit),
            }
        }
    }

    fn complete(&mut self, id: CallId, bytes: Bytes) {
        let call = self.calls.remove(&id).unwrap();
        // The run may be over.
        let _ = call.outputs.try_send((id, CallOutput::Completed(bytes)));
    }

    fn die(self, exit: Exit) {
        let report = Arc::new(ExitReport {
            exit,
            uptime: Duration::from_secs(1),
            stderr_tail: vec!["last words".to_owned()],
            crash: None,
        });
        for (id, call) in self.calls {
            let _ = call.outputs.try_send((id, CallOutput::Lost(Arc::clone(&report))));
        }
        self.exit.send_replace(Some(report));
    }
}

pub(super) fn kind_of(plugin: &str) -> PluginKind {
    if plugin.starts_with("super") { PluginKind::Supervisor } else { PluginKind::Agent }
}
