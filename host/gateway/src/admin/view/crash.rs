//! How a generation of a plugin died.

use agent_host_core::{
    crash::Frame,
    outcome::{Exit, ExitReport},
};
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
    /// What the crashing thread was at, in one line, where its last moment could be seen.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub summary: Option<String>,
    /// The way there, innermost first; empty until it is found out, and where it cannot be.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub backtrace: Vec<FramePart>,
    /// Why there is no backtrace of a crash whose last moment was seen: it is still sought, or will not be.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub no_backtrace: Option<String>,
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

/// A step on the way to a crash.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct FramePart {
    /// The library; empty where the address belongs to none that is known.
    pub module: String,
    /// The address within it, in hexadecimal, as `addr2line` takes it.
    pub offset: String,
    /// The function, if the library names it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub symbol: Option<String>,
    /// The source file, if the library has debug information.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub file: Option<String>,
    /// The line in it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub line: Option<u32>,
}

impl From<&Crash> for CrashPart {
    fn from(crash: &Crash) -> Self {
        let ExitReport { exit, stderr_tail, crash: seen, .. } = crash.report.as_ref();
        let (frames, no_backtrace) = match seen.as_ref().map(|seen| seen.backtrace.found()) {
            None => (Default::default(), None),
            Some(Some(Ok(frames))) => (frames, None),
            Some(Some(Err(reason))) => (Default::default(), Some(reason.to_string())),
            Some(None) => (Default::default(), Some("it is still being found out".to_owned())),
        };
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
            summary: seen.as_ref().map(|seen| line(&seen.to_string())),
            backtrace: frames.iter().map(FramePart::from).collect(),
            no_backtrace,
            calls: crash.calls.iter().map(OpenCallPart::from).collect(),
            stderr: stderr_tail.iter().map(|text| line(text)).collect(),
        }
    }
}

impl From<&Frame> for FramePart {
    fn from(frame: &Frame) -> Self {
        Self {
            module: line(&frame.module),
            offset: format!("{:#x}", frame.offset),
            symbol: frame.symbol.as_deref().map(line),
            file: frame.file.as_deref().map(line),
            line: frame.line,
        }
    }
}

impl From<&OpenCall> for OpenCallPart {
    fn from(call: &OpenCall) -> Self {
        Self { method: call.method.to_owned(), run: call.run.to_string() }
    }
}
