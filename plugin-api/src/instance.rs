//! One loaded plugin: its own runtime, the author's value, and the calls that are open.

use std::{
    collections::{HashMap, hash_map::Entry},
    future,
    pin::Pin,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
        mpsc,
    },
    thread,
    time::Duration,
};

use abi_stable::std_types::RVec;
use agent_plugin_protocol::call::{
    Completion, CreateError, CreateErrorKind, CreateParams, Created, HEARTBEAT, InvokeStatus,
};
use serde::de::DeserializeOwned;
use tokio::runtime::{Builder, Handle, Runtime};

use crate::{
    Setup,
    abi::{altstack, link::HostLink},
    call::{Call, LastWord},
    contain::{Caught, Contained, contain},
    forward,
    served::{Kind, Made, Served},
};

pub(crate) mod method;

use method::Method;

/// See the module.
pub(crate) struct Instance {
    link: HostLink,
    setup: Setup,
    routes: bool,
    /// `None` once destroyed.
    runtime: Mutex<Option<Runtime>>,
    handle: Handle,
    /// `None` once destroyed. Its drop is contained, whoever drops it last.
    author: Mutex<Option<Arc<Author>>>,
    calls: Mutex<HashMap<u64, Arc<Call>>>,
    draining: AtomicBool,
}

/// The author's value, its drop contained.
pub(crate) type Author = Contained<Box<dyn Served>>;

/// How long `destroy` waits for the runtime's threads to leave; blocked ones are left behind.
const SHUTDOWN: Duration = Duration::from_millis(200);

impl Instance {
    /// Starts the runtime and makes the author's value on it. Blocks for as long as the author's `create` takes.
    pub(crate) fn create<K: Kind>(
        link: HostLink,
        params: &[u8],
    ) -> Result<(Arc<Self>, Created), CreateError> {
        let params: CreateParams = serde_json::from_slice(params)
            .map_err(|e| failed(CreateErrorKind::Error, format!("the host's parameters: {e}")))?;
        let level = forward::level(&params.log_level);
        forward::install(link, level);
        let config = parse_config::<K::Config>(params.config)?;
        let setup = Setup {
            plugin: params.plugin.to_string(),
            generation: params.generation,
            data_dir: params.data_dir.map(Into::into),
            secrets: params.secrets.into(),
        };
        let runtime = start_runtime(&setup.plugin, params.threads, link, level)
            .map_err(|e| failed(CreateErrorKind::Error, format!("the plugin's runtime: {e}")))?;
        match make::<K>(&runtime, config, setup.clone()) {
            Ok(author) => {
                runtime.spawn(heartbeat(link));
                let created = Created { config_schema: contain(K::config_schema).ok().flatten() };
                Ok((Arc::new(Self::new::<K>(link, setup, runtime, author)), created))
            }
            Err(error) => {
                // Not waited for: the author's code may block its threads for ever.
                runtime.shutdown_background();
                Err(error)
            }
        }
    }

    fn new<K: Kind>(link: HostLink, setup: Setup, runtime: Runtime, author: Author) -> Self {
        Self {
            link,
            setup,
            routes: K::ROUTES,
            handle: runtime.handle().clone(),
            runtime: Mutex::new(Some(runtime)),
            author: Mutex::new(Some(Arc::new(author))),
            calls: Mutex::default(),
            draining: AtomicBool::new(false),
        }
    }

    /// Begins a call. After `Accepted` exactly one completion follows (it may even come first).
    pub(crate) fn invoke(
        self: &Arc<Self>,
        id: u64,
        method: &str,
        payload: RVec<u8>,
        deadline: Option<Duration>,
    ) -> InvokeStatus {
        let Some(method) = Method::parse(method, self.routes) else { return InvokeStatus::Unimplemented };
        let author = self.author.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let Some(author) = author.filter(|_| !self.draining.load(Ordering::Acquire)) else {
            return InvokeStatus::Refused;
        };
        let call = Arc::new(Call::new(id, self.link, deadline));
        match self.calls.lock().unwrap_or_else(PoisonError::into_inner).entry(id) {
            Entry::Occupied(_) => return InvokeStatus::Refused,
            Entry::Vacant(free) => free.insert(call.clone()),
        };
        let last_word = self.last_word(call.clone());
        let link = self.link;
        let mut work = Caught::new(method::run(method, author, call, payload, self.setup.clone()));
        // So that a crash tells in whose code it happened.
        let work = future::poll_fn(move |cx| {
            link.executing(id);
            let polled = Pin::new(&mut work).poll(cx);
            link.idle();
            polled
        });
        self.handle.spawn(async move {
            let completion = work.await.unwrap_or_else(|message| Completion::Panicked { message });
            last_word.say(&completion);
        });
        InvokeStatus::Accepted
    }

    fn last_word(self: &Arc<Self>, call: Arc<Call>) -> LastWord<impl FnOnce() + use<>> {
        let (instance, id) = (Arc::downgrade(self), call.id());
        LastWord::new(call, move || {
            if let Some(instance) = instance.upgrade() {
                instance.calls.lock().unwrap_or_else(PoisonError::into_inner).remove(&id);
            }
        })
    }

    /// The open call of that id.
    pub(crate) fn call(&self, id: u64) -> Option<Arc<Call>> {
        self.calls.lock().unwrap_or_else(PoisonError::into_inner).get(&id).cloned()
    }

    /// Takes no new calls.
    pub(crate) fn drain(&self) {
        self.draining.store(true, Ordering::Release);
    }

    /// Cancels the open calls, drops the author's value and ends the runtime.
    pub(crate) fn destroy(&self) {
        self.drain();
        let open: Vec<_> =
            self.calls.lock().unwrap_or_else(PoisonError::into_inner).values().cloned().collect();
        for call in open {
            call.cancel();
        }
        let author = self.author.lock().unwrap_or_else(PoisonError::into_inner).take();
        let runtime = self.runtime.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(runtime) = runtime else { return };
        end(&self.setup.plugin, runtime, author);
    }
}

/// On a thread of its own: a destructor of the author's may want the runtime, may block, and must not see the
/// caller's thread; the runtime's own threads may all be blocked.
fn end(plugin: &str, runtime: Runtime, author: Option<Arc<Author>>) {
    let work = move || {
        {
            let _runtime = runtime.enter();
            drop(author);
        }
        let _ = contain(|| runtime.shutdown_timeout(SHUTDOWN));
    };
    // Where no thread can be had, the closure's drop does the same: the value's drop is contained.
    if let Ok(thread) = thread::Builder::new().name(format!("{plugin}-end")).spawn(work) {
        let _ = thread.join();
    }
}

fn failed(kind: CreateErrorKind, message: String) -> CreateError {
    CreateError { kind, message }
}

/// Reads the configuration; what does not fit is told with the field's path. A missing one and an empty one are the same, so that `()` and a struct of defaults both
/// accept either.
fn parse_config<C: DeserializeOwned>(config: serde_json::Value) -> Result<C, CreateError> {
    let empty = match &config {
        serde_json::Value::Null => Some(serde_json::Value::Object(serde_json::Map::new())),
        serde_json::Value::Object(fields) if fields.is_empty() => Some(serde_json::Value::Null),
        _ => None,
    };
    // A `Deserialize` of the author's may panic too.
    let parsed = contain(|| {
        // With the path to the field at fault.
        serde_path_to_error::deserialize(config).or_else(|error| match empty {
            Some(other) => serde_path_to_error::deserialize(other).map_err(|_| error),
            None => Err(error),
        })
    });
    match parsed {
        Ok(parsed) => parsed.map_err(|e| failed(CreateErrorKind::Config, e.to_string())),
        Err(payload) => Err(failed(CreateErrorKind::Panicked, crate::contain::text_of(payload))),
    }
}

fn start_runtime(
    plugin: &str,
    threads: u8,
    link: HostLink,
    level: tracing::level_filters::LevelFilter,
) -> std::io::Result<Runtime> {
    Builder::new_multi_thread()
        .worker_threads(usize::from(threads.clamp(1, 16)))
        .thread_name(plugin)
        .enable_all()
        .on_thread_start(move || {
            altstack::equip_thread();
            forward::enter_thread(link, level);
        })
        // What a burst of work emitted goes out as one write.
        .on_thread_park(move || link.flush())
        .build()
}

/// Runs the author's `create` on the plugin's runtime: never on a thread of the host's.
fn make<K: Kind>(runtime: &Runtime, config: K::Config, setup: Setup) -> Result<Author, CreateError> {
    let (done, made) = mpsc::sync_channel(1);
    let work = Caught::new(async move { K::create(config, setup).await });
    runtime.spawn(async move {
        let _ = done.send(work.await);
    });
    match made.recv() {
        Ok(Ok(Ok(Made(author)))) => Ok(Contained::new(author)),
        Ok(Ok(Err(error))) => Err(error.into_create_error()),
        Ok(Err(panic)) => Err(failed(CreateErrorKind::Panicked, panic)),
        Err(mpsc::RecvError) => {
            Err(failed(CreateErrorKind::Panicked, "the plugin's runtime ended in create".to_owned()))
        }
    }
}

/// Tells the host that the plugin's own runtime lives.
async fn heartbeat(link: HostLink) {
    let mut beat = tokio::time::interval(HEARTBEAT);
    beat.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        beat.tick().await;
        link.heartbeat();
    }
}
