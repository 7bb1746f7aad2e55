//! The conversation that a call belongs to.

use agent_plugin_protocol::call::{HistoryParams, request};
use serde::{Serialize, de::DeserializeOwned};

use crate::{Context, RequestError};

pub use agent_plugin_protocol::call::HistoryEntry;

/// See [`Context::thread`].
#[derive(Clone, Copy)]
pub struct Thread<'a>(&'a Context);

impl<'a> Thread<'a> {
    pub(crate) fn new(ctx: &'a Context) -> Self {
        Self(ctx)
    }

    /// What was said before this message: at most `limit` turns, the newest kept, the oldest first.
    ///
    /// # Errors
    /// [`RequestError`] where the host cannot read it, or the call was cancelled.
    pub async fn history(&self, limit: u32) -> Result<Vec<HistoryEntry>, RequestError> {
        self.0.call().request(request::THREAD_HISTORY, &HistoryParams { limit }).await
    }

    /// What this plugin last kept about this conversation; `None` if it kept nothing.
    ///
    /// # Errors
    /// [`RequestError`] where the host cannot read it, it is not a `T`, or the call was cancelled.
    pub async fn state<T: DeserializeOwned>(&self) -> Result<Option<T>, RequestError> {
        self.0.call().request(request::THREAD_STATE_GET, &serde_json::Map::new()).await
    }

    /// Keeps something about this conversation for later runs, restarts included. It replaces what was there.
    ///
    /// # Errors
    /// [`RequestError`] where the host cannot keep it. If the call is cancelled meanwhile, it may have been kept.
    pub async fn set_state(&self, state: &(impl Serialize + Sync)) -> Result<(), RequestError> {
        self.0.call().request(request::THREAD_STATE_SET, state).await
    }
}
