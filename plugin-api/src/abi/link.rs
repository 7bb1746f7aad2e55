//! The host as a plugin sees it: its table of functions together with the id it gave.

use abi_stable::std_types::{RString, RVec};
use agent_plugin_protocol::call::LogLine;

use super::v1::HostApiRef;

/// A way to the host. All its functions return at once; an id that the host no longer knows is a no-op there.
#[derive(Clone, Copy)]
pub(crate) struct HostLink {
    api: HostApiRef,
    host: u64,
}

impl HostLink {
    pub(crate) fn new(api: HostApiRef, host: u64) -> Self {
        Self { api, host }
    }

    /// Answers the credit that is left; negative: the call is over.
    pub(crate) fn emit(self, call: u64, kind: u32, payload: Vec<u8>) -> i64 {
        self.api.emit()(self.host, call, kind, payload.into())
    }

    pub(crate) fn complete(self, call: u64, completion: Vec<u8>) {
        self.api.complete()(self.host, call, completion.into());
    }

    pub(crate) fn request(self, call: u64, request: u64, method: &str, payload: Vec<u8>) {
        self.api.request()(self.host, call, request, RString::from(method), payload.into());
    }

    pub(crate) fn log(self, line: &LogLine) {
        // A line of texts and JSON values cannot fail to serialise; were it so, there is nowhere to say it.
        if let Ok(bytes) = serde_json::to_vec(line) {
            self.log_bytes(bytes);
        }
    }

    pub(crate) fn log_bytes(self, bytes: Vec<u8>) {
        self.api.log()(self.host, RVec::from(bytes));
    }

    pub(crate) fn heartbeat(self) {
        self.api.heartbeat()(self.host);
    }

    /// The current thread executes the call's code from now on.
    pub(crate) fn executing(self, call: u64) {
        if let Some(executing) = self.api.executing() {
            executing(self.host, call);
        }
    }

    /// The current thread executes no call's code from now on.
    pub(crate) fn idle(self) {
        self.executing(0);
    }

    pub(crate) fn flush(self) {
        self.api.flush()(self.host);
    }
}
