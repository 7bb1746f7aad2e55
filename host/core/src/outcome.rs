//! How a call into a plugin ended. The outcomes are kept apart: "no answer" is never "answered nothing".

use std::time::Duration;

use agent_plugin_protocol::{Code, call::Reply};

use crate::crash::CrashReport;

/// Which of a run's clocks ran out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Clock {
    /// One tool call.
    Tool,
    /// Time without an event.
    Idle,
    /// The whole run.
    Run,
}

/// How a worker process ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Exit {
    /// A signal killed it, by number.
    Signal(i32),
    /// It exited with this status.
    Status(i32),
    /// The host killed it because it gave no sign of life.
    Hung,
    /// The host stopped it: reload, drain, disable.
    Stopped,
    /// It reached its memory limit.
    Memory,
    /// It sent more than it was allowed to.
    Flood,
    /// It broke the worker protocol.
    Protocol(String),
}

impl Exit {
    /// The stable code of a run that this exit ended.
    pub fn code(&self) -> Code {
        match self {
            Self::Signal(_) => Code::PluginCrashed,
            Self::Status(_) => Code::PluginExited,
            Self::Hung => Code::PluginHung,
            Self::Stopped => Code::PluginDraining,
            Self::Memory => Code::PluginMemory,
            Self::Flood => Code::PluginFlood,
            Self::Protocol(_) => Code::PluginProtocolViolation,
        }
    }

    /// One word of a bounded set: the metric label.
    pub const fn label(&self) -> &'static str {
        match self {
            Self::Signal(number) => signal_name(*number),
            Self::Status(_) => "exit",
            Self::Hung => "hung",
            Self::Stopped => "stopped",
            Self::Memory => "memory",
            Self::Flood => "flood",
            Self::Protocol(_) => "protocol",
        }
    }
}

/// The name of a signal, of those that end a plugin in practice, by Linux' numbers.
pub const fn signal_name(number: i32) -> &'static str {
    match number {
        2 => "SIGINT",
        4 => "SIGILL",
        5 => "SIGTRAP",
        6 => "SIGABRT",
        7 => "SIGBUS",
        8 => "SIGFPE",
        9 => "SIGKILL",
        11 => "SIGSEGV",
        15 => "SIGTERM",
        24 => "SIGXCPU",
        25 => "SIGXFSZ",
        31 => "SIGSYS",
        _ => "other_signal",
    }
}

/// The end of one generation of a plugin, with what is known of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExitReport {
    /// How.
    pub exit: Exit,
    /// How long it had lived.
    pub uptime: Duration,
    /// Its last lines on stderr, sanitised, newest last; bounded.
    pub stderr_tail: Vec<String>,
    /// What a crash left to be known, where a signal ended it and its handler ran.
    pub crash: Option<CrashReport>,
}

/// How a call ended.
#[derive(Debug, Clone, PartialEq)]
pub enum Outcome {
    /// The author's code answered.
    Ok(Reply),
    /// The author's code returned an error.
    PluginError {
        /// The author's own code.
        code: String,
        /// For people.
        message: String,
        /// Whether the same message may succeed later.
        retryable: bool,
    },
    /// The author's code panicked.
    Panicked {
        /// The panic's message.
        message: String,
    },
    /// One of the run's clocks ran out.
    TimedOut(Clock),
    /// The generation ended while the call was open.
    Lost(ExitReport),
    /// The call never began: breaker open, draining, overloaded, disabled, starting, ….
    Refused(Code),
    /// The person, or the host on their behalf, stopped it.
    Cancelled,
    /// Whoever followed it was lost, and its agent wants it stopped then. People see it as cancelled.
    Deserted,
    /// The host is going away.
    Interrupted,
    /// What the plugin said was not an answer of this method.
    Violation(String),
}

impl Outcome {
    /// Whether the same message may succeed later: an author's own word goes before the code's.
    pub fn retryable(&self) -> bool {
        match self {
            Self::PluginError { retryable, .. } => *retryable,
            Self::Ok(_)
            | Self::Panicked { .. }
            | Self::TimedOut(_)
            | Self::Lost(_)
            | Self::Refused(_)
            | Self::Cancelled
            | Self::Deserted
            | Self::Interrupted
            | Self::Violation(_) => self.code().is_some_and(Code::retryable),
        }
    }

    /// The stable code of the failure; `None` if it is none.
    pub fn code(&self) -> Option<Code> {
        match self {
            Self::Ok(_) | Self::Cancelled => None,
            Self::PluginError { .. } => Some(Code::PluginError),
            Self::Panicked { .. } => Some(Code::PluginPanicked),
            Self::TimedOut(Clock::Tool) => Some(Code::PluginTimeoutTool),
            Self::TimedOut(Clock::Idle) => Some(Code::PluginTimeoutIdle),
            Self::TimedOut(Clock::Run) => Some(Code::PluginTimeoutRun),
            Self::Lost(report) => Some(report.exit.code()),
            Self::Refused(code) => Some(*code),
            Self::Deserted => Some(Code::RunConnectionLost),
            Self::Interrupted => Some(Code::Interrupted),
            Self::Violation(_) => Some(Code::PluginProtocolViolation),
        }
    }
}
