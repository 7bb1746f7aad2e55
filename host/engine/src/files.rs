//! Watches the files of the plugins that run: one that becomes another is told, and not loaded.
//!
//! The task is the only writer of what was found. What to do about it is the operator's decision: a restart after a
//! crash takes the bytes of before, a reload takes the file.

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, SystemTime},
};

use agent_host_core::ports::{
    instance::{PluginRuntime, PluginSpec},
    library::{Candidate, Seen},
};
use agent_host_telemetry::happening::PluginFileChanged;
use agent_plugin_protocol::PluginId;
use futures_util::future::join_all;
use tokio::{sync::watch, time::MissedTickBehavior};

use crate::{shared::Shared, supervisor::Command};

/// A plugin's file that is not what the plugin runs from any more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChangedFile {
    /// What lies there now.
    pub candidate: Candidate,
    /// When that was noticed.
    pub seen: SystemTime,
}

/// By plugin; those whose file is as it was are absent.
pub(crate) type ChangedFiles = BTreeMap<PluginId, ChangedFile>;

/// How often files are looked at; a change is told at the second look that sees it. A look is a few `stat`s.
pub(crate) const EVERY: Duration = Duration::from_secs(2);

/// The watch, as a task.
pub(crate) struct Files {
    shared: Arc<Shared>,
    found: watch::Sender<Arc<ChangedFiles>>,
}

impl Files {
    /// Watches every slot of a tier that this host has; what is not started has nothing to compare with.
    pub(crate) fn new(shared: Arc<Shared>) -> (Self, watch::Receiver<Arc<ChangedFiles>>) {
        let (found, reader) = watch::channel(Arc::default());
        (Self { shared, found }, reader)
    }

    /// What is configured now.
    fn plugins(&self) -> Vec<(Arc<PluginSpec>, Arc<dyn PluginRuntime>)> {
        let settings = self.shared.settings();
        let plugins = settings.plugins.iter().filter_map(|plugin| {
            let runtime = self.shared.parts.runtime_of(plugin.spec.isolation)?;
            Some((Arc::clone(&plugin.spec), Arc::clone(runtime)))
        });
        plugins.collect()
    }

    /// Looks until nobody reads what it finds.
    pub(crate) async fn run(self) {
        let mut often = tokio::time::interval(EVERY);
        // A disk that was slow is not asked the more for it.
        often.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = self.found.closed() => return,
                _ = often.tick() => self.look().await,
            }
        }
    }

    async fn look(&self) {
        let plugins = self.plugins();
        let looks =
            plugins.iter().map(|(spec, runtime)| async { (&spec.id, runtime.look(Arc::clone(spec)).await) });
        for (plugin, seen) in join_all(looks).await {
            if let Some(seen) = seen {
                self.note(plugin, seen).await;
            }
        }
    }

    async fn note(&self, plugin: &PluginId, seen: Seen) {
        let mut all = ChangedFiles::clone(&self.found.borrow());
        match seen {
            Seen::Same => {
                all.remove(plugin);
                // An error: the supervisor is gone, and its slots with it.
                let _ = self.shared.supervisor.send(Command::SameFile { plugin: plugin.clone() }).await;
            }
            Seen::Candidate(candidate) => {
                PluginFileChanged {
                    plugin: plugin.to_string(),
                    digest: candidate.digest.clone().unwrap_or_default(),
                    code: candidate.fault.as_ref().map(|f| f.code.to_string()).unwrap_or_default(),
                    reason: candidate.fault.as_ref().map(|f| f.reason.clone()).unwrap_or_default(),
                }
                .emit();
                all.insert(plugin.clone(), ChangedFile { candidate, seen: self.shared.parts.clock.now() });
            }
        }
        self.found.send_replace(Arc::new(all));
    }
}
