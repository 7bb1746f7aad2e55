//! Connects plugins to the peers that their operator allows, and to nothing else.
//!
//! Names are resolved here, and what is connected to is the address that was judged: a name cannot lead elsewhere
//! between. Buffers are the kernel's; the plugin's own reads and writes are the only pace.

use std::{
    collections::{HashMap, HashSet},
    io,
    net::SocketAddr,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use agent_host_core::{
    failpoint,
    failpoint::Action,
    peer::{Peer, Target, may_lead_to},
    ports::{
        BoxFuture,
        network::{Network, NetworkError, NetworkStream},
    },
    sanitise,
};
use agent_host_telemetry::{happening::PeerRefused, series};
use agent_plugin_protocol::{Code, PluginId};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{
        TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::{OwnedSemaphorePermit, Semaphore},
    time::timeout,
};

/// Resolving and connecting, together: above three lost packets, below what a person waits for.
const CONNECT: Duration = Duration::from_secs(10);
/// Open connections of one plugin.
const PER_PLUGIN: usize = 64;
/// Open connections of all plugins: a quarter of what a process may usually open.
const ALTOGETHER: usize = 256;
/// Bytes that one connection may carry, both ways together.
const BYTES: u64 = 256 * 1024 * 1024;
/// Refused peers that are remembered, so that each is logged once; beyond it they are counted only.
const REMEMBERED: usize = 1024;

/// The host's own network, by TCP.
#[derive(Clone)]
pub struct TcpNetwork(Arc<Inner>);

struct Inner {
    all: Arc<Semaphore>,
    /// Entries are as many as the plugins that connect.
    plugins: Mutex<HashMap<PluginId, Arc<Semaphore>>>,
    refused: Mutex<HashSet<(PluginId, String)>>,
}

impl Default for TcpNetwork {
    fn default() -> Self {
        Self(Arc::new(Inner {
            all: Arc::new(Semaphore::new(ALTOGETHER)),
            plugins: Mutex::default(),
            refused: Mutex::default(),
        }))
    }
}

impl Network for TcpNetwork {
    fn connect(
        &self,
        plugin: PluginId,
        allowed: Vec<String>,
        peer: String,
    ) -> BoxFuture<'static, Result<Arc<dyn NetworkStream>, NetworkError>> {
        let inner = Arc::clone(&self.0);
        Box::pin(async move { inner.connect(&plugin, &allowed, &peer).await })
    }
}

impl Inner {
    async fn connect(
        &self,
        plugin: &PluginId,
        allowed: &[String],
        peer: &str,
    ) -> Result<Arc<dyn NetworkStream>, NetworkError> {
        let wrong = |error: agent_host_core::peer::NoPeer| failed(Code::NetworkDenied, error.to_string());
        let peer: Peer = peer.parse().map_err(wrong)?;
        // Off for a broken twin: a host that connects plugins to whatever they like.
        let open = failpoint!("services.network") == Some(Action::Off);
        if !open && !peer.is_listed(allowed) {
            return Err(self.refuse(plugin, &peer.to_string(), "it is not in the plugin's list"));
        }
        let permits = self.permits(plugin)?;
        let unreachable = |why: String| failed(Code::NetworkUnreachable, format!("{peer}: {why}"));
        let connecting = async {
            let addresses: Vec<SocketAddr> = match peer.target() {
                Target::Address(address) => vec![address],
                Target::Name(name, port) => {
                    let found = tokio::net::lookup_host((name, port)).await;
                    let found = found.map_err(|error| unreachable(error.to_string()))?;
                    let (may, not): (Vec<_>, Vec<_>) =
                        found.partition(|it| open || may_lead_to(*it, allowed));
                    if let (true, Some(private)) = (may.is_empty(), not.first()) {
                        let why = format!("{peer} leads to an address that is not public");
                        return Err(self.refuse(plugin, &private.to_string(), &why));
                    }
                    may
                }
            };
            connect_any(&addresses).await.map_err(|error| unreachable(error.to_string()))
        };
        let late = |_| unreachable(format!("no connection within {} s", CONNECT.as_secs()));
        let socket = timeout(CONNECT, connecting).await.map_err(late)??;
        Ok(Arc::new(Stream::new(socket, permits)))
    }

    /// Refused, told once for each peer, and counted each time.
    fn refuse(&self, plugin: &PluginId, peer: &str, why: &str) -> NetworkError {
        series::peer_refused(plugin.as_str());
        let remedy = format!("allow it with network = [\"{peer}\"]");
        let mut refused = self.refused.lock().unwrap_or_else(PoisonError::into_inner);
        if refused.len() < REMEMBERED && refused.insert((plugin.clone(), peer.to_owned())) {
            PeerRefused {
                plugin: plugin.to_string(),
                peer: peer.to_owned(),
                reason: format!("plugin \"{plugin}\" tried {peer}; {remedy}"),
            }
            .emit();
        }
        failed(Code::NetworkDenied, format!("{peer} is not allowed ({why}); the operator can {remedy}"))
    }

    fn permits(&self, plugin: &PluginId) -> Result<[OwnedSemaphorePermit; 2], NetworkError> {
        let own = {
            let mut plugins = self.plugins.lock().unwrap_or_else(PoisonError::into_inner);
            let new = || Arc::new(Semaphore::new(PER_PLUGIN));
            Arc::clone(plugins.entry(plugin.clone()).or_insert_with(new))
        };
        let full = |what: &str| failed(Code::NetworkLimit, format!("{what} has too many open connections"));
        let own = own.try_acquire_owned().map_err(|_| full("the plugin"))?;
        let all = Arc::clone(&self.all).try_acquire_owned().map_err(|_| full("the host"))?;
        Ok([own, all])
    }
}

/// The first address that answers.
async fn connect_any(addresses: &[SocketAddr]) -> io::Result<TcpStream> {
    let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    for address in addresses {
        match TcpStream::connect(address).await {
            Ok(socket) => return Ok(socket),
            Err(error) => last = error,
        }
    }
    Err(last)
}

fn failed(code: Code, message: impl AsRef<str>) -> NetworkError {
    NetworkError { code, message: sanitise::line(message.as_ref(), 400) }
}

fn broken(error: io::Error) -> NetworkError {
    failed(Code::NetworkBroken, error.to_string())
}

/// One connection. Its locks make reads follow reads, and writes writes; nobody else holds them.
struct Stream {
    reader: tokio::sync::Mutex<OwnedReadHalf>,
    writer: tokio::sync::Mutex<OwnedWriteHalf>,
    carried: AtomicU64,
    _permits: [OwnedSemaphorePermit; 2],
}

impl Stream {
    fn new(socket: TcpStream, permits: [OwnedSemaphorePermit; 2]) -> Self {
        // Small requests are not held back; without it they are only slower.
        let _ = socket.set_nodelay(true);
        let (reader, writer) = socket.into_split();
        Self { reader: reader.into(), writer: writer.into(), carried: AtomicU64::new(0), _permits: permits }
    }

    fn carry(&self, bytes: usize) -> Result<(), NetworkError> {
        let before = self.carried.fetch_add(bytes as u64, Ordering::Relaxed);
        if before.saturating_add(bytes as u64) > BYTES {
            let most = format!("one connection carries {} MiB at most", BYTES >> 20);
            return Err(failed(Code::NetworkLimit, most));
        }
        Ok(())
    }
}

impl NetworkStream for Stream {
    fn read(&self, most: usize) -> BoxFuture<'_, Result<Vec<u8>, NetworkError>> {
        Box::pin(async move {
            let mut reader = self.reader.lock().await;
            let mut bytes = vec![0; most];
            let read = reader.read(&mut bytes).await.map_err(broken)?;
            bytes.truncate(read);
            self.carry(read)?;
            Ok(bytes)
        })
    }

    fn write(&self, bytes: Vec<u8>) -> BoxFuture<'_, Result<(), NetworkError>> {
        Box::pin(async move {
            self.carry(bytes.len())?;
            self.writer.lock().await.write_all(&bytes).await.map_err(broken)
        })
    }

    fn finish(&self) -> BoxFuture<'_, Result<(), NetworkError>> {
        Box::pin(async move { self.writer.lock().await.shutdown().await.map_err(broken) })
    }
}
