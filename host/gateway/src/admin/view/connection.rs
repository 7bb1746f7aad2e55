//! Open connections, as operators see them: who, from where, with how much to do. No token, and nothing that was said.

use agent_host_core::timestamp::rfc3339;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::line;
use crate::open::Card;

/// One open connection.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct ConnectionPart {
    /// Its name, as in its welcome and in the log.
    pub id: String,
    /// Whose it is.
    pub user: String,
    /// The user's tenant.
    pub tenant: String,
    /// The protocol that it speaks.
    pub surface: String,
    /// Since when it is open.
    pub since: String,
    /// Where its client is, as far as trusted proxies tell.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub address: Option<String>,
    /// Bytes that wait for the client to read, about.
    pub unread_bytes: usize,
    /// Threads whose events it gets.
    pub subscriptions: usize,
    /// Runs of this user that go on, begun on whatever connection: a run belongs to its thread, and outlives this.
    pub runs: u32,
}

/// A page of them, in the order in which they were opened.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct ConnectionList {
    /// These.
    pub connections: Vec<ConnectionPart>,
    /// How many are open altogether.
    pub open: usize,
    /// There are more: `?after=` this.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next: Option<u64>,
}

impl ConnectionPart {
    pub(crate) fn new(card: &Card, runs: u32) -> Self {
        Self {
            id: card.id.clone(),
            user: line(&card.scope.user),
            tenant: line(&card.scope.tenant),
            surface: card.surface.name().to_owned(),
            since: rfc3339(card.since),
            address: card.address.map(|address| address.to_string()),
            unread_bytes: card.load.waiting_bytes(),
            subscriptions: card.load.threads(),
            runs,
        }
    }
}
