//! A host of a few lines that drives a plugin's module table inside the test's process.

use std::{
    collections::{HashMap, VecDeque},
    sync::{
        LazyLock, Mutex,
        atomic::{AtomicU64, Ordering},
        mpsc::{Receiver, Sender, channel},
    },
    time::Duration,
};

use abi_stable::{
    prefix_type::PrefixTypeTrait,
    std_types::{RString, RVec},
};
use agent_plugin_api::{
    __private::{OfAgent, OfSupervisor, module},
    Agent, Supervisor,
    abi::v1::{HostApi, HostApiRef, PluginModuleRef},
    protocol::call::{Answer, Completion, CreateError, InvokeStatus, LogLine, Reply},
};
use serde_json::{Value, json};

/// What the plugin said.
#[derive(Debug)]
pub enum Said {
    Emit { call: u64, kind: u32, payload: Value },
    Complete { call: u64, completion: Completion },
    Request { call: u64, request: u64, method: String, payload: Value },
    Log(LogLine),
    Heartbeat,
    Flush,
}

/// One created instance and what it said.
pub struct Host {
    plugin: PluginModuleRef,
    host: u64,
    pub instance: u64,
    said: Receiver<Said>,
    /// Said, but skipped by the one who waited for something else.
    skipped: VecDeque<Said>,
}

impl Host {
    pub fn agent<A: Agent>(config: Value) -> Result<Self, CreateError> {
        Self::create(module::<OfAgent<A>>(), config)
    }

    pub fn supervisor<S: Supervisor>(config: Value) -> Result<Self, CreateError> {
        Self::create(module::<OfSupervisor<S>>(), config)
    }

    fn create(plugin: PluginModuleRef, config: Value) -> Result<Self, CreateError> {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        let host = NEXT.fetch_add(1, Ordering::Relaxed);
        let (sender, said) = channel();
        HOSTS.lock().unwrap().insert(host, sender);
        let params = json!({
            "plugin": "test", "generation": 1, "config": config, "data_dir": "/data", "threads": 2,
            "log_level": "info",
        });
        let made = plugin.create()(api(), host, bytes(&params));
        if made.instance == 0 {
            return Err(serde_json::from_slice(&made.payload).unwrap());
        }
        Ok(Self { plugin, host, instance: made.instance, said, skipped: VecDeque::new() })
    }

    pub fn invoke(&self, call: u64, method: &str, params: &Value) -> InvokeStatus {
        let status = self.plugin.invoke()(self.instance, call, RString::from(method), bytes(params), 60_000);
        InvokeStatus::from_raw(status).unwrap()
    }

    /// Begins `handle` with that message; the run is `run-<call>`.
    pub fn handle(&self, call: u64, content: &str) {
        let params = json!({
            "run_id": format!("run-{call}"), "thread_id": "t", "message_id": "m",
            "message": {"id": "c", "content": content},
        });
        assert_eq!(self.invoke(call, "handle", &params), InvokeStatus::Accepted);
    }

    pub fn respond(&self, call: u64, request: u64, answer: &Answer) {
        self.plugin.respond()(self.instance, call, request, bytes(answer));
    }

    pub fn credit(&self, call: u64, n: u32) {
        self.plugin.credit()(self.instance, call, n);
    }

    pub fn cancel(&self, call: u64) {
        self.plugin.cancel()(self.instance, call);
    }

    pub fn drain(&self) {
        self.plugin.drain()(self.instance);
    }

    /// Ends the instance; answers what was said until then and not yet read.
    pub fn destroy(mut self) -> Vec<Said> {
        self.plugin.destroy()(self.instance);
        HOSTS.lock().unwrap().remove(&self.host);
        let mut rest: Vec<_> = self.skipped.drain(..).collect();
        rest.extend(self.said.try_iter());
        rest
    }

    /// Waits for something said that `wanted` takes; all else is kept for later.
    pub fn expect<T>(&mut self, mut wanted: impl FnMut(&Said) -> Option<T>) -> T {
        if let Some((at, found)) =
            self.skipped.iter().enumerate().find_map(|(at, said)| Some((at, wanted(said)?)))
        {
            self.skipped.remove(at);
            return found;
        }
        loop {
            let said = self.said.recv_timeout(Duration::from_secs(20)).expect("the plugin says it in time");
            match wanted(&said) {
                Some(found) => return found,
                None => self.skipped.push_back(said),
            }
        }
    }

    /// The next event of the call: its kind and payload.
    pub fn event(&mut self, of: u64) -> (u32, Value) {
        self.expect(|said| match said {
            Said::Emit { call, kind, payload } if *call == of => Some((*kind, payload.clone())),
            _ => None,
        })
    }

    /// The next request of the call: its id, method and parameters.
    pub fn request(&mut self, of: u64) -> (u64, String, Value) {
        self.expect(|said| match said {
            Said::Request { call, request, method, payload } if *call == of => {
                Some((*request, method.clone(), payload.clone()))
            }
            _ => None,
        })
    }

    pub fn completion(&mut self, of: u64) -> Completion {
        self.expect(|said| match said {
            Said::Complete { call, completion } if *call == of => Some(completion.clone()),
            _ => None,
        })
    }

    /// Events of the call that were said and not yet read.
    pub fn unread_events(&mut self, of: u64) -> usize {
        self.skipped.extend(self.said.try_iter());
        self.skipped.iter().filter(|said| matches!(said, Said::Emit { call, .. } if *call == of)).count()
    }

    /// Has the call been completed, unread?
    pub fn completions(&mut self, of: u64) -> usize {
        self.skipped.extend(self.said.try_iter());
        self.skipped.iter().filter(|said| matches!(said, Said::Complete { call, .. } if *call == of)).count()
    }
}

/// The completion of `handle` that answers this text.
pub fn text(text: &str) -> Completion {
    let reply = Reply { text: Some(text.to_owned()), ..Reply::default() };
    Completion::Ok { value: serde_json::to_value(reply).unwrap() }
}

fn bytes(value: &impl serde::Serialize) -> RVec<u8> {
    serde_json::to_vec(value).unwrap().into()
}

static HOSTS: LazyLock<Mutex<HashMap<u64, Sender<Said>>>> = LazyLock::new(Default::default);

fn hear(host: u64, said: Said) -> bool {
    HOSTS.lock().unwrap().get(&host).is_some_and(|sender| sender.send(said).is_ok())
}

fn api() -> HostApiRef {
    static API: LazyLock<HostApiRef> = LazyLock::new(|| {
        HostApi { emit, complete, request, log, metric, heartbeat, flush }.leak_into_prefix()
    });
    *API
}

extern "C" fn emit(host: u64, call: u64, kind: u32, payload: RVec<u8>) -> i64 {
    let payload = serde_json::from_slice(&payload).unwrap();
    if hear(host, Said::Emit { call, kind, payload }) { 1 } else { -1 }
}

extern "C" fn complete(host: u64, call: u64, completion: RVec<u8>) {
    let completion = serde_json::from_slice(&completion).unwrap();
    hear(host, Said::Complete { call, completion });
}

extern "C" fn request(host: u64, call: u64, request: u64, method: RString, payload: RVec<u8>) {
    let payload = serde_json::from_slice(&payload).unwrap();
    hear(host, Said::Request { call, request, method: method.into(), payload });
}

extern "C" fn log(host: u64, line: RVec<u8>) {
    hear(host, Said::Log(serde_json::from_slice(&line).unwrap()));
}

extern "C" fn metric(_: u64, _: RVec<u8>) {}

extern "C" fn heartbeat(host: u64) {
    hear(host, Said::Heartbeat);
}

extern "C" fn flush(host: u64) {
    hear(host, Said::Flush);
}
