//! The engine's handle: opens sessions, tells the status, drains.

use std::{sync::Arc, time::Duration};

use agent_host_core::identity::Principal;
use agent_plugin_protocol::PluginId;
use tokio::sync::{mpsc, watch};

use crate::{
    drain,
    files::{ChangedFile, ChangedFiles, Files},
    session::Session,
    settings::{Parts, Settings},
    shared::{Published, Shared},
    supervisor::{Outlets, Supervisor},
    task,
    view::Status,
};

/// Commands that may wait for the supervisor. Senders never wait: each says what it means when it is full.
const SUPERVISOR_COMMANDS: usize = 1024;

/// The host without its doors. Cheap to clone.
#[derive(Clone)]
pub struct Engine {
    shared: Arc<Shared>,
    files: watch::Receiver<Arc<ChangedFiles>>,
}

impl Engine {
    /// Starts the tasks. Never fails: what cannot be loaded is a fault in the registry (law 5), and the first status
    /// is there at once. To be called within a tokio runtime.
    pub fn start(settings: Settings, parts: Parts) -> Self {
        let first = Arc::new(Status::unknown(&settings.host));
        let (status, settled) = (watch::Sender::new(Arc::clone(&first)), watch::Sender::new(first));
        let published = Published { status: status.subscribe(), settled: settled.subscribe() };
        let (supervisor, commands) = mpsc::channel(SUPERVISOR_COMMANDS);
        let (watched, files) = Files::new(&settings, &parts);
        let shared = Arc::new(Shared::new(settings, parts, published, supervisor));
        let task = Supervisor::new(Arc::clone(&shared), Outlets { status, settled });
        task::spawn(&shared.tasks, "supervisor", task.run(commands));
        task::spawn(&shared.tasks, "files", watched.run());
        Self { shared, files }
    }

    /// Opens a session. Never fails, and consults nothing that could (laws 1 and 2).
    pub fn open_session(&self, principal: Arc<Principal>) -> Session {
        Session::new(Arc::clone(&self.shared), principal)
    }

    /// The service, as it is now.
    pub fn status(&self) -> Arc<Status> {
        self.shared.status()
    }

    /// The service, as it changes.
    pub fn status_changes(&self) -> watch::Receiver<Arc<Status>> {
        self.shared.status.clone()
    }

    /// What lies at the plugin's path, if that is not what the plugin runs from any more.
    pub fn changed_file(&self, plugin: &PluginId) -> Option<ChangedFile> {
        self.files.borrow().get(plugin).cloned()
    }

    /// Whether new connections shall be refused.
    pub fn is_draining(&self) -> bool {
        self.shared.is_draining()
    }

    /// Tells every session to go away, lets runs finish for at most `grace`, ends the others as `interrupted`, then
    /// stops every plugin. Answers how many runs were interrupted. A second call joins the first.
    pub async fn drain(&self, grace: Duration) -> usize {
        *self.shared.drained.get_or_init(|| drain::drain(&self.shared, grace)).await
    }
}
