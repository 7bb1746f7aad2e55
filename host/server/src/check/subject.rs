//! A running instance as a subject of the conformance suite.

use std::{collections::HashMap, time::Duration};

use agent_host_core::ports::instance::{
    CALL_OUTPUTS, CallOutput, InstanceCommand, InstanceHandle, Invocation,
};
use agent_host_runtime::describe;
use agent_plugin_protocol::{CallId, call::Answer};
use agent_plugin_testkit::{Output, Subject};
use bytes::Bytes;
use tokio::sync::mpsc;

/// The open calls of an instance.
pub(crate) struct InstanceCalls {
    handle: InstanceHandle,
    /// What each call says. As large as the instance asks for: it never waits, and ends a plugin that overfills it.
    inboxes: HashMap<u64, mpsc::Receiver<(CallId, CallOutput)>>,
    /// The deadline that calls are told.
    deadline: Duration,
}

impl InstanceCalls {
    pub(crate) fn new(handle: InstanceHandle, deadline: Duration) -> Self {
        Self { handle, inboxes: HashMap::new(), deadline }
    }

    /// An instance that is gone takes no order; its open calls hear of its end by themselves.
    async fn order(&self, command: InstanceCommand) {
        let _ = self.handle.commands.send(command).await;
    }

    fn lost(&self) -> Output {
        let report = self.handle.exit.borrow().clone();
        Output::Lost(report.map_or_else(|| "the worker takes no orders".to_owned(), |it| describe(&it)))
    }
}

impl Subject for InstanceCalls {
    const SEES_LATE_OUTPUT: bool = false;

    async fn begin(&mut self, method: &'static str, payload: Vec<u8>) -> u64 {
        // Without randomness ids are only counted; the worker trusts this process anyway.
        let id = getrandom::u64().unwrap_or(self.inboxes.len() as u64 + 1);
        let (outputs, inbox) = mpsc::channel(CALL_OUTPUTS);
        self.inboxes.insert(id, inbox);
        let invocation = Invocation {
            call: CallId(id),
            method,
            run: None,
            payload: Bytes::from(payload),
            deadline: self.deadline,
            desk: None,
            outputs,
        };
        // Where it is not taken, the channel closes: `next` then says that the plugin is gone.
        self.order(InstanceCommand::Invoke(invocation)).await;
        id
    }

    async fn next(&mut self, call: u64, within: Duration) -> Option<Output> {
        let inbox = self.inboxes.get_mut(&call)?;
        let output = tokio::time::timeout(within, inbox.recv()).await.ok()?;
        let output = match output.map(|(_, output)| output) {
            // It comes of a desk, and these calls have none.
            Some(CallOutput::Served(..)) => return None,
            Some(CallOutput::Emitted { kind, payload }) => {
                self.order(InstanceCommand::Credit { call: CallId(call), events: 1 }).await;
                return Some(Output::Event { kind, payload: payload.into() });
            }
            Some(CallOutput::Request { request, method, payload }) => {
                return Some(Output::Request { request, method, payload: payload.into() });
            }
            Some(CallOutput::Completed(body)) => Output::Completed(body.into()),
            Some(CallOutput::Rejected(status)) => Output::Rejected(status),
            Some(CallOutput::Lost(_)) | None => self.lost(),
        };
        self.inboxes.remove(&call);
        Some(output)
    }

    async fn answer(&mut self, call: u64, request: u64, answer: Answer) {
        // An answer has texts as keys only, so it cannot fail to serialise.
        let answer = Bytes::from(serde_json::to_vec(&answer).unwrap_or_default());
        self.order(InstanceCommand::Respond { call: CallId(call), request, answer }).await;
    }

    async fn cancel(&mut self, call: u64) {
        self.order(InstanceCommand::Cancel { call: CallId(call) }).await;
    }

    async fn drain(&mut self) {
        self.order(InstanceCommand::Drain).await;
    }
}
