//! The seam to the engine: all that the doors ask of it. Narrow, so that the doors can be tested against a script.

use std::{future::Future, sync::Arc};

use agent_host_core::{
    identity::{Principal, Scope},
    ports::store::{LogEntry, ThreadHead, ThreadSummary},
};
use agent_host_engine::{
    ControlError, Engine, Incoming, Outgoing, PluginOrder, Session,
    session::{Load, Problem},
    view::{PluginDetail, Status},
};
use agent_plugin_protocol::{PluginId, RunId, Seq, ThreadId};

/// What the doors open onto. What clients meet cannot fail and does not wait (laws 1 and 2); an operator's order may do
/// both.
pub trait Host: History {
    /// One client connection.
    type Conversation: Conversation;

    /// Opens one.
    fn open(&self, principal: Arc<Principal>) -> Self::Conversation;
    /// The service, as it is now.
    fn status(&self) -> Arc<Status>;
    /// Whether new connections shall be refused.
    fn is_draining(&self) -> bool;
    /// How many runs of that user go on.
    fn runs_of(&self, scope: &Scope) -> u32;
    /// Every plugin, as it is now.
    fn plugins(&self) -> Vec<PluginDetail>;
    /// One plugin, as it is now; `None`: none of that name is configured.
    fn plugin(&self, plugin: &PluginId) -> Option<PluginDetail>;
    /// Who would get that agent's messages if it got none; `None`: the fallback.
    fn heir(&self, plugin: &PluginId) -> Option<PluginId>;
    /// Carries out an operator's order, and answers what is so then. Bounded by the engine's own deadline. To be
    /// finished: dropped half-way, the order may or may not be carried out.
    fn control(
        &self,
        plugin: &PluginId,
        order: PluginOrder,
    ) -> impl Future<Output = Result<PluginDetail, ControlError>> + Send;
}

/// What clients may ask of their threads without a connection. A stranger's thread or run is none.
pub trait History: Send + Sync + 'static {
    /// A user's threads, newest first, at most `limit`, older than `before` if that is given.
    fn threads(
        &self,
        scope: &Scope,
        before: Option<&ThreadId>,
        limit: usize,
    ) -> impl Future<Output = Result<Vec<ThreadSummary>, Problem>> + Send;
    /// Where a thread's log ends.
    fn thread(
        &self,
        scope: &Scope,
        thread: &ThreadId,
    ) -> impl Future<Output = Result<Option<ThreadHead>, Problem>> + Send;
    /// A thread's log behind a position, at most `limit` events.
    fn events(
        &self,
        scope: &Scope,
        thread: &ThreadId,
        after: Seq,
        limit: usize,
    ) -> impl Future<Output = Result<Option<Vec<LogEntry>>, Problem>> + Send;
    /// Deletes a thread; `false`: the user has none of that name.
    fn delete_thread(
        &self,
        scope: &Scope,
        thread: &ThreadId,
    ) -> impl Future<Output = Result<bool, Problem>> + Send;
    /// Deletes everything of a user; how many threads that was.
    fn delete_user(&self, scope: &Scope) -> impl Future<Output = Result<usize, Problem>> + Send;
    /// Deletes everything of a tenant; how many threads that was.
    fn delete_tenant(&self, tenant: &str) -> impl Future<Output = Result<usize, Problem>> + Send;
    /// Cancels a run that goes on; its thread.
    fn cancel(&self, scope: &Scope, run: &RunId) -> impl Future<Output = Result<ThreadId, Problem>> + Send;
}

/// One client connection as the engine sees it; see [`Session`], whose words these are.
pub trait Conversation: Send + 'static {
    /// The service, as it is now.
    fn status(&self) -> Arc<Status>;
    /// Its numbers, for whoever shows them beside it.
    fn load(&self) -> Load;
    /// Goes on with a newer token of the same user.
    fn refresh(&mut self, principal: Arc<Principal>);
    /// Its client is gone, by no act of the host. Nothing more is told.
    fn lost(&mut self);
    /// Acts on what the client asked. Cancel safe up to its first await.
    fn handle(&mut self, incoming: Incoming) -> impl Future<Output = ()> + Send;
    /// What the client is told next; `None`: it fell too far behind. Cancel safe.
    fn next(&mut self) -> impl Future<Output = Option<Outgoing>> + Send;
    /// More of it that is there already.
    fn try_next(&mut self) -> Option<Outgoing>;
    /// The last position handed out for each thread.
    fn positions(&self) -> Vec<(ThreadId, Seq)>;
}

impl Host for Engine {
    type Conversation = Session;

    fn open(&self, principal: Arc<Principal>) -> Session {
        self.open_session(principal)
    }

    fn status(&self) -> Arc<Status> {
        Engine::status(self)
    }

    fn is_draining(&self) -> bool {
        Engine::is_draining(self)
    }

    fn runs_of(&self, scope: &Scope) -> u32 {
        Engine::runs_of(self, scope)
    }

    fn plugins(&self) -> Vec<PluginDetail> {
        Engine::plugins(self)
    }

    fn plugin(&self, plugin: &PluginId) -> Option<PluginDetail> {
        Engine::plugin(self, plugin)
    }

    fn heir(&self, plugin: &PluginId) -> Option<PluginId> {
        Engine::heir(self, plugin)
    }

    fn control(
        &self,
        plugin: &PluginId,
        order: PluginOrder,
    ) -> impl Future<Output = Result<PluginDetail, ControlError>> + Send {
        Engine::control(self, plugin, order)
    }
}

impl History for Engine {
    fn threads(
        &self,
        scope: &Scope,
        before: Option<&ThreadId>,
        limit: usize,
    ) -> impl Future<Output = Result<Vec<ThreadSummary>, Problem>> + Send {
        Engine::threads(self, scope, before, limit)
    }

    fn thread(
        &self,
        scope: &Scope,
        thread: &ThreadId,
    ) -> impl Future<Output = Result<Option<ThreadHead>, Problem>> + Send {
        Engine::thread(self, scope, thread)
    }

    fn events(
        &self,
        scope: &Scope,
        thread: &ThreadId,
        after: Seq,
        limit: usize,
    ) -> impl Future<Output = Result<Option<Vec<LogEntry>>, Problem>> + Send {
        Engine::events(self, scope, thread, after, limit)
    }

    fn delete_thread(
        &self,
        scope: &Scope,
        thread: &ThreadId,
    ) -> impl Future<Output = Result<bool, Problem>> + Send {
        Engine::delete_thread(self, scope, thread)
    }

    fn delete_user(&self, scope: &Scope) -> impl Future<Output = Result<usize, Problem>> + Send {
        Engine::delete_user(self, scope)
    }

    fn delete_tenant(&self, tenant: &str) -> impl Future<Output = Result<usize, Problem>> + Send {
        Engine::delete_tenant(self, tenant)
    }

    fn cancel(&self, scope: &Scope, run: &RunId) -> impl Future<Output = Result<ThreadId, Problem>> + Send {
        Engine::cancel(self, scope, run)
    }
}

impl Conversation for Session {
    fn status(&self) -> Arc<Status> {
        Session::status(self)
    }

    fn load(&self) -> Load {
        Session::load(self)
    }

    fn refresh(&mut self, principal: Arc<Principal>) {
        Session::refresh(self, principal);
    }

    fn lost(&mut self) {
        Session::lost(self);
    }

    fn handle(&mut self, incoming: Incoming) -> impl Future<Output = ()> + Send {
        Session::handle(self, incoming)
    }

    fn next(&mut self) -> impl Future<Output = Option<Outgoing>> + Send {
        Session::next(self)
    }

    fn try_next(&mut self) -> Option<Outgoing> {
        Session::try_next(self)
    }

    fn positions(&self) -> Vec<(ThreadId, Seq)> {
        Session::positions(self)
    }
}

impl<C: Conversation> Conversation for Box<C> {
    fn status(&self) -> Arc<Status> {
        (**self).status()
    }

    fn load(&self) -> Load {
        (**self).load()
    }

    fn refresh(&mut self, principal: Arc<Principal>) {
        (**self).refresh(principal);
    }

    fn lost(&mut self) {
        (**self).lost();
    }

    fn handle(&mut self, incoming: Incoming) -> impl Future<Output = ()> + Send {
        (**self).handle(incoming)
    }

    fn next(&mut self) -> impl Future<Output = Option<Outgoing>> + Send {
        (**self).next()
    }

    fn try_next(&mut self) -> Option<Outgoing> {
        (**self).try_next()
    }

    fn positions(&self) -> Vec<(ThreadId, Seq)> {
        (**self).positions()
    }
}
