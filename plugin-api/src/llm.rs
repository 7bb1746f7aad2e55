//! The host's models.

use agent_plugin_protocol::call::request;
use serde::Serialize;
use serde_json::Value;

use crate::{Context, RequestError};

/// See [`Context::llm`].
#[derive(Clone, Copy)]
pub struct Llm<'a>(&'a Context);

impl<'a> Llm<'a> {
    pub(crate) fn new(ctx: &'a Context) -> Self {
        Self(ctx)
    }

    /// Asks a model and waits for its whole answer.
    ///
    /// # Errors
    /// [`RequestError`] with `llm.unavailable`, `llm.rate_limited`, `llm.rejected`, `llm.protocol`, or `cancelled`.
    pub async fn complete(&self, request: &(impl Serialize + Sync)) -> Result<Value, RequestError> {
        self.0.call().request(request::LLM_COMPLETE, request).await
    }
}
