//! Peers that cannot be reached, or late.

use std::sync::Arc;

use agent_host_core::{
    chaos::{Fault, Kind},
    ports::{
        BoxFuture,
        network::{Network, NetworkError, NetworkStream},
    },
};
use agent_plugin_protocol::{Code, PluginId};

use crate::board::Board;

/// Stands before the way out.
pub struct FaultyNetwork {
    board: Arc<Board>,
    network: Arc<dyn Network>,
}

impl FaultyNetwork {
    /// Stands before that one.
    pub fn new(board: Arc<Board>, network: Arc<dyn Network>) -> Self {
        Self { board, network }
    }
}

impl Network for FaultyNetwork {
    fn connect(
        &self,
        plugin: PluginId,
        allowed: Vec<String>,
        peer: String,
    ) -> BoxFuture<'static, Result<Arc<dyn NetworkStream>, NetworkError>> {
        let (board, network) = (Arc::clone(&self.board), Arc::clone(&self.network));
        Box::pin(async move {
            let of = plugin.clone();
            let is_its = move |fault: &Fault| fault.plugin.as_ref().is_none_or(|plugin| *plugin == of);
            board.pause(Kind::NetworkSlow, &is_its).await;
            if board.hit(Kind::NetworkFail, &is_its).is_some() {
                let message = "an injected fault (network-fail)".to_owned();
                return Err(NetworkError { code: Code::NetworkUnreachable, message });
            }
            network.connect(plugin, allowed, peer).await
        })
    }
}
