//! How a generation of a plugin died.

use agent_host_core::outcome::{Exit, ExitReport};
use agent_host_engine::view::{Crash, OpenCall};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{line, millis, time};

/// The end of a generation that nobody asked for.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct CrashPart {
    /// When.
    pub at: String,
    /// Which generation.
    pub generation: u32,
    /// The stable code.
    pub code: String,
    /// What ended it: a signal's name, or one word.
    pub how: String,
    /// The status that it exited with, where it did.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<i32>,
    /// What it had broken, where it broke the worker protocol.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
    /// How long it had lived.
    pub uptime_ms: u64,
    /// Calls that were open in it.
    pub calls: Vec<OpenCallPart>,
    /// Its last lines on stderr, newest last.
    pub stderr: Vec<String>,
}

/// A call that was open.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct OpenCallPart {
    /// What was asked of the plugin.
    pub method: String,
    /// For which run.
    pub run: String,
}

impl From<&Crash> for CrashPart {
    fn from(crash: &Crash) -> Self {
        let ExitReport { exit, stderr_tail, .. } = crash.report.as_ref();
        let (status, detail) = match exit {
            Exit::Status(status) => (Some(*status), None),
            Exit::Protocol(detail) => (None, Some(line(detail))),
            Exit::Signal(_) | Exit::Hung | Exit::Stopped | Exit::Memory | Exit::Flood => (None, None),
        };
        Self {
            at: time(crash.at),
            generation: crash.generation.0,
            code: exit.code().to_string(),
            how: exit.label().to_owned(),
            status,
            detail,
            uptime_ms: millis(crash.uptime),
            calls: crash.calls.iter().map(OpenCallPart::from).collect(),
            stderr: stderr_tail.iter().map(|text| line(text)).collect(),
        }
    }
}

impl From<&OpenCall> for OpenCallPart {
    fn from(call: &OpenCall) -> Self {
        Self { method: call.method.to_owned(), run: call.run.to_string() }
    }
}
