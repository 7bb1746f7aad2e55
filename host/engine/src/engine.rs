//! The engine's handle: opens sessions, tells the status, drains.

use std::{sync::Arc, time::Duration};

use agent_host_core::identity::Principal;
use tokio::sync::watch;

use crate::{
    session::Session,
    settings::{Parts, Settings},
    view::Status,
};

/// The host without its doors. Cheap to clone.
#[derive(Clone)]
pub struct Engine {}

impl Engine {
    /// Starts the tasks. Never fails: what cannot be loaded is a fault in the registry (law 5), and the first status
    /// is there at once.
    pub fn start(_settings: Settings, _parts: Parts) -> Self {
        unimplemented!()
    }

    /// Opens a session. Never fails, and consults nothing that could (laws 1 and 2).
    pub fn open_session(&self, _principal: Arc<Principal>) -> Session {
        unimplemented!()
    }

    /// The service, as it is now.
    pub fn status(&self) -> Arc<Status> {
        unimplemented!()
    }

    /// The service, as it changes.
    pub fn status_changes(&self) -> watch::Receiver<Arc<Status>> {
        unimplemented!()
    }

    /// Whether new connections shall be refused.
    pub fn is_draining(&self) -> bool {
        unimplemented!()
    }

    /// Tells every session to go away, lets runs finish for at most `grace`, ends the others as `interrupted`, then
    /// stops every plugin. Answers how many runs were interrupted. A second call joins the first.
    pub async fn drain(&self, _grace: Duration) -> usize {
        unimplemented!()
    }
}
