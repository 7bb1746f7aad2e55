//! Keeps plugins from starting whose configuration cannot hold on this machine: the plugin fails, not the host.

use std::{collections::BTreeMap, sync::Arc};

use agent_host_config::Config;
use agent_host_core::ports::{
    instance::{Fault, PluginRuntime, PluginSpec, Stage, Started},
    library::Seen,
    progress::Progress,
};
use agent_plugin_protocol::{Code, Generation, PluginId};
use futures_util::future::{BoxFuture, FutureExt as _};

/// A runtime that starts all plugins but these.
pub(crate) struct Withheld<R> {
    faults: BTreeMap<PluginId, Fault>,
    runtime: R,
}

impl<R> Withheld<R> {
    /// Withholds each plugin that lacks a secret: without it, it would fail somewhere in the midst of its work.
    pub(crate) fn of(config: &Config, runtime: R) -> Self {
        let mut faults = BTreeMap::new();
        for (id, plugin) in &config.plugins {
            let missing = plugin.secrets.iter().filter(|(_, secret)| secret.is_none());
            let names: Vec<&str> = missing.map(|(name, _)| name.as_str()).collect();
            if !names.is_empty() {
                faults.insert(id.clone(), missing_secrets(id, &names));
            }
        }
        Self { faults, runtime }
    }
}

fn missing_secrets(id: &PluginId, names: &[&str]) -> Fault {
    let reason = format!("what `[plugins.{id}.secrets]` refers to is not to be had: {}", names.join(", "));
    let hint =
        "set the variable or write the file that the secret names; `agent-host config print` shows which";
    Fault { hint: hint.to_owned(), ..Fault::new(Stage::Discover, Code::PluginConfigInvalid, reason) }
}

impl<R: PluginRuntime> PluginRuntime for Withheld<R> {
    fn start(
        &self,
        spec: Arc<PluginSpec>,
        generation: Generation,
        available: Arc<[String]>,
        progress: Progress,
    ) -> BoxFuture<'static, Result<Started, Fault>> {
        match self.faults.get(&spec.id) {
            Some(fault) => std::future::ready(Err(fault.clone())).boxed(),
            None => self.runtime.start(spec, generation, available, progress),
        }
    }

    fn reread(&self, plugin: &PluginId) {
        self.runtime.reread(plugin);
    }

    fn serves(&self, plugin: &PluginId, generation: Generation) {
        self.runtime.serves(plugin, generation);
    }

    fn look(&self, spec: Arc<PluginSpec>) -> BoxFuture<'static, Option<Seen>> {
        self.runtime.look(spec)
    }
}
