//! What the REST surface answers, as types: the bodies, and their schemas in the document for machines.

use agent_host_core::{
    level::ServiceLevel,
    ports::store::{ThreadHead, ThreadSummary},
    timestamp::rfc3339,
};
use agent_host_engine::view::{Missing, Status};
use agent_plugin_protocol::{PluginKind, RunId, Seq, ThreadId};
use bytes::{BufMut as _, Bytes, BytesMut};
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;

use crate::tickets::Ticket;

/// A ticket that opens one connection: `GET /ws?ticket=…`.
#[derive(Serialize, JsonSchema)]
pub(crate) struct IssuedTicket {
    /// Good once.
    ticket: String,
    /// Until then.
    #[schemars(extend("format" = "date-time"))]
    expires_at: String,
}

impl IssuedTicket {
    pub(crate) fn of(ticket: &Ticket) -> Self {
        Self { ticket: ticket.text.clone(), expires_at: rfc3339(ticket.until) }
    }
}

/// The agents that can be asked for, and the level of the service.
#[derive(Serialize, JsonSchema)]
pub(crate) struct AgentList {
    level: ServiceLevel,
    /// Why it is not `full`; else empty.
    reason: String,
    missing: Vec<Missing>,
    agents: Vec<AgentItem>,
}

/// One agent.
#[derive(Serialize, JsonSchema)]
struct AgentItem {
    /// What `agent` in a message names.
    name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    description: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    version: Option<String>,
    /// `healthy`, or why it gets no messages.
    state: &'static str,
}

impl AgentList {
    pub(crate) fn of(status: &Status) -> Self {
        let offered =
            status.plugins.iter().filter(|p| p.kind == PluginKind::Agent && p.verdict != "disabled");
        Self {
            level: status.level,
            reason: status.reason.clone(),
            missing: status.missing.clone(),
            agents: offered
                .map(|plugin| AgentItem {
                    name: plugin.id.to_string(),
                    description: plugin.description.clone(),
                    version: plugin.version.clone(),
                    state: plugin.state,
                })
                .collect(),
        }
    }
}

/// The user's threads, the newest first.
#[derive(Serialize, JsonSchema)]
pub(crate) struct ThreadList {
    threads: Vec<ThreadItem>,
    /// What `after` of the next page is; `null`: this is the last.
    next_after: Option<ThreadId>,
}

/// A thread in a list.
#[derive(Serialize, JsonSchema)]
struct ThreadItem {
    thread_id: ThreadId,
    #[schemars(extend("format" = "date-time"))]
    created_at: String,
    /// When a message was last accepted or answered in it.
    #[schemars(extend("format" = "date-time"))]
    used_at: String,
    /// `seq` of its last event.
    last_seq: Seq,
}

impl ThreadList {
    pub(crate) fn of(threads: &[ThreadSummary], limit: usize) -> Self {
        let last = threads.last().map(|one| one.thread.clone());
        Self {
            threads: threads
                .iter()
                .map(|one| ThreadItem {
                    thread_id: one.thread.clone(),
                    created_at: rfc3339(one.created),
                    used_at: rfc3339(one.used),
                    last_seq: one.last,
                })
                .collect(),
            next_after: last.filter(|_| threads.len() >= limit),
        }
    }
}

/// One thread.
#[derive(Serialize, JsonSchema)]
pub(crate) struct ThreadPage {
    thread_id: ThreadId,
    #[schemars(extend("format" = "date-time"))]
    created_at: String,
    /// `seq` of its last event.
    last_seq: Seq,
}

impl ThreadPage {
    pub(crate) fn of(thread: &ThreadId, head: &ThreadHead) -> Self {
        Self { thread_id: thread.clone(), created_at: rfc3339(head.created), last_seq: head.last }
    }
}

/// A run that is being cancelled: its `agent_completed` follows in its thread.
#[derive(Serialize, JsonSchema)]
pub(crate) struct Cancelling {
    pub(crate) run_id: RunId,
    pub(crate) thread_id: ThreadId,
    /// `cancelling`
    pub(crate) status: &'static str,
}

/// Events of a thread, as frames of the socket. For the schema; the bytes are made by [`EventPage`].
#[derive(Serialize, JsonSchema)]
pub(crate) struct EventList {
    /// The frames of `/asyncapi.json`, oldest first.
    events: Vec<Value>,
    /// What `after` of the next page is; `null`: there is no more now.
    next_after: Option<Seq>,
}

/// A page of events, put together from their bytes.
#[derive(Debug)]
pub(crate) struct EventPage {
    out: BytesMut,
    count: usize,
    last: Option<Seq>,
}

impl Default for EventPage {
    fn default() -> Self {
        Self { out: BytesMut::from(&b"{\"events\":["[..]), count: 0, last: None }
    }
}

impl EventPage {
    pub(crate) fn push(&mut self, seq: Seq, frame: &Bytes) {
        if self.count > 0 {
            self.out.put_u8(b',');
        }
        self.out.extend_from_slice(frame);
        self.count += 1;
        self.last = Some(seq);
    }

    pub(crate) fn len(&self) -> usize {
        self.out.len()
    }

    pub(crate) fn count(&self) -> usize {
        self.count
    }

    /// The body; `whole`: nothing follows now.
    pub(crate) fn finish(mut self, whole: bool) -> Bytes {
        let next = self.last.filter(|_| !whole).map_or_else(|| "null".to_owned(), |seq| seq.0.to_string());
        self.out.extend_from_slice(format!("],\"next_after\":{next}}}").as_bytes());
        self.out.freeze()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_of_events_is_json_and_says_whether_more_follows() {
        let mut page = EventPage::default();
        page.push(Seq(4), &Bytes::from_static(b"{\"seq\":4}"));
        page.push(Seq(5), &Bytes::from_static(b"{\"seq\":5}"));
        let read = |bytes: Bytes| serde_json::from_slice::<Value>(&bytes).unwrap();
        assert_eq!(
            read(page.finish(false)),
            serde_json::json!({"events": [{"seq": 4}, {"seq": 5}], "next_after": 5})
        );
        assert_eq!(
            read(EventPage::default().finish(true)),
            serde_json::json!({"events": [], "next_after": null})
        );
    }
}
