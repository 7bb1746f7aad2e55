//! The border without its rails: for tests of the *host*, which must survive a plugin that breaks every rule.
//!
//! An agent has no use for this: what is said here is not checked, waits for no credit, and may end the plugin.

use crate::{Context, abi::link::HostLink};

/// The host of a call, to be lied to.
#[derive(Clone, Copy)]
pub struct RawHost {
    link: HostLink,
    call: u64,
}

impl RawHost {
    /// The host that made this call.
    pub fn of(ctx: &Context) -> Self {
        Self { link: ctx.call().link(), call: ctx.call().id() }
    }

    /// The id of the call.
    pub fn call(self) -> u64 {
        self.call
    }

    /// Emits for any call. Answers the credit left, or a negative number.
    pub fn emit(self, call: u64, kind: u32, payload: impl Into<Vec<u8>>) -> i64 {
        self.link.emit(call, kind, payload.into())
    }

    /// Completes any call.
    pub fn complete(self, call: u64, completion: impl Into<Vec<u8>>) {
        self.link.complete(call, completion.into());
    }

    /// Requests something in the name of any call. The answer goes nowhere.
    pub fn request(self, call: u64, request: u64, method: &str, payload: impl Into<Vec<u8>>) {
        self.link.request(call, request, method, payload.into());
    }

    /// Logs any bytes.
    pub fn log(self, line: impl Into<Vec<u8>>) {
        self.link.log_bytes(line.into());
    }
}
