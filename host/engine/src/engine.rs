//! The engine's handle: opens sessions, tells the status, drains.

use std::{sync::Arc, time::Duration};

use agent_host_core::{
    identity::{Principal, Scope},
    ports::store::{Deletion, LogEntry, ThreadHead, ThreadSummary},
};
use agent_plugin_protocol::{Code, PluginId, RunId, Seq, ThreadId};
use tokio::sync::{mpsc, oneshot, watch};

use crate::{
    change::{self, ChangeError},
    control::{self, ControlError, PluginOrder},
    details::Details,
    directory::ThreadKey,
    drain,
    files::{ChangedFiles, Files},
    session::{Problem, Session},
    settings::{Parts, Settings},
    shared::{Published, Shared},
    supervisor::{Outlets, Supervisor},
    task, thread,
    view::{PluginDetail, Status},
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
        let details = watch::Sender::new(Arc::new(Details::default()));
        let published = Published {
            status: status.subscribe(),
            settled: settled.subscribe(),
            details: details.subscribe(),
        };
        let (supervisor, commands) = mpsc::channel(SUPERVISOR_COMMANDS);
        let shared = Arc::new(Shared::new(settings, parts, published, supervisor));
        let (watched, files) = Files::new(Arc::clone(&shared));
        let task = Supervisor::new(Arc::clone(&shared), Outlets { status, settled, details });
        task::spawn(&shared.tasks, "supervisor", task.run(commands, files.clone()));
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

    /// The service as clients are told of it: each state that has held for the settling time.
    pub fn settled_changes(&self) -> watch::Receiver<Arc<Status>> {
        self.shared.settled.clone()
    }

    /// With what lies at its path, if that is not what it runs from. What a reload took is no candidate any more.
    fn with_file(&self, detail: PluginDetail) -> PluginDetail {
        let changed = self.files.borrow().get(&detail.view.id).cloned();
        let changed_file = changed
            .filter(|file| file.candidate.digest.is_none() || file.candidate.digest != detail.view.digest);
        PluginDetail { changed_file, ..detail }
    }

    /// All there is to know of one plugin, as it is now.
    pub fn plugin(&self, id: &PluginId) -> Option<PluginDetail> {
        let detail = self.shared.details.borrow().plugin(id)?;
        Some(self.with_file(detail))
    }

    /// All there is to know of every plugin, in configured order.
    pub fn plugins(&self) -> Vec<PluginDetail> {
        let all = self.shared.details.borrow().all();
        all.into_iter().map(|detail| self.with_file(detail)).collect()
    }

    /// Tells a plugin what an operator wants of it, and answers once it is so: healthy or failed after `Enable`,
    /// `Reset` and `Reload`, empty of runs after `Disable`, judged after `Probe`. What takes longer than 30 s goes on,
    /// and the state reached is the answer. In memory: the next start of the host follows its configuration again.
    ///
    /// Cancel safe: an order that was taken is carried out.
    ///
    /// # Errors
    /// [`ControlError`] says why nothing, or nothing new, came of it.
    pub async fn control(&self, id: &PluginId, order: PluginOrder) -> Result<PluginDetail, ControlError> {
        control::control(&self.shared, id, order).await
    }

    /// Puts other settings in force, as one change: the plugins that they take are loaded and probed beside those that
    /// serve; then all of it holds from one moment on. Sockets stay, and runs finish where they are. `host`,
    /// `durability` and `drain_grace` are as of the start.
    ///
    /// Not cancel safe: dropped half-way, the change may or may not come to be.
    ///
    /// # Errors
    /// [`ChangeError`]: nothing was changed.
    pub async fn configure(&self, settings: Settings) -> Result<(), ChangeError> {
        change::configure(&self.shared, settings).await
    }

    /// Who would get that agent's messages if it got none; `None`: the fallback.
    pub fn heir(&self, id: &PluginId) -> Option<PluginId> {
        self.shared.routes.load().table.heir(id).cloned()
    }

    /// Threads that have a task.
    #[cfg(test)]
    pub(crate) fn thread_tasks(&self) -> usize {
        self.shared.directory.threads().len()
    }

    /// Whether new connections shall be refused.
    pub fn is_draining(&self) -> bool {
        self.shared.is_draining()
    }

    /// Deletes a thread with everything in it; `false` if the user has none of that name. Subscribers hear no more of it.
    ///
    /// # Errors
    /// `run.busy` while a run is going on in it: cancel that first; or what the store says.
    pub async fn delete_thread(&self, scope: &Scope, thread: &ThreadId) -> Result<bool, Problem> {
        let key = ThreadKey { scope: scope.clone(), thread: thread.clone() };
        let (reply, answer) = oneshot::channel();
        thread::send(&self.shared, key, thread::Command::Delete { reply }).await;
        answer.await.unwrap_or_else(|_| Err(Problem::new(Code::HostInternal)))
    }

    /// A user's threads, newest first, at most `limit`, older than `before` if that is given.
    ///
    /// # Errors
    /// What the store says.
    pub async fn threads(
        &self,
        scope: &Scope,
        before: Option<&ThreadId>,
        limit: usize,
    ) -> Result<Vec<ThreadSummary>, Problem> {
        self.shared.parts.store.threads(scope, before, limit).await.map_err(|error| Problem::new(error.code))
    }

    /// Where a thread's log ends; `None` if the user has none of that name.
    ///
    /// # Errors
    /// What the store says.
    pub async fn thread(&self, scope: &Scope, thread: &ThreadId) -> Result<Option<ThreadHead>, Problem> {
        self.shared.parts.store.thread(scope, thread).await.map_err(|error| Problem::new(error.code))
    }

    /// A thread's log behind a position, oldest first, at most `limit` events; `None` as above.
    ///
    /// # Errors
    /// What the store says.
    pub async fn events(
        &self,
        scope: &Scope,
        thread: &ThreadId,
        after: Seq,
        limit: usize,
    ) -> Result<Option<Vec<LogEntry>>, Problem> {
        let read = self.shared.parts.store.read(scope, thread, after, limit).await;
        read.map_err(|error| Problem::new(error.code))
    }

    /// How many runs of that user go on.
    pub fn runs_of(&self, scope: &Scope) -> u32 {
        self.shared.directory.busy(scope)
    }

    /// Cancels a run as its client would; its thread.
    ///
    /// # Errors
    /// `run.not_cancellable` if it is over, `run.not_found` if the user has, or this host remembers, none of that name.
    pub async fn cancel(&self, scope: &Scope, run: &RunId) -> Result<ThreadId, Problem> {
        thread::cancel(&self.shared, scope, run, None).await
    }

    /// Deletes everything of a user; answers how many threads that was. A run that is going on has no log any more: it
    /// goes on unheard, to its end.
    ///
    /// # Errors
    /// What the store says.
    pub async fn delete_user(&self, scope: &Scope) -> Result<usize, Problem> {
        self.delete(Deletion::User(scope.clone())).await
    }

    /// Deletes everything of a tenant, as [`delete_user`](Self::delete_user) does of a user.
    ///
    /// # Errors
    /// What the store says.
    pub async fn delete_tenant(&self, tenant: &str) -> Result<usize, Problem> {
        self.delete(Deletion::Tenant(tenant.into())).await
    }

    async fn delete(&self, which: Deletion) -> Result<usize, Problem> {
        let deleted = self.shared.parts.store.delete(which).await;
        self.shared.store_result("delete", &deleted);
        deleted.map_err(|error| Problem::new(error.code))
    }

    /// Tells every session to go away, lets runs finish for at most `grace`, ends the others as `interrupted`, then
    /// stops every plugin. Answers how many runs were interrupted. A second call joins the first.
    pub async fn drain(&self, grace: Duration) -> usize {
        *self.shared.drained.get_or_init(|| drain::drain(&self.shared, grace)).await
    }
}
