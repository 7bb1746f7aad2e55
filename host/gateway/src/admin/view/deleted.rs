//! What was deleted.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Threads that are gone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DeletedPart {
    /// Whose.
    pub tenant: String,
    /// Whose, where it was one user.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// How many.
    pub threads: u64,
}
