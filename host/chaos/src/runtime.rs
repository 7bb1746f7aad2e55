//! A runtime whose plugins can be struck, and whose runs can fail or begin late.

use std::sync::Arc;

use agent_host_core::ports::{
    BoxFuture,
    instance::{Fault, PluginRuntime, PluginSpec, Started},
    library::Seen,
    progress::Progress,
};
use agent_plugin_protocol::{Generation, PluginId};
use tokio::sync::mpsc;

use crate::{
    board::Board,
    relay::{ORDERS, Relay},
};

/// Stands between the engine and what starts plugins.
pub struct FaultyRuntime {
    board: Arc<Board>,
    runtime: Arc<dyn PluginRuntime>,
}

impl FaultyRuntime {
    /// Stands before that one.
    pub fn new(board: Arc<Board>, runtime: Arc<dyn PluginRuntime>) -> Self {
        Self { board, runtime }
    }
}

impl PluginRuntime for FaultyRuntime {
    fn start(
        &self,
        spec: Arc<PluginSpec>,
        generation: Generation,
        available: Arc<[String]>,
        progress: Progress,
    ) -> BoxFuture<'static, Result<Started, Fault>> {
        let (board, starting) =
            (Arc::clone(&self.board), self.runtime.start(spec, generation, available, progress));
        Box::pin(async move {
            let mut started = starting.await?;
            board.targets.started(&started.handle);
            let (commands, orders) = mpsc::channel(ORDERS);
            let instance = std::mem::replace(&mut started.handle.commands, commands);
            let relay =
                Relay::new(board, started.handle.plugin.clone(), instance, started.handle.exit.clone());
            tokio::spawn(relay.run(orders));
            Ok(started)
        })
    }

    fn reread(&self, plugin: &PluginId) {
        self.runtime.reread(plugin);
    }

    fn serves(&self, plugin: &PluginId, generation: Generation) {
        self.board.targets.serves(plugin, generation);
        self.runtime.serves(plugin, generation);
    }

    fn look(&self, spec: Arc<PluginSpec>) -> BoxFuture<'static, Option<Seen>> {
        self.runtime.look(spec)
    }
}
