//! A host of a few lines: it drives a plugin's table of functions inside the test's own process.
//!
//! No promise is made about it; authors use [`Testkit`](crate::Testkit).

use std::{
    collections::{BTreeMap, HashMap},
    sync::{
        Arc, LazyLock, PoisonError, RwLock,
        atomic::{AtomicU64, Ordering},
    },
};

use agent_plugin_api::{
    __private::{OfAgent, OfSupervisor, PrefixTypeTrait, RString, RVec, module},
    Agent, Supervisor,
    abi::v1::{HostApi, HostApiRef, PluginModuleRef},
    protocol::call::{Answer, CreateError, CreateErrorKind, InvokeStatus},
};
use serde::Serialize;

/// What a plugin said, not yet judged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Said {
    /// An event of a call.
    Emit {
        /// Whose.
        call: u64,
        /// Its kind's number.
        kind: u32,
        /// Its payload.
        payload: Vec<u8>,
    },
    /// A call's last word.
    Complete {
        /// Whose.
        call: u64,
        /// A `Completion`.
        completion: Vec<u8>,
    },
    /// The plugin asks something.
    Request {
        /// In whose name.
        call: u64,
        /// To be named in the answer.
        request: u64,
        /// What.
        method: String,
        /// Its parameters.
        payload: Vec<u8>,
    },
    /// A log line.
    Log(Vec<u8>),
    /// The plugin's runtime lives.
    Heartbeat,
    /// The plugin is about to be idle.
    Flush,
}

/// Who listens to a plugin. Called on the plugin's threads, so it returns at once; false: nobody listens to that call.
pub type Ear = Arc<dyn Fn(Said) -> bool + Send + Sync>;

/// One created instance. Dropped, it is destroyed.
pub struct Local {
    plugin: PluginModuleRef,
    host: u64,
    /// Its id, to be lied about.
    pub instance: u64,
}

/// What is given to `create`.
#[derive(Debug, Clone, Serialize)]
pub struct Creation {
    /// The slot's name.
    pub plugin: String,
    /// Which loading.
    pub generation: u32,
    /// The configuration.
    pub config: serde_json::Value,
    /// The plugin's own secrets, by name: a test's, so that they are texts.
    pub secrets: BTreeMap<String, String>,
    /// The plugin's own folder.
    pub data_dir: Option<String>,
    /// Threads of its runtime.
    pub threads: u8,
    /// The level from which it logs.
    pub log_level: String,
}

impl Local {
    /// Creates an agent.
    ///
    /// # Errors
    /// The plugin's own.
    pub fn agent<A: Agent>(creation: &Creation, ear: Ear) -> Result<Self, CreateError> {
        Self::create(module::<OfAgent<A>>(), creation, ear)
    }

    /// Creates a supervisor.
    ///
    /// # Errors
    /// The plugin's own.
    pub fn supervisor<S: Supervisor>(creation: &Creation, ear: Ear) -> Result<Self, CreateError> {
        Self::create(module::<OfSupervisor<S>>(), creation, ear)
    }

    fn create(plugin: PluginModuleRef, creation: &Creation, ear: Ear) -> Result<Self, CreateError> {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        let host = NEXT.fetch_add(1, Ordering::Relaxed);
        EARS.write().unwrap_or_else(PoisonError::into_inner).insert(host, ear);
        let made = plugin.create()(api(), host, bytes(creation));
        let local = Self { plugin, host, instance: made.instance };
        if local.instance != 0 {
            return Ok(local);
        }
        Err(serde_json::from_slice(&made.payload).unwrap_or_else(|error| CreateError {
            kind: CreateErrorKind::Error,
            message: format!("create failed, and its error is unreadable: {error}"),
        }))
    }

    /// Begins a call with any payload; `None` for a status that no plugin should answer.
    pub fn invoke(&self, call: u64, method: &str, payload: &[u8], deadline_ms: u64) -> Option<InvokeStatus> {
        let payload = RVec::from(payload.to_vec());
        let status = self.plugin.invoke()(self.instance, call, RString::from(method), payload, deadline_ms);
        InvokeStatus::from_raw(status)
    }

    /// Answers a request.
    pub fn respond(&self, call: u64, request: u64, answer: &Answer) {
        self.plugin.respond()(self.instance, call, request, bytes(answer));
    }

    /// Says that so many events were consumed.
    pub fn credit(&self, call: u64, events: u32) {
        self.plugin.credit()(self.instance, call, events);
    }

    /// Asks a call to stop.
    pub fn cancel(&self, call: u64) {
        self.plugin.cancel()(self.instance, call);
    }

    /// Has it take no new calls.
    pub fn drain(&self) {
        self.plugin.drain()(self.instance);
    }
}

impl Drop for Local {
    /// Blocks for as long as the author's destructor takes.
    fn drop(&mut self) {
        self.plugin.destroy()(self.instance);
        EARS.write().unwrap_or_else(PoisonError::into_inner).remove(&self.host);
    }
}

impl std::fmt::Debug for Local {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Local").field("instance", &self.instance).finish_non_exhaustive()
    }
}

fn bytes(value: &impl Serialize) -> RVec<u8> {
    // The types that are sent have texts as keys only, so they cannot fail to serialise.
    serde_json::to_vec(value).unwrap_or_default().into()
}

/// Ids are never used twice, so what comes late finds nobody.
static EARS: LazyLock<RwLock<HashMap<u64, Ear>>> = LazyLock::new(Default::default);

fn hear(host: u64, said: Said) -> bool {
    let ear = EARS.read().unwrap_or_else(PoisonError::into_inner).get(&host).cloned();
    ear.is_some_and(|ear| ear(said))
}

fn api() -> HostApiRef {
    static API: LazyLock<HostApiRef> = LazyLock::new(|| {
        HostApi { emit, complete, request, log, metric, heartbeat, flush, executing }.leak_into_prefix()
    });
    *API
}

extern "C" fn emit(host: u64, call: u64, kind: u32, payload: RVec<u8>) -> i64 {
    if hear(host, Said::Emit { call, kind, payload: payload.into() }) { 1 } else { -1 }
}

extern "C" fn complete(host: u64, call: u64, completion: RVec<u8>) {
    hear(host, Said::Complete { call, completion: completion.into() });
}

extern "C" fn request(host: u64, call: u64, request: u64, method: RString, payload: RVec<u8>) {
    hear(host, Said::Request { call, request, method: method.into(), payload: payload.into() });
}

extern "C" fn log(host: u64, line: RVec<u8>) {
    hear(host, Said::Log(line.into()));
}

extern "C" fn metric(_: u64, _: RVec<u8>) {}

extern "C" fn heartbeat(host: u64) {
    hear(host, Said::Heartbeat);
}

/// A test needs no report of a crash: it is one.
extern "C" fn executing(_: u64, _: u64) {}

extern "C" fn flush(host: u64) {
    hear(host, Said::Flush);
}
