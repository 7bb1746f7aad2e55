//! A call's connections to its plugin's peers: opened, used and closed by requests, and gone with the call.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use agent_host_core::ports::network::{NetworkError, NetworkStream};
use agent_plugin_protocol::{
    CallId, Code,
    call::{Answer, request},
    net::{CHUNK, Connect, OfStream, Opened, Read, Write},
};
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::{
    Run,
    requests::{malformed, of_code, ok_of, refused},
};

/// Connections of one call.
const PER_CALL: usize = 16;

/// The open connections of one call.
#[derive(Clone, Default)]
pub(super) struct Connections(Arc<Inner>);

#[derive(Default)]
struct Inner {
    open: Mutex<HashMap<u64, Arc<dyn NetworkStream>>>,
    last: AtomicU64,
}

impl Connections {
    fn get(&self, stream: u64) -> Option<Arc<dyn NetworkStream>> {
        self.0.open.lock().unwrap_or_else(PoisonError::into_inner).get(&stream).cloned()
    }

    fn close(&self, stream: u64) {
        self.0.open.lock().unwrap_or_else(PoisonError::into_inner).remove(&stream);
    }

    fn is_full(&self) -> bool {
        self.0.open.lock().unwrap_or_else(PoisonError::into_inner).len() >= PER_CALL
    }

    /// `None`: others were opened meanwhile, up to the limit.
    fn insert(&self, stream: Arc<dyn NetworkStream>) -> Option<Opened> {
        let mut open = self.0.open.lock().unwrap_or_else(PoisonError::into_inner);
        if open.len() >= PER_CALL {
            return None;
        }
        let number = self.0.last.fetch_add(1, Ordering::Relaxed) + 1;
        open.insert(number, stream);
        Some(Opened { stream: number })
    }
}

impl Run {
    /// Carries out a request for the network. What waits ends with the tool's clock, as a tool call does.
    pub(super) async fn network(&mut self, call: CallId, request: u64, method: &str, payload: &[u8]) {
        let network = Arc::clone(&self.shared.parts.network);
        let Some(open) = self.open_call(call) else { return };
        let (connections, spec) = (open.connections.clone(), open.instance.spec.clone());
        let within = spec.timeouts.tool;
        let job = match Job::parse(method, payload) {
            Some(Job::Connect(_)) if connections.is_full() => {
                let answer = refused(
                    Code::NetworkLimit.as_str(),
                    &format!("a call has {PER_CALL} connections at most"),
                    true,
                );
                return self.respond(call, request, &answer).await;
            }
            Some(job) => job,
            None => return self.respond(call, request, &malformed()).await,
        };
        self.work_for(call, request, async move {
            let allowed = spec.network.clone();
            let connect = |peer: String| network.connect(spec.id.clone(), allowed, peer);
            let answer = match tokio::time::timeout(within, job.done(&connections, connect)).await {
                Ok(answer) => answer,
                Err(_) => too_late(within),
            };
            (answer, None)
        });
    }
}

fn too_late(within: Duration) -> Answer {
    refused(Code::PluginTimeoutTool.as_str(), &format!("nothing within {} s", within.as_secs_f64()), true)
}

/// What a plugin asks of the network.
enum Job {
    Connect(Connect),
    Read(OfStream),
    Write(Write),
    Finish(OfStream),
    Close(OfStream),
}

impl Job {
    fn parse(method: &str, payload: &[u8]) -> Option<Self> {
        fn of<T: DeserializeOwned>(payload: &[u8]) -> Option<T> {
            serde_json::from_slice(payload).ok()
        }
        match method {
            request::NET_CONNECT => of(payload).map(Self::Connect),
            request::NET_READ => of(payload).map(Self::Read),
            request::NET_WRITE => of(payload).map(Self::Write).filter(Self::fits),
            request::NET_FINISH => of(payload).map(Self::Finish),
            request::NET_CLOSE => of(payload).map(Self::Close),
            _ => None,
        }
    }

    fn fits(&self) -> bool {
        !matches!(self, Self::Write(write) if write.bytes.len() > CHUNK)
    }

    async fn done<F>(self, connections: &Connections, connect: impl FnOnce(String) -> F) -> Answer
    where
        F: Future<Output = Result<Arc<dyn NetworkStream>, NetworkError>>,
    {
        let done = match self {
            Self::Connect(Connect { peer }) => {
                connect(peer).await.map(|stream| connections.insert(stream).map(|it| ok_of(&it)))
            }
            Self::Read(OfStream { stream }) => match connections.get(stream) {
                Some(stream) => stream.read(CHUNK).await.map(|bytes| Some(ok_of(&Read { bytes }))),
                None => Ok(None),
            },
            Self::Write(Write { stream, bytes }) => match connections.get(stream) {
                Some(stream) => stream.write(bytes).await.map(|()| Some(ok_of(&Value::Null))),
                None => Ok(None),
            },
            Self::Finish(OfStream { stream }) => match connections.get(stream) {
                Some(stream) => stream.finish().await.map(|()| Some(ok_of(&Value::Null))),
                None => Ok(None),
            },
            Self::Close(OfStream { stream }) => {
                connections.close(stream);
                Ok(Some(ok_of(&Value::Null)))
            }
        };
        match done {
            Ok(Some(answer)) => answer,
            // No such stream, or no room for one.
            Ok(None) => of_code(Code::NetworkBroken),
            Err(error) => refused(error.code.as_str(), &error.message, error.code.retryable()),
        }
    }
}
