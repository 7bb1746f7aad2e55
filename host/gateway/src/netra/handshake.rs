//! How a connection of the second version begins: the host gives out the ids, the client acknowledges them, and only
//! then is it told how the service is.
//!
//! An id costs nothing until a message uses it: a thread is made with its first message, under the user's quota
//! ([decision 13](../../../../docs/decisions/0013-a-thread-s-id-before-its-thread.md)).

use std::{sync::Arc, time::SystemTime};

use agent_host_core::timestamp::rfc3339;
use agent_host_engine::{session::Message, view::Status};
use agent_plugin_protocol::{MessageId, RunId, ThreadId};
use serde_json::json;
use tokio_tungstenite::tungstenite::Utf8Bytes;

use super::encode;

/// The ids that a connection was given, and how far its handshake is.
#[derive(Debug)]
pub(super) struct Handshake {
    thread: ThreadId,
    /// The run of the first message; none once a message has it.
    run: Option<RunId>,
    state: Given,
    /// What the client will be told of the service when it has acknowledged; `None` once it has.
    held: Option<Arc<Status>>,
}

/// Whether there is a thread of the id that was given out.
#[derive(Debug, PartialEq, Eq)]
enum Given {
    /// Not yet.
    Unused,
    /// A message is on its way which makes it.
    Asked(MessageId),
    /// Yes.
    Begun,
}

impl Handshake {
    /// With new ids.
    pub(super) fn new(status: Arc<Status>) -> Self {
        Self {
            thread: ThreadId::random(),
            run: Some(RunId::random()),
            state: Given::Unused,
            held: Some(status),
        }
    }

    /// The first frame. The session's token opens nothing: it names the connection in the host's log.
    pub(super) fn response(&self, connection: &str, status: &Status, now: SystemTime) -> Utf8Bytes {
        let frame = json!({
            "type": "handshake_response",
            "thread_id": self.thread,
            "run_id": self.run,
            "request_id": uuid::Uuid::new_v4().simple().to_string(),
            "session_token": connection,
            "timestamp": rfc3339(now),
            "message": "the connection is ready: acknowledge with handshake_acknowledged",
            "service_level": status.level,
        });
        frame.to_string().into()
    }

    /// The client has its ids. What it is told of the service then; `None` if it was told before.
    pub(super) fn acknowledged(&mut self) -> Option<Arc<Status>> {
        self.held.take()
    }

    /// Answers an acknowledgement.
    pub(super) fn complete(&self, now: SystemTime) -> Utf8Bytes {
        let frame = json!({
            "type": "handshake_complete", "thread_id": self.thread, "timestamp": encode::seconds(now),
        });
        frame.to_string().into()
    }

    /// Keeps a change of the service until the client has acknowledged. `false`: it has.
    pub(super) fn hold(&mut self, status: &Arc<Status>) -> bool {
        let held = self.held.is_some();
        if held {
            self.held = Some(Arc::clone(status));
        }
        held
    }

    /// Puts a message into the connection's thread where it names none, and lets the first one make that thread.
    pub(super) fn place(&mut self, message: &mut Message) {
        let thread = message.thread.get_or_insert_with(|| self.thread.clone());
        if *thread == self.thread && self.state == Given::Unused {
            message.given = Some(self.run.take().unwrap_or_else(RunId::random));
            self.state = Given::Asked(message.id.clone());
        }
    }

    /// A message was accepted, or refused.
    pub(super) fn settled(&mut self, id: &MessageId, accepted: bool) {
        if matches!(&self.state, Given::Asked(asked) if asked == id) {
            self.state = if accepted { Given::Begun } else { Given::Unused };
        }
    }

    /// There is no such thread. If it is the connection's own, which somebody deleted, the connection gets another.
    pub(super) fn lost(&mut self, thread: &ThreadId) {
        if *thread == self.thread {
            self.thread = ThreadId::random();
            self.state = Given::Unused;
        }
    }

    /// Whether a message without a thread would make the connection's own.
    pub(super) fn is_unused(&self) -> bool {
        self.state == Given::Unused
    }
}
