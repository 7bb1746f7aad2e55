//! The way out: connections to peers, made by the host for a plugin.

use std::sync::Arc;

use agent_plugin_protocol::{Code, PluginId};

use super::BoxFuture;

/// Connects plugins to the peers that their operator allows.
pub trait Network: Send + Sync + 'static {
    /// Connects `plugin`, which may reach the peers of `allowed`, to `peer`; both are written `host:port`, and `peer` is
    /// the plugin's word. Cancel safe: a dropped call leaves nothing open.
    fn connect(
        &self,
        plugin: PluginId,
        allowed: Vec<String>,
        peer: String,
    ) -> BoxFuture<'static, Result<Arc<dyn NetworkStream>, NetworkError>>;
}

/// An open connection. Dropped, it is closed.
pub trait NetworkStream: Send + Sync + 'static {
    /// Waits for bytes and answers with at most `most`; none: the peer sends no more. Cancel safe.
    fn read(&self, most: usize) -> BoxFuture<'_, Result<Vec<u8>, NetworkError>>;

    /// Answers once all of it is with the network. Dropped half-way, part of it may be.
    fn write(&self, bytes: Vec<u8>) -> BoxFuture<'_, Result<(), NetworkError>>;

    /// Tells the peer that nothing more is written.
    fn finish(&self) -> BoxFuture<'_, Result<(), NetworkError>>;
}

/// Why it did not work.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct NetworkError {
    /// `network.denied`, `network.unreachable`, `network.broken`, `network.limit`.
    pub code: Code,
    /// For the plugin's author, and readable by the operator.
    pub message: String,
}

/// A host without a way out: every peer is refused.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoNetwork;

impl Network for NoNetwork {
    fn connect(
        &self,
        _plugin: PluginId,
        _allowed: Vec<String>,
        _peer: String,
    ) -> BoxFuture<'static, Result<Arc<dyn NetworkStream>, NetworkError>> {
        let code = Code::NetworkDenied;
        Box::pin(std::future::ready(Err(NetworkError { code, message: code.meaning().to_owned() })))
    }
}
